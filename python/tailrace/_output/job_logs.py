"""The log files of one run of a job."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from .._command.job import STREAMS
from .._concurrency.disk_threads import DiskThreads
from .._errors import TailraceError
from .._events.json import event_to_line
from .._events.types import ChunkOutput, ChunkUsage, JobEvent, MergeOutput
from .._state.lock import JobLock
from .disk_work import DiskWork
from .log_file import LogFile

_EVENTS_NAME = "job.ndjson"
_LOCK_NAME = ".lock"
_OURS = re.compile(r"job\.ndjson|(chunk-\d+-attempt-\d+|merge)-(stdout|stderr)\.log(\.gz|\.tail|\.tail-before)?")


class StreamLogs(NamedTuple):
    """The logs of the two streams of a command."""

    stdout: LogFile
    stderr: LogFile


class JobLogs:
    """A folder with a file for each chunk, attempt and stream that was written to, and one of the events, `job.ndjson`.

    What an earlier run left there is moved into a folder of its own, `run-1` and so on. Where the disk does not answer,
    logs are lost, and whoever writes them goes on.
    """

    def __init__(self, folder: Path, *, highest_id: int, limit: int | None, compress: bool) -> None:
        """Only say where; `open` does the work, and `close` is allowed at any time. Needs an event loop."""
        self.folder = folder
        self._digits = len(str(highest_id))
        self._limit = limit
        self._compress = compress
        self._lock: JobLock | None = None
        self._error: Exception | None = None
        self._is_told = False
        self._threads = DiskThreads()
        self._work: DiskWork[Callable[[], None]] = DiskWork(self._threads, self._do, self._release)
        self._events = LogFile(str(folder / _EVENTS_NAME), self._threads, limit=None, compress=False)

    async def open(self) -> None:
        """Take the folder for this run.

        Raises `JobLockedError` if the logs of another one are being written there, `TailraceError` if none can be. If
        the disk does not answer at all, there will be no logs.
        """
        self._work.put(self._open)
        await self._work.settle()
        if self._error is not None and self._work.fault is None:
            raise self._error

    async def close(self) -> None:
        """Finish the log of the events and let other runs in."""
        self._events.finish()
        try:
            await self._events.settle()
        finally:
            self._work.put(self._release)
            await self._work.settle()

    def hurry(self) -> None:
        """Have a disk that does not answer waited for no longer than for a moment."""
        self._threads.is_hurried = True

    def write_event(self, event: JobEvent) -> bool:
        """Log an event, and return whether it is one of those that are.

        Not output, which has files of its own, nor what a chunk uses now: a night of that would be a gigabyte.
        """
        if isinstance(event, ChunkOutput | ChunkUsage | MergeOutput):
            return False
        if not self._are_lost:
            self._events.write(event_to_line(event))
        return True

    def room_for_events(self) -> Awaitable[None] | None:
        """Return what to await before more is written; None if there is room."""
        return self._events.room()

    async def settle_events(self) -> None:
        """Return when the events are on the disk, or those that are not are lost."""
        await self._events.settle()

    def take_failure(self) -> tuple[str, str] | None:
        """Return what cannot be written, the folder or the log of the events, and why, once; else None."""
        if self._work.fault is not None and not self._is_told:
            self._is_told = True
            return str(self.folder), self._work.fault
        reason = self._events.take_failure()
        return None if reason is None else (self._events.path, reason)

    def of_chunk(self, chunk_id: int, attempt: int) -> StreamLogs | None:
        """Return new logs for an attempt at a chunk; None if there are none."""
        return self._logs(f"chunk-{chunk_id:0{self._digits}}-attempt-{attempt}")

    def of_merge(self) -> StreamLogs | None:
        """Return new logs for the merge; None if there are none."""
        return self._logs("merge")

    @property
    def _are_lost(self) -> bool:
        return self._work.fault is not None

    def _logs(self, name: str) -> StreamLogs | None:
        if self._are_lost:
            return None
        paths = [f"{self.folder}/{name}-{stream}.log" for stream in STREAMS]
        return StreamLogs(*(LogFile(path, self._threads, limit=self._limit, compress=self._compress) for path in paths))

    def _do(self, steps: Iterable[Callable[[], None]]) -> None:
        for step in steps:
            step()

    def _open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._work.got_on()
            self._lock = JobLock(self.folder / _LOCK_NAME, f"logs are being written to {self.folder}")
            self._set_earlier_run_aside()
        except OSError as error:
            self._error = TailraceError(f"logs cannot be written to {self.folder}: {error.strerror}")
            self._error.__cause__ = error
        except Exception as error:  # noqa: BLE001 (`open` raises it)
            self._error = error

    def _release(self) -> None:
        if self._lock is not None:
            lock, self._lock = self._lock, None
            # With this process it ends in any case.
            with contextlib.suppress(OSError):
                lock.release()

    def _set_earlier_run_aside(self) -> None:
        earlier = [path for path in self.folder.iterdir() if _OURS.fullmatch(path.name)]
        if not earlier:
            return
        number = 1
        while True:
            with contextlib.suppress(FileExistsError):
                aside = self.folder / f"run-{number}"
                aside.mkdir()
                break
            number += 1
        for path in earlier:
            path.rename(aside / path.name)
            self._work.got_on()
