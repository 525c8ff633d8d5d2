"""Keeps apart the jobs of one folder that write the same files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import unquote

from .job_outputs import JobOutputs
from .lock import JobLock, holder_of, locked_error

_LOCK = "lock"
# No job's folder has a name that begins with a dot.
_LISTS = ".running"
_FOLDER_LOCK = ".lock"
_PATIENCE = 10.0
"""How long all others together that begin at the same time may take to look at each other, in seconds."""


class RunningJob:
    """A job that nobody else runs, and that nobody writes the files of, until it is released or the process ends.

    Each running job has a lock, and a list of what it writes beside those of the others. The lists are looked at and
    written one job at a time. A list whose lock is free was left behind by a process that was killed, and is removed.
    """

    def __init__(self, folder: Path, job_id: str, outputs: JobOutputs) -> None:
        """Take the job whose own folder is `folder`, among those beside it.

        Raises `JobLockedError` if it, or another one that writes one of its files, is being run, `OSError` where locks
        cannot be had.
        """
        self._folder = folder
        self._outputs = outputs
        lists = folder.parent / _LISTS
        lists.mkdir(exist_ok=True)
        # Not in the lock itself: on SMB, what is locked cannot be read.
        self._list = lists / folder.name
        looking = JobLock(folder.parent / _FOLDER_LOCK, f"{folder.parent} is being looked at", patience=_PATIENCE)
        try:
            self._lock = JobLock(folder / _LOCK, f"job {job_id} is being run")
            try:
                # Made anew, and first: a folder that it has just changed is not shown from a cache by an NFS client.
                self._list.unlink(missing_ok=True)
                self._list.write_text(outputs.to_json())
                for other in lists.iterdir():
                    if other.name != folder.name:
                        self._check(other)
            except BaseException:
                self.release()
                raise
        finally:
            looking.release()

    def release(self) -> None:
        """Let others run it."""
        with contextlib.suppress(OSError):
            self._list.unlink(missing_ok=True)
        self._lock.release()

    def _check(self, other: Path) -> None:
        lock = self._folder.parent / other.name / _LOCK
        try:
            holder = holder_of(lock)
            if holder is None:
                other.unlink()
                return
            shared = self._outputs.shared_with(JobOutputs.from_json(other.read_bytes()))
        except (OSError, ValueError):
            # It has just ended, was deleted by hand, or is somebody's whose files cannot be read.
            return
        if shared is not None:
            raise locked_error(f"job {unquote(other.name)}, which writes {shared} too, is being run", holder, lock)
