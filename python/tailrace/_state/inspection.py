"""Looks at the files that chunks have written."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeAlias

from .._concurrency.slices import Work
from .._spec.model import Chunk
from .._spec.outputs import fault_of_file, output_paths

Fingerprint: TypeAlias = list[tuple[int, int] | None]
"""Size in bytes and time in nanoseconds of each file of a chunk, in the order of its frames; None is missing."""


class OutputInspector(Protocol):
    """What the executor needs of one who can see the output of chunks; its work may be done in any thread."""

    def fault_of(self, chunk: Chunk) -> Work[str | None]:
        """Return what is wrong with the chunk's output, for a message; None if nothing is."""

    def fingerprint(self, chunk: Chunk) -> Work[Fingerprint]:
        """Return what tells later whether the chunk's output has been changed since."""


class FileInspector:
    """Looks at the files of a folder: whether they are there and not empty."""

    def __init__(self, job_dir: Path) -> None:
        self._job_dir = job_dir

    def fault_of(self, chunk: Chunk) -> Work[str | None]:
        """Return which of the chunk's files is not there or empty, None if all are as they should be."""
        for path in output_paths(chunk, self._job_dir):
            fault = fault_of_file(path)
            if fault is not None:
                return f"its output {path} {fault}"
            yield
        return None

    def fingerprint(self, chunk: Chunk) -> Work[Fingerprint]:
        """Return size and time of each of the chunk's files."""
        files: Fingerprint = []
        for path in output_paths(chunk, self._job_dir):
            try:
                status = path.stat()
            except OSError:
                files.append(None)
            else:
                files.append((status.st_size, status.st_mtime_ns))
            yield
        return files
