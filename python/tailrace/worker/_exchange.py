"""One request and its answer, which arrives though not all of the request is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import anyio

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Exchange:
    """Before an answer closes the connection, drops what still comes of the request.

    A connection that is closed while its client sends is reset, and a client that meets that first never reads the
    answer (RFC 9112, section 9.6).
    """

    def __init__(self, receive: Receive, send: Send, *, within: float, most: int) -> None:
        """Take both ends, as ASGI has them; `within` are seconds from now, `most` the bytes that are dropped."""
        self._receive = receive
        self._send = send
        self._deadline = anyio.current_time() + within
        self._most = most
        self._is_whole = self._closes = False

    async def receive(self) -> Message:
        """Return what comes next of the request."""
        message = await self._receive()
        # Of a client that has left nothing more comes.
        self._is_whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send what comes next of the answer."""
        if message["type"] == "http.response.start":
            self._closes = (b"connection", b"close") in message["headers"]
        elif self._closes and not self._is_whole and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drop_rest()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drop_rest(self) -> None:
        left = self._most
        with anyio.CancelScope(deadline=self._deadline):
            while not self._is_whole and left > 0:
                left -= len((await self.receive()).get("body", b""))
