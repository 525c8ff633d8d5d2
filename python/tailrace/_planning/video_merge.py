"""The command that makes a video of what the chunks of a job have rendered."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from fractions import Fraction
from pathlib import PurePosixPath

from .._errors import SpecError
from .._spec.model import Chunk
from .._spec.numbered_name import FRAME_NUMBER, is_numbered
from .templates import PICTURE_SUFFIXES, ffmpeg_file

_LONGEST_COMMAND = 1024 * 1024
"""Linux takes a quarter of the stack's limit, which is 8 MiB nearly everywhere, for the command and its environment."""
_POINTER = 8
"""What each word takes besides, in bytes."""


def video_merge(chunks: Sequence[Chunk], video: str, fps: Fraction) -> str:
    """Return the command that joins the chunks' videos without encoding them again, or encodes their pictures.

    Raises `SpecError` if frames are missing between the pictures, or if there are too many chunks for one command.
    """
    name = chunks[0].output_file
    if PurePosixPath(name).suffix in PICTURE_SUFFIXES and not is_numbered(name):
        raise SpecError("video: needs pictures whose output is named with ####, such as frame_####.png")
    in_order = sorted(chunks, key=lambda chunk: chunk.start_frame)
    if is_numbered(name):
        return shlex.join(_encode(in_order, video, fps))
    return shlex.join(_join(in_order, video))


def _encode(chunks: Sequence[Chunk], video: str, fps: Fraction) -> list[str]:
    first = chunks[0].start_frame
    count = sum(chunk.frame_count for chunk in chunks)
    last = max(max(chunk.frames) for chunk in chunks)
    if last - first + 1 != count:
        raise SpecError(f"video: there are {count} frames between {first} and {last}, and a video needs them all")
    before, after = FRAME_NUMBER.split(chunks[0].output_file)
    width = len(chunks[0].output_file) - len(before) - len(after)
    pictures = f"{before.replace('%', '%%')}%0{width}d{after.replace('%', '%%')}"
    # By itself ffmpeg ends the video before the first picture that is missing, and succeeds.
    script = (
        'frame=$1; while [ "$frame" -le "$2" ]; do picture=$(printf "$3" "$frame");'
        ' [ -s "$picture" ] || { printf "%s is missing\\n" "$picture" >&2; exit 1; }; frame=$((frame + 1)); done;'
        ' shift 3; exec ffmpeg "$@"'
    )
    # Of an earlier, longer job there may be more pictures. H.264 wants even numbers of pixels for its 4:2:0 colours.
    return [
        *("sh", "-c", script, "sh", f"{first}", f"{last}", ffmpeg_file(pictures).replace("\\", "\\\\")),
        *("-v", "warning", "-stats", "-f", "image2", "-pattern_type", "sequence", "-framerate", f"{fps}"),
        *("-start_number", f"{first}", "-i", ffmpeg_file(pictures), "-frames:v", f"{count}"),
        *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-y", ffmpeg_file(video)),
    ]


def _join(chunks: Sequence[Chunk], video: str) -> list[str]:
    # By its own command ffmpeg would leave out what it cannot read, and take the lengths of the videos for what their
    # containers round them to.
    words = ["tailrace", "job", "join", "--to", video, "--", *(chunk.output_file for chunk in chunks)]
    if sum(len(os.fsencode(word)) + 1 + _POINTER for word in words) > _LONGEST_COMMAND:
        raise SpecError(
            f"video: {len(chunks)} chunks are too many to be joined by one command: use a larger chunk size"
        )
    return words
