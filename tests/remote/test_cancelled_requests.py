"""A request that is cancelled while it is still being sent leaves nothing behind."""

from __future__ import annotations

import gc
import socket

import anyio
import anyio.lowlevel
import pytest

from tailrace import HttpWorkerAdapter, WorkerJob

pytestmark = pytest.mark.anyio

LARGE = 2**24
"""More than the buffers of a connection take, in bytes."""


async def test_cancelling_a_request_that_is_being_sent_leaves_no_generator_to_the_garbage_collector() -> None:
    # It takes connections, and never reads.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        adapter = HttpWorkerAdapter(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        meta = {"chunk_id": 0, "job_def_url": f"https://files.example/{'a' * LARGE}"}
        with anyio.move_on_after(0.5) as scope:
            await adapter.execute(WorkerJob("render", meta=meta))
        assert scope.cancelled_caught
        # Event loops warn of one that is collected, and a warning fails the test.
        gc.collect()
        await anyio.lowlevel.checkpoint()
