"""A server on loopback that answers each request as a test wants, however wrong that is, and counts them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tailrace._output_frames import MEDIA_TYPE, FrameKind, FrameWriter

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


class FrameStream:
    """An answer in frames, sent chunk by chunk."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._writer = FrameWriter()
        connection.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Type: {MEDIA_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )

    def send(self, kind: FrameKind, payload: bytes = b"") -> None:
        """Send one frame."""
        self.send_bytes(b"".join(self._writer.write(kind, payload)))

    def send_bytes(self, data: bytes) -> None:
        """Send one HTTP chunk."""
        self._connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def stdout(self, data: bytes) -> None:
        """Send standard output."""
        self.send(FrameKind.STDOUT, data)

    def stderr(self, data: bytes) -> None:
        """Send standard error."""
        self.send(FrameKind.STDERR, data)

    def result(self, exit_code: object = 0, **report: object) -> None:
        """Send the result."""
        self.send(FrameKind.RESULT, json.dumps({"exitCode": exit_code, **report}).encode())

    def end(self) -> None:
        """Say that nothing follows."""
        self._connection.sendall(b"0\r\n\r\n")


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
