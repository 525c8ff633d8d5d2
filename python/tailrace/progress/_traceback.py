"""Tracebacks of Python, of which the last line says what went wrong and the others are no errors."""

from __future__ import annotations

import re
from typing import NamedTuple

from .._errors import ErrorCategory

HEADS = (b"Traceback (most recent call last)", b'  File "')
"""A line that holds one of these may begin a traceback."""

_HEAD = re.compile(
    rb"(?P<before>.*?)(?:(?P<group>\+ Exception Group )?Traceback \(most recent call last\)"
    # Of a syntax error the file that has it comes first.
    rb'|(?<!\S)  File "[^"]*", line \d+$)'
)
_MARGIN = re.compile(r"\s+[|+](?:-[-+]*)?(?: |$)")
_EXCEPTION = re.compile(r"(?!\d)(?P<name>\w[\w.]*+)(?P<message>:\s.*)?$")
_MOST_LINES = 4000
"""Python shortens a deep recursion; what goes on for longer is no traceback."""


class Ending(NamedTuple):
    """What a line makes of the traceback before it."""

    message: str | None
    """What was raised."""
    goes_on: bool
    """Whether more may follow."""
    is_read: bool
    """Whether the line is the traceback's; else it is one like any other."""


class Traceback:
    """Follows a traceback from the line that begins it, which `head` is."""

    def __init__(self, head: bytes) -> None:
        match = _HEAD.match(head)
        self._is_group = match is not None and match["group"] is not None
        self.before = "" if match is None or self._is_group else match["before"].decode(errors="replace")
        """What stands before it in its first line: a log's prefix, or what a program says of an exception."""
        self._lines = 0

    def read(self, line: str) -> Ending:
        """Take the next line."""
        self._lines += 1
        if self._lines > _MOST_LINES:
            return Ending(None, goes_on=False, is_read=False)
        # The prefix of a log stands before each line.
        line = line.removeprefix(self.before).rstrip()
        if self._is_group:
            return _read_of_group(line)
        if not line or line[0].isspace():
            return Ending(None, goes_on=True, is_read=True)
        is_exception = _is_exception(line)
        return Ending(line if is_exception else None, goes_on=False, is_read=is_exception)


def find_head(block: bytes, longest: int) -> tuple[int, int] | None:
    """Return the start and the end of the first line that begins a traceback; so much of each line is read."""
    at = -1
    # Nearly always neither is there.
    if any(map(block.__contains__, HEADS)):
        at = _first_of(HEADS, block, 0)
    while at >= 0:
        start = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        end = len(block) if end < 0 else end
        if _HEAD.match(block[start : min(end, start + longest)]):
            return start, end
        at = _first_of(HEADS, block, end)
    return None


def category_of_exception(message: str) -> ErrorCategory | None:
    """Return what an exception is about by its class."""
    return "missing_asset" if message.partition(":")[0].endswith("FileNotFoundError") else None


def _first_of(texts: tuple[bytes, ...], block: bytes, start: int) -> int:
    return min((at for text in texts if (at := block.find(text, start)) >= 0), default=-1)


def _read_of_group(line: str) -> Ending:
    """Read a line of a group of exceptions, each of which has a traceback of its own behind a margin."""
    margin = _MARGIN.match(line)
    if margin is None:
        return Ending(None, goes_on=not line, is_read=not line)
    inner = line[margin.end() :]
    return Ending(inner if _is_exception(inner) else None, goes_on=True, is_read=True)


def _is_exception(line: str) -> bool:
    match = _EXCEPTION.match(line)
    # Without a message it is one word, which might be any.
    return match is not None and (match["message"] is not None or match["name"].rpartition(".")[2][:1].isupper())
