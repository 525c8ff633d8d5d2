"""Where one attempt at a chunk runs, and from where its output goes into place."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

from .._spec.model import Chunk
from .._spec.numbered_name import is_numbered
from .._spec.outputs import OutputNames, is_output_of, output_paths
from ._kept_mirrors import OWN_FOLDER, KeptMirrors, Layout
from ._outcome import Outcome
from ._requests import RefusedError

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
        chunk: Chunk,
        outputs: OutputNames,
        mirrors: KeptMirrors,
        *,
        spec_path: Path | None,
        root: Path | None,
        job_dir: Path | None,
        is_shared: bool,
    ) -> None:
        """Take a folder from `mirrors`.

        `outputs` are those of all chunks, `spec_path` is the specification's own file, if it has one. `root` is
        mirrored, and the command runs where `job_dir` is in it; without them it runs in an empty folder. With
        `is_shared`, the folder lies within the job's. Raises `RefusedError` for an output that would not lie in the
        job's folder, `OSError` if the folder cannot be made.
        """
        folders = _output_folders(chunk)
        self._root = root
        place = Path()
        if root is not None and job_dir is not None:
            place = job_dir.relative_to(root)
            _check_links(chunk, folders, job_dir, root)
        self._chunk = chunk
        self._all_outputs = outputs
        self._spec_path = spec_path
        real = {place / folder for folder in folders} | {place}
        real |= {above for folder in real for above in folder.parents}
        self._is_shared = is_shared
        self._place = place
        self._has_ended = False
        self._mirrors = mirrors
        layout = Layout(root, job_dir if is_shared else None, frozenset(real), outputs.digest)
        self._mirror = mirrors.take(layout, self._leaves_out)

    @property
    def path(self) -> Path:
        """Where the command runs."""
        return self._mirror.top / self._place

    def publish(self, outcome: Outcome) -> Outcome:
        """Move what a command that succeeded has written to where it belongs, each file at once and the outputs last.

        Returns `outcome`, or that this failed.
        """
        # Of one that had to be ended, something may still be writing.
        self._has_ended = outcome.error_kind is None and not outcome.truncated
        if not self._is_shared or outcome.exit_code != 0:
            return outcome
        try:
            for path in sorted(self._mirror.written(), key=self._is_output):
                self._move(path)
        except OSError as error:
            return Outcome.internal(f"the output could not be put in its place: {error.strerror}", outcome)
        return outcome

    def remove(self) -> None:
        """Delete what is left in it."""
        self._mirrors.give_back(self._mirror, is_clean=self._has_ended)

    def _move(self, path: Path) -> None:
        # From the folder's descriptor: a link that the command has put in its place leads nowhere.
        with self._mirror.opened(path.parent) as folder:
            if not stat.S_ISDIR(os.lstat(path.name, dir_fd=folder).st_mode):
                self._put_in_place(path, folder)
                return
        assert self._root is not None  # noqa: S101
        # Not at once: another chunk may be making the same folder.
        (self._root / path).mkdir(parents=True, exist_ok=True)
        with self._mirror.opened(path) as folder:
            names = os.listdir(folder)  # noqa: PTH208
        for name in names:
            self._move(path / name)

    def _put_in_place(self, path: Path, folder: int) -> None:
        assert self._root is not None  # noqa: S101
        target = self._root / path
        real = Path(os.path.realpath(target))
        if self._is_output(path) and real.is_relative_to(self._root):
            # An output that leads elsewhere goes there, as it does for a command that writes to it.
            target = real
        if self._is_foreign(path) or real == self._spec_path:
            _logger.warning("chunk %d wrote what is not its own, which is left out: %s", self._chunk.id, path)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path.name, target, src_dir_fd=folder)

    def _leaves_out(self, folder: Path) -> Callable[[str], bool]:
        inside = self._in_job(folder)
        start = "" if inside == "." else f"{inside}/"
        own = OWN_FOLDER if folder == self._place else None
        return lambda name: name == own or start + name in self._all_outputs

    def _is_output(self, path: Path) -> bool:
        return is_output_of(self._chunk, self._in_job(path))

    def _is_foreign(self, path: Path) -> bool:
        """Return whether `path` is an output of another chunk's only, or the job's record."""
        name = self._in_job(path)
        if Path(name).parts[0] == OWN_FOLDER:
            return True
        return name in self._all_outputs and not self._is_output(path)

    def _in_job(self, path: Path) -> str:
        return os.path.relpath(path, self._place)


def check_output(chunk: Chunk) -> None:
    """Raise `RefusedError` if the chunk's output would not lie in the job's folder."""
    for name in chunk.output_files:
        if len(name) > _LONGEST_OUTPUT:
            raise RefusedError(422, f"outputFile of chunk {chunk.id} should have at most {_LONGEST_OUTPUT} characters")
        parts = Path(os.path.normpath(name)).parts
        is_outside = name.startswith("/") or ".." in Path(name).parts
        if is_outside or not parts or parts[0] == OWN_FOLDER or name.endswith("/"):
            raise RefusedError(403, f"outputFile of chunk {chunk.id} should be a file in the job's folder: {name!r}")


def _output_folders(chunk: Chunk) -> set[Path]:
    folders = {Path(os.path.normpath(name)).parent for name in chunk.output_files}
    if not any(is_numbered(str(folder)) for folder in folders):
        return folders
    if chunk.frame_count * len(chunk.output_files) > _MOST_FOLDERS:
        raise RefusedError(403, f"the output of chunk {chunk.id} lies in more than {_MOST_FOLDERS} folders")
    return {Path(os.path.normpath(path)).parent for path in output_paths(chunk, Path())}


def _check_links(chunk: Chunk, folders: set[Path], job_dir: Path, root: Path) -> None:
    for folder in folders:
        if not Path(os.path.realpath(job_dir / folder)).is_relative_to(root):
            raise RefusedError(
                403, f"outputFile of chunk {chunk.id} leads out of the working folder: {chunk.output_file!r}"
            )
