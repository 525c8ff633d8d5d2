"""The report of a farm's job, whole and in the parts that a page shows while it runs."""

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.farm_servers import BEARER, JSON, FarmServer, ended, serving, submit
from support.farms import held, open_gate
from support.frame_files import noise
from support.frame_jobs import copying, frames_job, rendered
from support.processes import descendants_marked
from support.report_pages import EventLog, Node, parse
from support.workers import Answer, wait_until
from tailrace._events.types import ChunkStarted
from tailrace.report import JobReportData
from tailrace.report._log_folder import LogFolder
from tailrace.report._page import PARTS, render_part
from tailrace.server import _report_program, _reports


def test_the_report_is_a_page_json_or_csv(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "true", "echo 'a <b>bad</b> day' >&2; exit 3", settings={"failFast": False})
        ended(server, job_id)
        page = _report(server, job_id, "html&sheet=false")
        told = _report(server, job_id, "json").json()
        rows = list(csv.DictReader(io.StringIO(_report(server, job_id, "csv").body.decode())))
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    # It is no page of the server's: nothing in it may ask for anything there.
    assert page.headers["Content-Disposition"] == f'attachment; filename="report-{job_id}.html"'
    assert page.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert [code.text for code in parse(page.body.decode()).all("code")] == ["a <b>bad</b> day\n"]
    assert [chunk["state"] for chunk in told["chunks"]] == ["completed", "failed"]
    assert [row["state"] for row in rows] == ["completed", "failed"]


def test_the_report_is_of_the_job_as_the_farm_knows_it(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "true", name="sh020 <i>")
        ended(server, job_id)
        page = parse(_report(server, job_id, "html").body.decode())
        told = _report(server, job_id, "json").json()
    assert next(title.text for title in page.all("title")) == "sh020 <i>: render report"
    (header,) = page.all("header")
    assert [heading.text for heading in header.all("h1")] == ["sh020 <i>"]
    assert [line.text for line in header.all("p", "about")] == [f"Job {job_id}"]
    assert (told["name"], told["jobId"]) == ("sh020 <i>", job_id)


def test_the_page_has_the_frames_as_pictures_unless_it_is_to_have_none(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(copying(picture, 1, 2), frames=2), tmp_path / "job")
        pages = [parse(_report(server, job_id, kind).body.decode()) for kind in ("html", "html&sheet=false")]
    shown = [[image.attributes["src"] or "" for image in page.all("img")] for page in pages]
    assert [source[:23] for source in shown[0]] == ["data:image/jpeg;base64,"] * 2
    assert shown[1] == []


def test_a_job_that_has_not_begun_has_nothing_to_report(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "true", notBefore=time.time() + 1000)
        answer = server.send("GET", f"/api/v1/jobs/{job_id}/report")
        assert (answer.status, answer.message) == (404, f"job {job_id} has not begun: there is nothing to report")
        assert server.send("GET", f"/api/v1/jobs/{job_id}/parts/times").json() == {
            "version": 0,
            "again": 0,
            "html": "",
        }
        assert server.send("GET", "/api/v1/jobs/nix/report").status == 404
        assert server.send("GET", f"/api/v1/jobs/{job_id}/parts/nix").status == 404
        assert server.send("GET", f"/api/v1/jobs/{job_id}/report?format=pdf").status == 422


def test_the_parts_of_the_page_are_those_of_the_job_as_it_is(tmp_path: Path) -> None:
    with serving(tmp_path, slots=1) as server:
        job_id = submit(server, "true", "exit 3", held(tmp_path, "go"), settings={"failFast": False})
        # That of the legend is the second one.
        wait_until(lambda: len(_part(server, job_id, "times").all("rect", "running")) == 2)
        bars = [bar for bar in _part(server, job_id, "times").all("rect") if "data-chunk" in bar.attributes]
        assert {bar.attributes["data-chunk"] for bar in bars} == {"0", "1", "2"}
        told = _report(server, job_id, "json").json()
        assert [chunk["state"] for chunk in told["chunks"]] == ["completed", "failed", "running"]
        assert [run["state"] for run in told["runs"]] == ["running"]
        # What runs may end.
        server.send("POST", f"/api/v1/jobs/{job_id}/pause", "{}", JSON)
        assert server.send("GET", f"/api/v1/jobs/{job_id}").json()["state"] == "paused"
        assert _report(server, job_id, "json").json()["runs"][0]["state"] == "running"
        server.send("POST", f"/api/v1/jobs/{job_id}/resume", headers=BEARER)
        open_gate(tmp_path, "go")
        ended(server, job_id)
        wait_until(lambda: not _part(server, job_id, "times").all("rect", "running"))
        (failure,) = _part(server, job_id, "failures").all("article")
        assert failure.attributes["data-chunk"] == "1"
        assert "2 of 3" in _part(server, job_id, "figures").text


def test_a_part_that_is_known_is_not_told_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "true")
        ended(server, job_id)
        path = f"/api/v1/jobs/{job_id}/parts/times"
        found = server.send("GET", path).json()
        assert found["version"]
        again = server.send("GET", f"{path}?known={found['version']}").json()
        assert (again["version"], again["html"]) == (found["version"], None)


