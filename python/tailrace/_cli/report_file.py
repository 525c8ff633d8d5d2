"""The report that `job run --report` writes when the job is over."""

from __future__ import annotations

import os
from functools import partial

import anyio
import click

from tailrace import JobEvent, TailraceError
from tailrace.report import JobReportData, RunHistory, combine_runs, read_log_folder, write_report

from .writing import print_message


class ReportFile:
    """Where the report goes, and what it is made of: the job's logs, with earlier runs in them, or else its events."""

    def __init__(self, path: str, log_dir: str | None) -> None:
        """Raises `click.UsageError` for a path that cannot be written, before the job has begun."""
        check_report_path(path, "--report")
        self._path = path
        self._log_dir = log_dir
        self._history = RunHistory() if log_dir is None else None

    def take(self, event: JobEvent) -> None:
        """Take an event of the job."""
        if self._history is not None:
            self._history.apply(event)

    def write(self, *, sheet: bool, patience: float | None) -> bool:
        """Write the report, and a line that says so; return whether that went well. A job that never began has none."""
        if self._history is not None and not self._history.state.run_id:
            return True
        try:
            note = anyio.run(partial(write_report, self._data(), self._path, sheet=sheet))
        except TailraceError as error:
            print_message(str(error), patience=patience)
            return False
        if note is not None:
            print_message(f"note: {note}", patience=patience)
        print_message(f"report: {self._path}", patience=patience)
        return True

    def _data(self) -> JobReportData:
        if self._history is not None:
            return combine_runs([self._history])
        assert self._log_dir is not None  # noqa: S101
        return read_log_folder(self._log_dir)


def check_report_path(path: str, option: str) -> None:
    """Raise `click.UsageError` for a path of a report that names something else, or in a folder that is not there."""
    if not path.endswith((".html", ".htm")):
        # A log, or a frame, would be replaced.
        raise click.UsageError(f"{option} {path} is a page: its name should end with .html")
    folder = os.path.dirname(path)  # noqa: PTH120
    if folder and not os.path.isdir(folder):  # noqa: PTH112
        raise click.UsageError(f"{option} {path}: there is no folder {folder}")
