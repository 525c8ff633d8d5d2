"""The attempts at chunks that a worker runs, and those that it remembers."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import anyio.to_thread

from .._command.result import Capture, WorkerResult
from .._errors import WorkerError
from .._local.adapter import LocalWorkerAdapter
from .._spec.source import shown_source
from .._wire.frames import FrameKind
from ._outcome import Outcome
from ._output_log import KeptOutput, OutputLog
from ._requests import ChunkRequest, RefusedError, one_line
from ._settings import WorkerSettings
from ._tasks import Search, Task, TaskFinder
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
        began = time.monotonic()
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
                _log_end(request, self._outcome, time.monotonic() - began)
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
            cpu_idle_timeout=request.cpu_idle_timeout,
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


def _log_end(request: ChunkRequest, outcome: Outcome, seconds: float) -> None:
    ending = f"exit {outcome.exit_code}" if outcome.error_kind is None else one_line(outcome.message)
    # A signature is no business of who reads the log.
    job = one_line(shown_source(request.job_path))
    _logger.info("chunk %d of %s: %s, %.1f s", request.chunk_index, job, ending, seconds)


def _is_cut(result: WorkerResult) -> bool:
    return result.truncated and max(len(result.stdout_bytes), len(result.stderr_bytes)) < _JUDGED


_REMEMBERED = 1_000
"""How many ids of attempts that have ended are known."""
_REPLAYED = 32
"""How many of them, the last ones, can be replayed with their output."""


class Attempts:
    """Starts attempts, at most so many at a time, and none a second time."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._finder = TaskFinder(settings)
        self._slot_holders: list[Attempt] = []
        self._running: set[Attempt] = set()
        self._known: OrderedDict[str, tuple[Attempt, bytes]] = OrderedDict()
        self._kept_output = KeptOutput(settings.kept_output, self._drop_oldest_output)
        self._closing_reason: str | None = None

    def admit(self, request: ChunkRequest, *, needs_all: bool) -> tuple[Attempt, bool]:
        """Return the attempt that a request is about, and whether it is a new one, which the caller has to `run`.

        With `needs_all` its output has to be kept to the end. Raises `RefusedError` when there is no free place.
        """
        if request.attempt_id is not None and (known := self._known.get(request.attempt_id)) is not None:
            attempt, subject = known
            if subject != _subject(request):
                raise RefusedError(409, "attemptId is that of an attempt at something else")
            return attempt, False
        if self._closing_reason is not None:
            raise RefusedError(503, self._closing_reason, headers={"Retry-After": "5"})
        slot = next(iter(self._free_slots()), None)
        if slot is None:
            raise RefusedError(
                429, f"all {self._settings.concurrency} places of this worker are taken", headers={"Retry-After": "1"}
            )
        keeps = needs_all or request.attempt_id is not None
        attempt = Attempt(slot, OutputLog(self._kept_output if keeps else None))
        self._slot_holders.append(attempt)
        self._running.add(attempt)
        if request.attempt_id is not None:
            self._known[request.attempt_id] = attempt, _subject(request)
        return attempt, True

    def places(self) -> dict[str, object]:
        """Return the JSON that says how many attempts may run at a time, and how many more may begin now."""
        free = 0 if self._closing_reason is not None else len(self._free_slots())
        return {"places": self._settings.concurrency, "free": free}

    def _free_slots(self) -> list[int]:
        self._slot_holders = [attempt for attempt in self._slot_holders if attempt.holds_slot]
        taken = {attempt.slot for attempt in self._slot_holders}
        return [slot for slot in range(self._settings.concurrency) if slot not in taken]

    async def run(self, attempt: Attempt, request: ChunkRequest) -> None:
        """Run a new attempt to its end, for as long as anybody attends it: also when its first client is cancelled."""
        try:
            with anyio.CancelScope(shield=True):
                await attempt.run(self._finder, request)
        finally:
            self._running.remove(attempt)
            self._forget()

    def close(self, reason: str) -> None:
        """End what runs and start nothing more."""
        self._closing_reason = reason
        for attempt in self._running:
            attempt.end(reason)

    def _forget(self) -> None:
        ended = [(key, attempt) for key, (attempt, _) in self._known.items() if attempt not in self._running]
        for key, _ in ended[:-_REMEMBERED]:
            del self._known[key]
        for _, attempt in ended[:-_REPLAYED]:
            if not attempt.clients:
                attempt.log.close()

    def _drop_oldest_output(self) -> bool:
        for attempt, _ in self._known.values():
            if attempt.is_over.is_set() and not attempt.clients and attempt.log.is_on_disk:
                attempt.log.close()
                return True
        return False


def _subject(request: ChunkRequest) -> bytes:
    """Return what tells requests for different things apart, however long the addresses are."""
    return hashlib.sha256(f"{request.chunk_index} {request.job_path}".encode()).digest()
