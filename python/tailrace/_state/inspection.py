"""Looks at the files that chunks have written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from .._concurrency.slices import Work
from .._events.types import FrameLevel
from .._spec.model import Chunk
from .._spec.outputs import fault_of_status, output_files

Fingerprint: TypeAlias = list[tuple[int, int] | None]
"""Size in bytes and time in nanoseconds of each file of a chunk, as `output_files` has them; None is missing."""


class OutputFile(NamedTuple):
    """One of the files that a chunk is to write, as it was at a look at it."""

    path: Path
    frame: int | None
    """The frame it is of, or None if it is one file for all of the chunk."""
    state: tuple[int, int] | None
    """Its size in bytes and its time in nanoseconds; None if it cannot be found."""
    fault: str | None
    """Why it cannot be what a command has written; None if it is a file and not empty."""


class Finding(NamedTuple):
    """What is wrong with a file, or at least odd."""

    level: FrameLevel
    reason: str
    fatal: bool
    """Whether it has to be rendered again."""


class OutputInspector(Protocol):
    """What the executor needs of one who can see the output of chunks."""

    reads_content: bool
    """Whether `examine` can tell a file that is whole from one that is not."""

    def look(self, chunk: Chunk, frames: Iterable[int] | None = None) -> Work[list[OutputFile]]:
        """Return the chunk's files as they are now, or those of some of its frames; may be done in any thread."""

    async def examine(self, file: OutputFile, *, frames: int) -> Sequence[Finding]:
        """Return what there is to say of what is in a file at whose look there was no fault.

        `frames` is how many frames it is to hold if it is a video.
        """


class FileInspector:
    """Looks at the files of a folder: whether they are there and not empty."""

    reads_content = False

    def __init__(self, job_dir: Path) -> None:
        self._job_dir = job_dir

    def look(self, chunk: Chunk, frames: Iterable[int] | None = None) -> Work[list[OutputFile]]:
        """Return the chunk's files as they are now, or those of some of its frames."""
        files = []
        for frame, path in output_files(chunk, self._job_dir, frames):
            files.append(look_at(path, frame))
            yield
        return files

    async def examine(self, file: OutputFile, *, frames: int) -> Sequence[Finding]:
        """Return nothing: a file that is there and not empty is taken for what it should be."""
        del file, frames
        return ()


def look_at(path: Path, frame: int | None) -> OutputFile:
    """Return the file as it is now."""
    try:
        status = os.stat(path)  # noqa: PTH116 - it is called for each frame of each chunk.
    except OSError as error:
        return OutputFile(path, frame, None, f"cannot be found: {error.strerror}")
    return OutputFile(path, frame, (status.st_size, status.st_mtime_ns), fault_of_status(status))


def fingerprint_of(files: Sequence[OutputFile]) -> Fingerprint:
    """Return what tells later whether the files have been changed since."""
    return [file.state for file in files]
