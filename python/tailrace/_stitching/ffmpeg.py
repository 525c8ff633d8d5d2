"""Joins videos with ffmpeg, without encoding them anew."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.to_thread

from .._checks import check_method
from .._command.adapter import WorkerAdapter
from .._command.callbacks import await_if_needed
from .._command.ending import describe_error
from .._command.job import Callback, StreamMode
from .._command.pieces import OutputSplitter
from .._concurrency.cancellation import run_shielded
from .._errors import StitchError, WorkerError
from .._frames.ffmpeg_report import VideoReport, count_frames, read_report
from .._local.adapter import LocalWorkerAdapter
from .._spec.model import JobSpec
from .._state.folder import resolve_job_dir
from .check import check_files, knows_no_format, no_format, question_about
from .ffmpeg_command import FfmpegCommand
from .files import StitchFiles, check_audio
from .inspection import Inspected, inspect_inputs
from .sound import SoundInput
from .sound_preparation import prepare_sound, read_audio
from .timeline import Timeline, make_timeline

_log = logging.getLogger("tailrace")

_DEMUXERS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".webm": "matroska"}
"""What reads the formats in which ffmpeg 5 can be exact, by the ending of their names."""
_LONGEST_QUESTION = 10.0
"""How long ffmpeg may think about the output's ending, in seconds."""


