"""Finds what one request asks for without blocking the event loop."""

from __future__ import annotations

import anyio
import anyio.to_thread

from ._chunk_request import ChunkRequest
from ._refused_error import RefusedError
from ._task import Task, TaskFinder


class Search:
    """Has a thread find a task; nobody has to wait for it, but it goes on until the web and the disk have answered."""

    def __init__(self, finder: TaskFinder) -> None:
        self.is_running = False
        """Whether the thread is at work, perhaps for nobody any more."""
        self._finder = finder

    async def run(self, request: ChunkRequest, *, within: float) -> Task:
        """Return the task. Raises `RefusedError` if it may not be run, or is not found `within` so many seconds."""
        with anyio.move_on_after(within):
            return await anyio.to_thread.run_sync(self._find, request, abandon_on_cancel=True)
        raise RefusedError(504, "the job specification could not be had in time")

    def _find(self, request: ChunkRequest) -> Task:
        self.is_running = True
        try:
            return self._finder.find(request)
        finally:
            self.is_running = False
