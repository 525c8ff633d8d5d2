"""How one client that waits for an attempt is answered: in frames, in lines, or at the end."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Protocol

import anyio

from .._events.json import describe_bytes
from .._wire.frames import MEDIA_TYPE, FrameKind, FrameWriter
from ._attempts import Attempt
from ._exchange import Receive, Send
from ._output_log import LogReader, OutputLog, Piece
from ._requests import RefusedError


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def send_json(send: Send, status: int, body: dict[str, object], headers: Mapping[str, str]) -> None:
    """Send a whole response."""
    content = json.dumps(body).encode()
    await send_start(send, status, "application/json", {"Content-Length": str(len(content)), **headers})
    await send({"type": "http.response.body", "body": content})


async def send_start(send: Send, status: int, media_type: str, headers: Mapping[str, str]) -> None:
    """Send the head of a response, which no one on the way should keep or change."""
    all_headers = {"Content-Type": media_type, "Cache-Control": "no-store, no-transform", **headers}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in all_headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


_STREAMS = {"stdout": FrameKind.STDOUT, "stderr": FrameKind.STDERR}


async def buffered_answer(outcome: dict[str, object], log: OutputLog) -> AsyncIterator[bytes]:
    """Yield the parts of the JSON: what `outcome` says, and the output from a log that is finished.

    Neither the output nor its text is ever in memory as a whole.
    """
    yield json.dumps(outcome | {"truncated": outcome["truncated"] or not log.is_complete})[:-1].encode()
    for name, kind in _STREAMS.items():
        yield f', "{name}": "'.encode()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        checker = codecs.getincrementaldecoder("utf-8")()
        is_text = True
        async for data in _output(log, kind):
            if is_text:
                is_text = _can_take(checker, data, final=False)
            yield _escape(decoder.decode(data))
        yield _escape(decoder.decode(b"", final=True))
        yield b'"'
        if not (is_text and _can_take(checker, b"", final=True)):
            yield f', "{name}Base64": "'.encode()
            async for part in _base64(log, kind):
                yield part
            yield b'"'
    yield b"}"


async def _output(log: OutputLog, kind: FrameKind) -> AsyncIterator[bytes]:
    reader: LogReader = log.reader()
    try:
        while pieces := await reader.read():
            data = b"".join(piece.data for piece in pieces if piece.kind == kind)
            if data:
                yield data
    finally:
        reader.close()


async def _base64(log: OutputLog, kind: FrameKind) -> AsyncIterator[bytes]:
    rest = b""
    async for data in _output(log, kind):
        rest += data
        whole = len(rest) // 3 * 3
        yield base64.b64encode(rest[:whole])
        rest = rest[whole:]
    yield base64.b64encode(rest)


def _can_take(checker: codecs.IncrementalDecoder, data: bytes, *, final: bool) -> bool:
    try:
        checker.decode(data, final)
    except UnicodeDecodeError:
        return False
    return True


def _escape(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


_PADDING = bytes(16 * 2**10)
"""Goes with each heartbeat: proxies that buffer mostly pass on what they have when there is that much of it."""
_NAMES = {FrameKind.STDOUT: "stdout", FrameKind.STDERR: "stderr"}


class StreamFormat(Protocol):
    """Turns what happens into the bytes of one response."""

    media_type: str

    def output(self, pieces: Sequence[Piece]) -> bytes:
        """Return the bytes for pieces of output."""
        ...

    def heartbeat(self) -> bytes:
        """Return the bytes that show that the worker is there."""
        ...

    def result(self, outcome: dict[str, object]) -> bytes:
        """Return the bytes that end the response."""
        ...


class FrameFormat:
    """Frames, for programs."""

    media_type = MEDIA_TYPE

    def __init__(self) -> None:
        self._writer = FrameWriter()

    def output(self, pieces: Sequence[Piece]) -> bytes:
        """Return the bytes for pieces of output; those of one stream that follow each other share a frame."""
        return b"".join(
            part
            for kind, group in groupby(pieces, lambda piece: piece.kind)
            for part in self._writer.write(kind, _join([piece.data for piece in group]))
        )

    def heartbeat(self) -> bytes:
        """Return the bytes that show that the worker is there."""
        return b"".join(self._writer.write(FrameKind.HEARTBEAT, _PADDING))

    def result(self, outcome: dict[str, object]) -> bytes:
        """Return the bytes that end the response."""
        return b"".join(self._writer.write(FrameKind.RESULT, json.dumps(outcome).encode()))


class LineFormat:
    """One JSON object a line, for people."""

    media_type = "application/x-ndjson"

    def output(self, pieces: Sequence[Piece]) -> bytes:
        """Return the bytes for pieces of output."""
        return b"".join(_line({"stream": _NAMES[kind], **describe_bytes("data", data)}) for kind, data in pieces)

    def heartbeat(self) -> bytes:
        """Return the bytes that show that the worker is there."""
        return _line({"heartbeat": True})

    def result(self, outcome: dict[str, object]) -> bytes:
        """Return the bytes that end the response."""
        return _line({"result": outcome})


def _join(parts: Sequence[bytes | memoryview]) -> bytes | memoryview:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


_FAREWELL = 60.0
"""How long a client may take nothing once the command has ended, in seconds. Before, it merely holds the command up."""

_LARGEST_PART = 64 * 2**10
"""Bytes that are sent at once: who takes less than that in the time above counts as somebody who takes nothing."""


class Client:
    """Answers one request for an attempt."""

    def __init__(self, attempt: Attempt, receive: Receive, send: Send) -> None:
        self.refusal: RefusedError | None = None
        """Why the attempt is not made; nothing has been sent then."""
        self._attempt = attempt
        self._receive = receive
        self._send = send
        self._parts_sent = 0

    async def serve(self, stream: StreamFormat | None, heartbeat: float) -> None:
        """Send the answer; return when that is done, or the client is gone."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_connection, tasks.cancel_scope)
            tasks.start_soon(self._watch_progress, tasks.cancel_scope)
            # Some servers raise it when the client is gone.
            with suppress(OSError):
                await self._answer(stream, heartbeat)
            tasks.cancel_scope.cancel()

    async def _answer(self, stream: StreamFormat | None, heartbeat: float) -> None:
        attempt = self._attempt
        await attempt.is_decided.wait()
        if attempt.refusal is not None:
            self.refusal = attempt.refusal.anew()
        elif stream is not None:
            await send_start(self._send, 200, stream.media_type, {"X-Accel-Buffering": "no"})
            await self._stream(stream, heartbeat)
        else:
            await attempt.is_over.wait()
            await send_start(self._send, 200, "application/json", {})
            async for part in buffered_answer(attempt.summary(), attempt.log):
                await self._send_part(part)
            await self._send_part(b"", is_last=True)

    async def _stream(self, stream: StreamFormat, heartbeat: float) -> None:
        reader = self._attempt.log.reader()
        try:
            while True:
                pieces = None
                with anyio.move_on_after(heartbeat):
                    pieces = await reader.read()
                if pieces is None:
                    await self._send_part(stream.heartbeat())
                elif pieces:
                    await self._send_part(stream.output(pieces))
                else:
                    break
        finally:
            reader.close()
        summary = self._attempt.summary()
        if reader.has_missed:
            summary["truncated"] = True
        await self._send_part(stream.result(summary), is_last=True)

    async def _send_part(self, body: bytes, *, is_last: bool = False) -> None:
        for start in range(0, max(len(body), 1), _LARGEST_PART):
            part = body[start : start + _LARGEST_PART]
            more = not is_last or start + _LARGEST_PART < len(body)
            await self._send({"type": "http.response.body", "body": part, "more_body": more})
            self._parts_sent += 1

    async def _watch_connection(self, scope: anyio.CancelScope) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        scope.cancel()

    async def _watch_progress(self, scope: anyio.CancelScope) -> None:
        await self._attempt.is_over.wait()
        seen = -1
        while seen != self._parts_sent:
            seen = self._parts_sent
            await anyio.sleep(_FAREWELL)
        scope.cancel()
