"""Runs the chunks of a job and puts them together."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable
from dataclasses import replace

from .._checks import check_method, check_type
from .._command.adapter import Capabilities, WorkerAdapter
from .._spec.frame_range import FrameRange
from .._spec.model import JobSpec
from .context import JobContext, check_job
from .options import JobExecutionOptions
from .report import JobReport
from .run import JobRun
from .share import Share
from .slots import Slots
from .stream import JobEventStream

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

    async def execute_with(self, share: Share, spec: JobSpec, options: JobExecutionOptions) -> JobReport:
        """Do what `execute` does, in slots that are not the job's alone."""
        _check_arguments(spec, options, self._adapter)
        context = JobContext.of(spec, options, self._adapter, env=share.env)
        return await JobRun(context, self._make_local, share).execute()

    async def execute(self, spec: JobSpec, options: JobExecutionOptions = _DEFAULTS) -> JobReport:
        """Run the job to its end: all chunks but the completed ones, then the merge.

        When `options.job_dir` or `state_dir` is given or the specification came from a file, each completed chunk is
        recorded in the job's folder (see `completed_chunk_ids`) before `on_chunk_complete` is called.

        Raises `ChunkFailedError` when a chunk used up its attempts, `MergeFailedError` when the chunks could not be
        put together, `JobLockedError` when the job is being run already, or another one of the same folder that
        writes the same files, `SpecError` when chunks would overwrite each other's output that is to be verified or
        stitched, `TailraceError` when the record cannot be kept or what `check_frames` needs is not installed,
        `TypeError` for what is no specification, `ValueError` for `check_frames` where the files are not seen here
        (`Capabilities.shares_files`), and for `chunk_frames` that are none of the chunk's. The first two have the
        results so far in their `report`.
        What a callback raises comes out unchanged. Whatever ends the job early, a cancellation too, no command that
        it started is running any more when it comes out.
        """
        _check_arguments(spec, options, self._adapter)
        return await JobRun(JobContext.of(spec, options, self._adapter), self._make_local).execute()

    def check(self, spec: JobSpec, options: JobExecutionOptions = _DEFAULTS) -> None:
        """Raise what `execute` would raise for this job and these options alone; nothing is started or written."""
        _check_arguments(spec, options, self._adapter)
        check_job(spec, options)
        Slots.of(options.concurrency, options.capacity, is_remote=Capabilities.of(self._adapter).remote)

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


def _check_arguments(spec: object, options: JobExecutionOptions, adapter: WorkerAdapter) -> None:
    if not isinstance(spec, JobSpec):
        hint = f": JobSpec.load({spec!r}) reads one" if isinstance(spec, str | os.PathLike) else ""
        raise TypeError(f"spec must be a JobSpec, not {reprlib.repr(spec)}{hint}")
    check_type("options", options, JobExecutionOptions, "JobExecutionOptions")
    for chunk in spec.chunks:
        if chunk.id not in options.chunk_frames:
            continue
        asked = FrameRange.of(options.chunk_frames[chunk.id])
        others = FrameRange(frame for frame in asked if frame not in chunk.frames)
        if others:
            raise ValueError(f"chunk_frames[{chunk.id}] has {others}, and chunk {chunk.id} has only {chunk.frames}")
    if options.frame_level is not None and not Capabilities.of(adapter).shares_files:
        name = "check_frames" if options.check_frames is not None else "verify_output"
        raise ValueError(
            f"{name} looks at the output files here, where those of this adapter are not seen: give the adapter"
            f" shares_files=True if it writes into the job's folder, or do without {name}"
        )
