"""Serving a farm until it is asked to end."""

from __future__ import annotations

import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from .._extras import missing_extra
from .._farm.manager import JobManager
from ._settings import ServerSettings

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger("tailrace.server")

_GARBAGE = (7_000, 10, 20)
"""How many more objects there are before Python goes through the new ones, and how often it does before it goes through
all: about once a minute on a busy farm. By default it is every three seconds, and with a job of ten thousand chunks
that holds up everything for 150 ms."""
_PAUSE = 0.2
"""Between looks at whether something still runs, in seconds."""


async def serve(
    manager: JobManager,
    listener: socket.socket,
    settings: ServerSettings,
    *,
    drain: bool = False,
    on_listening: Callable[[], None] = lambda: None,
) -> None:
    """Answer what comes to `listener`, a socket that listens already, for an open farm, until SIGINT or SIGTERM.

    It runs on asyncio alone. At the first signal it returns, and who closes the farm then ends what runs; with `drain`
    nothing more is started and it returns when what runs has ended, or at the second signal. `on_listening` is called
    when requests are answered. Until it returns, this process goes through its memory for garbage more seldom.

    Raises `ImportError`, which names the command to install it, without the extra "server"; `ValueError` for a
    certificate that cannot be used.
    """
    try:
        from ._app import ServerApp
        from ._http_server import make_server
    except ImportError as error:
        raise missing_extra("tailrace.server.serve", "server", error) from error
    app = ServerApp(manager, settings)
    server = make_server(app, settings, on_listening)
    with _seldom_held_up():
        async with app.listening(), anyio.create_task_group() as tasks:
            await tasks.start(_end_by_signal, manager, server, drain)
            await server.serve([listener])
            tasks.cancel_scope.cancel()


@contextmanager
def _seldom_held_up() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def _end_by_signal(
    manager: JobManager, server: uvicorn.Server, drain: bool, *, task_status: TaskStatus[None]
) -> None:
    # What was ignored when the process started stays so.
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    watched = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
    before = signal.getsignal(signal.SIGINT)
    try:
        with anyio.open_signal_receiver(*watched) as signals:
            async with anyio.create_task_group() as tasks:
                task_status.started()
                async for number in signals:
                    if not drain:
                        _log.warning("%s: the server ends, and what runs with it", number.name)
                        server.should_exit = True
                    else:
                        _log.warning("%s: what runs may end, nothing more is started; once more ends it", number.name)
                        drain = False
                        tasks.start_soon(_drain, manager, server)
    finally:
        # Asyncio leaves one that raises KeyboardInterrupt, whatever there was.
        signal.signal(signal.SIGINT, before)


async def _drain(manager: JobManager, server: uvicorn.Server) -> None:
    for node in await manager.list_nodes():
        await manager.drain_node(node.name)
    while True:
        if not any(node.running for node in await manager.list_nodes()):
            server.should_exit = True
            return
        await anyio.sleep(_PAUSE)
