"""A report for programs: JSON, and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass

from pydantic.alias_generators import to_camel

from ._data import ChunkReport, JobReportData

_COLUMNS = (
    "chunk",
    "state",
    "attempts",
    "startedAt",
    "duration",
    "slot",
    "node",
    "exitCode",
    "ending",
    "memory",
    "cpu",
    "frames",
    "reason",
    "category",
    "command",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes the beginning of a formula to be (OWASP, "CSV Injection")."""


def report_to_json(data: JobReportData) -> str:
    """Return the report as an object of JSON: the attributes of `JobReportData` in camelCase, and its counts."""
    plain = {"version": 1, **_plain(data), "totalChunks": data.total_chunks, "counts": dict(data.counts())}  # type: ignore[dict-item]
    return json.dumps(plain)


def report_to_csv(data: JobReportData) -> str:
    """Return a line for each chunk, below one with the names of the columns; what is not known is empty.

    `startedAt` and all behind it are of the last attempt, but for `frames`; times are seconds, `memory` is bytes. Text
    that a spreadsheet would take for a formula has a ' before it.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for chunk in data.chunks:
        writer.writerow([_safe(cell) for cell in _row(data, chunk)])
    return text.getvalue()


def _row(data: JobReportData, chunk: ChunkReport) -> Sequence[object]:
    last = chunk.last
    if last is None:
        of_last: Sequence[object] = ("",) * 8
    else:
        started_at = data.runs[last.run].started_at + last.began
        of_last = (
            f"{started_at:.3f}",
            f"{last.duration:.3f}",
            last.slot,
            last.node,
            last.exit_code,
            last.ending,
            last.memory,
            None if last.cpu is None else f"{last.cpu:.3f}",
        )
    category = None if last is None else last.category
    return (
        chunk.chunk_id,
        chunk.state,
        len(chunk.attempts),
        *of_last,
        chunk.frames,
        chunk.reason,
        category,
        chunk.command,
    )


def _safe(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = f"'{cell}" if cell.startswith(_FORMULA) else cell
    return text.encode(errors="backslashreplace").decode()


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {to_camel(field.name): _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value
