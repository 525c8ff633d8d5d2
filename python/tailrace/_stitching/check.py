"""What can be wrong with `--stitch`, found before the chunks are rendered."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path, PurePath

import click

from .._command.job import WorkerJob
from .._errors import TailraceError
from .._local.run import run as run_command
from .._planning.templates import PICTURE_SUFFIXES
from .._spec.model import JobSpec
from .._spec.numbered_name import is_numbered

_NO_FORMAT = re.compile(r"Unable to (choose|find) an? .*output format")
"""The message's beginning was another one before ffmpeg 6 (`avformat_alloc_output_context2` in libavformat/mux.c)."""
_LONGEST_QUESTION = 10.0
"""How long ffmpeg may think about the output's ending, in seconds."""


def check_stitch(spec: JobSpec, job_dir: Path, name: str) -> None:
    """Raise `click.UsageError` if the chunks' videos cannot become the file that the user calls `name`."""
    if shutil.which("ffmpeg") is None:
        raise click.UsageError("--stitch needs ffmpeg in the PATH: install it, for example with `apt install ffmpeg`")
    target = Path(os.path.realpath(name))
    for chunk in spec.chunks:
        if is_numbered(chunk.output_file) or PurePath(chunk.output_file).suffix.lower() in PICTURE_SUFFIXES:
            raise click.UsageError(
                f"--stitch joins videos, and chunk {chunk.id} renders pictures ({chunk.output_file}): they take a"
                " mergeCommand such as `ffmpeg -framerate 30 -i frame_%04d.png out.mp4`"
            )
        if Path(os.path.realpath(job_dir / chunk.output_file)) == target:
            raise click.UsageError(f"--stitch {name}: is what chunk {chunk.id} writes: choose another name")
    if target.exists() and not target.is_file():
        raise click.UsageError(f"--stitch {name}: is there and not a file: choose another name")
    _check_folder(target.parent, name)
    suffix = PurePath(name).suffix
    if suffix.lower() in PICTURE_SUFFIXES or not _has_format(suffix):
        raise click.UsageError(
            f"--stitch {name}: its ending stands for no format of a video that ffmpeg writes: use .mp4 or .mkv, say"
        )


def _check_folder(folder: Path, name: str) -> None:
    # What is missing is made once the chunks are done.
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise click.UsageError(f"--stitch {name}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.UsageError(f"--stitch {name}: the folder {folder} cannot be written")


def _has_format(suffix: str) -> bool:
    """Return whether ffmpeg knows a format by this ending, or does not say."""
    with tempfile.TemporaryDirectory() as folder:
        nothing = ("-f", "rawvideo", "-video_size", "16x16", "-i", os.devnull)
        args = ["-nostdin", "-v", "error", *nothing, "-c", "copy", f"{folder}/x{suffix}"]
        try:
            asked = run_command(WorkerJob("ffmpeg", args, timeout=_LONGEST_QUESTION))
        except TailraceError:
            return True
    return _NO_FORMAT.search(asked.stderr) is None
