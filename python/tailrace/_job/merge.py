"""Puts the chunks of a job together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import cast

import anyio

from .._command.adapter import WorkerAdapter
from .._command.callbacks import await_if_needed
from .._command.ending import describe_error, describe_exit
from .._command.job import STREAMS, WorkerJob
from .._command.result import WorkerResult
from .._concurrency.slices import Work, in_slices
from .._errors import MergeFailedError
from .._events.types import MergeFinished, MergeStarted
from .._output.pipeline import CommandOutput
from .._spec.command import parse_command
from .._spec.model import JobSpec
from .._spec.outputs import output_paths
from .._stitching.protocol import Stitcher, StreamingStitcher
from .context import JobContext
from .reporter import JobReporter


async def merge(
    context: JobContext,
    reporter: JobReporter,
    make_local: Callable[[], WorkerAdapter],
    *,
    merging: Callable[[], AbstractAsyncContextManager[object]],
) -> WorkerResult | None:
    """Have the stitcher or the merge command put the chunks together, in the block; return the command's result.

    Does nothing if there is neither or `options.merge` is False. Raises `MergeFailedError` if it fails.
    """
    if not context.options.merge or (context.options.stitcher is None and context.spec.merge_command is None):
        return None
    async with merging():
        return await _merge(context, reporter, make_local)


async def _merge(
    context: JobContext, reporter: JobReporter, make_local: Callable[[], WorkerAdapter]
) -> WorkerResult | None:
    spec, options = context.spec, context.options
    await reporter.emit(lambda head: MergeStarted(**head))
    adapter = _choose_adapter(context, make_local)
    output = CommandOutput(
        {stream: reporter.merge_output(stream) for stream in STREAMS},
        options.stream,
        sender=options.stitcher or adapter,
        mask=context.mask,
        logs=None if context.logs is None else context.logs.of_merge(),
        watch=None,
        on_log_failure=reporter.log_failed,
    )
    try:
        async with _failing_the_merge(context, reporter, output):
            if options.stitcher is not None and options.output_file is not None:
                result = None
                inputs = await in_slices(_inputs(spec, context.job_dir))
                with anyio.move_on_after(options.merge_timeout) as scope:
                    await _stitch(options.stitcher, inputs, context.job_dir / options.output_file, output)
                if scope.cancelled_caught:
                    raise TimeoutError(f"the stitcher was ended because it ran longer than {options.merge_timeout:g} s")
            else:
                job = _to_job(context, spec.merge_command or "", output)
                result = await _run(context, job, adapter, output)
    finally:
        await output.close()
    if result is not None and result.exit_code != 0:
        raise MergeFailedError(
            context.mask.text(
                f"the merge failed: {describe_exit(job.command, result.exit_code, result.killed_for_memory)}"
            ),
            result,
        )
    await reporter.emit(lambda head: MergeFinished(**head, result=result))
    return result


@asynccontextmanager
async def _failing_the_merge(context: JobContext, reporter: JobReporter, output: CommandOutput) -> AsyncIterator[None]:
    """Turn an error into a `MergeFailedError`; what a callback raised comes out as it is, whatever was made of it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (what a callback raised is raised below)
        if reporter.error is None:
            result = getattr(error, "result", None)
            if result is not None:
                result = context.mask.result(result, context.options.capture)
            await output.finish(result)
            message = context.mask.text(f"the merge failed: {describe_error(error)}")
            raise MergeFailedError(message, result) from context.mask.error(error, result)
    if reporter.error is not None:
        raise reporter.error


def _inputs(spec: JobSpec, job_dir: Path) -> Work[list[Path]]:
    # With steps, the frames of one chunk can lie between those of another.
    outputs: list[tuple[int, Path]] = []
    for chunk in spec.chunks:
        # What else a frame has, other passes of it, is not for the video.
        for frame, path in zip(chunk.frames, output_paths(chunk, job_dir), strict=False):
            outputs.append((frame, path))
            yield
    outputs.sort(key=lambda output: output[0])
    return [path for _, path in outputs]


async def _stitch(stitcher: Stitcher, inputs: list[Path], target: Path, output: CommandOutput) -> None:
    # A plain function has done its work when it returns, and after all chunks is no time to refuse one.
    if getattr(stitcher, "streams", False):
        stdout, stderr = map(output.callback, STREAMS)
        streaming = cast(StreamingStitcher, stitcher)
        await await_if_needed(streaming.stitch(inputs, target, stream=output.mode, on_stdout=stdout, on_stderr=stderr))
        await output.finish(None)
    else:
        await await_if_needed(stitcher.stitch(inputs, target))


def _to_job(context: JobContext, text: str, output: CommandOutput) -> WorkerJob:
    options = context.options
    command, args = parse_command(text)
    return WorkerJob(
        command,
        args,
        env=context.env or None,
        cwd=context.job_dir,
        timeout=options.merge_timeout,
        stream=output.mode,
        capture=options.capture,
        on_stdout=output.callback("stdout"),
        on_stderr=output.callback("stderr"),
        meta=dict(options.meta),
    )


async def _run(context: JobContext, job: WorkerJob, adapter: WorkerAdapter, output: CommandOutput) -> WorkerResult:
    result = context.mask.result(await adapter.execute(job), context.options.capture)
    await output.finish(result)
    return result


def _choose_adapter(context: JobContext, make_local: Callable[[], WorkerAdapter]) -> WorkerAdapter:
    if context.options.merge_adapter is not None:
        return context.options.merge_adapter
    # The chunks' output files are here, not where the adapter runs its commands; and a merge is no chunk.
    can = context.capabilities
    return make_local() if can.remote or not can.runs_any_command else context.adapter
