"""A way to a server that can be cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttableProxy:
    """Passes on what comes to a port of its own, until it is cut."""

    def __init__(self, listener: socket.socket, target: int) -> None:
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.request_lines: list[str] = []
        """The first line of each piece that came from a client."""
        self._listener = listener
        self._target = target
        self._is_cut = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def cut(self) -> None:
        """End all connections, and take no other until `mend`."""
        self._is_cut = True
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Pass on again what comes."""
        self._is_cut = False

    def lead_to(self, target: int) -> None:
        """Pass on to another port of this machine from now on."""
        self._target = target

    def run(self) -> None:
        """Take connections until the listener is shut down."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = self._reach_server()
                if server is None:
                    client.close()
                    continue
                self._sockets.append(server)
                for ways in ((client, server, True), (server, client, False)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=ways))
                    self._threads[-1].start()

    def _reach_server(self) -> socket.socket | None:
        try:
            return None if self._is_cut else socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            # It is gone.
            return None

    def close(self) -> None:
        """Leave nothing behind, once `run` has returned."""
        self.cut()
        for thread in self._threads:
            thread.join()
        for connection in self._sockets:
            connection.close()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                if is_request:
                    self.request_lines.append(data.partition(b"\r\n")[0].decode(errors="replace"))
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cuttable_proxy(target: int) -> Iterator[CuttableProxy]:
    """Yield one before a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CuttableProxy(listener, target)
        thread = threading.Thread(target=proxy.run)
        thread.start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            proxy.close()
