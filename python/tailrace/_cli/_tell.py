"""What the command line itself has to say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from ._descriptor_writer import settle, standard_writers


def tell(text: str, *, patience: float | None = None) -> None:
    """Write a line to standard error, where it does not get into the output of the chunks.

    Gives up if nobody reads for `patience` seconds, or nobody can read any more: there is no better place for it.
    """
    with contextlib.suppress(OSError):
        standard_writers().stderr.write_within(patience, _line(text))


def tell_sections(sections: Iterable[Iterable[str]], *, bare: bool, patience: float | None = None) -> None:
    """Write groups of lines as `tell` does; `bare` with blank lines around them in place of the program's name."""
    text = b"".join(_section(lines) if bare else b"".join(map(_line, lines)) for lines in sections)
    with contextlib.suppress(OSError):
        standard_writers().stderr.write_within(patience, text + b"\n" if bare and text else text)


async def tell_event(text: str) -> None:
    """The same from the event loop, while a job runs. Raises `OSError`."""
    await settle(standard_writers().stderr.write(_line(text)))


def _line(text: str) -> bytes:
    return f"tailrace: {text}\n".encode(errors="backslashreplace")


def _section(lines: Iterable[str]) -> bytes:
    return "\n".join(["", *lines, ""]).encode(errors="backslashreplace")
