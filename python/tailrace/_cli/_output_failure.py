"""What can go wrong where the output is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class OutputClosedError(Exception):
    """Nobody reads standard output or standard error any more."""


class OutputFailedError(Exception):
    """Standard output or standard error cannot be written, for example because a disk is full."""


@contextmanager
def telling_reasons() -> Iterator[None]:
    """Raise one of these for an error of the operating system's."""
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except OSError as error:
        raise OutputFailedError(f"the output cannot be written: {error.strerror}") from error
