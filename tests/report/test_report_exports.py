"""A report as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from support.report_pages import EventLog
from tailrace._events.types import ChunkSkipped
from tailrace.report import read_log_folder, report_to_csv, report_to_json


def test_json_has_all_of_the_report_in_camel_case(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(2)
    log.chunk(0, 0, 10, node="blade-7")
    log.finish(11)
    told = json.loads(report_to_json(read_log_folder(log.write())))
    assert (told["version"], told["jobId"], told["totalChunks"]) == (1, "job-1", 2)
    assert told["counts"] == {"completed": 1, "pending": 1}
    (chunk,) = told["chunks"]
    assert (chunk["chunkId"], chunk["state"], chunk["command"]) == (0, "completed", "render 0")
    (attempt,) = chunk["attempts"]
    assert (attempt["exitCode"], attempt["memory"], attempt["node"], attempt["duration"]) == (0, 2**30, "blade-7", 10)
    (run,) = told["runs"]
    assert (run["startedAt"], run["duration"], run["state"]) == (1.8e9, 11, "completed")


def test_csv_has_a_line_for_each_chunk(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(3, 1)
    log.chunk(0, 1, 3.5, slot=4)
    log.failed_chunk(2, 4, 5, 'chunk 2 failed: "a, b"')
    log.add(ChunkSkipped, 5, chunk_id=3, because_of=2)
    rows = list(csv.DictReader(io.StringIO(report_to_csv(read_log_folder(log.write())))))
    assert [(row["chunk"], row["state"], row["attempts"]) for row in rows] == [
        ("0", "completed", "1"),
        ("1", "completed", "0"),
        ("2", "failed", "1"),
        ("3", "skipped", "0"),
    ]
    assert rows[0] == {
        "chunk": "0",
        "state": "completed",
        "attempts": "1",
        "startedAt": "1800000001.000",
        "duration": "2.500",
        "slot": "4",
        "node": "",
        "exitCode": "0",
        "ending": "exit",
        "memory": str(2**30),
        "cpu": "2.500",
        "frames": "0",
        "reason": "",
        "category": "",
        "command": "render 0",
    }
    assert rows[2]["reason"] == 'chunk 2 failed: "a, b"'


def test_csv_has_no_text_that_a_spreadsheet_runs(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.failed_chunk(0, 0, 1, "=HYPERLINK(evil)")
    (row,) = csv.DictReader(io.StringIO(report_to_csv(read_log_folder(log.write()))))
    assert row["reason"] == "'=HYPERLINK(evil)"
