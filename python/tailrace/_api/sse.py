"""Server-sent events: a stream of messages over HTTP that goes on, after a break, where it was.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0
"""After so many seconds without a message the server sends a comment, so that nobody takes it for gone."""
END = "end"
"""The name of the last message of a stream that has an end: the client does not come again."""


class Message(NamedTuple):
    """A message; `data` is "" for one that only moves the id on."""

    id: str | None
    name: str
    data: str


def write_message(data: bytes = b"", *, id: int | None = None, name: str | None = None) -> bytes:  # noqa: A002
    """Return a message with data that has no line ends; without data it only tells the id from which to go on."""
    parts = []
    if id is not None:
        parts.append(b"id: %d\n" % id)
    if name is not None:
        parts.append(b"event: %s\n" % name.encode())
    if data:
        parts.append(b"data: %s\n" % data)
    return b"".join((*parts, b"\n"))


COMMENT = b":\n\n"


class MessageReader:
    """Finds the messages in what comes."""

    def __init__(self) -> None:
        self._rest = b""
        self._id: str | None = None
        self._name = ""
        self._data: list[str] = []
        self._has_fields = False

    def feed(self, piece: bytes) -> Iterator[Message]:
        """Yield the messages that a piece completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if not line:
                if self._has_fields:
                    yield Message(self._id, self._name, "\n".join(self._data))
                self._name, self._data, self._has_fields = "", [], False
                continue
            field, _, value = line.decode(errors="replace").partition(":")
            value = value.removeprefix(" ")
            match field:
                case "id":
                    self._id = value
                case "event":
                    self._name = value
                case "data":
                    self._data.append(value)
                case _:
                    continue
            self._has_fields = True
