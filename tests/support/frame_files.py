"""Pictures and videos by real encoders: OpenImageIO's own program and ffmpeg."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tailrace import FrameCheck
from tailrace._frames.checker import FrameChecker
from tailrace._frames.decoder import FrameLimits

SIZE = "160x96"
AT_ONCE = FrameLimits(yields=False)
"""For tests that are not about that: beside other tests, what yields to them takes minutes."""


def oiiotool(*arguments: str | Path) -> None:
    """Run OpenImageIO's program. Its library stays out of this process, as out of that of users."""
    spec = find_spec("OpenImageIO")
    assert spec is not None and spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / "bin" / "oiiotool"
    subprocess.run([program, "--threads", "1", *map(str, arguments)], check=True, capture_output=True)


def noise(path: Path, *options: str, type_: str = "uint8", channels: int = 3, mean: float = 0.5, seed: int = 1) -> Path:
    """Write a picture of noise, which no format makes small."""
    pattern = f"noise:type=gaussian:mean={mean}:stddev=0.1:seed={seed}"
    oiiotool("--pattern", pattern, SIZE, str(channels), "-d", type_, *options, "-o", path)
    return path


def numpy_picture(path: Path, source: str, *, type_: str = "float") -> Path:
    """Write `pixels`, which `source` makes or changes: 96 rows of 160 of noise in three channels."""
    program = f"""
import sys
import numpy as np
from OpenImageIO import ImageBuf, ImageSpec
pixels = np.random.default_rng(1).uniform(0.2, 0.8, (96, 160, 3)).astype("f4")
{source}
spec = ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], {type_!r})
buffer = ImageBuf(spec)
buffer.set_pixels(spec.roi, pixels)
assert buffer.write(sys.argv[1], {type_!r}), buffer.geterror()
"""
    subprocess.run([sys.executable, "-c", program, path], check=True)
    return path


def png_head(width: int, height: int) -> bytes:
    """Return the beginning of a PNG of that size, and of its pixels, which are zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 20), 9))


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg."""
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-nostdin", *map(str, arguments)], check=True)


def video(path: Path, *options: str, frames: int = 25, sound: bool = True) -> Path:
    """Write a video, which has sound of the same length."""
    sine = ["-f", "lavfi", "-i", f"sine=duration={frames / 25}"] if sound else []
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={SIZE}:r=25", *sine, "-frames:v", str(frames), *options, path)
    return path


def slow_picture(path: Path, images: int) -> Path:
    """Write a small TIFF of many images, which take a tenth of a second each: all have the pixels of the first one."""
    oiiotool("--pattern", "constant:color=0.5,0.5,0.5", "4000x4000", "3", "--compression", "zip", "-o", path)
    data = path.read_bytes()
    assert data[:4] == b"II*\0"
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    # Each directory leads to the next one.
    directory, place = data[first:end], len(data) + len(data) % 2
    chain = b"".join(
        directory + (place + (len(directory) + 4) * (number + 1) if number < images - 2 else 0).to_bytes(4, "little")
        for number in range(images - 1)
    )
    path.write_bytes(data[:end] + place.to_bytes(4, "little") + data[end + 4 :].ljust(place - end - 4, b"\0") + chain)
    return path


def cut(path: Path, data: bytes) -> Path:
    """Write what is left of a file beside others of its format, and return it."""
    path.write_bytes(data)
    return path


async def check(*paths: Path | str, **options: object) -> list[FrameCheck]:
    """Look at files as `check_frames` does, without making way for other tests."""
    async with FrameChecker(concurrency=1, limits=AT_ONCE) as checker:
        return [await checker.check(os.fspath(path), **options) for path in paths]  # type: ignore[arg-type]


def reasons(checks: Sequence[FrameCheck]) -> list[tuple[str, str | None]]:
    """Return what is wrong with each file, by its name."""
    return [(found.name, found.reason) for found in checks]
