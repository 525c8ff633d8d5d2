"""Serving without a server of one's own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from .._extras import missing_extra
from ._app import WorkerApp


def serve(app: WorkerApp, listener: socket.socket, *, on_listening: Callable[[], None] = lambda: None) -> None:
    """Answer what comes to `listener`, a socket that listens already, with `app`, until SIGINT or SIGTERM.

    Blocks, and has to be called in the main thread, for the signals; once the server is done it passes the signal on
    to whoever handled it before: after SIGINT this usually raises `KeyboardInterrupt`. `on_listening` is called when
    requests are answered. Raises the limit of open files of this process as far as it may be; the commands of chunks
    keep the one that was there. `listener` stays open, and is the caller's to close.

    Raises `ImportError`, which names the command to install it, where uvicorn is missing.
    """
    try:
        from ._http_server import make_server
    except ImportError as error:
        raise missing_extra("tailrace.worker.serve", "worker", error) from error
    _raise_open_files_limit()
    make_server(app, on_listening).run([listener])


def _raise_open_files_limit() -> None:
    # Without the core the commands would get the new limit too.
    with suppress(ImportError):
        from .._native import raise_open_files_limit

        raise_open_files_limit()
