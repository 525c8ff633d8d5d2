"""Finds what one request asks for without blocking the event loop."""

from __future__ import annotations

import anyio
import anyio.to_thread

from ._chunk_request import ChunkRequest
from ._refused_error import RefusedError
from ._task import Task, TaskFinder


class Search:
    """Has a thread find a task; nobody has to wait for it, but it goes on until the web and the disk have answered."""

    def __init__(self, finder: TaskFinder, request: ChunkRequest) -> None:
        self.is_running = False
        """Whether the thread is at work, perhaps for nobody any more."""
        self._finder = finder
        self._request = request

    async def run(self, *, within: float) -> Task:
        """Return the task. Raises `RefusedError` if it may not be run, or is not found `within` so many seconds."""
        with anyio.move_on_after(within):
            return await anyio.to_thread.run_sync(self._find, abandon_on_cancel=True)
        raise RefusedError(504, "the job specification could not be had in time")

    def _find(self) -> Task:
        self.is_running = True
        try:
            return self._finder.find(self._request)
        finally:
            self.is_running = False
