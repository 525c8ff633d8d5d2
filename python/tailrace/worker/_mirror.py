"""A folder that looks like the job's."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ._file_state import FileState

_WORTH_KEEPING = 1_000
"""From so many names on it takes long to make one anew."""
_UNTOUCHED = 123_456_789
"""The time that a folder of ours has, in nanoseconds, until a command changes what is in it."""


class Mirror:
    """Folders that are real, with links to whatever else is in the folders of `source` that they look like.

    It may serve one attempt after the other: what has not changed meanwhile is not looked at again.
    """

    def __init__(self, top: Path, source: Path | None, folders: Iterable[Path]) -> None:
        """Take an empty folder, what it is to look like if anything, and which folders are real: with their parents."""
        self.top = top
        self._source = source
        self._folders = {folder: _Folder() for folder in sorted(folders)}
        for folder in self._folders:
            if folder.parts:
                self._folders[folder.parent].inner.add(folder.name)
        self._changes: dict[Path, tuple[set[str], set[str]]] | None = None
        # Whatever a command puts in its place, this is the folder itself.
        self._descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    @property
    def is_worth_keeping(self) -> bool:
        """Whether it took long to make."""
        return sum(len(folder.links) + len(folder.left_out) for folder in self._folders.values()) >= _WORTH_KEEPING

    @property
    def is_there(self) -> bool:
        """Whether `top` still is what it was."""
        try:
            return os.path.samestat(os.lstat(self.top), os.fstat(self._descriptor))
        except OSError:
            return False

    def fill(self, leaves_out: Callable[[Path], Callable[[str], bool]]) -> None:
        """Make the folders and the links, or bring them up to date; raises `OSError`.

        `leaves_out` returns, for a folder, what tells which names in it get no link.
        """
        for folder, known in self._folders.items():
            if known.own is None and folder.parts:
                with self.opened(folder.parent) as parent:
                    os.mkdir(folder.name, dir_fd=parent)
        for folder, known in self._folders.items():
            if self._source is not None:
                self._link(folder, known, self._source / folder, leaves_out(folder))

    def written(self) -> list[Path]:
        """Return what a command has put there; raises `OSError` if it has put something in the place of a folder."""
        return [folder / name for folder, (added, _) in self._find_changes().items() for name in added]

    def restore(self) -> None:
        """Delete what a command has put there; raises `OSError` if it cannot be as it was before."""
        changes, self._changes = self._find_changes(), None
        for folder, (added, lost) in changes.items():
            known = self._folders[folder]
            with self.opened(folder) as descriptor:
                for name in added:
                    _delete(name, descriptor)
                if known.own is not None and _mode(descriptor) != known.own.mode:
                    raise OSError(errno.EPERM, "its mode has been changed")
                known.links -= lost
                known.own = _mark(descriptor)
            if lost:
                # The next look at the source finds them again.
                known.seen = None

    def remove(self, until: float = float("inf")) -> None:
        """Delete it with what is in it, as far as that can be done `until` then on the monotonic clock."""
        for folder, known in self._folders.items():
            with suppress(OSError), self.opened(folder) as descriptor:
                for name in known.links:
                    if time.monotonic() > until:
                        break
                    os.unlink(name, dir_fd=descriptor)
        os.close(self._descriptor)
        if time.monotonic() <= until:
            _remove(self.top)

    @contextmanager
    def opened(self, folder: Path) -> Iterator[int]:
        """Yield a descriptor of a folder in it, to which no link has led; raises `OSError`."""
        descriptor = os.dup(self._descriptor)
        try:
            for name in folder.parts:
                outer = descriptor
                descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
                os.close(outer)
            yield descriptor
        finally:
            os.close(descriptor)

    def _link(self, folder: Path, known: _Folder, source: Path, is_left_out: Callable[[str], bool]) -> None:
        names, seen = _look(source, known.seen)
        if names is None:
            return
        known.left_out &= names
        new = names - known.links - known.left_out
        with self.opened(folder) as own:
            for name in known.links - names:
                os.unlink(name, dir_fd=own)
            known.links &= names
            for name in new:
                if name in known.inner or is_left_out(name):
                    known.left_out.add(name)
                else:
                    os.symlink(f"{source}/{name}", name, dir_fd=own)
                    known.links.add(name)
            known.own = _mark(own)
        known.seen = seen

    def _find_changes(self) -> dict[Path, tuple[set[str], set[str]]]:
        """Return, for each folder, the names that are new in it and those of the links that are not there any more."""
        if self._changes is None:
            self._changes = {folder: self._compare(folder, known) for folder, known in self._folders.items()}
        return self._changes

    def _compare(self, folder: Path, known: _Folder) -> tuple[set[str], set[str]]:
        try:
            with self.opened(folder) as descriptor:
                if known.own is not None and os.fstat(descriptor).st_mtime_ns == known.own.time:
                    return set(), set()
                kept, added = _sort(descriptor, known.links, f"{(self._source or Path()) / folder}/")
        except FileNotFoundError:
            return set(), set(known.links)
        except OSError as error:
            text = f"the command has put something else in the place of its folder {folder}"
            raise OSError(error.errno, text) from None
        return added - known.inner, known.links - kept


class _Mark(NamedTuple):
    """What a folder of ours has until a command changes it."""

    time: int
    mode: int


class _Folder:
    """What is known of one of the real folders."""

    def __init__(self) -> None:
        self.inner: set[str] = set()
        """The real folders in it."""
        self.links: set[str] = set()
        self.left_out: set[str] = set()
        """Names in the source that have no link."""
        self.seen: FileState | None = None
        """The source when it was last looked at; None: it may have changed since without showing it."""
        self.own: _Mark | None = None


def _look(source: Path, seen: FileState | None) -> tuple[set[str] | None, FileState | None]:
    """Return the names in a folder, or None if it is as it was `seen`, and what tells that the next time."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return set(), None
    try:
        now = FileState.of(descriptor)
        return None if now is not None and now == seen else set(os.listdir(descriptor)), now  # noqa: PTH208
    finally:
        os.close(descriptor)


def _sort(descriptor: int, links: set[str], source: str) -> tuple[set[str], set[str]]:
    """Return which of the names in a folder are still those of the links into `source`, and which are not."""
    kept, added = set[str](), set[str]()
    with os.scandir(descriptor) as entries:
        for entry in entries:
            name = entry.name
            is_kept = name in links and entry.is_symlink() and os.readlink(name, dir_fd=descriptor) == source + name
            (kept if is_kept else added).add(name)
    return kept, added


def _mark(descriptor: int) -> _Mark:
    os.utime(descriptor, ns=(_UNTOUCHED, _UNTOUCHED))
    return _Mark(os.fstat(descriptor).st_mtime_ns, _mode(descriptor))


def _mode(descriptor: int) -> int:
    return os.fstat(descriptor).st_mode


def _delete(name: str, folder: int) -> None:
    try:
        is_folder = stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
    except FileNotFoundError:
        # It was moved to where it belongs.
        return
    if is_folder:
        shutil.rmtree(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def _remove(top: Path) -> None:
    if top.is_symlink():
        # It is not what was made there.
        return
    shutil.rmtree(top, ignore_errors=True)
    if top.exists():
        _make_writable(top)
        shutil.rmtree(top, ignore_errors=True)


def _make_writable(top: Path) -> None:
    for folder, names, _ in os.walk(top):
        for name in names:
            path = Path(folder, name)
            # Links lead to the job's own.
            if not path.is_symlink():
                with suppress(OSError):
                    path.chmod(0o700)
