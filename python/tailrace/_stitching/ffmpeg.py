"""Joins videos with ffmpeg, without encoding them anew."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from .._checks import check_method
from .._command.adapter import WorkerAdapter
from .._command.ending import describe_error, describe_exit
from .._command.job import Callback, StreamMode, WorkerJob
from .._command.result import WorkerResult
from .._concurrency.cancellation import run_shielded
from .._errors import StitchError, WorkerError, WorkerSpawnError
from .._local.adapter import LocalWorkerAdapter
from .._spec.model import JobSpec
from .._state.folder import resolve_job_dir
from .check import check_files, knows_no_format, no_format, question_about
from .ffmpeg_report import VideoReport, count_frames, difference, first_error, read_report
from .files import StitchFiles

_AT_A_TIME = 4
"""How many inputs are read at a time; their number has no bound."""
_LONGEST_QUESTION = 10.0
"""How long ffmpeg may think about the output's ending, in seconds."""

_COPY = ("-map", "0:v", "-map", "0:a?", "-map", "0:s?", "-c", "copy", "-copyinkf")
"""Every stream but data (timecodes), and frames before the first key frame too."""


class FfmpegStitcher:
    """Joins videos that were rendered with the same settings, frame for frame and without encoding them anew.

    The frames are copied by ffmpeg's concat demuxer. Each input is read once before: what cannot be joined is told
    then, by name, and the frames of the joined video are counted against those of the inputs.
    """

    streams = True

    def __init__(self, *, ffmpeg: str | os.PathLike[str] = "ffmpeg", adapter: WorkerAdapter | None = None) -> None:
        """Have `ffmpeg`, a name in the PATH or a path, run by `adapter`; None is a `LocalWorkerAdapter`."""
        self._ffmpeg = os.fspath(ffmpeg)
        if adapter is not None:
            check_method("adapter", adapter, "execute")
        self._adapter = LocalWorkerAdapter() if adapter is None else adapter

    async def check(
        self, spec: JobSpec, output: str | os.PathLike[str], job_dir: str | os.PathLike[str] | None = None
    ) -> None:
        """Find what would keep the job's chunks from becoming `output`, before they are rendered.

        `job_dir` is the folder that the job will run in; None is that of its file, or the current one. Returns when
        nothing is found; whether the videos match can be seen only once they are there. Takes up to 10 seconds, for
        ffmpeg is asked about the format.

        Raises `StitchError`, one line with the remedy: for chunks that render pictures, for an output that is another
        file of the job, is no file, cannot be written or has an ending that ffmpeg knows no format by, and where ffmpeg
        is missing.
        """
        output = Path(output)
        await _without_blocking(partial(check_files, spec, resolve_job_dir(spec, job_dir), output))
        try:
            asked = await self._adapter.execute(
                WorkerJob(self._ffmpeg, question_about(output.suffix), timeout=_LONGEST_QUESTION)
            )
        except WorkerError as error:
            if _is_missing(error):
                raise self._missing() from error
            # It does not say; joining will.
            return
        if knows_no_format(asked.stderr):
            raise no_format(output)

    async def stitch(
        self,
        inputs: Sequence[Path],
        output: Path,
        *,
        stream: StreamMode = "text",
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> None:
        """Write `output` from `inputs`, in this order; its format is the one that its name's ending stands for.

        The callbacks receive what ffmpeg writes while it joins: its progress, on standard error. `output` gets its
        name when it is whole: until then, and after any failure or cancellation, what had the name before is
        untouched, and nothing else is left but the output's folder, which is made if it is missing.

        Raises `StitchError` for inputs that are missing, broken, or not alike, and when joining fails; `result` is
        that of the ffmpeg that failed. What a callback raises comes out unchanged.
        """
        files = StitchFiles([Path(path) for path in inputs], Path(output))
        try:
            await _without_blocking(files.prepare)
            expected = await self._inspect_all(files)
            await _without_blocking(files.make_room)
            await self._join(files, expected, stream, on_stdout, on_stderr)
            await _without_blocking(files.publish)
        finally:
            await run_shielded(files.remove)

    async def _inspect_all(self, files: StitchFiles) -> VideoReport:
        """Return what the joined video is to hold, once all inputs were read and found alike."""
        reference = await self._inspect(files, 0)
        total = reference.frames
        numbers = iter(range(1, len(files.inputs)))
        faults: dict[int, Exception] = {}

        async def work() -> None:
            nonlocal total
            for number in numbers:
                if faults:
                    return
                try:
                    report = await self._inspect(files, number)
                    _compare(report, reference, files.inputs[number], files.inputs[0])
                    total += report.frames
                except Exception as error:  # noqa: BLE001
                    # Raised below: from here it would come out in an ExceptionGroup.
                    faults[number] = error

        async with anyio.create_task_group() as workers:
            for _ in range(_AT_A_TIME):
                workers.start_soon(work)
        if faults:
            # The first input that is at fault: those before it were begun before it, and have been read to their end.
            raise faults[min(faults)]
        return reference._replace(frames=total)

    async def _inspect(self, files: StitchFiles, number: int) -> VideoReport:
        path = files.inputs[number]
        link = os.fspath(files.links[number])
        job = self._job("level+info", ["-i", link, *_COPY, "-f", "null", "-"])
        try:
            result = await self._adapter.execute(job)
        except WorkerError as error:
            if _is_missing(error):
                raise self._missing() from error
            raise StitchError(f"{path} cannot be looked at: {describe_error(error)}", error.result) from error
        report = read_report(result.stderr)
        if report.is_picture:
            raise StitchError(
                f"{path} is a picture, and pictures cannot be joined without encoding them: merge with a command such"
                " as `ffmpeg -framerate 30 -i frame_%04d.png out.mp4`",
                result,
            )
        if report.streams and not report.has("video"):
            raise StitchError(f"{path} holds no video", result)
        fault = self._fault_of(result, files)
        if fault is not None:
            what = "is damaged" if report.streams else "is not a video that ffmpeg can read"
            raise StitchError(f"{path} {what}: {fault}", result)
        if not report.frames:
            raise StitchError(f"{path} holds no frames", result)
        return report

    async def _join(
        self,
        files: StitchFiles,
        expected: VideoReport,
        stream: StreamMode,
        on_stdout: Callback | None,
        on_stderr: Callback | None,
    ) -> None:
        # What an audio encoder puts before its first sample (AAC: 21 ms) would shift everything; but with -copyts, the
        # time that ffmpeg shows while it works is not that of the video.
        options = ["-copyts"] if expected.has("audio") else []
        arguments = [*options, "-f", "concat", "-i", os.fspath(files.list_file), *_COPY, os.fspath(files.part)]
        job = self._job("level+warning", arguments, stream, on_stdout, on_stderr)
        result = await self._adapter.execute(job)
        fault = self._fault_of(result, files)
        if fault is not None:
            raise StitchError(f"{files.output} cannot be written: {fault}", result)
        written = count_frames(result.stderr)
        if written != expected.frames:
            raise StitchError(f"{files.output} has {written} of {expected.frames} frames", result)

    def _missing(self) -> StitchError:
        return StitchError(
            f"{self._ffmpeg} was not found: install ffmpeg, for example with `apt install ffmpeg`,"
            " or put it into the PATH"
        )

    def _fault_of(self, result: WorkerResult, files: StitchFiles) -> str | None:
        # ffmpeg exits with 0 though it could not read an input to its end, or could not open one but the first.
        error = first_error(result.stderr)
        if error is not None:
            return files.in_their_names(error)
        if result.exit_code == 0:
            return None
        return describe_exit(self._ffmpeg, result.exit_code, result.killed_for_memory)

    def _job(
        self,
        log_level: str,
        arguments: list[str],
        stream: StreamMode = "text",
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> WorkerJob:
        return WorkerJob(
            self._ffmpeg,
            ["-hide_banner", "-nostdin", "-v", log_level, "-stats", *arguments],
            env={"AV_LOG_FORCE_NOCOLOR": "1"},
            stream=stream,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )


def _is_missing(error: WorkerError) -> bool:
    return isinstance(error, WorkerSpawnError) and error.errno == errno.ENOENT


def _compare(report: VideoReport, reference: VideoReport, path: Path, first: Path) -> None:
    differing = difference(report, reference)
    if differing is not None:
        raise StitchError(
            f"{path} cannot follow {first}: {differing}: render all chunks with the same settings, or merge with a"
            " command that re-encodes"
        )


async def _without_blocking(work: Callable[[], None]) -> None:
    try:
        await anyio.to_thread.run_sync(work)
    except OSError as error:
        raise StitchError(describe_error(error)) from error
