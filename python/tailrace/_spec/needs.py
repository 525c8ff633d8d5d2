"""What a chunk needs of the machine that runs it, and how amounts are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

MEMORY, GPUS, CPUS = "memory", "gpus", "cpus"
WHOLE = (GPUS,)
"""What cannot be had in parts."""
_PREFIXES = "KMGTP"
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGTP])i?)?B?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][\w.:-]*")


class Needs(Mapping[str, float]):
    """Amounts by name, which do not change: memory in bytes, anything else in pieces."""

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[str, float] | None = None) -> None:
        """Take amounts. Raises `ValueError` for one that cannot be needed, and for a name that is none."""
        self._amounts = {name: to_amount(name, value) for name, value in (amounts or {}).items()}

    def __getitem__(self, name: str) -> float:
        return self._amounts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __contains__(self, name: object) -> bool:
        # As it would be found anyway, in a fifth of the time.
        return name in self._amounts

    def __len__(self) -> int:
        return len(self._amounts)

    def __hash__(self) -> int:
        return hash(frozenset(self._amounts.items()))

    def __repr__(self) -> str:
        return repr(self._amounts)


def to_amount(name: str, value: object) -> float:
    """Return how much of `name` that is, in bytes or pieces. Raises `ValueError` for what is no amount."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for what is needed: it is letters, digits and any of _ . : -")
    if isinstance(value, str):
        if name != MEMORY:
            raise ValueError(f"{name}: {value!r} should be a number")
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            raise ValueError(f'memory: {value!r} should be a number of bytes, or a size such as "8G" or "512M"')
        power = _PREFIXES.index(found[2].upper()) + 1 if found[2] else 0
        value = float(found[1]) * 1024**power
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: {value!r} should be a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}: {value!r} should be a number from 0 on")
    if name in WHOLE and value != int(value):
        raise ValueError(f"{name}: {value!r} should be a whole number")
    return int(value) if value == int(value) else float(value)


def _to_needs(value: object) -> Needs:
    if isinstance(value, Needs):
        return value
    if value is None:
        return Needs()
    if not isinstance(value, Mapping):
        raise ValueError('should be an object such as {"memory": "8G", "gpus": 1}')
    return Needs(value)


_SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([KMGTPkmgtp][Ii]?)?[Bb]?\s*$"
_AMOUNT: dict[str, Any] = {"type": "number", "minimum": 0}
NeedsField = Annotated[
    Mapping[str, float],
    PlainValidator(_to_needs),
    PlainSerializer(dict),
    WithJsonSchema(
        {
            "type": ["object", "null"],
            "properties": {
                CPUS: {**_AMOUNT, "description": "Processors."},
                GPUS: {"type": "integer", "minimum": 0, "description": "Graphics processors."},
                MEMORY: {
                    "description": "Bytes, or a size such as 8G.",
                    "anyOf": [
                        _AMOUNT,
                        {"type": "string", "pattern": _SIZE_PATTERN},
                    ],
                },
            },
            "additionalProperties": _AMOUNT,
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_.:-]*$"},
            "examples": [{"cpus": 4, "memory": "8G", "gpus": 1, "nuke_i": 1}],
        }
    ),
]
