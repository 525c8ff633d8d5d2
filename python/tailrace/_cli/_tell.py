"""What the command line itself has to say."""

from __future__ import annotations

import contextlib

from tailrace import LogFailed

from ._descriptor_writer import settle, standard_writers


def tell(text: str, *, patience: float | None = None) -> None:
    """Write a line to standard error, where it does not get into the output of the chunks.

    Gives up if nobody reads for `patience` seconds, or nobody can read any more: there is no better place for it.
    """
    with contextlib.suppress(OSError):
        standard_writers().stderr.write_within(patience, _line(text))


async def tell_event(text: str) -> None:
    """The same from the event loop, while a job runs. Raises `OSError`."""
    await settle(standard_writers().stderr.write(_line(text)))


def describe_log_failure(event: LogFailed) -> str:
    """Return what went wrong and what that means, in one line."""
    return f"the log {event.path} cannot be written: {event.reason}; the job goes on without the rest of it"


def _line(text: str) -> bytes:
    return f"tailrace: {text}\n".encode(errors="backslashreplace")
