"""Serves a farm of several nodes, which the command line has no options for: each has an adapter of its own."""

from __future__ import annotations

import socket
from functools import partial

import anyio

from tailrace import JobManager, LocalWorkerAdapter, Node, SlurmAdapter
from tailrace.server import DEFAULT_PORT, ServerSettings, make_token, serve, token_file


def make_nodes() -> dict[str, Node]:
    """Return four slots of this machine, and sixty-four of a cluster where there are GPUs."""
    return {
        "here": Node(adapter=LocalWorkerAdapter(), slots=4, capacity={"memory": 32 << 30}),
        "cluster": Node(adapter=SlurmAdapter(partition="gpu"), slots=64, tags=["gpu"]),
    }


async def main(nodes: dict[str, Node], port: int = DEFAULT_PORT) -> None:
    """Serve until SIGINT or SIGTERM comes; the commands of this user find the token."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        port = listener.getsockname()[1]
        token = make_token(token_file(port))
        async with JobManager(repository="farm.db", nodes=nodes) as manager:
            tell = partial(print, f"http://127.0.0.1:{port}/#{token}", flush=True)
            await serve(manager, listener, ServerSettings(token), on_listening=tell)


if __name__ == "__main__":
    anyio.run(main, make_nodes())
