"""One run of a job: its chunks, then the merge."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import anyio
import anyio.to_thread

from .._command.adapter import WorkerAdapter
from .._command.callbacks import await_if_needed
from .._command.result import WorkerResult
from .._concurrency.cancellation import as_error, run_shielded
from .._concurrency.steps import TimeSlice
from .._errors import ChunkFailedError, MergeFailedError, TailraceError
from .._events.head import ChunkHead
from .._events.types import ChunkFailed, ChunkRetrying, ChunkStarted, ChunkWarning, JobStarted
from .._scheduling.packer import Lane
from .._spec.model import Chunk
from .attempt import ChunkAttempt, Failure
from .beginning import Beginning
from .context import JobContext
from .full_disk import FullDisk
from .lost_attempts import MOST_LOST, LostAttempts
from .memory_watch import peak_memory
from .merge import merge
from .queue import ChunkQueue, QueuedChunk
from .report import JobReport
from .reporter import JobReporter
from .retry import delay_after, least_delay
from .share import Share
from .slots import Slots

_log = logging.getLogger("tailrace")
_GPU = re.compile(r"gpu|cuda|optix|vram|device memory", re.IGNORECASE)


class JobRun:
    """One run of a job: workers, one for each slot, that take chunks from a queue."""

    def __init__(
        self, context: JobContext, make_local: Callable[[], WorkerAdapter], share: Share | None = None
    ) -> None:
        """Run the job of this context; what `make_local` makes runs a merge that the context's adapter cannot.

        With a `share`, up to `concurrency` chunks run at a time in slots that are not the job's alone.
        """
        self._context = context
        self._spec = spec = context.spec
        self._options = options = context.options
        self._make_local = make_local
        self._started = time.monotonic()

        self._done_before = options.done_chunk_ids & {chunk.id for chunk in spec.chunks}
        chunks = [chunk for chunk in spec.chunks if chunk.id not in self._done_before]
        self._workers = min(options.concurrency, len(chunks))
        if share is None:
            slots = Slots.of(self._workers, options.capacity, is_remote=context.capabilities.remote)
            share = Share(slots=slots, lane=Lane())
        self._merging = share.merging
        self._queue = ChunkQueue(
            share.in_order(chunks),
            share.slots,
            lane=share.lane,
            succeeded=self._done_before,
            attempts=share.attempts,
        )
        self._results: dict[int, WorkerResult] = {}
        self._attempts: dict[int, int] = {}
        self._skipped: dict[int, int] = {}
        """The chunks that are not run, each with the failed one that it depends on."""
        self._failures: list[ChunkFailedError] = []

        self._cancelled = anyio.get_cancelled_exc_class()
        self._scope: anyio.CancelScope | None = None
        self._error: BaseException | None = None
        self._record_failure: TailraceError | None = None
        self._reporter = JobReporter(context, done_before=len(self._done_before), on_error=self._end)
        self._full_disk = FullDisk(context)
        self._lost = LostAttempts(share.uncounted, share.on_lost)
        self._attempt = ChunkAttempt(context, self._reporter, self._queue.following, self._end)

    async def execute(self) -> JobReport:
        """Run it to its end; see `Executor.execute`."""
        try:
            report = await self._run_and_record()
        except GeneratorExit:
            # The event loop is gone, and nothing can be awaited any more.
            raise
        except BaseException as raised:
            error = as_error(raised)
            if isinstance(error, ChunkFailedError):
                self._sort_failures()
                ChunkFailedError.share(self._failures or [error], self._report(None))
            elif isinstance(error, MergeFailedError):
                error.report = self._report(error.result)
            await self._reporter.job_finished(self._duration(), error)
            if error is raised:
                raise
            raise error from raised
        else:
            await self._reporter.job_finished(report.duration, None)
            return report
        finally:
            self._queue.close()
            if self._context.logs is not None:
                await self._context.logs.close()

    async def _run_and_record(self) -> JobReport:
        try:
            if self._context.record is not None:
                await anyio.to_thread.run_sync(self._context.record.open)
            if self._context.logs is not None:
                await self._context.logs.open()
            merge_result = await self._run()
            await run_shielded(self._close_record)
        except GeneratorExit:
            self._close_record()
            raise
        except BaseException:
            await run_shielded(self._close_record)
            if self._record_failure is not None:
                # It may not replace what is on its way out.
                _log.warning("%s", self._record_failure)
            raise
        if self._record_failure is not None:
            raise self._record_failure
        return self._report(merge_result)

    def _close_record(self) -> None:
        try:
            if self._context.record is not None:
                self._context.record.close()
        except TailraceError as error:
            self._record_failure = error

    async def _run(self) -> WorkerResult | None:
        total, done = len(self._spec.chunks), tuple(sorted(self._done_before))
        await self._reporter.emit(lambda head: JobStarted(**head, total_chunks=total, completed_chunk_ids=done))
        async with self._context.outputs or nullcontext():
            await self._run_chunks()
        return await merge(self._context, self._reporter, self._make_local, merging=self._merging)

    def _report(self, merge_result: WorkerResult | None) -> JobReport:
        completed = [chunk.id for chunk in self._spec.chunks if chunk.id in self._results]
        return JobReport(
            {id_: self._results[id_] for id_ in completed},
            {id_: self._attempts[id_] for id_ in completed},
            merge_result,
            self._duration(),
            self._context.run_id,
            {chunk.id: self._skipped[chunk.id] for chunk in self._spec.chunks if chunk.id in self._skipped},
        )

    def _duration(self) -> float:
        return time.monotonic() - self._started

    async def _run_chunks(self) -> None:
        async with anyio.create_task_group() as tasks:
            if self._attempt.needs_watching:
                tasks.start_soon(self._watch)
            async with anyio.create_task_group() as workers:
                self._scope = workers.cancel_scope
                for _ in range(self._workers):
                    workers.start_soon(self._work)
            self._scope = None
            tasks.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        if self._failures:
            self._sort_failures()
            raise self._failures[0]

    def _sort_failures(self) -> None:
        places = {chunk.id: place for place, chunk in enumerate(self._spec.chunks)}
        self._failures.sort(key=lambda failure: places[failure.chunk_id])

    async def _work(self) -> None:
        # Nothing but a cancellation may reach the task group: it would come out in an ExceptionGroup.
        try:
            time_slice = TimeSlice()
            while (queued := await self._queue.get()) is not None:
                await self._take(queued)
                # An adapter that knows its answers, a cache of renders, waits for nothing.
                if time_slice.is_over:
                    await time_slice.give_way()
        except BaseException as error:
            self._end(error)
            if isinstance(error, self._cancelled):
                raise

    async def _watch(self) -> None:
        try:
            await self._attempt.watch()
        except self._cancelled:
            raise
        except BaseException as error:  # noqa: BLE001
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """Have the job end with `error`, unless something else ends it already."""
        if self._error is None:
            self._error = error
            if self._scope is not None:
                self._scope.cancel()

    async def _take(self, queued: QueuedChunk) -> None:
        chunk, attempt = queued.chunk, queued.attempt
        self._attempts[chunk.id] = attempt
        emit = self._reporter.of_chunk(chunk.id, attempt)
        plan = self._attempt.plan(chunk)
        shown = self._context.mask.text(plan.command)
        beginning = Beginning(
            lambda: emit(lambda head: ChunkStarted(**head, slot=queued.slot.number, command=shown)),
            is_waited_for=self._context.capabilities.may_wait,
        )
        if not beginning.is_waited_for:
            await await_if_needed(beginning.tell())
        outcome = await self._attempt.run(queued, plan, beginning)
        await beginning.make_up()
        if not isinstance(outcome, Failure):
            self._results[chunk.id] = outcome
            self._context.nodes.succeeded(outcome.node, chunk.id)
            await self._reporter.chunk_completed(chunk.id, attempt, outcome)
            self._queue.learn_memory(queued, peak_memory(outcome), was_short=False)
            self._queue.succeed(queued)
            return
        for warning in self._warnings_of(outcome, chunk):
            await await_if_needed(emit(partial(_make_warning, message=warning)))
        outcome = await self._full_disk.name(outcome, chunk)
        if outcome.category == "memory" and not _is_of_gpu(outcome):
            self._queue.learn_memory(queued, peak_memory(outcome.result), was_short=True)
        is_for_disk = self._full_disk.is_reason(outcome)
        if outcome.loss is not None:
            counted = self._lost.add(chunk)
            may_retry = counted < MOST_LOST
        else:
            self._lost.end_row(chunk)
            counted = self._lost.counted(chunk, attempt)
            may_retry = outcome.is_worth_retrying and counted <= self._options.retries
        if may_retry and not (is_for_disk and self._full_disk.has_waited(chunk)):
            delay = delay_after(counted, least_delay(outcome.category, self._options))
            failure = outcome
            await await_if_needed(
                emit(lambda head: ChunkRetrying(**head, reason=failure.reason, category=failure.category, delay=delay))
            )
            self._queue.put_back(queued, delay)
            if is_for_disk:
                self._full_disk.wait(chunk)
                self._queue.hold(delay)
        else:
            if is_for_disk:
                outcome = outcome._replace(reason=outcome.reason + await self._full_disk.explain(chunk))
            error = _to_error(queued, outcome, lost=self._lost.of(chunk))
            await await_if_needed(emit(lambda head: ChunkFailed(**head, error=error)))
            if self._error is None:
                self._failures.append(error)
            for skipped in self._queue.fail(queued):
                self._skipped[skipped.id] = chunk.id
                await self._reporter.chunk_skipped(skipped.id, chunk.id)
            if is_for_disk or len(self._failures) == self._options.failure_limit:
                raise error
            self._queue.end_failed(queued)

    def _warnings_of(self, failure: Failure, chunk: Chunk) -> Iterator[str]:
        """Yield what a failure says of the machines that chunks run on."""
        if failure.loss is not None and failure.loss.may_run:
            where = "" if failure.node is None else f" on {failure.node}"
            yield f"it may still run{where}, and write its files beside the next attempt: nobody could see it end"
        warning = self._context.nodes.failed(failure.node, chunk.id, is_lost=failure.loss is not None)
        if warning is not None:
            yield warning


def _is_of_gpu(failure: Failure) -> bool:
    """Return whether it was the memory of a GPU that was too little."""
    was_killed = failure.result is not None and failure.result.killed_for_memory is not None
    return not was_killed and _GPU.search(failure.reason) is not None


def _make_warning(head: ChunkHead, message: str) -> ChunkWarning:
    return ChunkWarning(**head, message=message)


def _to_error(queued: QueuedChunk, failure: Failure, *, lost: int) -> ChunkFailedError:
    attempts = f" after {queued.attempt} attempts" if queued.attempt > 1 else ""
    if 0 < lost < queued.attempt:
        attempts += f", {lost} of them lost"
    error = ChunkFailedError(
        f"chunk {queued.chunk.id} failed{attempts}: {failure.reason}",
        chunk_id=queued.chunk.id,
        attempts=queued.attempt,
        result=failure.result,
        category=failure.category,
    )
    error.__cause__ = failure.cause
    return error
