"""Runs the chunks of a job and puts them together."""

from __future__ import annotations

import logging
import os
import reprlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread

from .._checks import check_method, check_type
from .._command.adapter import Capabilities, WorkerAdapter
from .._command.callbacks import await_if_needed
from .._command.result import WorkerResult
from .._concurrency.cancellation import as_error, to_the_end
from .._concurrency.steps import TimeSlice
from .._errors import ChunkFailedError, MergeFailedError, SpecError, TailraceError
from .._events.types import ChunkFailed, ChunkRetrying, ChunkStarted, JobStarted
from .._output.job_logs import JobLogs
from .._output.secret_mask import SecretMask
from .._spec.model import JobSpec
from .._spec.outputs import chunks_sharing_outputs, chunks_whose_leftovers_are_outputs
from .._state.folder import resolve_job_dir
from .._state.journal import CompletionRecord
from .attempt import ChunkAttempt, Failure
from .merge import merge
from .options import JobExecutionOptions
from .queue import ChunkQueue, Turn
from .report import JobReport
from .reporter import JobReporter
from .retry import delay_after, least_delay
from .stream import JobEventStream

_log = logging.getLogger("tailrace")

_DEFAULTS = JobExecutionOptions()


class Executor:
    """Runs the chunks of jobs through a worker adapter; `JobExecutor` is what users make of it."""

    def __init__(self, adapter: WorkerAdapter, *, make_local: Callable[[], WorkerAdapter]) -> None:
        """Run all commands through `adapter`, but for merges that need one of this machine, which `make_local` makes.

        Raises `TypeError` for what is no adapter.
        """
        check_method("adapter", adapter, "execute")
        self._adapter = adapter
        self._make_local = make_local

    async def execute(self, spec: JobSpec, options: JobExecutionOptions = _DEFAULTS) -> JobReport:
        """Run the job to its end: all chunks but the completed ones, then the merge.

        When `options.job_dir` or `state_dir` is given or the specification came from a file, each completed chunk is
        recorded in the job's folder (see `completed_chunk_ids`) before `on_chunk_complete` is called.

        Raises `ChunkFailedError` when a chunk used up its attempts, `MergeFailedError` when the chunks could not be
        put together, `JobLockedError` when the job is being run already, or another one of the same folder that
        writes the same files, `SpecError` when chunks would overwrite each other's output that is to be verified or
        stitched, `TailraceError` when the record cannot be kept, `TypeError` for what is no specification, `ValueError`
        for `verify_output` where the files are not seen here (`Capabilities.shares_files`). The first two have the
        results so far in their `report`.
        What a callback raises comes out unchanged. Whatever ends the job early, a cancellation too, no command that
        it started is running any more when it comes out.
        """
        _check_arguments(spec, options, self._adapter)
        return await _JobRun(self._adapter, spec, options, self._make_local).execute()

    def stream(self, spec: JobSpec, options: JobExecutionOptions = _DEFAULTS) -> JobEventStream:
        """Run the job while its events are iterated over; its callbacks are called too.

        ```python
        async with executor.stream(spec, options) as events:
            async for event in events:
                print(event)
        ```

        The iteration raises what `execute` raises, after the last event. Leaving the block ends the job.
        Raises `TypeError` and `ValueError` for what `execute` does, at once.
        """
        _check_arguments(spec, options, self._adapter)
        return JobEventStream(
            lambda observer: self.execute(spec, replace(options, observers=(*options.observers, observer)))
        )


