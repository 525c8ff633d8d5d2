"""A server on loopback that answers each request as a test wants, however wrong that is, and counts them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tailrace._wire.frames import MEDIA_TYPE, FrameKind, FrameWriter

_PATIENCE = 20.0
"""The longest that anything may take before a test is given up, in seconds."""


@dataclass
class Request:
    """What was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self.body)


@dataclass
class Server:
    """A server that is running."""

    port: int
    requests: list[Request] = field(default_factory=list)
    disconnected: threading.Event = field(default_factory=threading.Event)
    """Set by `wait_for_disconnect`."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: whoever keeps a client waiting waits for it."""

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}/run"

    def wait_for_disconnect(self, connection: socket.socket) -> None:
        """Return when the client has closed the connection."""
        connection.settimeout(_PATIENCE)
        with suppress(ConnectionError):
            while connection.recv(4096):
                pass
        self.disconnected.set()


Respond = Callable[[socket.socket, Request], object]


@contextmanager
def serving(respond: Respond) -> Iterator[Server]:
    """Run a server that reads a request from each connection, has `respond` answer, and closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        # A client that goes away is what many tests are about.
        with connection, suppress(ConnectionError):
            request = _read_request(connection)
            if request is not None:
                server.requests.append(request)
                respond(connection, request)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        server.released.set()
        # Closing alone would not wake the thread that accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join(_PATIENCE)
            assert not thread.is_alive(), "a connection to the server is still open"


def answer(
    connection: socket.socket,
    body: bytes | str | dict[str, Any],
    *,
    status: str = "200 OK",
    media_type: str = "application/json",
    headers: str = "",
) -> None:
    """Send a whole answer; a dictionary becomes JSON."""
    content = json.dumps(body) if isinstance(body, dict) else body
    data = content.encode() if isinstance(content, str) else content
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    connection.sendall(head.encode() + data)


def start_chunks(connection: socket.socket, media_type: str) -> None:
    """Send the head of an answer whose body follows in chunks."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head.encode())


def send_chunk(connection: socket.socket, data: bytes) -> None:
    """Send one chunk of the body; an empty one ends it."""
    connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))


class FrameBytes:
    """Makes the frames of one answer."""

    def __init__(self) -> None:
        self._writer = FrameWriter()

    def make(self, kind: FrameKind, payload: bytes = b"") -> bytes:
        """Return one frame."""
        return b"".join(self._writer.write(kind, payload))

    def stdout(self, data: bytes) -> bytes:
        """Return the frame of this standard output."""
        return self.make(FrameKind.STDOUT, data)

    def stderr(self, data: bytes) -> bytes:
        """Return the frame of this standard error."""
        return self.make(FrameKind.STDERR, data)

    def result(self, exit_code: object = 0, **report: object) -> bytes:
        """Return the frame of the result."""
        return self.make(FrameKind.RESULT, json.dumps({"exitCode": exit_code, **report}).encode())


class FrameStream:
    """An answer in frames, each sent as a chunk."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = FrameBytes()
        start_chunks(connection, MEDIA_TYPE)

    def send(self, data: bytes) -> None:
        """Send one chunk."""
        send_chunk(self._connection, data)

    def heartbeat(self) -> None:
        """Send a heartbeat."""
        self.send(self._frames.make(FrameKind.HEARTBEAT, b"padding"))

    def stdout(self, data: bytes) -> None:
        """Send standard output."""
        self.send(self._frames.stdout(data))

    def stderr(self, data: bytes) -> None:
        """Send standard error."""
        self.send(self._frames.stderr(data))

    def result(self, exit_code: object = 0, **report: object) -> None:
        """Send the result."""
        self.send(self._frames.result(exit_code, **report))

    def end(self) -> None:
        """Say that nothing follows."""
        send_chunk(self._connection, b"")


def _read_request(connection: socket.socket) -> Request | None:
    connection.settimeout(_PATIENCE)
    with connection.makefile("rb") as lines:
        first = lines.readline().decode().split()
        if not first:
            return None
        headers = {}
        while line := lines.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = lines.read(int(headers.get("content-length", 0)))
    return Request(first[0], first[1], headers, body)
