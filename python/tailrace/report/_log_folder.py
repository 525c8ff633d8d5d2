"""What a folder of logs tells of a job."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from .._command.result import WorkerResult
from .._errors import TailraceError
from .._events.from_json import event_from_json
from .._events.types import ChunkFailed, JobEvent
from ._data import JobReportData
from ._history import RunHistory
from ._job import combine_runs

_EVENTS = "job.ndjson"
_RUN = re.compile(r"run-(\d+)")
_MOST = 1e15
"""No time, size or count is as large; one that is no number at all is not below it either."""
_LONGEST_LINE = 64 << 20
"""In bytes; the first event names all chunks that were done before. What is longer is damaged."""


def read_log_folder(folder: str | os.PathLike[str]) -> JobReportData:
    """Return what the logs in `folder` (`JobExecutionOptions.log_dir`) tell of their job, of all its runs.

    The job may run still. Lines that are damaged, or of a newer version, are counted and left out; runs of another job
    are left out.

    Raises `TailraceError` if there is no log of events in the folder, or neither it nor any of its lines can be read.
    """
    logs = LogFolder(folder)
    logs.read_on()
    return logs.report()


class LogFolder:
    """The logs of a job that runs: what is new in them is read on, and all that was read before is known still."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Begin with nothing read; see `read_log_folder`."""
        self._path = Path(folder)
        self._logs: list[_EventLog] = []

    def read_on(self) -> int:
        """Read what is new; return how much has been read by now, in bytes. Raises `TailraceError` if it cannot be."""
        folders = [*_earlier_runs(self._path), self._path]
        if [log.history.log_dir for log in self._logs] != folders:
            # Another run began, and what was the log of one lies elsewhere now.
            self._logs = [_EventLog(folder) for folder in folders]
        for log in self._logs:
            log.read_on()
        return sum(log.offset for log in self._logs)

    def go_on(self, monotonic: float | None) -> None:
        """Take it that the last run goes on until then, or that it does not; see `RunHistory.go_on`."""
        if self._logs and self._logs[-1].history.run_id:
            self._logs[-1].history.go_on(monotonic)

    def report(self) -> JobReportData:
        """Return what has been read. Raises `TailraceError` if that tells nothing."""
        runs = [log.history for log in self._logs if log.history.run_id]
        if not runs:
            problem = next((log.problem for log in reversed(self._logs) if log.problem), "it tells nothing")
            raise TailraceError(f"{self._path / _EVENTS} is no log of a job: {problem}")
        return combine_runs(runs)


def _earlier_runs(folder: Path) -> Sequence[Path]:
    try:
        found = [(int(match[1]), entry) for entry in folder.iterdir() if (match := _RUN.fullmatch(entry.name))]
    except OSError as error:
        raise TailraceError(f"the logs in {folder} cannot be read: {error.strerror}") from error
    return [entry for _, entry in sorted(found)]


class _EventLog:
    """The log of events of a run, as far as it has been read."""

    def __init__(self, folder: Path) -> None:
        self.history = RunHistory(folder)
        self.problem: str | None = None
        """What is wrong with the first line that cannot be read, if any."""
        self.offset = 0
        """Of the first byte that has not been read."""
        self._path = folder / _EVENTS

    def read_on(self) -> None:
        try:
            for line in self._lines():
                try:
                    event = event_from_json(line)
                    if not all(abs(number) < _MOST for number in _numbers(event)):
                        raise ValueError("the event has a number that none can have")
                    self.history.apply(event)
                except ValueError as error:
                    self.history.unreadable_lines += 1
                    self.problem = self.problem or str(error)
        except FileNotFoundError:
            self.problem = "there is none; --log-dir writes one"
        except OSError as error:
            raise TailraceError(f"{self._path} cannot be read: {error.strerror}") from error

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines that have an end; what a killed host left of its last one, or is being written, has none."""
        with self._path.open("rb") as log:
            log.seek(self.offset)
            while line := log.readline(_LONGEST_LINE):
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    return
                self.offset += len(line)
                # The rest of one that is too long comes next, and is none either.
                yield line if line.endswith(b"\n") else b""


def _numbers(event: JobEvent) -> Iterator[float]:
    yield from (value for field in fields(event) if isinstance(value := getattr(event, field.name), int | float))
    result = event.error.result if isinstance(event, ChunkFailed) else getattr(event, "result", None)
    if isinstance(result, WorkerResult):
        yield from (result.exit_code, result.duration)
        if (usage := result.usage) is not None:
            yield from (usage.cpu_user, usage.cpu_system, usage.max_rss or 0, usage.tree_max_rss or 0)