class _JobRun:
    """One run of a job: workers, one for each slot, that take chunks from a queue."""

    def __init__(
        self,
        adapter: WorkerAdapter,
        spec: JobSpec,
        options: JobExecutionOptions,
        make_local: Callable[[], WorkerAdapter],
    ) -> None:
        self._adapter = adapter
        self._make_local = make_local
        self._spec = spec
        self._options = options
        self._job_dir = resolve_job_dir(spec, options.job_dir)
        self._started = time.monotonic()
        self._run_id = os.urandom(8).hex()
        self._record = _make_record(spec, options, self._job_dir, self._run_id)
        self._sharing: frozenset[int] = frozenset()
        if self._record is not None or options.verify_output or options.stitcher is not None:
            self._sharing = self._find_shared_outputs()
        self._mask = SecretMask(options.mask_env, options.slot_env)
        self._logs = _make_logs(spec, options)

        self._skipped = frozenset(options.completed_chunk_ids) & {chunk.id for chunk in spec.chunks}
        chunks = [chunk for chunk in spec.chunks if chunk.id not in self._skipped]
        self._queue = ChunkQueue(chunks)
        self._slots = min(options.concurrency, len(chunks))
        self._results: dict[int, WorkerResult] = {}
        self._attempts: dict[int, int] = {}
        self._failures: list[ChunkFailedError] = []

        self._cancelled = anyio.get_cancelled_exc_class()
        self._scope: anyio.CancelScope | None = None
        self._error: BaseException | None = None
        self._record_failure: TailraceError | None = None
        self._reporter = JobReporter(
            spec, options, run_id=self._run_id, skipped=len(self._skipped), logs=self._logs, on_error=self._end
        )
        self._attempt = ChunkAttempt(
            adapter,
            options,
            self._job_dir,
            reporter=self._reporter,
            record=self._record,
            following=self._queue.following,
            sharing=self._sharing,
            mask=self._mask,
            logs=self._logs,
        )

    async def execute(self) -> JobReport:
        try:
            report = await self._run_and_record()
        except GeneratorExit:
            # The event loop is gone, and nothing can be awaited any more.
            raise
        except BaseException as raised:
            error = as_error(raised)
            if isinstance(error, ChunkFailedError):
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
            if self._logs is not None:
                await self._logs.close()

    async def _run_and_record(self) -> JobReport:
        try:
            if self._record is not None:
                await anyio.to_thread.run_sync(self._record.open)
            if self._logs is not None:
                await self._logs.open()
            merge_result = await self._run()
            await to_the_end(self._close_record)
        except GeneratorExit:
            self._close_record()
            raise
        except BaseException:
            await to_the_end(self._close_record)
            if self._record_failure is not None:
                # It may not replace what is on its way out.
                _log.warning("%s", self._record_failure)
            raise
        if self._record_failure is not None:
            raise self._record_failure
        return self._report(merge_result)

    def _close_record(self) -> None:
        try:
            if self._record is not None:
                self._record.close()
        except TailraceError as error:
            self._record_failure = error

    async def _run(self) -> WorkerResult | None:
        total, skipped = len(self._spec.chunks), tuple(sorted(self._skipped))
        await self._reporter.emit(lambda head: JobStarted(**head, total_chunks=total, skipped_chunk_ids=skipped))
        await self._run_chunks()
        return await merge(
            self._spec,
            self._options,
            self._adapter,
            self._job_dir,
            make_local=self._make_local,
            reporter=self._reporter,
            mask=self._mask,
            logs=self._logs,
        )

    def _report(self, merge_result: WorkerResult | None) -> JobReport:
        completed = [chunk.id for chunk in self._spec.chunks if chunk.id in self._results]
        return JobReport(
            {id_: self._results[id_] for id_ in completed},
            {id_: self._attempts[id_] for id_ in completed},
            merge_result,
            self._duration(),
            self._run_id,
        )

    def _duration(self) -> float:
        return time.monotonic() - self._started

    async def _run_chunks(self) -> None:
        async with anyio.create_task_group() as tasks:
            if self._attempt.needs_watching:
                tasks.start_soon(self._watch)
            async with anyio.create_task_group() as workers:
                self._scope = workers.cancel_scope
                for slot in range(self._slots):
                    workers.start_soon(self._work, slot)
            self._scope = None
            tasks.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        if self._failures:
            places = {chunk.id: place for place, chunk in enumerate(self._spec.chunks)}
            self._failures.sort(key=lambda failure: places[failure.chunk_id])
            raise self._failures[0]

    async def _work(self, slot: int) -> None:
        # Nothing but a cancellation may reach the task group: it would come out in an ExceptionGroup.
        try:
            time_slice = TimeSlice()
            while (turn := await self._queue.get()) is not None:
                await self._take(turn, slot)
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

    async def _take(self, turn: Turn, slot: int) -> None:
        chunk, attempt = turn
        self._attempts[chunk.id] = attempt
        emit = self._reporter.of_chunk(chunk.id, attempt)
        await await_if_needed(
            emit(lambda head: ChunkStarted(**head, slot=slot, command=self._mask.text(chunk.command)))
        )
        outcome = await self._attempt.run(turn, slot)
        if not isinstance(outcome, Failure):
            self._results[chunk.id] = outcome
            await self._reporter.chunk_completed(chunk.id, attempt, outcome)
            self._queue.finish()
        elif outcome.is_worth_retrying and attempt <= self._options.retries:
            delay = delay_after(attempt, least_delay(outcome.category, self._options))
            failure = outcome
            await await_if_needed(
                emit(lambda head: ChunkRetrying(**head, reason=failure.reason, category=failure.category, delay=delay))
            )
            self._queue.put_back(turn, delay)
        else:
            error = _to_error(turn, outcome)
            await await_if_needed(emit(lambda head: ChunkFailed(**head, error=error)))
            if self._options.fail_fast:
                raise error
            self._failures.append(error)
            self._queue.finish()

    def _find_shared_outputs(self) -> frozenset[int]:
        sharing = chunks_sharing_outputs(self._spec.chunks)
        if sharing and (self._options.verify_output or self._options.stitcher is not None):
            chunks = ", ".join(map(str, sorted(sharing)))
            raise SpecError(
                f"job {self._spec.id}: chunks {chunks} share output files, which cannot be verified or stitched:"
                " give each chunk an outputFile of its own"
            )
        return sharing.union(chunks_whose_leftovers_are_outputs(self._spec.chunks))


