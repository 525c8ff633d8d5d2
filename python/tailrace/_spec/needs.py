"""What a chunk needs of the machine that runs it, and how amounts are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

MEMORY, GPUS, CPUS = "memory", "gpus", "cpus"
WHOLE = (GPUS,)
"""What cannot be had in parts."""
_PREFIXES = "KMGTP"
# As JSON Schema has it too.
_SIZE = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGTPkmgtp])[Ii]?)?[Bb]?\s*$"
_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.:@/-]*$"
_MOST = 1 << 60
"""So much of anything is a mistake; it keeps what is added up exact."""


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


NOTHING_NEEDED = Needs()


def to_amount(name: str, value: object) -> float:
    """Return how much of `name` that is, in bytes or pieces. Raises `ValueError` for what is no amount."""
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise ValueError(
            f"{name!r} is no name for what is needed: it begins with a letter, a digit or _, and has . : @ / - too"
        )
    if isinstance(value, str):
        if name != MEMORY:
            raise ValueError(f"{name}: {value!r} should be a number; memory alone takes a size")
        found = re.fullmatch(_SIZE, value)
        if found is None:
            raise ValueError(f'memory: {value!r} should be a number of bytes, or a size such as "8G" or "512M"')
        power = _PREFIXES.index(found[2].upper()) + 1 if found[2] else 0
        value = float(found[1]) * 1024**power
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: {value!r} should be a number")
    # Infinity is more, and what is no number is not between the two.
    if not 0 <= value <= _MOST:
        raise ValueError(f"{name}: {_shortened(value)} should be a number from 0 to 2**60")
    if name in WHOLE and value != int(value):
        raise ValueError(f"{name}: {value!r} should be a whole number")
    return int(value) if value == int(value) else float(value)


def to_size(amount: int) -> str:
    """Return bytes as people write them, exactly: "8G", or the number where nothing shorter says the same."""
    for power in range(len(_PREFIXES), 0, -1):
        if amount and amount % 1024**power == 0:
            return f"{amount // 1024**power}{_PREFIXES[power - 1]}"
    return str(amount)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:27]}..."


def _to_needs(value: object) -> Needs:
    if isinstance(value, Needs):
        return value
    if value is None:
        return Needs()
    if not isinstance(value, Mapping):
        raise ValueError('should be an object such as {"memory": "8G", "gpus": 1}')
    return Needs(value)


_AMOUNT: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": _MOST}
NeedsField = Annotated[
    Mapping[str, float],
    PlainValidator(_to_needs),
    PlainSerializer(dict),
    WithJsonSchema(
        {
            "type": ["object", "null"],
            "properties": {
                CPUS: {**_AMOUNT, "description": "Processors."},
                GPUS: {"type": "integer", "minimum": 0, "maximum": _MOST, "description": "Graphics processors."},
                MEMORY: {
                    "description": "Bytes, or a size such as 8G.",
                    "anyOf": [
                        _AMOUNT,
                        {"type": "string", "pattern": _SIZE},
                    ],
                },
            },
            "additionalProperties": _AMOUNT,
            "propertyNames": {"pattern": _NAME},
            "examples": [{"cpus": 4, "memory": "8G", "gpus": 1, "nuke_i": 1}],
        }
    ),
]
