"""Has ffmpeg decode a video to its end."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..endings import is_from_outside
from ..ffmpeg_report import count_frames, first_error, read_report
from .found import Found, NotTheFileError

_HEAD, _TAIL = 1 << 18, 1 << 14
"""How much of what ffmpeg says is kept, in bytes: a broken video makes it say the same thing for hours."""
_OFTEN = 5.0
"""How often the parent is told that it gets on, in seconds at least."""
_MOST_THREADS = 4
"""Each keeps pictures of its own: with 16, a video of 8192 x 4320 pixels takes more memory than it may."""
_PR_SET_PDEATHSIG = 1
_LISTS = frozenset({"concat", "dash", "hls", "imf", "sdp"})
PROTOCOLS = "file"
"""A playlist that is named like a video must not have anything fetched."""
_NOWHERE = subprocess.DEVNULL
_Process: TypeAlias = "subprocess.Popen[bytes]"


def read_video(descriptor: int, request: dict[str, Any], found: Found, tell: Callable[[int], None]) -> None:
    """Find whether the video is whole, its size and its frames.

    Raises `ImportError` with the name "ffmpeg" where that is not installed, and `NotTheFileError` where it cannot be
    started or is killed.
    """
    del descriptor
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise ImportError("ffmpeg was not found", name="ffmpeg")
    said, code = _run(ffmpeg, request, tell)
    if is_from_outside(code):
        raise NotTheFileError(f"ffmpeg was killed (signal {-code}): is the memory full?")
    report, count = read_report(said), count_frames(said)
    video = next((stream for stream in report.streams if stream.kind == "video"), None)
    found.format = report.format or None
    found.frames = count
    if video is not None and (size := video.properties.get("picture size")):
        found.width, found.height = map(int, size.split("x"))
    found.reason = _fault(
        report.format, report.is_picture, bool(report.streams), video is not None, code, _first_error(said), request
    )
    if found.reason is None:
        wanted = request["frames"]
        if wanted is not None and count != wanted:
            found.reason = (
                f"holds {count} of {wanted} frames"
                if count < wanted
                else (f"holds {count} frames, more than the {wanted} it should")
            )
        elif not count:
            found.reason = "holds no frames"


def _fault(
    format_: str,
    is_picture: bool,
    has_streams: bool,
    has_video: bool,
    code: int,
    error: str | None,
    request: dict[str, Any],
) -> str | None:
    if code == -signal.SIGXCPU:
        return f"is given up: ffmpeg took {request['processor_time']:g} s of processor time without getting on"
    if is_picture:
        return "is a picture and no video"
    if format_ in _LISTS:
        return f"is no video: it is a list of other files ({format_})"
    if not has_streams:
        return f"is no video that can be read: {error}" if error else "is no video that can be read"
    if not has_video:
        return "holds no video"
    if error is not None:
        return f"is damaged: {error}"
    if code < 0:
        return f"cannot be decoded: ffmpeg ended with signal {-code}"
    return f"cannot be decoded: ffmpeg ended with status {code}" if code else None


def _first_error(said: str) -> str | None:
    # What is written to nowhere complains of frames with the same time, which may be so.
    return first_error("\n".join(line for line in re.split(r"[\r\n]+", said) if not line.startswith("[null @ ")))


def _run(ffmpeg: str, request: dict[str, Any], tell: Callable[[int], None]) -> tuple[str, int]:
    arguments = ["-hide_banner", "-nostdin", "-v", "level+info", "-stats", "-protocol_whitelist", PROTOCOLS]
    arguments += ["-threads", f"{min(_MOST_THREADS, len(os.sched_getaffinity(0)))}"]
    # Its cover and its thumbnails are no frames of it.
    arguments += ["-i", f"file:{request['path']}", "-map", "0:V", "-map", "0:a?", "-f", "null", "-"]
    limit = int(request["processor_time"]) + 1
    process = start_ffmpeg([ffmpeg, *arguments], limit, stderr=subprocess.PIPE)
    assert process.stderr is not None  # noqa: S101
    head, tail = b"", b""
    frames, told_at = 0, time.monotonic()
    with process.stderr as stream:
        while piece := os.read(stream.fileno(), 1 << 16):
            room = _HEAD - len(head)
            head += piece[:room]
            tail = (tail + piece[room:])[-_TAIL:] if room < len(piece) else tail
            now = count_frames((tail or head)[-4096:].decode(errors="replace"))
            if now > frames:
                frames = now
                _allow(process.pid, limit)
                if time.monotonic() - told_at > _OFTEN:
                    told_at = time.monotonic()
                    tell(frames)
    code = process.wait()
    return (head + tail).decode(errors="replace"), code


def start_ffmpeg(command: Sequence[str], limit: int, *, stdout: int = _NOWHERE, stderr: int = _NOWHERE) -> _Process:
    """Start ffmpeg, which may take so many seconds of processor time, and ends with this process.

    Raises `NotTheFileError` where that cannot be.
    """

    def prepare() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))

    try:
        # This process has one thread, which ends with it.
        return subprocess.Popen(  # noqa: S603
            [os.fsencode(argument) for argument in command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "AV_LOG_FORCE_NOCOLOR": "1"},
            preexec_fn=prepare,
        )
    except OSError as error:
        raise NotTheFileError(f"ffmpeg cannot be started: {error.strerror}") from error


def _allow(process: int, seconds: int) -> None:
    """Give the process so much more processor time from now on."""
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
        used = (int(fields[11]) + int(fields[12])) // os.sysconf("SC_CLK_TCK")
        hard = resource.prlimit(process, resource.RLIMIT_CPU)[1]
        resource.prlimit(process, resource.RLIMIT_CPU, (used + seconds, hard))
    except (OSError, ValueError):
        # It has just ended.
        return
