"""Answers that go on: events, and what chunks write."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .._api.sse import COMMENT, HEARTBEAT, MEDIA_TYPE
from ._call import Call
from ._hub import Hub
from ._queries import EventsQuery

_T = TypeVar("_T")

_PATIENCE = 60.0
"""How long a client may take nothing, in seconds, before it is left alone."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def encode(value: object) -> bytes:
    """Return it as JSON without line ends."""
    return _encode(value).encode()


def last_event_id(call: Call) -> int | None:
    """Return from where on a client that lost its connection goes on, None if it does not."""
    told = call.request.headers.get("last-event-id", "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 19 else None


class Streams:
    """Answers requests for events."""

    def __init__(self, hub: Hub) -> None:
        """Take who writes them down."""
        self._hub = hub

    async def events(self, call: Call) -> Response:
        """Return a stream of messages with what happens; their ids are those of the last changes of states."""
        asked = call.query(EventsQuery)
        after = last_event_id(call)
        return StreamAnswer(self._hub.messages(asked.after if after is None else after, asked.job, output=asked.output))


class StreamAnswer(Response):
    """Sends messages as they come, until they end, the client has left, or it takes nothing for a minute."""

    media_type = MEDIA_TYPE

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        # Proxies that collect would have the messages come late.
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._messages = messages
        self._sending = anyio.Lock()
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, as ASGI says."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, receive, tasks.cancel_scope)
            tasks.start_soon(self._send_heartbeats, send)
            # Some servers raise it when the client is gone.
            with suppress(OSError, TimeoutError):
                await self._send_all(send)
            tasks.cancel_scope.cancel()

    async def _send_all(self, send: Send) -> None:
        pieces: Any = self._messages
        async with aclosing(pieces):
            async for piece in pieces:
                await self._send_part(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_part(self, send: Send, part: bytes) -> None:
        async with self._sending:
            self._count += 1
            with anyio.fail_after(_PATIENCE):
                await send({"type": "http.response.body", "body": part, "more_body": True})

    async def _send_heartbeats(self, send: Send) -> None:
        with suppress(OSError, TimeoutError):
            while True:
                seen = self._count
                await anyio.sleep(HEARTBEAT)
                if self._count == seen:
                    await self._send_part(send, COMMENT)


async def unless_left(receive: Receive, function: Callable[[], Awaitable[_T]]) -> _T | None:
    """Return what the function returns, which must not raise; None if the client has left before."""
    returned: _T | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, receive, tasks.cancel_scope)
        returned = await function()
        tasks.cancel_scope.cancel()
    return returned


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    scope.cancel()
