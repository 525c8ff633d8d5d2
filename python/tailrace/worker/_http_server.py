"""The server that the worker comes with: uvicorn's, with what keeps clients out of each other's way."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ._app import WorkerApp

_PATIENCE = 10.0
"""How long the head of a request may take to come, in seconds; the application sees to the body."""
_MOST_WAITING = 1_000
"""How many connections may be without a whole request. Beyond it, the one that has been so the longest is closed."""
_SHARE = 4
"""They get this part of the files that may be open, if that is less: the others are for what is being answered."""
_SHUTDOWN_PATIENCE = 5
"""How long clients may take to receive what is left when the worker ends, in seconds; Cloud Run gives 10 for all."""


def make_server(app: WorkerApp, tell_started: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """Return what answers requests with `app`, and calls `tell_started` when it does."""
    most = most_waiting()
    waiting = Waiting(most)
    config = uvicorn.Config(
        app,
        http=partial(Connection, waiting),  # type: ignore[arg-type]
        # So many are accepted at once, before any can be closed.
        backlog=most,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        # Clients that are careful use a connection again only where that is said.
        headers=[("Connection", "keep-alive")],
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_PATIENCE,
    )
    return Server(config, waiting, tell_started=tell_started, end=app.end_renders)


class Server(uvicorn.Server):
    """Tells that it answers, and ends what is being answered before it waits for that."""

    def __init__(
        self,
        config: uvicorn.Config,
        waiting: Waiting,
        *,
        tell_started: Callable[[], object],
        end: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._waiting = waiting
        self._tell_started = tell_started
        self._end = end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer nothing more."""
        self._end()
        self._waiting.close()
        await super().shutdown(sockets)
        # Of clients that did not take what they asked for.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def most_waiting() -> int:
    """Return how many connections may be without a whole request."""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if open_files == resource.RLIM_INFINITY:
        return _MOST_WAITING
    return min(_MOST_WAITING, max(open_files // _SHARE, 1))


class Waiting:
    """The connections without a whole request, the one that has been so the longest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._connections: dict[Connection, None] = {}
        self._is_closed = False

    def close(self) -> None:
        """Abort those that come from now on: nobody else ends what was being accepted when the server began to end."""
        self._is_closed = True

    def add(self, connection: Connection) -> None:
        if self._is_closed:
            connection.transport.abort()
            return
        self._connections[connection] = None
        if len(self._connections) > self._most:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.transport.abort()

    def remove(self, connection: Connection) -> None:
        self._connections.pop(connection, None)


class Connection(H11Protocol):
    """A connection that has to bring a request, and is read from as long as it is there.

    By itself uvicorn waits for ever for the first one, and does not read on when something follows a request that is
    being answered, so that it does not see its client leave.
    """

    def __init__(self, waiting: Waiting, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting = waiting
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_to_wait()

    def data_received(self, data: bytes) -> None:
        if self._is_answering:
            self._ignore_what_follows()
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_timer()
        if self._is_answering:
            self._waiting.remove(self)
            if self.conn.trailing_data[0]:
                self._ignore_what_follows()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            # It has an answer, or a part of it, and what still comes of it is no HTTP.
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.remove(self)
        self._cancel_timer()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        """Whether all of a request is there, and not all of its answer has been sent."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _ignore_what_follows(self) -> None:
        # A client that sends its next request before it has the answer has to send it again on another connection.
        self.cycle.keep_alive = False
        self.flow.resume_reading()

    def _begin_to_wait(self) -> None:
        self._cancel_timer()
        self._timer = self.loop.call_later(_PATIENCE, self.transport.abort)
        self._waiting.add(self)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
