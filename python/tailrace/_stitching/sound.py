"""The sound of a joined video: what ffmpeg is told for it, so that it begins and ends with the picture.

Encoders put something before the first sample (AAC: 1024 samples), which would come between the inputs if their sound
was copied. So each input's is decoded and cut to its picture, and the whole encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from .._frames.ffmpeg_report import Stream, VideoReport

_ENCODERS = {
    "aac": "aac",
    "ac3": "ac3",
    "eac3": "eac3",
    "mp3": "libmp3lame",
    "opus": "libopus",
    "vorbis": "libvorbis",
}
_LOSSLESS = ("alac", "flac")
"""Codecs besides PCM. They are encoded anew rather than copied: nothing is lost, and they can be cut at any sample."""
_LEAST_BIT_RATE = 128_000
"""In bits a second: silence may have had next to none."""

_SAMPLES = {"u8": "pcm_s16le", "s16": "pcm_s16le", "s32": "pcm_s32le", "dbl": "pcm_f64le"}
"""What holds decoded samples without loss; all others are floats."""

_WITHOUT_DELAY = ("ac3", "eac3")
"""Codecs with a loss whose first packet begins with the first sample."""
_EDIT_LISTS = (".m4v", ".mov", ".mp4")
"""Formats that say from where on sound is played."""


class SoundInput(NamedTuple):
    """What ffmpeg is told of the sound: `before` among its inputs, `coding` for the output."""

    before: Sequence[str] = ()
    streams: int = 0
    coding: Sequence[str] = ()

    def arguments_after(self, inputs: int) -> list[str]:
        """Return what chooses and codes the streams, which come after that many other inputs."""
        chosen = [word for number in range(self.streams) for word in ("-map", f"{inputs + number}:a:0")]
        return [*chosen, *self.coding]


def decoding(stream: Stream, number: int, first: Fraction, starts: Sequence[Fraction], place: int) -> list[str]:
    """Return the arguments that decode the sound `number` of the input at `place` to exactly its picture's length.

    `first` is when its first frame is shown, in seconds; `starts` are those of a `Timeline`.
    """
    rate = _sample_rate(stream)
    # Rounded from the beginning on, or it would add up.
    samples = round(starts[place + 1] * rate) - round(starts[place] * rate)
    filters = (
        f"asetpts=PTS-{float(first):.6f}/TB",
        "aresample=async=1:first_pts=0",
        f"apad=whole_len={samples}",
        f"atrim=end_sample={samples}",
    )
    kind = stream.properties.get("sample format", "").split(" ")[0].removesuffix("p")
    samples_as = _SAMPLES.get(kind, "pcm_f32le")
    # Of more than 4 GiB it takes another form.
    return ["-map", f"0:a:{number}", "-af", ",".join(filters), "-c:a", samples_as, "-rf64", "auto"]


def encoder_for(stream: Stream, output: str) -> str | None:
    """Return the encoder for the codec that the sound has, if it suits an output whose name ends in `output`."""
    codec = _codec(stream)
    if codec.startswith("pcm_") or codec in _LOSSLESS:
        return codec
    # ffmpeg writes Vorbis there in a way of its own.
    return None if codec == "vorbis" and output.lower() in _EDIT_LISTS else _ENCODERS.get(codec)


def is_copied_exactly(stream: Stream, report: VideoReport, output: str) -> bool:
    """Return whether sound of a file still begins with the picture when it is copied into such an output."""
    codec = _codec(stream)
    if codec == "aac":
        return report.start == 0 and output.lower() in _EDIT_LISTS and "mp4" in report.format.split(",")
    return report.start == 0 and codec in _WITHOUT_DELAY


def decoded_sound(lists: Sequence[Path], streams: Sequence[Stream], encoders: Sequence[str | None]) -> SoundInput:
    """Return the sound of inputs that `decoding` has written, by a list of its files for each stream.

    Where there is no encoder for one, the output's usual codec is taken.
    """
    before = [word for list_ in lists for word in ("-f", "concat", "-i", str(list_))]
    coding: list[str] = []
    for number, (stream, encoder) in enumerate(zip(streams, encoders, strict=True)):
        coding += [f"-filter:a:{number}", "asetpts=N/SR/TB", *_encoding(stream, encoder, f":{number}")]
    return SoundInput(before, len(lists), coding)


def copied_sound(path: Path, length: Fraction) -> SoundInput:
    """Return the first sound of a file, `length` seconds of it, as it is."""
    end = f"{float(length):.6f}"
    # The last packet ends with the picture as well.
    cut = f"setts=duration=max(0\\,min(DURATION\\,round({end}/TB)-PTS))"
    return SoundInput(["-i", str(path)], 1, ["-c:a", "copy", "-bsf:a", cut, "-t", end])


def encoded_sound(path: Path, length: Fraction, stream: Stream, encoder: str | None) -> SoundInput:
    """Return the same encoded anew; without an encoder, in the output's usual codec."""
    # Before 0 is what an encoder put there; where nothing is, as in MP3, decoders leave it out by themselves.
    filters = f"atrim=start=0,asetpts=N/SR/TB,atrim=end={float(length):.6f}"
    return SoundInput(["-i", str(path)], 1, ["-filter:a", filters, *_encoding(stream, encoder, "")])


def _encoding(stream: Stream, encoder: str | None, which: str) -> list[str]:
    codec = _codec(stream)
    is_lossless = codec.startswith("pcm_") or codec in _LOSSLESS
    chosen = [] if encoder is None else [f"-c:a{which}", encoder]
    # What is stored without loss has a rate that is no measure for it.
    rate = 0 if is_lossless else stream.bit_rate or 0
    return chosen if is_lossless and chosen else [*chosen, f"-b:a{which}", f"{max(rate, _LEAST_BIT_RATE)}"]


def _codec(stream: Stream) -> str:
    return stream.properties["audio codec"]


def _sample_rate(stream: Stream) -> int:
    return int(stream.properties["sample rate"].removesuffix(" Hz"))
