"""One attempt at a chunk."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import anyio

from .._command.callbacks import await_if_needed
from .._command.ending import NO_STATUS, describe_error, describe_exit
from .._command.job import STREAMS, WorkerJob
from .._command.result import WorkerResult
from .._concurrency.slices import Work, in_slices
from .._concurrency.steps import run_steps
from .._errors import ErrorCategory, WorkerLostError, WorkerRemoteError, WorkerSpawnError, WorkerTimeoutError
from .._events.head import EmitChunkEvent
from .._output.command_events import CommandEvents
from .._output.pipeline import CommandOutput
from .._output.progress_watch import PROGRESS_INTERVAL, ProgressWatch, ReportedErrors
from .._spec.command import parse_command
from .._spec.frame_range import FrameRange
from .._spec.model import Chunk
from .._spec.needs import MEMORY
from .._spec.outputs import delete_leftovers, put_back
from .._spec.retry_command import fill_in_frames, frames_rendered
from .._state.inspection import OutputFile, fingerprint_of
from .._state.record import JobRecord
from ..progress import ProgressParser, RenderError
from .beginning import Beginning
from .context import JobContext
from .early_end import EarlyEnd
from .frame_watch import FrameWatch, WholeFrames
from .leftovers import AHEAD, Leftovers
from .memory_watch import MemoryWatch
from .queue import QueuedChunk
from .reporter import JobReporter
from .retry import is_worth_retrying, loss_of
from .space_watch import SpaceWatch
from .worker_jobs import WorkerJobs

_TICK = PROGRESS_INTERVAL / 2
_READ_FOR_ERRORS = 1 << 20
"""How much of the end of each stream is searched for the reason of a failure if nobody read it before, in bytes."""


class AttemptPlan(NamedTuple):
    """What an attempt runs."""

    command: str
    frames: Sequence[int]
    """The frames of the chunk that it renders, in their order."""


class Failure(NamedTuple):
    """An attempt that failed."""

    reason: str
    result: WorkerResult | None
    cause: Exception | None
    category: ErrorCategory | None
    is_worth_retrying: bool
    loss: WorkerLostError | None = None
    """What ran the command was lost, and the chunk is no reason for it."""
    node: str | None = None
    """The machine it was on, where an engine chose one."""


class ChunkAttempt:
    """Has the adapter run a chunk's command, and looks at what came out of it."""

    def __init__(
        self,
        context: JobContext,
        reporter: JobReporter,
        following: Callable[[int], list[Chunk]],
        on_error: Callable[[BaseException], object],
    ) -> None:
        """Take what returns so many of the chunks that come next, and what is told of an error beside them."""
        self._context = context
        self._options = options = context.options
        self._mask = context.mask
        self._capabilities = context.capabilities
        self._reporter = reporter
        self._following = following
        self._on_error = on_error
        self._leftovers = Leftovers(context.job_dir)
        self._worker_jobs = WorkerJobs(context)
        self._limit = options.no_progress_timeout if self._capabilities.streams else None
        self._is_told = context.is_told
        ends_early = options.stop_on_error or options.finish_timeout is not None or options.enforce_memory
        self._ends_early = ends_early and self._capabilities.ends_early
        self.reads_progress = options.progress is not None and (
            self._is_told or self._limit is not None or options.fail_on_error or self._ends_early
        )
        """Whether progress is read from the output while the chunks run."""
        self.needs_watching = self.reads_progress or self._is_told or self._ends_early
        """Whether `watch` has anything to do."""
        self._counts_frames = self._is_told or options.frame_level is not None or self._ends_early
        self._whole: dict[int, WholeFrames] = {}
        self._frame_watches: set[FrameWatch] = set()
        self._early_ends: set[EarlyEnd] = set()
        done = options.done_chunk_ids
        to_render = (self._asked(chunk) for chunk in context.spec.chunks if chunk.id not in done)
        self._space = SpaceWatch(sum(map(len, to_render)))
        self._watches: set[ProgressWatch] = set()
        self._command_events: set[CommandEvents] = set()

    def plan(self, chunk: Chunk) -> AttemptPlan:
        """Return what the next attempt at the chunk runs: what renders the frames of it that are not whole yet.

        A command that takes a run of frames alone renders some others once more.
        """
        if chunk.retry_command is None or not self._renders_parts(chunk):
            return AttemptPlan(chunk.command, chunk.frames)
        asked = self._asked(chunk)
        known = self._whole[chunk.id].known if chunk.id in self._whole else ()
        # If all are whole the command has failed for something else, which its last frame may show again.
        frames = FrameRange(frame for frame in asked if frame not in known) or FrameRange(asked[-1:])
        frames = FrameRange(frames_rendered(chunk.retry_command, frames, chunk.frames))
        if len(frames) == len(chunk.frames):
            return AttemptPlan(chunk.command, chunk.frames)
        return AttemptPlan(fill_in_frames(chunk.retry_command, frames), frames)

    def _asked(self, chunk: Chunk) -> Sequence[int]:
        """Return the frames of the chunk that are to be rendered in this run of the job."""
        asked = self._options.chunk_frames.get(chunk.id)
        return chunk.frames if asked is None or not self._renders_parts(chunk) else FrameRange.of(asked)

    def _renders_parts(self, chunk: Chunk) -> bool:
        """Return whether an attempt may render some frames of the chunk alone."""
        return chunk.has_parts and self._capabilities.sees_parts and chunk.id not in self._context.sharing

    async def run(self, queued: QueuedChunk, plan: AttemptPlan, beginning: Beginning) -> WorkerResult | Failure:
        """Run the command once that was planned. Raises what a callback raised."""
        chunk = queued.chunk
        command, args = parse_command(plan.command)
        words = [command, *args]
        emit = self._reporter.of_chunk(chunk.id, queued.attempt)
        frames = self._frame_watch(chunk, plan, emit)
        watch = self._progress_watch(chunk, plan, words, emit, frames) if self.reads_progress else None
        events = CommandEvents(emit, self._mask)
        output = CommandOutput(
            {stream: self._reporter.chunk_output(chunk.id, queued.attempt, stream) for stream in STREAMS},
            self._options.stream,
            sender=self._context.adapter,
            mask=self._mask,
            logs=None if self._context.logs is None else self._context.logs.of_chunk(chunk.id, queued.attempt),
            watch=watch,
            on_log_failure=self._reporter.log_failed,
            keeps_end=self._limit is not None,
        )
        if watch is not None:
            self._watches.add(watch)
        self._command_events.add(events)
        if frames is not None:
            self._frame_watches.add(frames)
        early = EarlyEnd(self._options, watch, frames, events.on_warning) if self._ends_early else None
        if early is not None:
            self._early_ends.add(early)
        memory = self._memory_watch(chunk, events, early)
        try:
            job = self._worker_jobs.make(
                queued,
                plan.command,
                words,
                output,
                events,
                on_started=self._on_started(beginning, frames, watch),
                early=early,
                memory=memory,
            )
            outcome = await self._execute(queued, plan, job, output, watch, frames, early)
            if memory is not None:
                memory.finish(outcome.result if isinstance(outcome, Failure) else outcome)
        finally:
            if early is not None:
                self._early_ends.discard(early)
            if frames is not None:
                self._frame_watches.discard(frames)
            if watch is not None:
                self._watches.discard(watch)
            self._command_events.discard(events)
            await events.finish()
            await output.close()
        whole = self._whole.get(chunk.id)
        if whole is not None and (not isinstance(outcome, Failure) or not whole.told):
            # Of a hundred thousand chunks that are over nothing need be known.
            del self._whole[chunk.id]
        if self._reporter.error is not None:
            # A callback raised and the adapter kept it to itself.
            raise self._reporter.error
        return outcome

    def _on_started(
        self, beginning: Beginning, frames: FrameWatch | None, watch: ProgressWatch | None
    ) -> Callable[[], object] | None:
        """Return what the adapter calls when the command begins; None if nobody has to know."""
        if not beginning.is_waited_for:
            return None if self._limit is None or watch is None else watch.begin

        def begin() -> Awaitable[None] | None:
            if watch is not None:
                watch.begin()
            if frames is not None:
                frames.command_began()
            return beginning.tell()

        return begin

    async def watch(self) -> None:
        """Tell what is used and what progress came too soon after the last, and end what makes none, until cancelled.

        Looks for finished frames too. Raises what a callback raises.
        """
        before = time.monotonic()
        # A disk that does not answer holds up only those whose frames are on it.
        async with anyio.create_task_group() as lookers:
            while True:
                await anyio.sleep(_TICK)
                now = time.monotonic()
                # If the event loop stood still, the output that came meanwhile has not been read yet.
                passed, before = min(now - before, 2 * _TICK), now
                for watch in list(self._watches):
                    watch.advance(passed)
                    await await_if_needed(run_steps(watch.emit_due()))
                for events in list(self._command_events):
                    if events in self._command_events:
                        await await_if_needed(run_steps(events.emit_due()))
                if self._space.is_due(now):
                    lookers.start_soon(self._look, self._space)
                for early in list(self._early_ends):
                    early.check(now)
                for frames in self._frame_watches:
                    if frames.is_due(now):
                        lookers.start_soon(self._look, frames)

    async def _look(self, watch: FrameWatch | SpaceWatch) -> None:
        try:
            await watch.look()
        except Exception as error:  # noqa: BLE001 (it would come out in an ExceptionGroup)
            self._on_error(error)

    async def _execute(
        self,
        queued: QueuedChunk,
        plan: AttemptPlan,
        job: WorkerJob,
        output: CommandOutput,
        watch: ProgressWatch | None,
        frames: FrameWatch | None,
        early: EarlyEnd | None,
    ) -> WorkerResult | Failure:
        chunk = queued.chunk
        result: WorkerResult | None = None
        error: Exception | None = None
        retry_on: Collection[type[Exception]] = ()
        leftovers: list[str] = []
        try:
            if self._context.owns_outputs and chunk.id not in self._context.sharing:
                part = None if len(plan.frames) == len(chunk.frames) else plan.frames
                leftovers = await self._leftovers.set_aside(queued, part)
                if chunk.retry_command is not None and self._context.record is not None:
                    # What is there now was written by nobody else.
                    await in_slices(_begin(self._context.record, chunk, plan.frames))
            elif frames is not None:
                await frames.begin()
            # What the adapter raises may pass; a folder that cannot be used stays one.
            retry_on = self._options.retry_on
            result = await self._run_command(job, output, watch)
        except Exception as raised:
            if self._reporter.error is not None:
                raise
            error = raised
            result = getattr(raised, "result", None)
            if leftovers and _did_not_begin(error):
                await in_slices(put_back(leftovers))
        if result is not None:
            result = self._mask.result(result, self._options.capture)
            result.lingered = early is not None and early.lingered and error is None
        # After a limit a callback has as long for what is left as it has for the rest.
        with anyio.move_on_after(job.kill_grace) if isinstance(error, WorkerTimeoutError) else nullcontext():
            await output.finish(result)
        errors = self._read_errors(plan, job, result) if watch is None else watch.errors
        ended = None if early is None or error is not None else early.failure
        if ended is not None:
            reason: str | None = f"{job.command} {ended}"
        else:
            reason = await self._reason_of_failure(chunk, plan, job, result, error, errors, frames)
        if reason is None and result is not None:
            return result
        # Where it did not even begin, what is there is not its own.
        has_begun = error is None or not _did_not_begin(error)
        if (
            has_begun
            and frames is not None
            and (chunk.retry_command is not None or self._is_told)
            and len(plan.frames) > 1
        ):
            await frames.find_whole()
            reason = f"{reason}{_where(plan, frames, watch, result)}"
        told = errors.of_failure
        category = None if told is None else told.category
        if early is not None and ended is not None:
            category = early.category or category
        # What it may take stays the same.
        is_enforced = ended is not None and early is not None and early.category == "memory"
        if result is not None and result.killed_for_memory is not None:
            category = "memory"
        loss = loss_of(error)
        return Failure(
            self._mask.text(f"{reason}: {told.message}" if told is not None else f"{reason}"),
            result,
            None if error is None else self._mask.error(error, result),
            category,
            not is_enforced and is_worth_retrying(error, result, category, retry_on, was_ended=ended is not None),
            loss,
            loss.node if loss is not None else None if result is None else result.node,
        )

    async def _run_command(self, job: WorkerJob, output: CommandOutput, watch: ProgressWatch | None) -> WorkerResult:
        if watch is None or self._limit is None:
            return await self._context.adapter.execute(job)
        began = time.monotonic()
        with watch.limiting():
            return await self._context.adapter.execute(job)
        raise WorkerTimeoutError(
            f"{job.command} was ended because it made no progress for {self._limit:g} s",
            output.result_so_far(NO_STATUS, time.monotonic() - began),
            "progress",
        )

    async def _reason_of_failure(
        self,
        chunk: Chunk,
        plan: AttemptPlan,
        job: WorkerJob,
        result: WorkerResult | None,
        error: Exception | None,
        errors: ReportedErrors,
        frames: FrameWatch | None,
    ) -> str | None:
        """Return why the attempt failed, or None if it did not: then what it did is recorded."""
        if error is not None:
            return describe_error(error)
        if result is not None and result.exit_code != 0 and not result.lingered:
            return describe_exit(job.command, result.exit_code, result.killed_for_memory)
        if errors.fatal is not None and self._options.fail_on_error:
            return f"{job.command} exited with status 0 after an error"
        looked_at: Sequence[OutputFile] | None = None
        if frames is not None and self._options.frame_level is not None:
            looked_at = await frames.examine()
            if frames.fault is not None:
                return frames.fault
        files: Sequence[OutputFile] = ()
        if self._context.outputs is not None or self._context.record is not None:
            # What is done is recorded, though something else may be ending the job at this moment.
            files = await in_slices(self._accept_output(chunk, plan, self._following(AHEAD), looked_at))
        if frames is None:
            return None
        await frames.conclude(files, faults_count=self._options.frame_level is not None)
        return frames.fault

    def _accept_output(
        self,
        chunk: Chunk,
        plan: AttemptPlan,
        following: Sequence[Chunk],
        looked_at: Sequence[OutputFile] | None,
    ) -> Work[list[OutputFile]]:
        """Record that the chunk is done, if it is; return its files, looked at now unless they were before."""
        record, outputs = self._context.record, self._context.outputs
        if outputs is None:
            if record is not None:
                record.add(chunk, None)
            return []
        files = (yield from outputs.look(chunk)) if looked_at is None else looked_at
        is_part = len(plan.frames) < len(chunk.frames)
        rendered = [file for file in files if not is_part or file.frame is None or file.frame in plan.frames]
        is_judged = self._options.frame_level is not None
        if self._context.owns_outputs and not (is_judged and _have_faults(rendered)):
            # Of a chunk that was to be rendered in part alone, other frames may never have been.
            is_doubtful = (is_judged or is_part) and _have_faults(files)
            if record is not None and not is_doubtful and self._are_all_its_own(chunk, record):
                record.add(chunk, fingerprint_of(files))
            if any(file.state is not None for file in files) and chunk.id not in self._context.sharing:
                yield from delete_leftovers(chunk, self._context.job_dir)
            self._leftovers.look_ahead(following, chunk)
        return rendered

    def _are_all_its_own(self, chunk: Chunk, record: JobRecord) -> bool:
        """Return whether the chunk's command has written all of its frames, in this run or before."""
        asked = self._asked(chunk)
        return len(asked) == len(chunk.frames) or {*asked, *record.written(chunk)}.issuperset(chunk.frames)

    def _read_errors(self, plan: AttemptPlan, job: WorkerJob, result: WorkerResult | None) -> ReportedErrors:
        """Return the errors in the output of a failure, which nobody has read."""
        errors = ReportedErrors()
        if self._options.progress is None or result is None or result.exit_code == 0:
            return errors
        parser = self._parser(plan, [job.command, *job.args])
        stdout, stderr = result.ends(_READ_FOR_ERRORS)
        for report in (*parser.feed(stderr, "stderr"), *parser.feed(stdout, "stdout"), *parser.finish()):
            if isinstance(report, RenderError):
                errors.add(report)
        return errors

    def _frame_watch(self, chunk: Chunk, plan: AttemptPlan, emit: EmitChunkEvent) -> FrameWatch | None:
        if not (self._counts_frames or chunk.retry_command is not None) or chunk.id in self._context.sharing:
            return None
        whole = self._whole.get(chunk.id)
        if whole is None:
            whole = self._whole[chunk.id] = WholeFrames({}, set())
        return FrameWatch(
            chunk,
            plan.frames,
            whole,
            job_dir=self._context.job_dir,
            inspector=self._context.outputs,
            emit=emit,
            watches_end=self._ends_early and self._options.finish_timeout is not None,
            on_file=partial(self._space.add, emit),
        )

    def _memory_watch(self, chunk: Chunk, events: CommandEvents, early: EarlyEnd | None) -> MemoryWatch | None:
        enforced = early if self._options.enforce_memory else None
        if MEMORY not in chunk.needs or (enforced is None and not self._is_told):
            return None
        return MemoryWatch(chunk.needs[MEMORY], events.on_warning, enforced)

    def _progress_watch(
        self, chunk: Chunk, plan: AttemptPlan, words: list[str], emit: EmitChunkEvent, frames: FrameWatch | None
    ) -> ProgressWatch:
        return ProgressWatch(
            partial(self._parser, plan, words),
            emit,
            limit=self._limit,
            waits_for_start=self._capabilities.tells_start or self._capabilities.remote,
            done_before=max(0.0, 1 - len(plan.frames) / len(self._asked(chunk))),
            on_frame=None if frames is None else frames.saved,
        )

    def _parser(self, plan: AttemptPlan, words: list[str]) -> ProgressParser:
        return ProgressParser(
            self._options.progress or "generic",
            command=words,
            frames=plan.frames,
            error_patterns=self._options.error_patterns,
        )


def _where(plan: AttemptPlan, frames: FrameWatch, watch: ProgressWatch | None, result: WorkerResult | None) -> str:
    """Return in which frame a command died, or after which, as far as it is known, and which are missing."""
    frame = None if watch is None or result is None or result.exit_code >= 0 else watch.frame
    missing = FrameRange(frame for frame in plan.frames if frame not in frames.whole)
    # Until a renderer says the next frame's number, it is at work on that all the same.
    where = "" if frame is None else f" {'after' if frame in frames.whole else 'in'} frame {frame}"
    if not missing or len(missing) == len(plan.frames):
        return where
    are = "s" if len(missing) > 1 else ""
    return f"{where}, with frame{are} {missing} missing of {len(plan.frames)}"


def _begin(record: JobRecord, chunk: Chunk, frames: Sequence[int]) -> Work[None]:
    record.begin(chunk, frames)
    yield


def _have_faults(files: Iterable[OutputFile]) -> bool:
    return any(file.fault is not None for file in files)


def _did_not_begin(error: Exception) -> bool:
    return isinstance(error, WorkerSpawnError) or (isinstance(error, WorkerRemoteError) and error.nothing_began)
