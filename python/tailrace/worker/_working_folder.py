"""Where one attempt at a chunk runs, and from where its output goes into place."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from .._output_files import is_numbered, is_output_of, output_paths, output_pattern
from .._spec import Chunk, JobSpec
from ._outcome import Outcome
from ._refused_error import RefusedError

_OWN = ".tailrace"
_ATTEMPTS = ".attempts"
"""No job's record is in a folder of this name: theirs do not begin with a dot."""
_MOST_FOLDERS = 10_000
_LONGEST_OUTPUT = 1000
"""In characters: folders that lie much deeper can be made, but Python does not delete them again."""

_logger = logging.getLogger("tailrace.worker")


class WorkingFolder:
    """A folder that looks like the job's, in which one attempt writes without touching the job's own.

    The folders that the job and its outputs lie in are real, and what else is in them is there as symbolic links. The
    outputs of the chunks are left out: who wrote to a link would write to the job's own folder.
    """

    def __init__(
        self,
        spec: JobSpec,
        chunk: Chunk,
        *,
        spec_path: Path | None,
        root: Path | None,
        job_dir: Path | None,
        is_shared: bool,
    ) -> None:
        """Make the folder.

        `spec_path` is the specification's own file, if it has one. `root` is mirrored, and the command runs where
        `job_dir` is in it; without them it runs in an empty folder. With `is_shared`, the folder is made within the
        job's. Raises `RefusedError` for an output that would not lie in the job's folder, `OSError` if the folder
        cannot be made.
        """
        folders = _output_folders(chunk)
        self._root = root
        place = Path()
        if root is not None and job_dir is not None:
            place = job_dir.relative_to(root)
            _check_links(chunk, folders, job_dir, root)
        self._chunk = chunk
        self._all_outputs = output_pattern(spec.chunks)
        self._spec_path = spec_path
        self._real = {place / folder for folder in folders} | {place}
        self._real |= {above for folder in self._real for above in folder.parents}
        self._is_shared = is_shared
        self._place = place
        self._top = _make_top(job_dir if is_shared else None)
        try:
            self._fill(self._all_outputs.fullmatch)
        except BaseException:
            self.remove()
            raise

    @property
    def path(self) -> Path:
        """Where the command runs."""
        return self._top / self._place

    def publish(self, outcome: Outcome) -> Outcome:
        """Move what a command that succeeded has written to where it belongs, each file at once and the outputs last.

        Returns `outcome`, or that this failed.
        """
        if not self._is_shared or outcome.exit_code != 0:
            return outcome
        try:
            self._move_written()
        except OSError as error:
            return Outcome.internal(f"the output could not be put in its place: {error.strerror}", outcome)
        return outcome

    def remove(self) -> None:
        """Delete the folder with what is left in it, as far as it can be deleted."""
        shutil.rmtree(self._top, ignore_errors=True)
        if self._top.exists():
            _make_writable(self._top)
            shutil.rmtree(self._top, ignore_errors=True)

    def _move_written(self) -> None:
        assert self._root is not None  # noqa: S101
        written = [folder / name for folder in self._real for name in self._written_in(folder)]
        for path in sorted(written, key=self._is_output):
            self._move(path)

    def _move(self, path: Path) -> None:
        assert self._root is not None  # noqa: S101
        source, target = self._top / path, self._root / path
        if source.is_dir() and not source.is_symlink():
            # Not at once: another chunk may be making the same folder.
            target.mkdir(parents=True, exist_ok=True)
            for name in _names_in(source):
                self._move(path / name)
            return
        real = Path(os.path.realpath(target))
        if self._is_output(path) and real.is_relative_to(self._root):
            # An output that leads elsewhere goes there, as it does for a command that writes to it.
            target = real
        if self._is_foreign(path) or real == self._spec_path:
            _logger.warning("chunk %d wrote what is not its own, which is left out: %s", self._chunk.id, path)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)

    def _fill(self, is_output: Callable[[str], object]) -> None:
        for folder in sorted(self._real):
            (self._top / folder).mkdir(exist_ok=True)
            if self._root is None:
                continue
            for name in _names_in(self._root / folder):
                path = folder / name
                is_own = name == _OWN and folder == self._place
                if not (is_own or path in self._real or is_output(self._in_job(path))):
                    (self._top / path).symlink_to(self._root / path)

    def _written_in(self, folder: Path) -> Iterator[str]:
        assert self._root is not None  # noqa: S101
        for name in _names_in(self._top / folder):
            path = folder / name
            is_link = (self._top / path).is_symlink() and (self._top / path).readlink() == self._root / path
            if not (is_link or path in self._real):
                yield name

    def _is_output(self, path: Path) -> bool:
        return is_output_of(self._chunk, self._in_job(path))

    def _is_foreign(self, path: Path) -> bool:
        """Return whether `path` is an output of another chunk's only, or the job's record."""
        name = self._in_job(path)
        if Path(name).parts[0] == _OWN:
            return True
        return self._all_outputs.fullmatch(name) is not None and not self._is_output(path)

    def _in_job(self, path: Path) -> str:
        return os.path.relpath(path, self._place)


def check_output(chunk: Chunk) -> None:
    """Raise `RefusedError` if the chunk's output would not lie in the job's folder."""
    name = chunk.output_file
    if len(name) > _LONGEST_OUTPUT:
        raise RefusedError(422, f"outputFile of chunk {chunk.id} should have at most {_LONGEST_OUTPUT} characters")
    parts = Path(os.path.normpath(name)).parts
    if name.startswith("/") or ".." in Path(name).parts or not parts or parts[0] == _OWN or name.endswith("/"):
        raise RefusedError(403, f"outputFile of chunk {chunk.id} should be a file in the job's folder: {name!r}")


def _output_folders(chunk: Chunk) -> set[Path]:
    folder = Path(os.path.normpath(chunk.output_file)).parent
    if not is_numbered(str(folder)):
        return {folder}
    if chunk.frame_count > _MOST_FOLDERS:
        raise RefusedError(403, f"the output of chunk {chunk.id} lies in more than {_MOST_FOLDERS} folders")
    return {Path(os.path.normpath(path)).parent for path in output_paths(chunk, Path())}


def _check_links(chunk: Chunk, folders: set[Path], job_dir: Path, root: Path) -> None:
    for folder in folders:
        if not Path(os.path.realpath(job_dir / folder)).is_relative_to(root):
            raise RefusedError(
                403, f"outputFile of chunk {chunk.id} leads out of the working folder: {chunk.output_file!r}"
            )


def _make_top(job_dir: Path | None) -> Path:
    if job_dir is None:
        return Path(tempfile.mkdtemp(prefix="tailrace-"))
    top = job_dir / _OWN / _ATTEMPTS / uuid.uuid4().hex
    top.mkdir(parents=True)
    return top


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_writable(top: Path) -> None:
    for folder, names, _ in os.walk(top):
        for name in names:
            path = Path(folder, name)
            # Links lead to the job's own.
            if not path.is_symlink():
                with suppress(OSError):
                    path.chmod(0o700)
