"""What chunks wrote, as the API gives it: in ranges, as a stream, or the next piece."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import anyio
from starlette.responses import Response, StreamingResponse

from .._api.models import LogPlacesAnswer
from .._api.place import ATTEMPT_HEADER, ENDED_HEADER
from .._api.sse import END, write_message
from .._events.json import describe_bytes
from .._farm.log_reader import LogReader
from .._farm.log_search import find_text
from .._farm.manager import JobManager
from ._call import Call
from ._queries import LogQuery, LogSearchQuery, NextOutputQuery, OutputQuery
from ._refusal import RefusedError
from ._streams import StreamAnswer, encode, last_event_id
from ._waits import Waits

_RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))", re.ASCII)
_TEXT = "text/plain; charset=utf-8"
_SEARCHES = 2
"""At a time."""
_LONGEST_CHARACTER = 4
"""Bytes of UTF-8."""


class Logs:
    """Answers requests for logs."""

    def __init__(self, manager: JobManager, waits: Waits) -> None:
        """Take the farm, and what ends waiting."""
        self._farm = manager
        self._waits = waits
        self._searching = anyio.CapacityLimiter(_SEARCHES)

    async def log(self, call: Call) -> Response:
        """Return a log, or a range of it (RFC 9110, 14)."""
        asked = call.query(LogQuery)
        whole = self._farm.output(call.job_id, call.chunk_id, asked.stream, asked.attempt, follow=False)
        attempt, size = (await whole.find()).attempt, await whole.size()
        headers = {"Accept-Ranges": "bytes", ATTEMPT_HEADER: str(attempt)}
        start, end, status = 0, size, 200
        if (wanted := call.request.headers.get("range")) is not None and (match := _RANGE.fullmatch(wanted)):
            start, end = _bounds(match, size)
            if start >= end:
                raise RefusedError(416, f"the log has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            status = 206
        headers["Content-Length"] = str(end - start)
        if call.request.method == "HEAD":
            return Response(None, status, headers, _TEXT)
        reader = self._farm.output(call.job_id, call.chunk_id, asked.stream, attempt or None, start, follow=False)
        return StreamingResponse(_first_bytes(reader, end - start), status, headers, _TEXT)

    async def search(self, call: Call) -> LogPlacesAnswer:
        """Return where text stands in a log, from a place on, as far as is looked at a time."""
        asked = call.query(LogSearchQuery)
        log = self._farm.output(call.job_id, call.chunk_id, asked.stream, asked.attempt, follow=False)
        async with self._searching:
            found = await log.look(lambda file: find_text(file, asked.text, asked.offset))
        return LogPlacesAnswer.model_validate(found)

    async def output(self, call: Call) -> Response:
        """Return a stream of messages with what a chunk writes; their ids are places in its log."""
        asked = call.query(OutputQuery)
        offset = last_event_id(call) or asked.offset
        # That there is no such chunk is told before anything else is.
        await self._farm.output(call.job_id, call.chunk_id, asked.stream, asked.attempt, follow=False).find()
        reader = self._farm.output(call.job_id, call.chunk_id, asked.stream, asked.attempt, offset, follow=asked.follow)
        return StreamAnswer(_messages(reader, offset))

    async def next_output(self, call: Call) -> Response:
        """Return the next piece of what a chunk writes, and whether it is the last one."""
        asked = call.query(NextOutputQuery)
        reader = self._farm.output(
            call.job_id, call.chunk_id, asked.stream, asked.attempt, asked.offset, follow=asked.wait > 0
        )
        piece: bytes | None = b""
        attempt = 0
        with self._waits.move_on_after(asked.wait or None):
            attempt = (await reader.find()).attempt
            piece = await anext(reader, None)
        headers = {ATTEMPT_HEADER: str(attempt), ENDED_HEADER: "true" if piece is None else "false"}
        return Response(piece or b"", headers=headers, media_type="application/octet-stream")


def _bounds(match: re.Match[str], size: int) -> tuple[int, int]:
    """Return where a range begins, and where it has ended."""
    first, last, length = match.groups()
    if length is not None:
        return max(0, size - int(length)), size
    return int(first), min(size, int(last) + 1) if last else size


async def _first_bytes(reader: LogReader, count: int) -> AsyncIterator[bytes]:
    async for piece in reader:
        yield piece[:count]
        count -= len(piece)
        if count <= 0:
            break


async def _messages(reader: LogReader, offset: int) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in reader:
        data = rest + piece
        end = len(data) - _unfinished(data)
        data, rest = data[:end], data[end:]
        offset += len(data)
        if data:
            yield write_message(encode(describe_bytes("data", data)), id=offset)
    if rest:
        yield write_message(encode(describe_bytes("data", rest)), id=offset + len(rest))
    yield write_message(b"{}", name=END)


def _unfinished(data: bytes) -> int:
    """Return how many bytes at the end begin a character that has not come whole."""
    for length in range(1, min(_LONGEST_CHARACTER, len(data) + 1)):
        byte = data[-length]
        if 0b1100_0000 <= byte < 0b1111_1000:
            needed = 2 if byte < 0b1110_0000 else 3 if byte < 0b1111_0000 else 4
            return length if length < needed else 0
        if not 0b1000_0000 <= byte < 0b1100_0000:
            break
    return 0
