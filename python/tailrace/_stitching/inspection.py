"""Looking at the inputs of a join: each is read to its end."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from .._command.ending import describe_error
from .._errors import StitchError, WorkerError
from .._frames.ffmpeg_report import VideoReport, difference, read_report
from .at_a_time import for_each_input
from .ffmpeg_command import FfmpegCommand
from .files import StitchFiles
from .packet_times import PacketTimes, read_packet_times

_STREAMS = ("-map", "0:v", "-map", "0:a?", "-map", "0:s?", "-c", "copy", "-copyinkf")
"""Every stream but data, and frames before the first key frame too."""


class Inspected(NamedTuple):
    """What was found in one input."""

    report: VideoReport
    times: PacketTimes

    @property
    def first(self) -> Fraction:
        """When its first frame is shown, in seconds."""
        return self.times.first if self.times.are_known else self.report.start

    @property
    def offset(self) -> Fraction:
        """How long after the earliest time in the file that is."""
        return self.first - self.report.start


async def inspect_inputs(ffmpeg: FfmpegCommand, files: StitchFiles) -> Sequence[Inspected]:
    """Return what the inputs hold. Raises `StitchError` for the first that is damaged or not like the first one."""
    reference = await _inspect(ffmpeg, files, 0)
    found = {0: reference}

    async def work(number: int) -> None:
        found[number] = await _inspect(ffmpeg, files, number)
        _compare(found[number].report, reference.report, files, number)

    await for_each_input(range(1, len(files.inputs)), work)
    return [found[number] for number in range(len(files.inputs))]


async def _inspect(ffmpeg: FfmpegCommand, files: StitchFiles, number: int) -> Inspected:
    path = files.inputs[number]
    link = str(files.links[number])
    try:
        result = await ffmpeg.run(["-copyts", "-i", link, *_STREAMS, "-f", "framecrc", "-"], level="info")
    except WorkerError as error:
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
    fault = ffmpeg.fault_of(result)
    if fault is not None:
        what = "is damaged" if report.streams else "is not a video that ffmpeg can read"
        raise StitchError(f"{path} {what}: {files.in_their_names(fault)}", result)
    times = read_packet_times(result.stdout)
    if not times.shown:
        raise StitchError(f"{path} holds no frames", result)
    return Inspected(report, times)


def _compare(report: VideoReport, reference: VideoReport, files: StitchFiles, number: int) -> None:
    differing = difference(report, reference)
    if differing is not None:
        raise StitchError(
            f"{files.inputs[number]} cannot follow {files.inputs[0]}: {differing}: render all chunks with the same"
            " settings, or merge with a command that re-encodes"
        )
