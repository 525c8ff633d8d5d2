"""One attempt at a chunk, and the clients that wait for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import anyio.to_thread

from .._command.captures import Capture
from .._command.result import WorkerResult
from .._errors import WorkerError
from .._local.adapter import LocalWorkerAdapter
from .._wire.frames import FrameKind
from ._chunk_request import ChunkRequest
from ._outcome import Outcome
from ._output_log import OutputLog
from ._refused_error import RefusedError
from ._search import Search
from ._task import Task, TaskFinder
from ._working_folder import WorkingFolder

_FIND_TIMEOUT = 40.0
"""The longest it may take to find the specification, in seconds; a download ends before, but a name server may not."""
_JUDGED = 2**20
"""Up to this many bytes of a stream, the adapter's result says whether the output is all there."""

_logger = logging.getLogger("tailrace.worker")


class Attempt:
    """Runs one chunk for as long as somebody waits for it."""

    def __init__(self, slot: int, log: OutputLog) -> None:
        self.slot = slot
        self.log = log
        self.clients = 0
        self.is_decided = anyio.Event()
        """Set when there is a refusal, or the command is about to start."""
        self.refusal: RefusedError | None = None
        self.is_over = anyio.Event()
        """Set when there is a refusal, or the command has ended."""
        self._search: Search | None = None
        self._outcome: Outcome | None = None
        self._scope = anyio.CancelScope()
        self._end_reason = "the attempt was ended"

    @property
    def holds_slot(self) -> bool:
        """Whether something of it still goes on. A download that nobody waits for any more does for a while."""
        return not self.is_over.is_set() or (self._search is not None and self._search.is_running)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Count as a client; when the last one leaves, the attempt ends."""
        self.clients += 1
        try:
            yield
        finally:
            self.clients -= 1
            if not self.clients:
                self.end("the attempt was ended because its client went away")

    def end(self, reason: str) -> None:
        """End the command with all that it started, unless it has ended."""
        self._end_reason = reason
        self._scope.cancel()

    def summary(self) -> dict[str, object]:
        """Return the JSON that says how it ended, when it is over and there was no refusal."""
        assert self._outcome is not None  # noqa: S101
        return self._outcome.to_json()

    async def run(self, finder: TaskFinder, request: ChunkRequest) -> None:
        """Run the attempt to its end; what goes wrong is in `refusal` or the summary."""
        outcome: Outcome | None = None
        try:
            with self._scope:
                outcome = await self._run(finder, request)
        except RefusedError as refusal:
            self.refusal = refusal.anew()
        except Exception:
            # The message could tell of this machine.
            _logger.exception("an attempt at chunk %d failed", request.chunk_index)
            outcome = Outcome.internal("the worker failed; its log says why")
        finally:
            if self.refusal is None:
                self._outcome = outcome or Outcome.internal(self._end_reason)
            self.log.finish()
            self.is_decided.set()
            self.is_over.set()

    async def _run(self, finder: TaskFinder, request: ChunkRequest) -> Outcome:
        self._search = Search(finder)
        task = await self._search.run(request, within=_FIND_TIMEOUT)
        folder = await anyio.to_thread.run_sync(task.make_folder)
        try:
            self.is_decided.set()
            return await self._execute(task, folder, request)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(folder.remove)

    async def _execute(self, task: Task, folder: WorkingFolder, request: ChunkRequest) -> Outcome:
        job = task.to_job(
            folder,
            timeout=request.timeout,
            slot=self.slot,
            # The log has the output. What is kept here tells an abandoned pipe from output that was dropped.
            capture=Capture.head_tail(_JUDGED, 0),
            on_stdout=partial(self.log.append, FrameKind.STDOUT),
            on_stderr=partial(self.log.append, FrameKind.STDERR),
        )
        try:
            result = await LocalWorkerAdapter().execute(job)
        except WorkerError as error:
            return Outcome.of_error(error, truncated=error.result is not None and _is_cut(error.result))
        outcome = Outcome.of_result(result, truncated=_is_cut(result))
        # What is done is kept, though the client may be leaving at this moment.
        with anyio.CancelScope(shield=True):
            outcome = await anyio.to_thread.run_sync(folder.publish, outcome)
        return outcome  # noqa: RET504 (to mypy, the scope may end before)


def _is_cut(result: WorkerResult) -> bool:
    return result.truncated and max(len(result.stdout_bytes), len(result.stderr_bytes)) < _JUDGED
