"""Regular expressions of a user's for lines that tell of an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import get_args

from .._errors import ErrorCategory

_OTHER = "error"
_FATAL = ("missing_asset", "scene")
"""What no other attempt and nobody's patience mends; the others may pass, or have gone well."""


class ErrorPatterns:
    """Pairs of a category and an expression that is searched in a line; the first that matches counts.

    Raises `ValueError` for an expression that is none and for an unknown category, and `TypeError` for what is no pair
    of texts.
    """

    def __init__(self, patterns: Iterable[tuple[str, str]]) -> None:
        self._patterns = [_compiled(pattern) for pattern in patterns]

    def __bool__(self) -> bool:
        """Return whether there is one."""
        return bool(self._patterns)

    def find(self, line: str) -> tuple[ErrorCategory | None, bool] | None:
        """Return the category of the error that a line tells of, and whether it is fatal; None for other lines."""
        for regex, category in self._patterns:
            if regex.search(line):
                return category, category in _FATAL
        return None


def _compiled(pattern: tuple[str, str]) -> tuple[re.Pattern[str], ErrorCategory | None]:
    match pattern:
        case (str(name), str(text)):
            pass
        case _:
            raise TypeError(f"an error pattern is a category and a regular expression, not {pattern!r}")
    category: ErrorCategory | None = None
    for known in get_args(ErrorCategory):
        if name == known:
            category = known
    if category is None and name != _OTHER:
        names = ", ".join((*get_args(ErrorCategory), _OTHER))
        raise ValueError(f"error pattern {text!r}: no such category: {name!r}; use one of {names}")
    try:
        return re.compile(text), category
    except re.error as error:
        raise ValueError(f"error pattern {text!r} is not a regular expression: {error}") from error
