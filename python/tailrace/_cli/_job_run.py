"""`tailrace job run`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import click

from tailrace import (
    Capture,
    ChunkFailedError,
    FfmpegStitcher,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    LocalWorkerAdapter,
    MergeFailedError,
    completed_chunk_ids,
)

from ._completion import complete_chunk_id, complete_file
from ._event_output import EventOutput
from ._file_size import parse_file_size
from ._interruption import Interruptible
from ._job_tally import JobTally
from ._live_output import LiveOutput
from ._output_failure import OutputClosedError, OutputFailedError, telling_reasons
from ._tell import tell

_FAILED = 1
_OUTPUT_CLOSED = 141
"""What a shell reports for a program that SIGPIPE ended."""
_KEPT_OUTPUT = Capture.tail(64 * 1024)
"""Everything is shown while it comes; what a farm writes in a night need not be in memory too."""

_PATIENCE = 2.0
"""How long whoever reads the output may pause once the job was interrupted, in seconds."""

_SECONDS = click.FloatRange(min=0, min_open=True)
_chunk_option = partial(click.option, metavar="ID", type=int, shell_complete=complete_chunk_id)


class _Request(NamedTuple):
    """What the command line asks for."""

    spec: str
    concurrency: int
    chunk: int | None
    no_merge: bool
    stitch: str | None
    retries: int
    retry_delay: float
    timeout: float | None
    idle_timeout: float | None
    keep_going: bool
    resume: bool
    verify_output: bool
    slot_env: dict[str, list[str]]
    quiet: bool
    watch: int | None
    events: str | None
    progress: str
    no_progress_timeout: float | None
    fail_on_error: bool
    resource_delay: float
    log_dir: str | None
    log_limit: int | None
    log_compress: bool
    mask_env: tuple[str, ...]


def _parse_slot_env(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    slot_env = {}
    for value in values:
        name, equals, list_ = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not of the form NAME=A,B")
        slot_env[name] = list_.split(",")
    return slot_env


@click.command()
@click.argument("spec", shell_complete=complete_file)
@click.option("--concurrency", metavar="N", type=click.IntRange(min=1), default=1, help="Chunks at a time; default 1.")
@_chunk_option("--chunk", help="Run this chunk alone; nothing is merged.")
@click.option("--no-merge", is_flag=True, help="Do not put the chunks together at the end.")
@click.option(
    "--stitch",
    metavar="OUT.mp4",
    type=click.Path(),
    help="Join the chunks' videos into this file with ffmpeg, in place of the merge command; nothing is encoded anew.",
)
@click.option("--retries", metavar="N", type=click.IntRange(min=0), default=0, help="Further attempts for each chunk.")
@click.option(
    "--retry-delay",
    metavar="S",
    type=click.FloatRange(min=0),
    default=1.0,
    help="Seconds before the first of them; at least doubled each time. Default 1.",
)
@click.option("--timeout", metavar="S", type=_SECONDS, help="The longest an attempt may take, in seconds.")
@click.option("--idle-timeout", metavar="S", type=_SECONDS, help="The longest it may go without writing a byte.")
@click.option("--no-progress-timeout", metavar="S", type=_SECONDS, help="The longest it may go without any progress.")
@click.option("--progress", metavar="NAME", default="auto", help="The renderer whose output it is; default: found out.")
@click.option(
    "--fail-on-error", is_flag=True, help="A fatal error in the output is a failure though the exit status is 0."
)
@click.option(
    "--resource-delay",
    metavar="S",
    type=click.FloatRange(min=0),
    default=30.0,
    help="The least wait before a further attempt when there was no licence or too little memory. Default 30.",
)
@click.option("--keep-going", is_flag=True, help="Run the other chunks when one has failed.")
@click.option("--resume", is_flag=True, help="Skip the chunks that are recorded as done and whose output is unchanged.")
@click.option("--verify-output", is_flag=True, help="A missing or empty output file is a failure.")
@click.option(
    "--slot-env",
    metavar="NAME=A,B",
    multiple=True,
    callback=_parse_slot_env,
    help="A variable with one value for each chunk that may run at a time, such as CUDA_VISIBLE_DEVICES=0,1.",
)
@click.option("--log-dir", metavar="DIR", type=click.Path(file_okay=False), help="Write log files to this folder.")
@click.option(
    "--log-limit", metavar="SIZE", callback=parse_file_size, help="Keep the beginning and the end of larger logs: 64M."
)
@click.option("--log-compress", is_flag=True, help="Compress the logs (gzip) when their command has ended.")
@click.option(
    "--mask-env", metavar="NAME", multiple=True, help="A variable whose value is shown nowhere, such as TOKEN."
)
@click.option("--quiet", "-q", is_flag=True, help="Show no output of the chunks, and only what goes wrong.")
@_chunk_option("--watch", help="Show the output of this chunk alone, as it is.")
@click.option(
    "--events",
    type=click.Choice(["ndjson"]),
    help="Write all that happens, output too, to standard output, one JSON object a line.",
)
@click.option("--adapter", type=click.Choice(["local"]), default="local", help="Where the chunks run; default local.")
def run(adapter: str, **options: object) -> None:
    """Run the job that SPEC describes, a file or an http(s) URL.

    The chunks' output goes to standard output and standard error while they run, prefixed by chunk when several run
    at a time; what tailrace has to say goes to standard error. With --events, standard output has the events instead.

    Exit status: 0 done; 1 a chunk or the merge failed; 2 bad usage or a bad specification; 130, 143 or 129 after
    Ctrl-C, SIGTERM or SIGHUP; 141 when nobody reads the output any more.
    """
    del adapter  # There is only one yet, and click has checked the name.
    request = _Request(**options)  # type: ignore[arg-type]
    sys.exit(_run(request))


def _run(request: _Request) -> int:
    spec = JobSpec.load(request.spec)
    # A specification that is not a file has no folder of its own; without one nothing would be recorded.
    job_dir = None if spec.path is not None else Path.cwd()
    ids = frozenset(chunk.id for chunk in spec.chunks)
    for named in (request.chunk, request.watch):
        if named is not None and named not in ids:
            raise click.UsageError(f"{request.spec} has no chunk {named}: its ids are {_enumerate(ids)}")
    if request.stitch is not None:
        _check_stitch(request)
    unasked = frozenset() if request.chunk is None else ids - {request.chunk}
    skipped = unasked | (completed_chunk_ids(spec, job_dir) if request.resume else frozenset())
    tally = JobTally(unasked)
    output = _choose_output(request, tally, at_once=min(request.concurrency, len(spec.chunks) - len(skipped)))

    async def show(event: JobEvent) -> None:
        tally.count(event)
        with telling_reasons():
            await output.show(event)

    try:
        options = JobExecutionOptions(
            concurrency=request.concurrency,
            job_dir=job_dir,
            merge=not request.no_merge and request.chunk is None,
            retries=request.retries,
            retry_delay=request.retry_delay,
            timeout=request.timeout,
            idle_timeout=request.idle_timeout,
            no_progress_timeout=request.no_progress_timeout,
            fail_on_error=request.fail_on_error,
            resource_delay=request.resource_delay,
            progress=request.progress,
            log_dir=request.log_dir,
            log_limit=request.log_limit,
            log_compress=request.log_compress,
            mask_env=request.mask_env,
            fail_fast=not request.keep_going,
            verify_output=request.verify_output,
            stitcher=None if request.stitch is None else FfmpegStitcher(),
            # Relative to where the user is, like every file on a command line, not to the job's folder.
            output_file=None if request.stitch is None else Path(request.stitch).absolute(),
            on_event=show,
            stream="bytes",
            capture=_KEPT_OUTPUT,
            completed_chunk_ids=skipped,
            slot_env=request.slot_env,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return _execute(spec, options, output, tally)


def _check_stitch(request: _Request) -> None:
    if request.no_merge or request.chunk is not None:
        raise click.UsageError("--stitch joins all chunks at the end: use it without --no-merge and --chunk")
    # Said before the chunks are rendered, not after.
    if shutil.which("ffmpeg") is None:
        raise click.UsageError("--stitch needs ffmpeg in the PATH: install it, for example with `apt install ffmpeg`")


def _choose_output(request: _Request, tally: JobTally, *, at_once: int) -> LiveOutput | EventOutput:
    if request.events is None:
        return LiveOutput(tally, prefixed=at_once > 1, watched=request.watch, quiet=request.quiet)
    if request.quiet or request.watch is not None:
        raise click.UsageError("--events writes everything that happens: use it without --quiet and --watch")
    return EventOutput()


def _enumerate(ids: frozenset[int]) -> str:
    """Return the numbers, runs of them in short."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _execute(spec: JobSpec, options: JobExecutionOptions, output: LiveOutput | EventOutput, tally: JobTally) -> int:
    started = time.monotonic()
    interruptible = Interruptible()

    async def execute() -> None:
        try:
            await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
        finally:
            interrupted = interruptible.signal is not None
            with anyio.move_on_after(_PATIENCE if interrupted else None, shield=interrupted), telling_reasons():
                await output.close()

    try:
        anyio.run(partial(interruptible.run, execute))
        status = 0
    except ChunkFailedError:
        # Each failure has been told when it came.
        status = _FAILED
    except (MergeFailedError, OutputFailedError) as error:
        tell(str(error))
        status = _FAILED
    except OutputClosedError:
        # At once: a thread may still be waiting to write.
        os._exit(_OUTPUT_CLOSED)
    interrupted = interruptible.signal is not None
    if interruptible.signal is not None:
        status = 128 + interruptible.signal
    patience = _PATIENCE if interrupted else None
    tell(tally.summary(spec.id, time.monotonic() - started, interrupted=interrupted), patience=patience)
    if status != 0:
        tell(f"to run what is missing: {_rerun_command(sys.argv[1:])}", patience=patience)
    if interrupted:
        # At once: a thread may still be waiting to write.
        os._exit(status)
    return status


def _rerun_command(words: list[str]) -> str:
    if "--resume" not in words:
        place = words.index("run") + 1
        words = [*words[:place], "--resume", *words[place:]]
    return shlex.join(["tailrace", *words])
