"""Looks at the files that chunks have written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self, TypeAlias

from .._concurrency.slices import Work
from .._errors import TailraceError
from .._events.types import FrameLevel
from .._frames.checker import FrameChecker, missing_tools
from .._frames.looks import compare_looks
from .._frames.names import sequence_of
from .._frames.result import FrameCheck, NotLookedAtError
from .._spec.model import Chunk, JobSpec
from .._spec.outputs import fault_of_status, output_files

Fingerprint: TypeAlias = list[tuple[int, int] | None]
"""Size in bytes and time in nanoseconds of each file of a chunk, as `output_files` has them; None is missing."""


_NEIGHBOURS = 50
"""How many frames before and after a chunk its frames are compared with."""


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


class OutputInspector(AbstractAsyncContextManager["OutputInspector"], Protocol):
    """What the executor needs of one who can see the output of chunks; to be entered while it examines."""

    reads_content: bool
    """Whether `examine` can tell a file that is whole from one that is not."""

    def look(self, chunk: Chunk, frames: Iterable[int] | None = None) -> Work[list[OutputFile]]:
        """Return the chunk's files as they are now, or those of some of its frames; may be done in any thread."""

    async def examine(self, file: OutputFile, *, frames: int) -> Sequence[Finding]:
        """Return what there is to say of what is in a file at whose look there was no fault.

        `frames` is how many frames it is to hold if it is a video.
        """

    def compare(self, files: Sequence[OutputFile]) -> Sequence[tuple[OutputFile, Finding]]:
        """Return what is odd about files that were examined beside the others; nothing is told twice."""


class FileInspector(OutputInspector):
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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave nothing to do."""

    async def examine(self, file: OutputFile, *, frames: int) -> Sequence[Finding]:
        """Return nothing: a file that is there and not empty is taken for what it should be."""
        del file, frames
        return ()

    def compare(self, files: Sequence[OutputFile]) -> Sequence[tuple[OutputFile, Finding]]:
        """Return nothing."""
        del files
        return ()


class FrameInspector(FileInspector):
    """Looks into the files too: whether they can be read to their end, and whether they look like the others."""

    reads_content = True

    def __init__(self, job_dir: Path, level: Literal["whole", "looks"]) -> None:
        super().__init__(job_dir)
        self._level: FrameLevel = level
        self._checker = FrameChecker()
        self._sequences: dict[str, dict[int, FrameCheck]] = {}
        self._told: set[tuple[str, str]] = set()

    async def __aenter__(self) -> Self:
        await self._checker.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._checker.__aexit__(kind, error, traceback)

    async def examine(self, file: OutputFile, *, frames: int) -> Sequence[Finding]:
        """Return whether the file is damaged, and what is odd about it by itself."""
        # A picture is of one frame, whatever its format is.
        wanted = frames if file.frame is None else None
        try:
            check = await self._checker.check(file.path, level=self._level, frames=wanted)
        except NotLookedAtError as error:
            # A night's work is not thrown away for that, nor ended.
            return (Finding("whole", f"was not looked at: {error.reason}", fatal=False),)
        if check.reason is not None:
            return (Finding("whole", check.reason, fatal=True),)
        name = sequence_of(check.path)
        if file.frame is not None and name is not None:
            self._sequences.setdefault(name, {})[file.frame] = check
        return [Finding("looks", warning, fatal=False) for warning in check.warnings]

    def compare(self, files: Sequence[OutputFile]) -> Sequence[tuple[OutputFile, Finding]]:
        """Return what is odd about files that were examined beside the others of their sequences."""
        found = []
        for name, of_sequence in _by_sequence(files).items():
            checks = self._sequences.get(name, {})
            near = range(min(of_sequence) - _NEIGHBOURS, max(of_sequence) + _NEIGHBOURS + 1)
            # Of all frames of a job there may be many more, and between those of a chunk great gaps.
            few, many = sorted((near, checks), key=len)
            for oddity in compare_looks((frame, checks[frame]) for frame in few if frame in many):
                file, key = of_sequence.get(oddity.frame), (checks[oddity.frame].path, oddity.reason)
                if file is not None and key not in self._told:
                    self._told.add(key)
                    found.append((file, Finding("looks", oddity.reason, fatal=False)))
        return found


async def are_whole(inspector: OutputInspector, files: Iterable[OutputFile], frames: int) -> bool:
    """Return whether all the files are there and known to be whole; a video has to hold so many frames."""
    for file in files:
        if file.fault is not None:
            return False
        # What is odd is whole; what could not be looked at may be anything.
        if any(finding.level != "looks" for finding in await inspector.examine(file, frames=frames)):
            return False
    return True


def by_frame(files: Iterable[OutputFile]) -> dict[int | None, list[OutputFile]]:
    """Return the files of each frame together, and under None those of the whole chunk."""
    found: dict[int | None, list[OutputFile]] = {}
    for file in files:
        found.setdefault(file.frame, []).append(file)
    return found


def _by_sequence(files: Sequence[OutputFile]) -> dict[str, dict[int, OutputFile]]:
    sequences: dict[str, dict[int, OutputFile]] = {}
    for file in files:
        name = sequence_of(os.fspath(file.path))
        if file.frame is not None and name is not None:
            sequences.setdefault(name, {})[file.frame] = file
    return sequences


def inspector_of(job_dir: Path, level: FrameLevel | None) -> FileInspector:
    """Return what looks as closely as that."""
    return FileInspector(job_dir) if level is None or level == "exist" else FrameInspector(job_dir, level)


def require_tools(spec: JobSpec, level: FrameLevel) -> None:
    """Raise `TailraceError` if what reads the job's output files is not installed: nothing is rendered in vain then."""
    lines = missing_tools((name for chunk in spec.chunks for name in chunk.output_files), level)
    if lines:
        raise TailraceError(f"the frames cannot be looked at, since something is not installed: {'; '.join(lines)}")


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
