"""What ASGI applications and servers say to each other."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


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
