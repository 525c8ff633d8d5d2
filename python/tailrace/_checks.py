"""Says which argument is not what it has to be, before anything is run."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from numbers import Real


def check_type(name: str, value: object, wanted: type, described: str) -> None:
    """Raise `TypeError` unless `value` is a `wanted`."""
    if not isinstance(value, wanted):
        raise TypeError(f"{name} must be {described}, not {value!r}")


def check_callback(name: str, value: object) -> None:
    """Raise `TypeError` unless `value` can be called, or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, not {value!r}")


def check_path(name: str, value: object) -> None:
    """Raise `TypeError` or `ValueError` unless `value` can be the path of a file, or is None."""
    if value is None:
        return
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path (a str or an os.PathLike of one), not {value!r}")
    if "\0" in path:
        raise ValueError(f"{name} must not contain a NUL byte")


def check_collection(name: str, value: object, of: type, described: str) -> None:
    """Raise `TypeError` unless `value` is a collection of such elements; an iterator can be looked at only once."""
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise TypeError(f"{name} must be a collection of {described}, such as a list, not {value!r}")
    for element in value:
        # To Python, True is an int.
        if not isinstance(element, of) or isinstance(element, bool):
            raise TypeError(f"{name} must be a collection of {described} ({of.__name__}), and {element!r} is none")


def check_method(name: str, value: object, method: str) -> None:
    """Raise `TypeError` unless `value` is an object, and not a class, with that method."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be an object, not the class {value.__name__}: write {value.__name__}()")
    if not callable(getattr(value, method, None)):
        raise TypeError(f"{name} must have an async method {method}(), and {value!r} has none")


def check_times(**times: float) -> None:
    """Raise `TypeError` or `ValueError`, naming the argument, unless all are positive numbers of seconds."""
    for name, seconds in times.items():
        if not _to_float(name, seconds) > 0:
            raise ValueError(f"{name} must be a positive number of seconds: {seconds!r}")


def check_limits(**limits: float | None) -> None:
    """Do the same, but None is no limit."""
    check_times(**{name: seconds for name, seconds in limits.items() if seconds is not None})


def check_delays(**delays: float) -> None:
    """Do the same, but 0 is allowed and infinity is not."""
    for name, seconds in delays.items():
        if not 0 <= _to_float(name, seconds) < math.inf:
            raise ValueError(f"{name} must be a number of seconds, 0 or more: {seconds!r}")


def _to_float(name: str, value: object) -> float:
    if not isinstance(value, int | float | Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        # Not shown: it has more than 300 digits.
        raise ValueError(f"{name} is too large for a number of seconds") from None
