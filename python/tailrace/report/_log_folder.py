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
    path = Path(folder)
    runs: list[RunHistory] = []
    problem: str | None = None
    for run_folder in [*_earlier_runs(path), path]:
        history = RunHistory(run_folder)
        problem = _read(run_folder / _EVENTS, history) or problem
        if history.run_id:
            runs.append(history)
    if not runs:
        raise TailraceError(f"{path / _EVENTS} is no log of a job: {problem or 'it tells nothing'}")
    return combine_runs(runs)


def _earlier_runs(folder: Path) -> Sequence[Path]:
    try:
        found = [(int(match[1]), entry) for entry in folder.iterdir() if (match := _RUN.fullmatch(entry.name))]
    except OSError as error:
        raise TailraceError(f"the logs in {folder} cannot be read: {error.strerror}") from error
    return [entry for _, entry in sorted(found)]


def _read(path: Path, history: RunHistory) -> str | None:
    """Have a log of events applied; return what is wrong with the first line that cannot be, if any."""
    problem = None
    try:
        for line in _lines(path):
            try:
                event = event_from_json(line)
                if not all(abs(number) < _MOST for number in _numbers(event)):
                    raise ValueError("the event has a number that none can have")
                history.apply(event)
            except ValueError as error:
                history.unreadable_lines += 1
                problem = problem or str(error)
    except FileNotFoundError:
        return "there is none; --log-dir writes one"
    except OSError as error:
        raise TailraceError(f"{path} cannot be read: {error.strerror}") from error
    return problem


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines that have an end; what a killed host left of its last one, or what is being written, has none."""
    with path.open("rb") as log:
        while line := log.readline(_LONGEST_LINE):
            if line.endswith(b"\n"):
                yield line
            elif len(line) == _LONGEST_LINE:
                # The rest of it comes next, and is none either.
                yield b""


def _numbers(event: JobEvent) -> Iterator[float]:
    yield from (value for field in fields(event) if isinstance(value := getattr(event, field.name), int | float))
    result = event.error.result if isinstance(event, ChunkFailed) else getattr(event, "result", None)
    if isinstance(result, WorkerResult):
        yield from (result.exit_code, result.duration)
        if (usage := result.usage) is not None:
            yield from (usage.cpu_user, usage.cpu_system, usage.max_rss or 0, usage.tree_max_rss or 0)
