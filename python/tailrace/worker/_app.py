"""The worker as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import anyio

from .._wire.frames import MEDIA_TYPE
from ._answers import Client, ClientGoneError, FrameFormat, LineFormat, StreamFormat, send_json
from ._attempts import Attempts
from ._exchange import Exchange, Receive, Scope, Send
from ._requests import ChunkRequest, RefusedError, check_token, read_request
from ._settings import WorkerSettings

_logger = logging.getLogger("tailrace.worker")

_BUSY = 429
"""Is no news: whoever waits for a place asks every second."""
_HEALTH = "/healthz"
_MOST_DIGITS = 20
"""Of a length; Python itself refuses to read some thousand of them."""
_PLACES = "/places"
"""Of any path, as chunks are asked for at any."""


class WorkerApp:
    """Runs chunks that are asked for by POST; docs/worker-protocol.md says how."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Raises `ValueError` for settings that cannot be used."""
        self._settings = settings
        self._attempts = Attempts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI says."""
        if scope["type"] != "http":
            raise NotImplementedError(f"this application speaks http, not {scope['type']}")
        exchange = Exchange(receive, send, within=self._settings.body_timeout, most=self._settings.max_body)
        try:
            await self._answer(scope, exchange.receive, exchange.send)
        except RefusedError as refusal:
            if refusal.status != _BUSY:
                host, port = scope.get("client") or ("an unknown client", None)
                client = host if port is None else f"{host}, port {port}"
                _logger.info("refused %s: %d, %s", client, refusal.status, refusal.message)
            # There may be more of a body that is not worth reading.
            headers = {"Connection": "close", **refusal.headers}
            await send_json(exchange.send, refusal.status, refusal.to_json(), headers)
        except ClientGoneError:
            return

    def end_renders(self) -> None:
        """End all commands that run, tell their clients, and take no new ones: the worker is about to exit."""
        self._attempts.close("the worker is shutting down")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _Headers(scope["headers"])
        is_question = scope["method"] in ("GET", "HEAD")
        if is_question and scope["path"] == _HEALTH:
            await send_json(send, 200, {"status": "ok"}, {})
            return
        if is_question and not scope["path"].endswith(_PLACES):
            raise RefusedError(
                404, f"there is nothing to GET but {_HEALTH} and {_PLACES}: chunks are asked for by POST"
            )
        if not is_question and scope["method"] != "POST":
            raise RefusedError(405, "chunks are asked for by POST", headers={"Allow": "POST"})
        if "origin" in headers:
            raise RefusedError(403, "requests from web pages are not answered")
        check_token(self._settings.token, headers.get("authorization"), headers.get("x-functions-key"))
        if is_question:
            await send_json(send, 200, self._attempts.places(), {})
            return
        request = read_request(await self._read_body(headers, receive))
        stream = _choose_format(headers, request)
        attempt, is_new = self._attempts.admit(request, needs_all=stream is None)
        client = Client(attempt, receive, send)
        async with anyio.create_task_group() as tasks:
            if is_new:
                tasks.start_soon(self._attempts.run, attempt, request)
            with attempt.attended():
                await client.serve(stream, request.heartbeat)
        if client.refusal is not None:
            # Out of the group, where it would come out in an ExceptionGroup.
            raise client.refusal

    async def _read_body(self, headers: _Headers, receive: Receive) -> bytes:
        limit = self._settings.max_body
        too_large = RefusedError(413, f"the request is larger than {limit} bytes")
        length = headers.get("content-length")
        if length.isdecimal() and (len(length) > _MOST_DIGITS or int(length) > limit):
            raise too_large
        body = bytearray()
        with anyio.move_on_after(self._settings.body_timeout) as scope:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_large
                if not message.get("more_body", False):
                    return bytes(body)
        assert scope.cancelled_caught  # noqa: S101
        raise RefusedError(408, f"the request did not come within {self._settings.body_timeout:g} s")


def create_app(settings: WorkerSettings) -> WorkerApp:
    """Return the worker as an ASGI application, which runs on asyncio and on trio.

    Raises `ValueError` for settings that cannot be used.
    """
    return WorkerApp(settings)


class _Headers:
    """The headers of a request, each once; several of a name are one list, as HTTP says."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for raw_name, raw_value in pairs:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self._values[name] = f"{self._values[name]}, {value}" if name in self._values else value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str:
        """Return what a header says; an empty text if it is not there."""
        return self._values.get(name, "")


def _choose_format(headers: _Headers, request: ChunkRequest) -> StreamFormat | None:
    """Return how to stream, or None: the client wants a buffered answer."""
    if "accept" not in headers and request.asks_for_heartbeats:
        # An invocation of a Lambda function, which has no headers, through the Lambda Web Adapter.
        return FrameFormat()
    wanted = [part.partition(";")[0].strip().lower() for part in headers.get("accept").split(",")]
    if MEDIA_TYPE in wanted:
        return FrameFormat()
    return LineFormat() if LineFormat.media_type in wanted else None
