"""The keys of an object that came as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T", int, float, str, bool)

S = TypeVar("S", bound=str)

_WORDS = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}


class JsonFields:
    """Reads keys and checks what they hold; each method raises `ValueError`, in one line that names the key."""

    def __init__(self, record: object, where: str) -> None:
        """Take an object, and what messages call it. Raises `ValueError` if it is none."""
        if not isinstance(record, Mapping):
            raise ValueError(f"{where} must be an object, not {_shown(record)}")
        self._record = record
        self._where = where

    def value(self, key: str) -> object:
        """Return what stands there, whatever it is."""
        if key not in self._record:
            raise ValueError(f"{self._where} has no {key!r}")
        return self._record[key]

    def get(self, key: str, kind: type[T]) -> T:
        """Return a value of that kind; a float may stand there as an integer."""
        value = self.value(key)
        if kind is float and type(value) is int:
            try:
                return kind(value)
            except OverflowError:
                raise self.error(key, "a smaller number") from None
        # To Python, True is an int.
        if type(value) is not kind:
            raise self.error(key, _WORDS[kind])
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Return a value of that kind, or None for null."""
        return None if self.value(key) is None else self.get(key, kind)

    def has(self, key: str) -> bool:
        """Return whether the key is there and is not null."""
        return self._record.get(key) is not None

    def one_of(self, key: str, choices: Sequence[S]) -> S:
        """Return the one of these texts that stands there."""
        value = self.value(key)
        for choice in choices:
            if value == choice:
                return choice
        raise self.error(key, f"one of {', '.join(choices)}")

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers."""
        value = self.value(key)
        if not isinstance(value, list) or any(type(element) is not int for element in value):
            raise self.error(key, "a list of integers")
        return tuple(value)

    def object(self, key: str) -> JsonFields:
        """Return an object that stands there."""
        return JsonFields(self.value(key), f"{self._where}: {key}")

    def objects(self, key: str) -> list[JsonFields]:
        """Return a list of objects."""
        value = self.value(key)
        if not isinstance(value, list):
            raise self.error(key, "a list of objects")
        return [JsonFields(element, f"{self._where}: {key}") for element in value]

    def error(self, key: str, wanted: str) -> ValueError:
        """Return what is to be raised for a key that holds something else than is `wanted`."""
        return ValueError(f"{self._where}: {key} must be {wanted}, not {_shown(self._record[key])}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
