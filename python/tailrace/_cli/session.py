"""Runs the job that a command line asks for."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import click

from tailrace import (
    Capabilities,
    Capture,
    ChunkFailed,
    ChunkFailedError,
    FfmpegStitcher,
    FrameLevel,
    FrameRange,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    JobState,
    LateOutput,
    MergeFailedError,
    StitchError,
    TailraceError,
    check_machine,
    describe_error,
    lint_job,
    open_adapters,
    shown_source,
)

from .adapter_options import AdapterRequest, make_adapter
from .display.base import Display
from .display.events import EventOutput
from .display.lines import LiveOutput
from .display.report import error_report, failure_report, summary_line, summary_table
from .display.screen import TerminalOutput, is_one_terminal
from .display.style import is_drawable, style_of
from .interruption import Interruptible
from .phrases import counted, enumerated
from .rerun_command import rerun_command, single_chunk_command, without_secrets
from .selection import SelectionRequest, select
from .writing import OutputClosedError, OutputFailedError, print_message, print_sections, telling_reasons

if TYPE_CHECKING:
    from .report_file import ReportFile


class JobRequest(NamedTuple):
    """The argument and the options of `tailrace job run`."""

    spec: str
    concurrency: int
    capacity: Mapping[str, float] | None
    enforce_memory: bool
    chunk: tuple[int, ...]
    no_merge: bool
    stitch: str | None
    audio: str | None
    merge_timeout: float | None
    retries: int
    retry_delay: float
    timeout: float | None
    idle_timeout: float | None
    cpu_idle_timeout: float | None
    finish_timeout: float | None
    no_progress_timeout: float | None
    progress: str
    stop_on_error: bool
    fail_on_error: bool
    error_pattern: tuple[tuple[str, str], ...]
    resource_delay: float
    keep_going: bool
    fail_after: int | None
    frames: FrameRange | None
    again: FrameRange | None
    missing: bool
    resume: bool
    dry_run: bool
    state_dir: str | None
    no_record: bool
    no_machine_check: bool
    verify_output: bool
    check_frames: FrameLevel | None
    slot_env: dict[str, list[str]]
    log_dir: str | None
    log_limit: int | None
    log_compress: bool
    report: str | None
    mask_env: tuple[str, ...]
    quiet: bool
    watch: int | None
    events: str | None
    no_color: bool
    adapter: AdapterRequest

    @property
    def merges(self) -> bool:
        """Whether the chunks are put together: not where only some of them are asked for."""
        return not (self.no_merge or self.chunk or self.frames is not None)


_FAILED = 1
_OUTPUT_CLOSED = 141
"""What a shell reports for a program that SIGPIPE ended."""
_KEPT_OUTPUT = Capture.tail(64 * 1024)
"""Everything is shown while it comes; what a farm writes in a night need not be in memory too."""

_MOST_FAULTS = 10
"""How many things are named that this machine lacks."""
_PATIENCE = 2.0
"""How long whoever reads the output may pause once the job was interrupted, in seconds."""

_STDERR = 2


def execute(request: JobRequest) -> int:
    """Run the job and show it; return the exit status. Raises `click.UsageError` or `TailraceError`."""
    execution = _Execution(request)
    return execution.list_chunks() if request.dry_run else execution.run()


class _Execution:
    def __init__(self, request: JobRequest) -> None:
        self._request = request
        self._spec = JobSpec.load(request.spec)
        # A specification that is not a file has no folder of its own; without one nothing would be recorded.
        self._job_dir = Path.cwd() if self._spec.path is None else self._spec.path.parent
        ids = frozenset(chunk.id for chunk in self._spec.chunks)
        for named in (*request.chunk, *(() if request.watch is None else (request.watch,))):
            if named not in ids:
                raise click.UsageError(
                    f"{shown_source(request.spec)} has no chunk {named}: its ids are {enumerated(ids)}"
                )
        if request.log_dir is None and (request.log_limit is not None or request.log_compress):
            raise click.UsageError("--log-limit and --log-compress are for the logs in --log-dir: name that too")
        if request.quiet and request.watch is not None:
            raise click.UsageError("--watch shows output, --quiet shows none: use one of them")
        if request.no_record and request.state_dir is not None:
            raise click.UsageError("--state-dir says where the record is, --no-record keeps none: use one of them")
        if request.dry_run and request.events is not None:
            raise click.UsageError("--events writes what happens, and with --dry-run nothing does: use one of them")
        if request.dry_run and request.report is not None:
            raise click.UsageError("--report tells what happened, and with --dry-run nothing does: use one of them")
        self._report_file = _report_file(request)
        if request.audio is not None and request.stitch is None:
            raise click.UsageError("--audio is the sound of the video that --stitch joins: name that too")
        self._stitcher = None if request.stitch is None else FfmpegStitcher(audio=_absolute(request.audio))
        if self._stitcher is not None and request.stitch is not None:
            if not request.merges:
                raise click.UsageError(
                    "--stitch joins all chunks at the end: use it without --no-merge, --chunk and --frames"
                )
            try:
                anyio.run(self._stitcher.check, self._spec, request.stitch, self._job_dir)
            except StitchError as error:
                raise click.UsageError(f"--stitch: {error}") from error
        if request.merge_timeout is not None and not request.merges:
            raise click.UsageError("--merge-timeout is for the merge: use it without --no-merge, --chunk and --frames")
        adapter = make_adapter(request.adapter, self._spec.path, request.spec, self._job_dir, masked=request.mask_env)
        self._capabilities = Capabilities.of(adapter)
        self._check_capabilities()
        is_live = self._capabilities.streams and not self._capabilities.remote
        # A worker that was asked to stream may not be able to.
        self._adapter = adapter if is_live else LateOutput(adapter)
        self._selection = select(
            SelectionRequest(request.chunk, request.frames, request.again, request.missing, request.resume),
            self._spec,
            request.spec,
            self._job_dir,
            state_dir=request.state_dir,
            capabilities=self._capabilities,
            check_frames=request.check_frames,
        )
        self._skipped = self._selection.done
        self._state = JobState(self._selection.chunks(self._spec), frames_before=self._selection.kept)
        self._asked = self._state.chunks.keys()
        self._failures: dict[int, ChunkFailedError] = {}
        self._style = style_of(_STDERR, no_colour=request.no_color)
        self._display = self._choose_display()

    def _check_capabilities(self) -> None:
        request = self._request
        name = request.adapter.plugin.name
        if request.slot_env and not self._capabilities.honours_slots:
            # A worker gives slots of its own.
            raise click.UsageError(f"--slot-env goes with --adapter local, not {name}")
        if (request.verify_output or request.check_frames) and not self._capabilities.shares_files:
            option = "--check-frames" if request.check_frames else "--verify-output"
            ways = ": give --shares-files if the worker writes into the job's folder"
            raise click.UsageError(
                f"{option} looks at the output files here, where those of --adapter {name} are not seen"
                f"{ways if 'shares_files' in request.adapter.values else ''}"
            )

    def list_chunks(self) -> int:
        """Write what `run` would do with each chunk, unless it would refuse the job or its options."""
        self._options()
        for chunk_id in self._asked:
            reason = self._selection.reasons.get(chunk_id)
            frames = self._selection.chunk_frames.get(chunk_id)
            part = "" if frames is None else f", frame{'s' * (len(frames) > 1)} {frames} alone"
            to_run = f"to be run{part}" if reason is None else f"to be run{part}: {reason}"
            click.echo(f"chunk {chunk_id}: {'done' if chunk_id in self._skipped else to_run}")
        for note in self._selection.notes:
            print_message(f"note: {note}")
        done = len(self._asked & self._skipped)
        print_message(f"job {self._spec.id}: {counted(done, 'chunk')} done, {len(self._asked) - done} to be run")
        return 0

    def _uncounted(self) -> Iterator[str]:
        """Yield a note of needs that nobody counts, and of what is counted and nobody needs, as a misspelled name."""
        needed = sorted({name for chunk in self._spec.chunks for name, amount in chunk.needs.items() if amount})
        capacity = self._request.capacity
        if capacity is None:
            # An engine counts them itself.
            if needed and self._request.adapter.plugin.name == "local":
                yield f"the chunks need {', '.join(needed)}, and nothing is counted: --capacity says what there is"
            return
        unneeded = [name for name in capacity if name not in (*needed, "memory")]
        if unneeded:
            yield f"no chunk needs {', '.join(unneeded)} of the capacity"

    def _check_machine(self) -> None:
        """Warn of what this machine lacks; raises `click.UsageError` if not one chunk can succeed."""
        # The others are not run here, and their files may be elsewhere.
        is_here = not (self._capabilities.remote or self._capabilities.own_programs)
        ids = self._asked - self._skipped if is_here else frozenset()
        merge = self._merges_by_command() and not self._capabilities.own_programs
        faults = anyio.run(partial(check_machine, self._spec, self._job_dir, chunk_ids=ids, merge=merge))
        lines = [str(fault) for fault in faults]
        if len(lines) > _MOST_FAULTS:
            rest = f"{len(lines) - _MOST_FAULTS} more: tailrace job validate --machine lists all"
            lines = [*lines[:_MOST_FAULTS], rest]
        lacking = frozenset(chunk_id for fault in faults for chunk_id in fault.chunk_ids)
        is_hopeless = bool(ids) and lacking >= ids
        for line in lines:
            print_message(line if is_hopeless else f"warning: {line}")
        if is_hopeless:
            raise click.UsageError("no chunk can succeed, and none was started; --no-machine-check starts them anyway")

    def _merges_by_command(self) -> bool:
        return self._request.merges and self._request.stitch is None

    def run(self) -> int:
        options = self._options()
        if not self._request.no_machine_check:
            self._check_machine()
        if not self._request.quiet and self._request.events is None:
            for fault in self._request.adapter.faults:
                print_message(f"note: {fault}")
            for note in (*lint_job(self._spec), *self._uncounted()):
                print_message(f"note: {note}")
        for note in self._selection.notes:
            print_message(f"note: {note}")
        _keep_freed_memory()
        started = time.monotonic()
        interruptible = Interruptible(self._display.announce, lambda: self._conclude(started, patience=0))

        async def run() -> None:
            try:
                await self._display.run(lambda: self._run_job(options))
            finally:
                interrupted = interruptible.signal is not None
                with anyio.move_on_after(_PATIENCE if interrupted else None, shield=interrupted), telling_reasons():
                    await self._display.close()

        try:
            anyio.run(partial(interruptible.run, run))
            status = 0
        except ChunkFailedError:
            # Each failure has been told when it came.
            status = _FAILED
        except (MergeFailedError, OutputFailedError) as error:
            print_message(str(error))
            status = _FAILED
        except OutputClosedError:
            # At once: a thread may still be waiting to write.
            os._exit(_OUTPUT_CLOSED)
        interrupted = interruptible.signal is not None
        if interruptible.signal is not None:
            status = 128 + interruptible.signal
        patience = _PATIENCE if interrupted else None
        self._state.end(time.monotonic())
        print_sections(self._report(), bare=is_drawable(_STDERR), patience=patience)
        self._tell_summary(started, interrupted=interrupted, patience=patience)
        if status != 0:
            self._tell_what_is_missing(patience)
        # Pictures take their time.
        if self._report_file is not None and not self._report_file.write(sheet=not interrupted, patience=patience):
            status = status or _FAILED
        if interrupted:
            # At once: a thread may still be waiting to write.
            os._exit(status)
        return status

    def _conclude(self, started: float, *, patience: float) -> None:
        """Tell the most important when there is no time left for the rest."""
        self._state.end(time.monotonic())
        self._tell_summary(started, interrupted=True, patience=patience)
        self._tell_what_is_missing(patience)

    def _tell_summary(self, started: float, *, interrupted: bool, patience: float | None) -> None:
        summary = summary_line(self._state, time.monotonic() - started, interrupted=interrupted)
        print_message(f"job {self._spec.id}: {summary}", patience=patience)

    def _tell_what_is_missing(self, patience: float | None) -> None:
        if self._request.no_record:
            completed = {chunk.chunk_id for chunk in self._state.chunks.values() if chunk.status == "completed"}
            missing = self._asked - self._skipped - completed
            named = f"chunks {enumerated(missing)} are" if len(missing) > 1 else f"chunk {enumerated(missing)} is"
            told = f"{named} missing; " if missing else ""
            print_message(f"{told}nothing was recorded (--no-record), so another run starts anew", patience=patience)
        else:
            words = self._words()
            print_message(f"to run what is missing: {rerun_command(words)}", patience=patience)
            if words != sys.argv[1:]:
                print_message("fill in the secrets there, which are shown as …", patience=patience)

    async def _run_job(self, options: JobExecutionOptions) -> None:
        failure: BaseException | None = None
        what = "used"
        try:
            async with open_adapters([self._adapter]):
                what = "closed"
                try:
                    await JobExecutor(self._adapter).execute(self._spec, options)
                except BaseException as error:
                    failure = error
                    raise
        except Exception as error:
            if error is failure:
                raise
            raise TailraceError(f"the adapter cannot be {what}: {describe_error(error)}") from error

    def _take(self, event: JobEvent) -> Awaitable[None] | None:
        if self._display.shows(event):
            return self._show(event)
        self._count(event)
        return None

    async def _show(self, event: JobEvent) -> None:
        # When it is its turn, since the numbers are shown too.
        self._count(event)
        with telling_reasons():
            await self._display.show(event)

    def _count(self, event: JobEvent) -> None:
        self._state.apply(event)
        if self._report_file is not None:
            self._report_file.take(event)
        if isinstance(event, ChunkFailed):
            # The state keeps no output, and the end of this is told when all is over.
            self._failures[event.chunk_id] = event.error

    def _options(self) -> JobExecutionOptions:
        request = self._request
        try:
            options = JobExecutionOptions(
                concurrency=request.concurrency,
                capacity=request.capacity,
                enforce_memory=request.enforce_memory,
                job_dir=self._job_dir,
                record=not request.no_record,
                state_dir=request.state_dir,
                merge=request.merges,
                merge_timeout=request.merge_timeout,
                retries=request.retries,
                retry_delay=request.retry_delay,
                timeout=request.timeout,
                idle_timeout=request.idle_timeout,
                cpu_idle_timeout=request.cpu_idle_timeout,
                no_progress_timeout=request.no_progress_timeout if self._capabilities.streams else None,
                progress=request.progress,
                finish_timeout=request.finish_timeout,
                stop_on_error=request.stop_on_error,
                fail_on_error=request.fail_on_error,
                error_patterns=request.error_pattern,
                resource_delay=request.resource_delay,
                log_dir=request.log_dir,
                log_limit=request.log_limit,
                log_compress=request.log_compress,
                mask_env=request.mask_env,
                fail_fast=False if request.keep_going else None,
                fail_after=request.fail_after,
                verify_output=request.verify_output,
                check_frames=request.check_frames,
                chunk_frames=self._selection.chunk_frames,
                stitcher=self._stitcher,
                output_file=_absolute(request.stitch),
                on_event=self._take,
                stream="bytes",
                capture=_KEPT_OUTPUT,
                completed_chunk_ids=self._skipped,
                slot_env=request.slot_env,
            )
            JobExecutor(self._adapter).check(self._spec, options)
        except ValueError as error:
            raise click.UsageError(_in_option_names(str(error))) from error
        return options

    def _choose_display(self) -> Display:
        request = self._request
        if request.events is not None:
            if request.quiet or request.watch is not None:
                raise click.UsageError("--events writes everything that happens: use it without --quiet and --watch")
            is_free = is_drawable(_STDERR) and not is_one_terminal()
            return EventOutput(self._state, self._screen(prefixed=False, quiet=True) if is_free else None)
        at_once = min(request.concurrency, len(self._spec.chunks) - len(self._skipped))
        if is_drawable(_STDERR):
            return self._screen(prefixed=at_once > 1, quiet=request.quiet)
        return LiveOutput(self._state, prefixed=at_once > 1, watched=request.watch, quiet=request.quiet)

    def _screen(self, *, prefixed: bool, quiet: bool) -> Display:
        return TerminalOutput(self._state, self._style, prefixed=prefixed, watched=self._request.watch, quiet=quiet)

    def _words(self) -> list[str]:
        """Return this command line as it may be shown."""
        return without_secrets(sys.argv[1:], self._request.mask_env, self._request.slot_env)

    def _report(self) -> Iterator[Iterable[str]]:
        """Yield what is told at the end, but for the summary in one line."""
        request = self._request
        started = [chunk for chunk in self._state.chunks.values() if chunk.attempts]
        if not request.quiet and request.events is None and len(self._asked) > 1 and started:
            not_run = len(self._asked - self._skipped) - len(started)
            yield summary_table(started, self._style, not_run=not_run)
        # What was asked for alone has its command on the screen already.
        command_for = partial(single_chunk_command, self._words()) if len(request.chunk) != 1 else None
        log_dir = None if request.log_dir is None else Path(request.log_dir)
        yield from failure_report(started, self._failures, command_for, log_dir)
        if errors := error_report(started):
            yield errors


def _report_file(request: JobRequest) -> ReportFile | None:
    if request.report is None:
        return None
    # Others do without, and start sooner.
    from .report_file import ReportFile

    return ReportFile(request.report, request.log_dir)


def _absolute(name: str | None) -> Path | None:
    # Relative to where the user is, like every file on a command line, not to the job's folder.
    return None if name is None else Path(name).absolute()


def _keep_freed_memory() -> None:
    """Have glibc keep twice this much of what is freed: memory that is new takes longer than all else done with output.

    Its thresholds follow the largest block that was freed, up to 32 MiB: see M_MMAP_THRESHOLD in mallopt(3).
    """
    bytes(8 << 20)


def _in_option_names(text: str) -> str:
    """Return what is said of an option in the words of the command line: --slot-env GPU for slot_env['GPU']."""
    names = "|".join(name for name in JobRequest._fields if "_" in name)
    text = re.sub(rf"\b({names})(?:\['(.*?)'\])?", lambda match: " ".join(filter(None, match.groups())), text)
    return re.sub(rf"\b({names})\b", lambda match: f"--{match[1].replace('_', '-')}", text).replace(
        "(concurrency)", "(--concurrency)"
    )
