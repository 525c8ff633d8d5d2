"""Servers of farms that really run, in a thread of this process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import uvicorn

from support.farms import farm
from support.jobs import job
from support.workers import Answer
from tailrace import JobManager, RemoteFarm, connect
from tailrace.server import ServerSettings
from tailrace.server._app import ServerApp
from tailrace.server._http_server import make_server

TOKEN = "a-token-for-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {**BEARER, "Content-Type": "application/json"}


class FarmServer:
    """A farm in a thread, and the server of it."""

    app: ServerApp
    server: uvicorn.Server

    def __init__(self, make: Callable[[], JobManager], settings: ServerSettings, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._make = make
        self._settings = settings
        self._listener = listener
        self._answers = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._error: BaseException | None = None
        self._should_exit: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Return when requests are answered."""
        self._thread.start()
        assert self._answers.wait(20)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the farm and its server."""
        self._should_exit()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def send(
        self,
        method: str,
        path: str,
        body: str | bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request, with the token unless there are other headers, and return the whole answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, BEARER if headers is None else headers)
            with connection.getresponse() as response:
                return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    async def _serve(self) -> None:
        try:
            # In its own event loop.
            async with self._make() as manager:
                self.app = app = ServerApp(manager, self._settings)
                self.server = server = make_server(app, self._settings, self._answers.set)
                self._should_exit = lambda: setattr(server, "should_exit", True)
                async with app.listening():
                    await server.serve([self._listener])
        except BaseException as error:  # noqa: BLE001 (it is raised by who waits)
            self._error = error
            self._answers.set()


@contextmanager
def serving(folder: Path, *, settings: dict[str, Any] | None = None, **options: Any) -> Iterator[FarmServer]:
    """Run a farm whose repository is in the folder, and its server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = FarmServer(partial(farm, folder, **options), ServerSettings(TOKEN, **(settings or {})), listener)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def served_farm(folder: Path, **options: Any) -> AsyncIterator[RemoteFarm]:
    """Do the same, and yield a client of it; its server does not hold up this event loop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = FarmServer(partial(farm, folder, **options), ServerSettings(TOKEN), listener)
        await anyio.to_thread.run_sync(server.start)
        try:
            async with connect(server.url, TOKEN) as client:
                yield client
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(server.stop)


def submit(server: FarmServer, *scripts: str, **keys: Any) -> str:
    """Add a job whose chunks run the scripts, and return its id."""
    body = json.dumps({"spec": json.loads(job(*scripts).model_dump_json(by_alias=True)), **keys})
    answer = server.send("POST", "/api/v1/jobs", body, JSON)
    assert answer.status == 200, answer.body
    job_id: str = answer.json()["id"]
    return job_id


def ended(server: FarmServer, job_id: str) -> dict[str, Any]:
    """Return the job once it has ended."""
    found: dict[str, Any] = server.send("GET", f"/api/v1/jobs/{job_id}/wait?seconds=20").json()
    assert found["finishedAt"] is not None
    return found
