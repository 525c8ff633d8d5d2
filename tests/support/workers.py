"""Workers that really run, and clients that speak to them without tailrace's adapters."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from support.jobs import job
from tailrace._wire.frames import MEDIA_TYPE, Frame, FrameKind, FrameReader
from tailrace.worker import WorkerApp, WorkerSettings, create_app
from tailrace.worker._http_server import make_server

FRAMES = {"Accept": MEDIA_TYPE}
LINES = {"Accept": "application/x-ndjson"}


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return what the body says."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Why the worker refused."""
        message: str = self.json()["error"]["message"]
        assert len(message.splitlines()) == 1
        return message


class Worker:
    """A worker that runs; `specs` is a folder whose specifications it takes."""

    def __init__(self, port: int, specs: Path) -> None:
        self.port = port
        self.specs = specs

    def write_job(self, *scripts: str, name: str = "job.json") -> str:
        """Write a job whose chunks run the scripts, and return its address."""
        path = self.specs / name
        path.write_text(job(*scripts).model_dump_json(by_alias=True))
        return str(path)

    def ask(self, job_path: str, chunk: int = 0, *, headers: Mapping[str, str] = {}, **keys: Any) -> Answer:
        """Ask for a chunk, and return the whole answer."""
        with self.asking(job_path, chunk, headers=headers, **keys) as response:
            return Answer(response.status, response.headers, response.read())

    @contextmanager
    def asking(
        self, job_path: str, chunk: int = 0, *, headers: Mapping[str, str] = {}, **keys: Any
    ) -> Iterator[HTTPResponse]:
        """Ask for a chunk, and yield the response when its head has come. The connection is closed at the end."""
        body = json.dumps({"jobPath": job_path, "chunkIndex": chunk, **keys})
        with self.requesting(body, headers) as connection, connection.getresponse() as response:
            yield response

    @contextmanager
    def requesting(
        self, body: str | bytes | None, headers: Mapping[str, str] = {}, *, method: str = "POST", path: str = "/"
    ) -> Iterator[HTTPConnection]:
        """Send a request; nothing of the answer has been read."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=200)
        try:
            connection.request(method, path, body, dict(headers))
            yield connection
        finally:
            connection.close()

    def send(
        self, body: str | bytes | None, headers: Mapping[str, str] = {}, *, method: str = "POST", path: str = "/"
    ) -> Answer:
        """Send a request, and return the whole answer."""
        with (
            self.requesting(body, headers, method=method, path=path) as connection,
            connection.getresponse() as response,
        ):
            return Answer(response.status, response.headers, response.read())

    def connect(self) -> socket.socket:
        """Return a connection on which nothing has been sent."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=200)


class WorkerThread(Worker):
    """A worker in a thread of this process."""

    def __init__(self, app: WorkerApp, port: int, specs: Path) -> None:
        super().__init__(port, specs)
        self._app = app
        self.server = make_server(app)
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, listener: socket.socket) -> None:
        """Answer requests until `stop` is called."""

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self.server.serve([listener])

        asyncio.run(serve())

    def stop(self) -> None:
        """Have `run` return."""
        self.server.should_exit = True

    @property
    def is_started(self) -> bool:
        """Whether requests are answered."""
        return self.server.started

    @property
    def request_count(self) -> int:
        """How many requests are being answered."""
        return len(self.server.server_state.tasks)

    def end_renders(self) -> None:
        """Do what the worker does before it ends."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._app.end_renders)


@contextmanager
def running_worker(specs: Path, **settings: Any) -> Iterator[WorkerThread]:
    """Run a worker that takes the specifications in `specs`, and end it."""
    app = create_app(WorkerSettings([str(specs), *settings.pop("allow_specs", ())], **settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker = WorkerThread(app, listener.getsockname()[1], specs)
        thread = threading.Thread(target=worker.run, args=(listener,))
        thread.start()
        try:
            wait_until(lambda: worker.is_started)
            yield worker
        finally:
            worker.stop()
            thread.join()


def answer_while_sending(port: int, head: bytes) -> bytes:
    """Send the head of a request and, once an answer comes, 500 kB of its body; return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head + b"Content-Length: 500000\r\n\r\n")
        assert connection.recv(1, socket.MSG_PEEK)
        for _ in range(50):
            connection.sendall(b" " * 10_000)
            # What is to be closed is closed meanwhile.
            time.sleep(0.002)
        received = b""
        while part := connection.recv(2**16):
            received += part
    return received


def wait_until(condition: Callable[[], object], *, within: float = 20) -> None:
    """Return when `condition` is true; fail when it is not for `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.01)


def read_frames(response: HTTPResponse) -> Iterator[Frame]:
    """Yield the frames of a response as they come, and fail if it is not whole."""
    reader = FrameReader()
    while data := response.read1(2**16):
        yield from reader.feed(data)
    reader.finish()


def output_of(frames: list[Frame], kind: FrameKind) -> bytes:
    """Return what was written to one stream."""
    return b"".join(frame.payload for frame in frames if frame.kind is kind)


def result_of(frames: list[Frame]) -> dict[str, Any]:
    """Return what the last frame says."""
    assert frames[-1].kind is FrameKind.RESULT
    result: dict[str, Any] = json.loads(frames[-1].payload)
    return result