def _check_arguments(spec: object, options: JobExecutionOptions, adapter: WorkerAdapter) -> None:
    if not isinstance(spec, JobSpec):
        hint = f": JobSpec.load({spec!r}) reads one" if isinstance(spec, str | os.PathLike) else ""
        raise TypeError(f"spec must be a JobSpec, not {reprlib.repr(spec)}{hint}")
    check_type("options", options, JobExecutionOptions, "JobExecutionOptions")
    if options.verify_output and not Capabilities.of(adapter).shares_files:
        raise ValueError(
            "verify_output looks at the output files here, where those of this adapter are not seen: give the adapter"
            " shares_files=True if it writes into the job's folder, or do without verify_output"
        )


def _make_record(spec: JobSpec, options: JobExecutionOptions, job_dir: Path, run_id: str) -> CompletionRecord | None:
    has_folder = options.job_dir is not None or options.state_dir is not None or spec.path is not None
    if not options.record or not has_folder:
        return None
    return CompletionRecord(spec, job_dir, options.state_dir, run_id=run_id, stitched=options.output_file)


def _make_logs(spec: JobSpec, options: JobExecutionOptions) -> JobLogs | None:
    if options.log_dir is None:
        return None
    highest = max(chunk.id for chunk in spec.chunks)
    return JobLogs(
        Path(options.log_dir).absolute(), highest_id=highest, limit=options.log_limit, compress=options.log_compress
    )


def _to_error(turn: Turn, failure: Failure) -> ChunkFailedError:
    attempts = f" after {turn.attempt} attempts" if turn.attempt > 1 else ""
    error = ChunkFailedError(
        f"chunk {turn.chunk.id} failed{attempts}: {failure.reason}",
        chunk_id=turn.chunk.id,
        attempts=turn.attempt,
        result=failure.result,
        category=failure.category,
    )
    error.__cause__ = failure.cause
    return error
