"""`tailrace job report`, and `tailrace job run --report`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.jobs import job
from support.report_pages import parse
from support.tunnel import search_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job of which a chunk fails, and its logs."""
    spec = job("echo > chunk_0", "echo 'a <b>bad</b> day' >&2; exit 3")
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    _tailrace(tmp_path, "run", "job.json", "-q", "--keep-going", "--log-dir", "logs")
    return tmp_path


def test_a_page_is_made_of_the_logs(folder: Path) -> None:
    done = _tailrace(folder, "report", "logs", "--to", "report.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"report\.html: 2 chunks, \d+ kB\n", done.stdout)
    page = parse((folder / "report.html").read_text())
    assert page.all("h1")[0].text == "job-1"
    assert [code.text for code in page.all("code")] == ["a <b>bad</b> day\n"]
    # As other files that are made here.
    assert (folder / "report.html").stat().st_mode == (folder / "job.json").stat().st_mode


def test_json_and_csv_go_to_standard_output_also_beside_a_page(folder: Path) -> None:
    told = json.loads(_tailrace(folder, "report", "logs", "--json").stdout)
    assert [chunk["state"] for chunk in told["chunks"]] == ["completed", "failed"]
    done = _tailrace(folder, "report", "logs", "--csv", "--to", "report.html")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["state"] for row in rows] == ["completed", "failed"]
    assert done.stderr.startswith("report.html: 2 chunks")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["logs"], "say what to make: --to report.html, --json or --csv"),
        (["logs", "--json", "--csv"], "use one of them"),
        (["logs", "--to", "logs/job.ndjson"], "its name should end with .html"),
        (["logs", "--to", "nowhere/report.html"], "there is no folder nowhere"),
        ([".", "--to", "report.html"], "is no log of a job: there is none; --log-dir writes one"),
        (
            ["nowhere", "--to", "report.html", "--server", "http://127.0.0.1:1"],
            "there is no folder nowhere, and no farm's server answers at http://127.0.0.1:1",
        ),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_status_2(folder: Path, arguments: list[str], message: str) -> None:
    before = (folder / "logs" / "job.ndjson").read_bytes()
    done = _tailrace(folder, "report", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert (folder / "logs" / "job.ndjson").read_bytes() == before
    assert not (folder / "report.html").exists()


def test_a_run_writes_its_report_at_the_end_without_logs_too(folder: Path) -> None:
    done = _tailrace(folder, "run", "job.json", "-q", "--keep-going", "--report", "report.html")
    assert done.returncode == 1
    assert done.stderr.endswith("tailrace: report: report.html\n")
    page = parse((folder / "report.html").read_text())
    # Both chunks are run again, and only this run is told.
    assert [code.text for code in page.all("code")] == ["a <b>bad</b> day\n"]
    assert "2 runs" not in page.text


def test_a_run_with_logs_reports_on_all_runs_in_their_folder(folder: Path) -> None:
    options = ("--keep-going", "--resume", "--log-dir", "logs", "--report", "report.html")
    assert _tailrace(folder, "run", "job.json", "-q", *options).returncode == 1
    page = parse((folder / "report.html").read_text())
    assert "in 2 runs" in page.text
    assert [node.all("h3")[0].text.split(",")[0] for node in page.all("div", "run")] == ["Run 1", "Run 2"]


def test_a_run_that_is_interrupted_has_its_report(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(job("true", "sleep 100").model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "tailrace", "job", "run", "job.json", "--log-dir", "logs", "--report", "r.html"]
    ran = subprocess.Popen(command, cwd=tmp_path, env=_environment(), stderr=subprocess.PIPE)
    log = tmp_path / "logs" / "job.ndjson"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_bytes().count(b"chunk_started") == 2):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ran.send_signal(signal.SIGINT)
    _, told = ran.communicate(timeout=60)
    assert ran.returncode == 130
    assert told.endswith(b"tailrace: report: r.html\n")
    page = parse((tmp_path / "r.html").read_text())
    assert [cell.text for cell in page.all("td") if cell.all("span")] == ["completed", "cancelled"]
    assert page.all("span", "pill")[0].text == "Cancelled"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--report", "report.txt"], "its name should end with .html"),
        (["--report", "nowhere/report.html"], "there is no folder nowhere"),
        (["--report", "report.html", "--dry-run"], "--report tells what happened"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_the_job(folder: Path, options: list[str], message: str) -> None:
    (folder / "chunk_0").unlink()
    done = _tailrace(folder, "run", "job.json", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / "chunk_0").exists()


def test_a_report_that_fails_at_the_end_is_told_and_is_a_failure(tmp_path: Path) -> None:
    spec = job("mkdir report.html")
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    done = _tailrace(tmp_path, "run", "job.json", "-q", "--report", "report.html")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "tailrace: the report report.html cannot be written: Is a directory"


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": search_path()}


def _tailrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tailrace", "job", *arguments]
    return subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=120)
