"""The server of a farm as an ASGI application."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import anyio
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from .._api.errors import describe as describe_error
from .._api.errors import status_of
from .._api.models import SessionRequest, SubmitRequest
from .._api.place import API
from .._farm.manager import JobManager
from ..worker._exchange import Exchange
from ._access import Access
from ._call import Call
from ._chunks import Chunks
from ._frames import Frames
from ._hub import Hub
from ._jobs import Jobs
from ._logs import Logs
from ._metrics import Metrics
from ._openapi import describe
from ._page import Page
from ._pending_changes import PendingChanges
from ._refusal import RefusedError, json_answer, one_line
from ._reports import Reports
from ._routes import Endpoint, endpoints
from ._sessions import Sessions
from ._settings import ServerSettings
from ._streams import Streams
from ._waits import Waits

_log = logging.getLogger("tailrace.server")

HEALTH = "/healthz"
_SESSION = f"{API}/session"
_MOST_OF_STRANGERS = 2**14
"""How much is read of who has not shown a token, in bytes: a thousand connections may bring as much at a time."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of all answers: what a render wrote is never taken for a page, and goes to nobody else."""


class ServerApp:
    """Answers requests for a farm, inside the block of `listening`."""

    def __init__(self, manager: JobManager, settings: ServerSettings) -> None:
        """Take an open farm, and who may ask."""
        self._settings = settings
        self._access = Access(settings)
        self._metrics = Metrics()
        self._hub = Hub(manager, self._metrics)
        self._frames = Frames(manager)
        self._reports = Reports(manager)
        self._waits = Waits()
        self._changes = PendingChanges(manager)
        jobs = Jobs(manager, self._metrics, self._waits)
        self.endpoints = endpoints(
            jobs,
            Chunks(manager),
            self._frames,
            Logs(manager, self._waits),
            self._reports,
            Streams(self._hub),
            Sessions(self._access),
        )
        """All that the API has."""
        self._page = Page()
        self._description = json.dumps(describe(self.endpoints)).encode()
        routes = [
            Route(f"{API}/openapi.json", self._openapi, methods=["GET"]),
            Route(HEALTH, self._health, methods=["GET"]),
            *(Route(path, self._page.answer, methods=["GET"]) for path in self._page.paths),
            Route("/metrics", self._answering(jobs.metrics, settings.max_body), methods=["GET"]),
            *map(self._route, self.endpoints),
        ]
        self._router = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_thing})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen to the farm for the block."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._hub.run)
            tasks.start_soon(self._frames.run)
            tasks.start_soon(self._changes.run)
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self._reports.close()
            tasks.cancel_scope.cancel()

    def end_streams(self) -> None:
        """End the answers that go on, and give those that wait: the server is about to exit."""
        self._hub.end()
        self._waits.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI says."""
        if scope["type"] != "http":
            raise NotImplementedError(f"this application speaks http, not {scope['type']}")
        began, status = time.monotonic(), 0
        exchange = Exchange(receive, send, within=self._settings.body_timeout, most=self._settings.max_job)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await exchange.send(message)

        try:
            refusal = self._refusal(scope)
            app = self._router if refusal is None else refusal.answer()
            await app(scope, exchange.receive, send_with_headers)
        except Exception:
            _log.exception("an answer could not be given")
            raise
        finally:
            self._metrics.answered(scope["method"] if scope["method"] in _METHODS else "other", status)
            # Without the query: somebody may have put a token there.
            host = (scope.get("client") or ("somebody",))[0]
            what = one_line(f"{host} {scope['method']} {scope['path']}")
            _log.info("%s %d, %.0f ms", what, status, 1000 * (time.monotonic() - began))

    def _refusal(self, scope: Scope) -> RefusedError | None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        try:
            if path == HEALTH:
                return None
            self._access.check_host(headers)
            self._access.check_origin(headers)
            # What the page is made of says nothing of the farm, and is where a browser brings the token to.
            if path not in self._page.paths and (method, path) != ("POST", _SESSION):
                self._access.check_token(method, headers)
        except RefusedError as refusal:
            return refusal
        return None

    def _route(self, endpoint: Endpoint) -> Route:
        limit = self._settings.max_body
        if endpoint.body is SubmitRequest:
            limit = self._settings.max_job
        elif endpoint.body is SessionRequest:
            limit = min(limit, _MOST_OF_STRANGERS)
        block: Callable[[], AbstractContextManager[None]] = nullcontext
        if endpoint.method != "GET" and endpoint.path.startswith("/jobs"):
            block = partial(self._changes.one, ends=endpoint.path.endswith(("/cancel", "/pause")))
        answer = self._answering(endpoint.respond, limit, block)
        return Route(API + endpoint.path, answer, methods=[endpoint.method])

    def _answering(
        self,
        respond: Callable[[Call], Awaitable[BaseModel | Response]],
        limit: int,
        block: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                with block():
                    found = await respond(Call(request, max_body=limit, body_timeout=self._settings.body_timeout))
            except RefusedError as refusal:
                return refusal.answer()
            except Exception as error:  # noqa: BLE001 (whatever it is, other requests are answered)
                status = status_of(error)
                if status is None:
                    _log.exception("%s %s failed", request.method, one_line(request.url.path))
                    return RefusedError(500, "something went wrong in the server: its log says what").answer()
                return json_answer(describe_error(error), status)
            if isinstance(found, Response):
                return found
            content = await anyio.to_thread.run_sync(lambda: found.model_dump_json(by_alias=True).encode())
            return json_answer(content)

        return answer

    async def _openapi(self, request: Request) -> Response:
        del request
        return json_answer(self._description)

    async def _health(self, request: Request) -> Response:
        del request
        return json_answer(b'{"status":"ok"}')


_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers: dict[str, Any] = dict(error.headers or {})
    message = f"there is no {one_line(request.url.path)}" if error.status_code == 404 else error.detail
    return RefusedError(error.status_code, message, headers=headers).answer()
