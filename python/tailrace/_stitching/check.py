"""What keeps the chunks' videos from being joined, found before they are rendered."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

from .._errors import StitchError
from .._planning.templates import PICTURE_SUFFIXES
from .._spec.model import JobSpec
from .._spec.numbered_name import is_numbered

_NO_FORMAT = re.compile(r"Unable to (choose|find) an? .*output format")
"""The message's beginning was another one before ffmpeg 6 (`avformat_alloc_output_context2` in libavformat/mux.c)."""


def check_files(spec: JobSpec, job_dir: Path, output: Path) -> None:
    """Raise `StitchError` if what the chunks write cannot become `output`, whatever is in it. Blocks."""
    target = Path(os.path.realpath(output))
    for chunk in spec.chunks:
        if is_numbered(chunk.output_file) or _is_picture(chunk.output_file):
            raise StitchError(
                f"chunk {chunk.id} renders pictures ({chunk.output_file}), and only videos can be joined: pictures take"
                " a mergeCommand such as `ffmpeg -framerate 30 -i frame_%04d.png out.mp4`"
            )
        if Path(os.path.realpath(job_dir / chunk.output_file)) == target:
            raise StitchError(f"{output} is what chunk {chunk.id} writes: choose another name")
    if target.exists() and not target.is_file():
        raise StitchError(f"{output} is there and not a file: choose another name")
    folder = target.parent
    # What is missing is made once the chunks are done.
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise StitchError(f"{output} cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StitchError(f"{output} cannot be written: the folder {folder} is not open to you")
    if _is_picture(output.name):
        raise no_format(output)


def question_about(suffix: str) -> list[str]:
    """Return the arguments with which ffmpeg says whether it writes files that end in `suffix`; it writes none."""
    nothing = ("-f", "rawvideo", "-video_size", "16x16", "-i", os.devnull)
    # It chooses a format by the name before it finds that nothing can have this one.
    return ["-nostdin", "-v", "error", *nothing, "-c", "copy", f"{os.devnull}/x{suffix}"]


def knows_no_format(answer: str) -> bool:
    """Return whether that is what ffmpeg wrote to standard error as its answer."""
    return _NO_FORMAT.search(answer) is not None


def no_format(output: Path) -> StitchError:
    """Return the error for an ending that stands for no format."""
    return StitchError(
        f"{output}: its ending stands for no format of a video that ffmpeg writes: use .mp4 or .mkv, say"
    )


def _is_picture(name: str) -> bool:
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES
