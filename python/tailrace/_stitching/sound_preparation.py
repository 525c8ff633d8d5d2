"""Getting the sound of a joined video ready, before it is joined."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from .._command.ending import describe_error
from .._command.result import WorkerResult
from .._errors import StitchError, WorkerError
from .._frames.ffmpeg_report import Stream, VideoReport, read_report
from .at_a_time import for_each_input
from .ffmpeg_command import FfmpegCommand
from .files import StitchFiles
from .inspection import Inspected
from .sound import SoundInput, copied_sound, decoded_sound, decoding, encoded_sound, encoder_for, is_copied_exactly
from .timeline import Timeline

_A_MOMENT = ("-t", "0.1")


async def read_audio(ffmpeg: FfmpegCommand, audio: Path, readable: str) -> VideoReport:
    """Return what `audio` holds; `readable` is a name for it that ffmpeg takes as it is.

    Raises `StitchError` if that is no sound.
    """
    result = await _run(ffmpeg, ["-i", f"file:{readable}", "-map", "0:a:0?", *_A_MOMENT, "-f", "null", "-"], audio)
    report = read_report(result.stderr)
    if report.streams and not report.has("audio"):
        raise StitchError(f"{audio} holds no sound: name a file with sound", result)
    fault = ffmpeg.fault_of(result)
    if fault is not None:
        raise StitchError(f"{audio} is not sound that ffmpeg can read: {fault.replace(readable, str(audio))}", result)
    return report


async def prepare_sound(
    ffmpeg: FfmpegCommand, files: StitchFiles, found: Sequence[Inspected], timeline: Timeline
) -> SoundInput:
    """Return what ffmpeg is to be told of the sound: the file's that lies under the picture, or that of the inputs.

    That of the inputs is decoded first, into the sound folder. Raises `StitchError` where there is none, or it is
    broken, and `OSError`.
    """
    if files.audio is None and not found[0].report.has("audio"):
        return SoundInput()
    await anyio.to_thread.run_sync(files.make_sound_folder)
    if files.audio is not None:
        return await _prepare_audio(ffmpeg, files, files.audio, timeline)
    await for_each_input(range(len(found)), partial(_decode, ffmpeg, files, found, timeline))
    streams = found[0].report.of_kind("audio")
    lists = [await anyio.to_thread.run_sync(partial(files.list_sound, number)) for number in range(len(streams))]
    encoders = [
        await _usable_encoder(ffmpeg, files, files.sound_file(number, 0), stream)
        for number, stream in enumerate(streams)
    ]
    return decoded_sound(lists, streams, encoders)


async def _prepare_audio(ffmpeg: FfmpegCommand, files: StitchFiles, audio: Path, timeline: Timeline) -> SoundInput:
    link = files.audio_link
    report = await read_audio(ffmpeg, audio, os.fspath(link))
    stream = report.of_kind("audio")[0]
    if is_copied_exactly(stream, report, files.part.suffix) and await _can_be_written(ffmpeg, files, link, "copy"):
        return copied_sound(link, timeline.length)
    return encoded_sound(link, timeline.length, stream, await _usable_encoder(ffmpeg, files, link, stream))


async def _usable_encoder(ffmpeg: FfmpegCommand, files: StitchFiles, source: Path, stream: Stream) -> str | None:
    encoder = encoder_for(stream, files.part.suffix)
    return encoder if encoder is not None and await _can_be_written(ffmpeg, files, source, encoder) else None


async def _can_be_written(ffmpeg: FfmpegCommand, files: StitchFiles, source: Path, codec: str) -> bool:
    # Encoders, formats and what these hold differ between the builds of ffmpeg, so it is tried.
    trial = files.sound_folder / f"trial{files.part.suffix}"
    arguments = ["-i", os.fspath(source), "-map", "0:a:0", "-c:a", codec, *_A_MOMENT, "-y", os.fspath(trial)]
    return ffmpeg.fault_of(await _run(ffmpeg, arguments, files.output)) is None


async def _decode(
    ffmpeg: FfmpegCommand, files: StitchFiles, found: Sequence[Inspected], timeline: Timeline, number: int
) -> None:
    arguments = ["-copyts", "-i", os.fspath(files.links[number])]
    for place, stream in enumerate(found[number].report.of_kind("audio")):
        arguments += decoding(stream, place, found[number].first, timeline.starts, number)
        arguments.append(os.fspath(files.sound_file(place, number)))
    path = files.inputs[number]
    result = await _run(ffmpeg, arguments, path)
    fault = ffmpeg.fault_of(result)
    if fault is not None:
        raise StitchError(f"the sound of {path} cannot be decoded: {files.in_their_names(fault)}", result)


async def _run(ffmpeg: FfmpegCommand, arguments: Sequence[str], path: Path) -> WorkerResult:
    try:
        return await ffmpeg.run(arguments, level="info")
    except WorkerError as error:
        raise StitchError(f"the sound of {path} cannot be read: {describe_error(error)}", error.result) from error
