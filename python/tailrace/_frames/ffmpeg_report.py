"""What ffmpeg writes about a video to its standard error, with `-v level+info -stats`.

The form of a stream's line comes from avformat's `dump_stream_format` (libavformat/dump.c) and avcodec's
`avcodec_string` (libavcodec/avcodec.c).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

_LINE_END = re.compile(r"[\r\n]+")
_ERROR = re.compile(r"(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?:error|fatal|panic)\] (.*)")
_INPUT = re.compile(r"\[info\] Input #0, (\S+), from ")
_STREAM = re.compile(r"\[info\] +Stream #0:\d+\S*: (Video|Audio|Subtitle|Data|Attachment): (.*)")
_START = re.compile(r"\[info\]   Duration: .*, start: (-?\d+\.\d+)")
_TIMECODE = re.compile(r"\[info\] +timecode +: (\S+)", re.IGNORECASE)
_OUTPUT = "[info] Output #0"
_FRAMES = re.compile(r"frame= *(\d+)")
_COMMA_OUTSIDE_BRACKETS = re.compile(r", (?![^(\[]*[)\]])")
_NO_COLOUR = re.compile(r"\d+ bpc|progressive|(top|bottom) .*first.*|left|center|top|bottom|topleft|bottomleft")
"""What stands in the same brackets as the colours: depth, order of the fields, place of the chroma samples."""
_RATE_NOISE = 0.02
"""By how much two frame rates may differ and still be the same: some formats have them estimated from a few frames."""


class Stream(NamedTuple):
    """One stream of a file: "video" or "audio" for example.

    `properties` are those that all inputs of a join have in common, by name. `rates` are the frames a second, with two
    decimals: on average, and as a guess at the exact one. `bit_rate` is in bits a second.
    """

    kind: str
    properties: dict[str, str]
    rates: Sequence[Fraction]
    bit_rate: int | None


class VideoReport(NamedTuple):
    """What a file holds. `start` is the earliest time in it, in seconds; `timecode` that of its first frame."""

    format: str
    streams: list[Stream]
    start: Fraction
    timecode: str | None

    @property
    def is_picture(self) -> bool:
        """Whether the file is a single picture, which ffmpeg takes for a video of one frame."""
        return self.format.endswith("_pipe") or self.format == "image2"

    def of_kind(self, kind: str) -> list[Stream]:
        """Return the streams of this kind."""
        return [stream for stream in self.streams if stream.kind == kind]

    def has(self, kind: str) -> bool:
        """Return whether there is a stream of this kind."""
        return bool(self.of_kind(kind))


def read_report(stderr: str) -> VideoReport:
    """Return what ffmpeg says of its only input."""
    format_, streams, start, timecode = "", [], Fraction(0), None
    for line in _LINE_END.split(stderr):
        if line.startswith(_OUTPUT):
            break
        if match := _INPUT.match(line):
            format_ = match[1]
        elif match := _START.match(line):
            start = Fraction(match[1])
        elif match := _STREAM.match(line):
            streams.append(_read_stream(match[1].lower(), match[2]))
        elif match := _TIMECODE.match(line):
            timecode = timecode or match[1]
    return VideoReport(format_, streams, start, timecode)


def count_frames(stderr: str) -> int:
    """Return how many frames ffmpeg says it has written in the end."""
    counts = _FRAMES.findall(stderr)
    return int(counts[-1]) if counts else 0


def first_error(stderr: str) -> str | None:
    """Return the first error that ffmpeg tells, which is the cause of those that follow, or None."""
    return next((match[1] for line in _LINE_END.split(stderr) if (match := _ERROR.match(line))), None)


def difference(report: VideoReport, reference: VideoReport) -> str | None:
    """Return the first thing in `report` that keeps it from following `reference` without re-encoding, or None.

    What is not known of either is not compared.
    """
    kinds, wanted_kinds = (", ".join(stream.kind for stream in one.streams) for one in (report, reference))
    if kinds != wanted_kinds:
        return f"its streams are {kinds}, not {wanted_kinds}"
    for stream, wanted in zip(report.streams, reference.streams, strict=True):
        for name, value in stream.properties.items():
            other = wanted.properties.get(name, value)
            if value != other and not (name == "frame rate" and _is_noise(value, other)):
                return f"its {name} is {value}, not {other}"
    return None


def _is_noise(rate: str, other: str) -> bool:
    one, two = map(_to_number, (rate, other))
    return abs(one - two) <= _RATE_NOISE * max(one, two)


def _to_number(amount: str) -> Fraction:
    """Return the number in "29.97 fps" or "1k tbn"."""
    return Fraction(amount.split(" ")[0].replace("k", "e3"))


def _read_stream(kind: str, text: str) -> Stream:
    coding, *fields = _COMMA_OUTSIDE_BRACKETS.split(text)
    codec, _, rest = coding.partition(" ")
    found: dict[str, str | None] = {f"{kind} codec": codec}
    if kind == "video":
        found["picture size"] = _first(r"(\d+x\d+)\b.*", fields)
        found["pixel format"] = _first(r"([a-z]\w*)\b.*", fields[:1])
        found["colour"] = _colour(fields[0]) if fields else None
        found["frame rate"] = _first(r"(\d+(?:\.\d+)?k? fps)\b.*", fields)
        found["time base"] = _first(r"(\d+(?:\.\d+)?k? tbn)\b.*", fields)
    elif kind == "audio":
        found["sample rate"] = _first(r"(\d+ Hz)", fields)
        found["channel layout"] = _first(r"(?!\d+ kb/s)(.+)", fields[1:2])
        found["sample format"] = _first(r"((?:u8|s16|s32|s64|flt|dbl)p?(?: \(\d+ bit\))?)", fields)
    # "h264 (High) (avc1 / 0x31637661)": the other brackets hold the format's own name for the codec.
    found[f"{kind} profile"] = _first(r"\((?![^)]* / 0x)([^)]*)\).*", [rest])
    printed = (_first(rf"(\d+(?:\.\d+)?k? {unit})\b.*", fields) for unit in ("fps", "tbr"))
    bit_rate = _first(r"(\d+ kb/s)\b.*", fields)
    return Stream(
        kind,
        {name: value for name, value in found.items() if value is not None},
        [_to_number(rate) for rate in printed if rate is not None],
        None if bit_rate is None else int(_to_number(bit_rate)) * 1000,
    )


def _colour(pixels: str) -> str | None:
    """Return range, space, primaries and transfer of "yuv420p(tv, bt709, progressive)", or None if it has none."""
    brackets = re.fullmatch(r"\w+\((.*)\)", pixels)
    known = [item for item in brackets[1].split(", ") if not _NO_COLOUR.fullmatch(item)] if brackets else []
    return ", ".join(known) or None


def _first(pattern: str, fields: list[str]) -> str | None:
    return next((match[1] for field in fields if (match := re.fullmatch(pattern, field))), None)
