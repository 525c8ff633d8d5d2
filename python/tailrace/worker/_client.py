"""One client that waits for an attempt."""

from __future__ import annotations

from contextlib import suppress

import anyio

from ._asgi import Receive, Send, send_start
from ._attempt import Attempt
from ._buffered_answer import buffered_answer
from ._refused_error import RefusedError
from ._stream_format import StreamFormat

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
