"""The HTTP server that a farm comes with: uvicorn's, which leaves signals to us and ends what goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn

from ..worker._http_server import Connection, Server, Waiting, most_waiting
from ._app import ServerApp
from ._settings import ServerSettings

_PATIENCE = 5
"""How long clients may take to receive what is left when the server ends, in seconds."""
_KEPT_FOR = 10
"""How long an idle connection is kept, in seconds; clients use it again for less."""


def make_server(app: ServerApp, settings: ServerSettings, tell_started: Callable[[], None]) -> uvicorn.Server:
    """Return what answers requests with `app`, and calls `tell_started` when it does.

    Raises `ValueError` for a certificate that cannot be used.
    """
    most = most_waiting()
    waiting = Waiting(most)
    config = uvicorn.Config(
        app,
        # Those that bring no request shut nobody out.
        http=partial(Connection, waiting),  # type: ignore[arg-type]
        backlog=most,
        timeout_keep_alive=_KEPT_FOR,
        ws="none",
        lifespan="off",
        # What goes wrong is told by the application; that a client was left alone is no error.
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies) or None,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=_PATIENCE,
    )
    try:
        config.load()
    except OSError as error:
        raise ValueError(f"the certificate or its key cannot be used: {error.strerror or error}") from error
    return _Server(config, waiting, tell_started=tell_started, end=app.end_streams)


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to who ends the farm too."""
        yield