class FfmpegStitcher:
    """Joins videos that were rendered with the same settings, frame for frame and without encoding them anew.

    The frames are copied by ffmpeg's concat demuxer, each to its exact time: frame n of all is shown at n / rate. Each
    input is read once before: what cannot be joined is told then, by name, and the frames of the joined video are
    counted against those of the inputs. Their sound is encoded anew, once, and cut to the picture.
    """

    streams = True

    def __init__(
        self,
        *,
        ffmpeg: str | os.PathLike[str] = "ffmpeg",
        adapter: WorkerAdapter | None = None,
        audio: Path | None = None,
    ) -> None:
        """Have `ffmpeg`, a name in the PATH or a path, run by `adapter`; None is a `LocalWorkerAdapter`.

        `audio` is a file whose first sound is laid under the joined picture, in place of the inputs' own. It begins
        with the picture, and what is longer than that is cut off. It is copied where the output's format holds its
        codec and it still begins at the first frame then, and encoded otherwise.
        """
        if adapter is not None:
            check_method("adapter", adapter, "execute")
        self._ffmpeg = FfmpegCommand(os.fspath(ffmpeg), LocalWorkerAdapter() if adapter is None else adapter)
        self._audio = None if audio is None else Path(audio)

    async def check(
        self, spec: JobSpec, output: str | os.PathLike[str], job_dir: str | os.PathLike[str] | None = None
    ) -> None:
        """Find what would keep the job's chunks from becoming `output`, before they are rendered.

        `job_dir` is the folder that the job will run in; None is that of its file, or the current one. Returns when
        nothing is found; whether the videos match can be seen only once they are there. Takes up to 10 seconds, for
        ffmpeg is asked about the format.

        Raises `StitchError`, one line with the remedy: for chunks that render pictures, for an output that is another
        file of the job, is no file, cannot be written or has an ending that ffmpeg knows no format by, for an `audio`
        without sound, and where ffmpeg is missing.
        """
        output = Path(output)
        await _without_blocking(partial(check_files, spec, resolve_job_dir(spec, job_dir), output))
        if self._audio is not None:
            await _without_blocking(partial(check_audio, self._audio, output))
        try:
            asked = await self._ffmpeg.run(question_about(output.suffix), level="error", limit=_LONGEST_QUESTION)
        except WorkerError:
            # It does not say; joining will.
            return
        if knows_no_format(asked.stderr):
            raise no_format(output)
        if self._audio is not None:
            await read_audio(self._ffmpeg, self._audio, os.fspath(self._audio.absolute()))

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

        The callbacks receive what ffmpeg writes while it joins: its progress, on standard error, and a warning if the
        inputs have a timecode and the format holds none; without `on_stderr` that is logged. `output` gets its name
        when it is whole: until then, and after any failure or cancellation, what had the name before is untouched, and
        nothing else is left but the output's folder, which is made if it is missing.

        Raises `StitchError` for inputs that are missing, broken, or not alike, for an `audio` without sound, and when
        joining fails; `result` is that of the ffmpeg that failed. What a callback raises comes out unchanged.
        """
        files = StitchFiles([Path(path) for path in inputs], Path(output), self._audio)
        try:
            await _without_blocking(files.prepare)
            found = await inspect_inputs(self._ffmpeg, files)
            seen = [(one.times, one.report.of_kind("video")[0].rates) for one in found]
            # Of hours of video it takes seconds.
            timeline = await anyio.to_thread.run_sync(make_timeline, seen)
            await _without_blocking(partial(files.write_list, _steps(found, timeline)))
            await _without_blocking(files.make_room)
            sound = await prepare_sound(self._ffmpeg, files, found, timeline)
            await self._join(files, found, timeline, sound, stream, on_stdout, on_stderr)
            lost = await self._lost_timecode(files, found[0].report)
            await _without_blocking(files.publish)
        finally:
            await run_shielded(files.remove)
        if lost is not None:
            await _warn(f"{files.output} holds no timecode: that of the chunks, {lost}, is lost", stream, on_stderr)

    async def _join(
        self,
        files: StitchFiles,
        found: Sequence[Inspected],
        timeline: Timeline,
        sound: SoundInput,
        stream: StreamMode,
        on_stdout: Callback | None,
        on_stderr: Callback | None,
    ) -> None:
        times = await self._times_filter(files, found[0].report, timeline)
        timecode = found[0].report.timecode
        arguments = [
            # What an audio encoder puts before its first sample (AAC: 21 ms) would shift everything.
            "-copyts",
            *("-itsoffset", f"{-float(found[0].offset):.6f}"),
            # It knows the first input, and would decode others as if they were of that one.
            *("-nofind_stream_info", "-f", "concat", "-i", os.fspath(files.list_file)),
            *sound.before,
            *("-map", "0:v", *sound.arguments_after(1), "-map", "0:s?", "-c:v", "copy", "-c:s", "copy"),
            *([] if times is None else ["-bsf:v:0", times]),
            # Matroska has it for the whole file, and the list brings only what is of a stream.
            *([] if timecode is None else ["-metadata", f"timecode={timecode}"]),
            *("-copyinkf", os.fspath(files.part)),
        ]
        result = await self._ffmpeg.run(arguments, stream=stream, on_stdout=on_stdout, on_stderr=on_stderr)
        fault = self._ffmpeg.fault_of(result)
        if fault is not None:
            raise StitchError(f"{files.output} cannot be written: {files.in_their_names(fault)}", result)
        written, expected = count_frames(result.stderr), sum(len(one.times.shown) for one in found)
        if written != expected:
            raise StitchError(f"{files.output} has {written} of {expected} frames", result)

    async def _times_filter(self, files: StitchFiles, first: VideoReport, timeline: Timeline) -> str | None:
        if await self._ffmpeg.converts_times():
            return timeline.bitstream_filter(in_frames=True)
        # Between formats, ffmpeg 5 takes the filter's times for ones in other ticks.
        format_ = _DEMUXERS.get(files.part.suffix.lower())
        return timeline.bitstream_filter(in_frames=False) if format_ in first.format.split(",") else None

    async def _lost_timecode(self, files: StitchFiles, first: VideoReport) -> str | None:
        """Return the inputs' timecode if the joined video has none."""
        if first.timecode is None:
            return None
        # Without an output it is an error, once all has been said.
        asked = await self._ffmpeg.run(["-i", os.fspath(files.part)], level="info")
        return first.timecode if read_report(asked.stderr).timecode is None else None


def _steps(found: Sequence[Inspected], timeline: Timeline) -> list[Fraction]:
    """Return how many seconds after each input's earliest time the next one's is to come, for its picture to be due."""
    begins = [start - one.offset for start, one in zip(timeline.starts, found, strict=False)]
    return [after - before for before, after in pairwise([*begins, timeline.length])]


async def _warn(text: str, stream: StreamMode, on_stderr: Callback | None) -> None:
    if on_stderr is None:
        _log.warning("%s", text)
        return
    splitter = OutputSplitter(stream)
    line = f"[warning] {text}\n".encode(errors="replace")
    for piece in (*splitter.feed(line), *splitter.finish()):
        await await_if_needed(on_stderr(piece))


async def _without_blocking(work: Callable[[], None]) -> None:
    try:
        await anyio.to_thread.run_sync(work)
    except OSError as error:
        raise StitchError(describe_error(error)) from error
