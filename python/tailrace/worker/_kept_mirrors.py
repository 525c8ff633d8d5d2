"""Folders for attempts, some of which are kept for the next one."""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ._mirror import Mirror

OWN_FOLDER = ".tailrace"
_ATTEMPTS = ".attempts"
"""No job's record is in a folder of this name: theirs do not begin with a dot."""
_PATIENCE = 2.0
"""How long it may take to delete what is kept when the process ends, in seconds."""


class Layout(NamedTuple):
    """What folders have to have in common to serve the same attempts."""

    source: Path | None
    """What they look like, if anything."""
    job_dir: Path | None
    """Where they lie; None: among the temporary files."""
    folders: frozenset[Path]
    outputs: bytes
    """Stands for the names that have no links."""


class KeptMirrors:
    """Makes folders that look like a job's. Up to `limit` of those that take long to make are kept.

    They are deleted with this object, or when the process ends.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._layouts: dict[Mirror, Layout] = {}
        # The one that was used last is the last one.
        self._kept: list[Mirror] = []
        weakref.finalize(self, _remove_all, self._kept)

    def take(self, layout: Layout, leaves_out: Callable[[Path], Callable[[str], bool]]) -> Mirror:
        """Return a folder that looks as the job does now, for one attempt; raises `OSError`.

        `leaves_out` is what `Mirror.fill` says of it.
        """
        mirror = self._take_kept(layout)
        if mirror is not None:
            try:
                mirror.fill(leaves_out)
            except OSError:
                self._remove(mirror)
            else:
                return mirror
        mirror = Mirror(_make_top(layout.job_dir), layout.source, layout.folders)
        self._layouts[mirror] = layout
        try:
            mirror.fill(leaves_out)
        except BaseException:
            self._remove(mirror)
            raise
        return mirror

    def give_back(self, mirror: Mirror, *, is_clean: bool) -> None:
        """Keep it, if nothing goes on in it, or delete it."""
        superfluous = mirror
        if is_clean and self._limit and mirror.is_worth_keeping and mirror.is_there:
            try:
                mirror.restore()
            except OSError:
                pass
            else:
                with self._lock:
                    self._kept.append(mirror)
                    if len(self._kept) <= self._limit:
                        return
                    superfluous = self._kept.pop(0)
        self._remove(superfluous)

    def _take_kept(self, layout: Layout) -> Mirror | None:
        with self._lock:
            found = next((mirror for mirror in reversed(self._kept) if self._layouts[mirror] == layout), None)
            if found is not None:
                self._kept.remove(found)
        if found is None or found.is_there:
            return found
        self._remove(found)
        return None

    def _remove(self, mirror: Mirror) -> None:
        self._layouts.pop(mirror, None)
        mirror.remove()


def _remove_all(mirrors: list[Mirror]) -> None:
    until = time.monotonic() + _PATIENCE
    for mirror in mirrors:
        mirror.remove(until)


def _make_top(job_dir: Path | None) -> Path:
    if job_dir is None:
        return Path(tempfile.mkdtemp(prefix="tailrace-"))
    top = job_dir / OWN_FOLDER / _ATTEMPTS / uuid.uuid4().hex
    top.mkdir(parents=True)
    return top