def test_what_runs_is_running_and_gets_longer_though_nothing_is_logged(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.add(ChunkStarted, 1, chunk_id=0, attempt=1, slot=0, command="render")
    path = log.write() / "job.ndjson"
    # As if it had begun a minute ago.
    shift = time.monotonic() - 160
    path.write_text(
        re.sub(r'"monotonic":([\d.]+)', lambda found: f'"monotonic":{float(found[1]) + shift}', path.read_text())
    )
    report = _report_program.LiveReport(tmp_path)
    still = parse(report.answer({"part": "times", "known": None, "runs": False})["html"])
    assert "chunk 0: unfinished, 0 s" in [title.text for title in still.all("title")]
    report = _report_program.LiveReport(tmp_path)
    runs = parse(report.answer({"part": "times", "known": None, "runs": True})["html"])
    (told,) = [title.text for title in runs.all("title") if title.text.startswith("chunk 0: running, ")]
    assert float(told.split()[-2]) >= 59


def test_the_logs_of_a_job_that_is_run_again_are_read_anew(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, f"test -e {tmp_path}/ready")
        assert ended(server, job_id)["state"] == "failed"
        assert len(_part(server, job_id, "failures").all("article")) == 1
        (tmp_path / "ready").touch()
        server.send("POST", f"/api/v1/jobs/{job_id}/retry", headers=BEARER)
        assert ended(server, job_id)["state"] == "completed"
        wait_until(lambda: not _part(server, job_id, "failures").all("article"))
        assert [run["state"] for run in _report(server, job_id, "json").json()["runs"]] == ["failed", "completed"]


def test_only_what_somebody_looks_at_is_kept_and_begins_anew_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reports, "_MOST_WATCHED", 1)
    with serving(tmp_path) as server:
        jobs = [submit(server, "true") for _ in range(3)]
        for job_id in jobs:
            ended(server, job_id)
            _part(server, job_id, "times")
        (process,) = descendants_marked(f"{tmp_path}/logs")
        # A render goes before it.
        assert os.getpriority(os.PRIO_PROCESS, process) == 10
        os.kill(process, signal.SIGKILL)
        assert "1 of 1" in _part(server, jobs[-1], "figures").text
        (another,) = descendants_marked(f"{tmp_path}/logs")
        assert another != process
        with ThreadPoolExecutor(9) as threads:
            found = threads.map(lambda job_id: _part(server, job_id, "figures").text, jobs * 3)
            assert all("1 of 1" in text for text in found)
        assert len(descendants_marked(f"{tmp_path}/logs")) == 1
    assert descendants_marked(f"{tmp_path}/logs") == []


def test_what_nobody_asks_for_any_more_ends(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "true")
        ended(server, job_id)
    folder = str(tmp_path / "logs" / job_id)
    program = "from tailrace.server import _report_program as p; p._PATIENCE = 0.5; p.main()"
    asked = b'{"part": "figures", "known": null, "runs": false}\n'
    with subprocess.Popen(
        [sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(asked)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["version"] > 0
        assert process.wait(20) == 0


def test_what_is_put_together_for_one_part_is_not_put_together_again_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.chunk(0, 0, 1)
    log.write()
    put_together = LogFolder.report
    times = 0

    def count(logs: LogFolder) -> JobReportData:
        nonlocal times
        times += 1
        return put_together(logs)

    monkeypatch.setattr(LogFolder, "report", count)
    report = _report_program.LiveReport(tmp_path)
    for name in PARTS:
        assert report.answer({"part": name, "known": None, "runs": False})["version"] or name == "failures"
    assert times == 1


def test_the_parts_take_a_twentieth_of_a_processor_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path)
    log.start(2)
    log.chunk(0, 0, 1)
    log.write()
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def take_two_seconds(name: str, data: JobReportData) -> str:
        nonlocal now
        now += 2 if name == "times" else 0
        return render_part(name, data)

    monkeypatch.setattr(_report_program, "render_part", take_two_seconds)
    report = _report_program.LiveReport(tmp_path)
    first = report.answer({"part": "figures", "known": None, "runs": False})
    assert "1 of 2" in parse(first["html"]).text
    log.chunk(1, 1, 2)
    log.write()
    now += 39
    assert report.answer({"part": "figures", "known": None, "runs": False}) == {**first, "again": 1}
    now += 2
    assert "2 of 2" in parse(report.answer({"part": "figures", "known": None, "runs": False})["html"]).text


def _report(server: FarmServer, job_id: str, kind: str) -> Answer:
    answer = server.send("GET", f"/api/v1/jobs/{job_id}/report?format={kind}")
    assert answer.status == 200, answer.body
    return answer


def _part(server: FarmServer, job_id: str, name: str) -> Node:
    answer = server.send("GET", f"/api/v1/jobs/{job_id}/parts/{name}")
    assert answer.status == 200, answer.body
    return parse(answer.json()["html"])
