"""Small videos to be joined, and what ffprobe and ffmpeg say of the joined one."""

from __future__ import annotations

import array
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.tunnel import search_path

LENGTHS = (1, 2, 3, 7, 12, 25, 40, 41, 50)
"""Frames. Those of one or two frames are stored without B-frames where the others have some."""
X264 = ("-c:v", "libx264", "-preset", "veryfast")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")
SAMPLE_RATE = 48000
_CLICK = 20
"""The frame with which each piece that has it clicks."""


class Piece(NamedTuple):
    """A video of `frames` frames, and their hashes."""

    path: Path
    frames: int
    hashes: Sequence[str]


class Pool:
    """Renders pieces of one kind, each length once."""

    def __init__(self, folder: Path, suffix: str, rate: str, *, b_frames: int = 0, sound: str | None = None) -> None:
        self.suffix = suffix
        self.rate = Fraction(rate)
        self._folder = folder
        codec = VP9 if suffix == "webm" else (*X264, "-bf", f"{b_frames}")
        self._coding = [*codec, "-pix_fmt", "yuv420p", *(() if sound is None else ("-c:a", sound))]
        self._has_sound = sound is not None
        self._pieces: dict[int, Piece] = {}

    def uneven(self, count: int) -> list[Piece]:
        """Return `count` pieces of different lengths, in no simple order."""
        return [self.piece(LENGTHS[(number * 7 + number // 5) % len(LENGTHS)]) for number in range(count)]

    def piece(self, frames: int) -> Piece:
        """Return a piece of that length."""
        if frames not in self._pieces:
            path = self._folder / f"{frames}.{self.suffix}"
            # The noise makes every frame another one.
            picture = (
                f"testsrc2=size=64x36:rate={self.rate},noise=alls=20:allf=t:all_seed={frames},trim=end_frame={frames}"
            )
            # Exactly as many samples as belong to the frames, to the nearest.
            samples = round(frames / self.rate * SAMPLE_RATE)
            click = round(_CLICK / self.rate * SAMPLE_RATE)
            volume = f"if(between(n\\,{click}\\,{click + 96})\\,0.9\\,0)"
            sound = f"aevalsrc={volume}:sample_rate={SAMPLE_RATE},atrim=end_sample={samples}"
            sources = [picture, sound] if self._has_sound else [picture]
            inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
            ffmpeg(*inputs, *self._coding, str(path))
            self._pieces[frames] = Piece(path, frames, picture_hashes(path))
        return self._pieces[frames]

    def clicks(self, pieces: Sequence[Piece]) -> list[float]:
        """Return when the joined pieces click, in milliseconds."""
        starts = [sum(piece.frames for piece in pieces[:number]) for number in range(len(pieces))]
        clicking = (start for start, piece in zip(starts, pieces, strict=True) if piece.frames > _CLICK)
        return [float((start + _CLICK) / self.rate * 1000) for start in clicking]


def ffmpeg(*arguments: str) -> bytes:
    """Run ffmpeg; return what it wrote to standard output."""
    environment = os.environ | {"PATH": search_path()}
    command = ["ffmpeg", "-v", "error", *arguments]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=-1, check=True).stdout


def picture_hashes(path: Path) -> list[str]:
    """Return the hash of every decoded frame of a video, in order, whatever sound it has."""
    table = ffmpeg("-i", str(path), "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-").decode()
    return [line.split(",")[5].strip() for line in table.splitlines() if not line.startswith("#")]


def probe(path: Path, *options: str) -> dict[str, Any]:
    """Return what ffprobe says of a video."""
    found = shutil.which("ffprobe", path=search_path())
    if found is None:
        pytest.fail("this test needs ffprobe: `make .venv/bin/ffprobe` installs it")
    command = [found, "-v", "error", "-show_streams", "-show_format", *options, "-of", "json", str(path)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return answer


def clicking_sound(folder: Path, name: str, *coding: str, seconds: int = 5) -> Path:
    """Return a file whose sound clicks after 1 and 3 seconds."""
    volume = "if(between(mod(t\\,2)\\,1\\,1.002)\\,0.9\\,0)"
    source = f"aevalsrc={volume}:s={SAMPLE_RATE}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", source, *coding, str(folder / name))
    return folder / name


def stream_of(answer: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the only stream of a kind."""
    (stream,) = (stream for stream in answer["streams"] if stream["codec_type"] == kind)
    return dict(stream)


def times_off(path: Path, rate: Fraction) -> Fraction:
    """Return how far the frame that is farthest from its time is from it, in ticks."""
    answer = probe(path, "-select_streams", "v:0", "-show_packets")
    tick = Fraction(stream_of(answer, "video")["time_base"])
    shown = sorted(packet["pts"] for packet in answer["packets"])
    return max(Fraction(abs(pts - number / rate / tick)) for number, pts in enumerate(shown))


def heard_clicks(path: Path) -> list[float]:
    """Return when a video clicks, in milliseconds after its time 0."""
    sound = ("-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", f"{SAMPLE_RATE}", "-f", "f32le")
    samples = array.array("f", ffmpeg("-copyts", "-i", str(path), *sound, "-"))
    clicks: list[float] = []
    place = 0
    while place < len(samples):
        if abs(samples[place]) > 0.5:
            clicks.append(place * 1000 / SAMPLE_RATE)
            # A click has 2 ms, and no piece has two.
            place += SAMPLE_RATE // 100
        place += 1
    return clicks
