"""Puts the chunks of a job together."""

from __future__ import annotations

from pathlib import Path

from ._command_output import CommandOutput
from ._describe_failure import describe_error, describe_exit
from ._errors import MergeFailedError
from ._events import MergeFinished, MergeStarted
from ._execution_options import JobExecutionOptions
from ._job_logs import JobLogs
from ._job_reporter import JobReporter
from ._local_adapter import LocalWorkerAdapter
from ._output_files import output_paths
from ._parse_command import parse_command
from ._secret_mask import SecretMask
from ._spec import JobSpec
from ._stitcher import Stitcher
from ._worker_adapter import WorkerAdapter
from ._worker_job import STREAMS, WorkerJob
from ._worker_result import WorkerResult


async def merge(
    spec: JobSpec,
    options: JobExecutionOptions,
    adapter: WorkerAdapter,
    job_dir: Path,
    *,
    reporter: JobReporter,
    mask: SecretMask,
    logs: JobLogs | None,
) -> WorkerResult | None:
    """Have the stitcher or the merge command put the chunks together; return the command's result.

    Does nothing if there is neither or `options.merge` is False. Raises `MergeFailedError` if it fails.
    """
    if not options.merge or (options.stitcher is None and spec.merge_command is None):
        return None
    await reporter.emit(MergeStarted)
    result: WorkerResult | None = None
    output = CommandOutput(
        {stream: reporter.merge_output(stream) for stream in STREAMS},
        options.stream,
        mask=mask,
        logs=None if logs is None else logs.of_merge(),
        watch=None,
        on_log_failure=reporter.log_failed,
    )
    try:
        if options.stitcher is not None and options.output_file is not None:
            await _stitch(options.stitcher, spec, job_dir, job_dir / options.output_file)
        elif spec.merge_command is not None:
            adapter = _choose_adapter(options, adapter)
            result = await _run_command(spec.merge_command, options, adapter, job_dir, reporter, output, mask)
    finally:
        await output.close()
    await reporter.emit(MergeFinished, result=result)
    return result


async def _stitch(stitcher: Stitcher, spec: JobSpec, job_dir: Path, output: Path) -> None:
    in_order = sorted(spec.chunks, key=lambda chunk: chunk.start_frame)
    inputs = [path for chunk in in_order for path in output_paths(chunk, job_dir)]
    try:
        await stitcher.stitch(inputs, output)
    except Exception as error:
        raise MergeFailedError(f"the merge failed: {describe_error(error)}") from error


async def _run_command(
    text: str,
    options: JobExecutionOptions,
    adapter: WorkerAdapter,
    job_dir: Path,
    reporter: JobReporter,
    output: CommandOutput,
    mask: SecretMask,
) -> WorkerResult:
    command, args = parse_command(text)
    job = WorkerJob(
        command,
        args,
        cwd=job_dir,
        stream=output.mode,
        capture=options.capture,
        on_stdout=output.callback("stdout"),
        on_stderr=output.callback("stderr"),
        meta=dict(options.meta),
    )
    try:
        result = await adapter.execute(job)
        await output.finish(None if adapter.streams else result)
    except Exception as error:
        if reporter.error is None:
            await output.finish(None)
            kept = getattr(error, "result", None)
            raise MergeFailedError(
                mask.text(f"the merge failed: {describe_error(error)}"), None if kept is None else mask.result(kept)
            ) from error
        raise
    if reporter.error is not None:
        raise reporter.error
    result = mask.result(result)
    if result.exit_code != 0:
        raise MergeFailedError(f"the merge failed: {describe_exit(command, result.exit_code)}", result)
    return result


def _choose_adapter(options: JobExecutionOptions, adapter: WorkerAdapter) -> WorkerAdapter:
    if options.merge_adapter is not None:
        return options.merge_adapter
    # The chunks' output files are here, not where the adapter runs its commands.
    return LocalWorkerAdapter() if getattr(adapter, "remote", False) else adapter
