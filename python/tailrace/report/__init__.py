"""What became of a job, in one file: an HTML page that needs nothing else, JSON or CSV; docs/report.md shows it."""

from ._data import (
    AttemptReport,
    ChunkReport,
    FailureReport,
    FrameReport,
    JobReportData,
    LogExcerpt,
    MergeReport,
    RunReport,
)
from ._export import report_to_csv, report_to_json
from ._history import RunHistory
from ._job import combine_runs
from ._log_folder import read_log_folder
from ._writing import write_report

__all__ = [
    "AttemptReport",
    "ChunkReport",
    "FailureReport",
    "FrameReport",
    "JobReportData",
    "LogExcerpt",
    "MergeReport",
    "RunHistory",
    "RunReport",
    "combine_runs",
    "read_log_folder",
    "report_to_csv",
    "report_to_json",
    "write_report",
]
