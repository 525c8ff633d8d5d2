"""The log files of one run of a job."""

from __future__ import annotations

import contextlib
import re
import threading
from pathlib import Path
from typing import NamedTuple

from ._errors import TailraceError
from ._events import ChunkOutput, ChunkUsage, JobEvent, MergeOutput
from ._job_lock import JobLock
from ._log_file import LogFile
from ._worker_job import STREAMS

_EVENTS_NAME = "job.ndjson"
_LOCK_NAME = ".lock"
_OURS = re.compile(r"job\.ndjson|(chunk-\d+-attempt-\d+|merge)-(stdout|stderr)\.log(\.gz|\.tail|\.tail-before)?")


class StreamLogs(NamedTuple):
    """The logs of the two streams of a command."""

    stdout: LogFile
    stderr: LogFile


class JobLogs:
    """A folder with a file for each chunk, attempt and stream that was written to, and one of the events, `job.ndjson`.

    What an earlier run left there is moved into a folder of its own, `run-1` and so on.
    """

    def __init__(self, folder: Path, *, highest_id: int, limit: int | None, compress: bool) -> None:
        """Only say where; `open` does the work, and `close` is allowed at any time."""
        self.folder = folder
        self._digits = len(str(highest_id))
        self._limit = limit
        self._compress = compress
        self._mutex = threading.Lock()
        self._is_closed = False
        self._lock: JobLock | None = None
        self._events: LogFile | None = None

    def open(self) -> None:
        """Take the folder for this run; blocks.

        Raises `JobLockedError` if the logs of another one are being written there, `TailraceError` if none can be.
        """
        with self._mutex:
            if self._is_closed:
                return
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = JobLock(self.folder / _LOCK_NAME, f"logs are being written to {self.folder}")
                self._set_earlier_run_aside()
            except OSError as error:
                raise TailraceError(f"logs cannot be written to {self.folder}: {error.strerror}") from error
            self._events = LogFile(str(self.folder / _EVENTS_NAME), limit=None, compress=False)

    def close(self) -> None:
        """Let other runs in."""
        with self._mutex:
            self._is_closed = True
            if self._events is not None:
                self._events.close()
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def write_event(self, event: JobEvent) -> LogFile | None:
        """Log an event; return the file it went to.

        Not output, which has files of its own, nor what a chunk uses now: a night of that would be a gigabyte.
        """
        if self._events is None or isinstance(event, ChunkOutput | ChunkUsage | MergeOutput):
            return None
        self._events.write(event.to_json().encode() + b"\n")
        return self._events

    def of_chunk(self, chunk_id: int, attempt: int) -> StreamLogs:
        """Return new logs for an attempt at a chunk."""
        return self._logs(f"chunk-{chunk_id:0{self._digits}}-attempt-{attempt}")

    def of_merge(self) -> StreamLogs:
        """Return new logs for the merge."""
        return self._logs("merge")

    def _logs(self, name: str) -> StreamLogs:
        return StreamLogs(
            *(
                LogFile(f"{self.folder}/{name}-{stream}.log", limit=self._limit, compress=self._compress)
                for stream in STREAMS
            )
        )

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
