"""The page of a report: what is on it, and that nothing that a render wrote is more than text there."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.frame_files import noise
from support.report_pages import EventLog, Node, parse
from support.tunnel import search_path
from tailrace import ChunkErrorReported, TailraceError
from tailrace._events.types import ChunkStarted, FrameFinished, FrameFlagged, MergeFinished, MergeStarted
from tailrace.report import JobReportData, read_log_folder, write_report
from tailrace.report._data import AttemptReport, ChunkReport, FailureReport, FrameReport, LogExcerpt, RunReport
from tailrace.report._markup import visible
from tailrace.report._page import render_page
from tailrace.report._plots import Point, find_outliers
from tailrace.report._sheet import Sheet, SheetFrame, choose_frames

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\"'`${title}\x1b[31m\u202e\0"
_PIXEL = "data:image/jpeg;base64,AAAA"


def test_each_chunk_has_a_bar_and_a_row_and_each_figure_its_place(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(3)
    log.chunk(0, 0, 10, memory=2**30, node="blade-7")
    log.chunk(1, 0, 20, slot=1, memory=2**31)
    log.failed_chunk(2, 10, 12, "chunk 2 failed: no licence")
    log.finish(20)
    page = _page(read_log_folder(log.write()))
    bars = [node.all("title")[0].text for node in _section(page, "time-line").all("rect") if node.all("title")]
    assert bars == [
        "chunk 0: completed, 10.0 s on blade-7",
        "chunk 2: failed, 2.00 s: chunk 2 failed: no licence",
        "chunk 1: completed, 20.0 s",
    ]
    rows = [[cell.text for cell in row.all("td")] for row in _section(page, "chunks").all("tr")[1:]]
    assert rows == [
        ["0", "completed", "1", "0:00", "10.0 s", "0", "blade-7", "0", "1.0 GiB", "10.0 s", ""],
        ["1", "completed", "1", "0:00", "20.0 s", "1", "", "0", "2.0 GiB", "20.0 s", ""],
        ["2", "failed", "1", "0:10", "2.00 s", "0", "", "3", "", "", "chunk 2 failed: no licence"],
    ]
    figures = {node.all("dt")[0].text: node.all("dd")[0].children[0] for node in page.all("dl")[0].all("div")}
    assert figures["Chunks done"] == "2 of 3"
    assert figures["Peak memory"] == "2.0 GiB"
    assert figures["Time"] == "20.0 s"


def test_the_merge_has_a_bar_below_the_slots(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.chunk(0, 0, 10)
    log.add(MergeStarted, 10)
    log.add(MergeFinished, 12, result=None)
    log.finish(12)
    section = _section(_page(read_log_folder(log.write())), "time-line")
    (bar,) = section.all("rect", "merge")[:1]
    assert (bar.text, bar.attributes["x"], bar.attributes["width"]) == ("merge: completed, 2.00 s", "83.33%", "16.67%")
    assert [node.text for node in section.all("svg", "axis")[0].all("text")] == ["slot 0", "merge"]


def test_frames_that_take_much_longer_than_the_others_are_named(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.add(ChunkStarted, 0, chunk_id=0, attempt=1, slot=0, command="render")
    for frame in range(1, 31):
        duration = 41.0 if frame == 17 else 5 + frame % 3 / 10
        log.add(FrameFinished, frame, chunk_id=0, attempt=1, frame=frame, path=f"/f/{frame}", duration=duration)
    section = _section(_page(read_log_folder(log.write())), "frame-times")
    assert section.all("p", "note")[0].text == "Median 5.10 s. Far from it: frame 17 (41.0 s)."
    (dot,) = section.all("circle", "far")
    assert dot.text == "frame 17: 41.0 s"
    assert [node.text for node in section.all("text", "name")] == ["17"]


def test_where_each_chunk_is_a_video_its_time_is_no_time_of_a_frame(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(2)
    for chunk_id in (0, 1):
        path = f"/f/chunk_{chunk_id}.mp4"
        log.chunk(chunk_id, 0, 60)
        log.add(FrameFinished, 60, chunk_id=chunk_id, attempt=1, frame=30, path=path, duration=60.0)
    page = _page(read_log_folder(log.write()))
    assert (page.section("frame-times"), page.all("dt")[1].text) == (None, "Videos seen whole")
    assert page.section("chunk-times") is not None


def test_a_few_values_or_values_that_lie_close_have_no_outliers() -> None:
    assert find_outliers([Point(0, 1.0), Point(1, 100.0)]).points == ()
    assert find_outliers([Point(number, 5 + number / 1000) for number in range(9)]).points == []
    assert [point.number for point in find_outliers([Point(n, 0.1 if n == 4 else 5.0) for n in range(9)]).points] == [4]


def test_pictures_are_in_the_page_and_flagged_frames_say_why(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "logs")
    log.start(1)
    log.add(ChunkStarted, 0, chunk_id=0, attempt=1, slot=0, command="render")
    for frame in (1, 2, 3):
        path = str(noise(tmp_path / f"a.{frame}.png"))
        log.add(FrameFinished, frame, chunk_id=0, attempt=1, frame=frame, path=path, duration=1.0)
    flag = {"chunk_id": 0, "attempt": 1, "frame": 2, "path": str(tmp_path / "a.2.png")}
    log.add(FrameFlagged, 4, **flag, level="looks", reason="is black", fatal=False)
    flag |= {"frame": 4, "path": str(tmp_path / "a.4.png")}
    log.add(FrameFlagged, 4, **flag, level="whole", reason="is damaged: cut", fatal=True)
    target = tmp_path / "report.html"
    assert anyio.run(write_report, read_log_folder(log.write()), target) is None
    tiles = _section(parse(target.read_text()), "frames").all("li")
    assert [tile.text for tile in tiles] == [
        "1chunk 0",
        "2chunk 0odd: is black",
        "3chunk 0",
        "not to be seen4chunk 0damaged: is damaged: cut",
    ]
    assert [tile.attributes.get("class") for tile in tiles] == [None, "odd", None, "damaged"]
    for tile, frame in zip(tiles[:3], (1, 2, 3), strict=True):
        (picture,) = tile.all("img")
        assert picture.attributes["alt"] == f"Frame {frame}"
        kind, _, data = (picture.attributes["src"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        assert base64.b64decode(data).startswith(b"\xff\xd8\xff")


def test_without_what_pictures_need_one_line_says_so_and_the_rest_is_there(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "logs")
    log.start(1)
    log.add(FrameFinished, 1, chunk_id=0, attempt=1, frame=1, path=str(noise(tmp_path / "a.png")), duration=1.0)
    log.write()
    program = """
import sys, anyio
from tailrace._frames import decoder
# So that what decodes finds nothing else.
decoder._NEEDED = ("tailrace",)
from tailrace.report import read_log_folder, write_report
print(anyio.run(write_report, read_log_folder(sys.argv[1]), sys.argv[2]))
"""
    target = tmp_path / "report.html"
    made = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "logs", target],
        env={**os.environ, "PATH": search_path()},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = "a look at a picture needs numpy: pip install 'tailrace[frames]'"
    assert made.stdout == f"{expected}\n"
    page = parse(target.read_text())
    assert expected in _section(page, "frames").text
    assert page.section("frames") is not None and page.all("dt")[1].text == "Frames seen whole"


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    page = _page(read_log_folder(log.write()))
    (policy,) = [
        node.attributes["content"] for node in page.all("meta") if node.attributes.get("http-equiv") is not None
    ]
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    hashes = {
        tag: f"'sha256-{base64.b64encode(hashlib.sha256(page.all(tag)[0].text.encode()).digest()).decode()}'"
        for tag in ("style", "script")
    }
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashes["style"],
        "script-src": hashes["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert (len(page.all("style")), len(page.all("script"))) == (1, 1)
    names = {name for node in page.walk() for name in node.attributes}
    assert [name for name in names if name.startswith("on") or name in ("style", "href")] == []


def test_whatever_is_in_names_lines_and_messages_is_text() -> None:
    plain, hostile = (_page(_data_with(text), _sheet_with(text)) for text in ("harmless", HOSTILE))
    assert hostile.shape == plain.shape
    shown = visible(HOSTILE)
    assert "<script>alert(1)</script>" in shown and "[U+202E]" in shown and "[U+0000]" in shown and "\x1b" not in shown
    # Of each kind: the name of the job, a line of a log, its path, a reason, an error, a machine, a flag of a frame.
    assert plain.text.count("harmless") == hostile.text.count(shown) > 10


@given(st.text(max_size=400))
@example("\x1b]0;title\x07")
@example("\ud800\x85\u2028")
@example("]]><!--")
def test_any_line_of_a_log_comes_out_as_text(line: str) -> None:
    plain, page = (_page(_data_with("harmless", text)) for text in ("harmless", line))
    assert page.shape == plain.shape
    (code,) = page.all("code")
    assert code.text == f"{visible(line)}\n{visible(line)}\n"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", code.text)


def test_a_log_of_another_time_zone_or_century_is_no_reason_to_fail(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.chunk(0, 1, 2)
    path = log.write() / "job.ndjson"
    path.write_text(re.sub(r'"time":[^,]+', '"time":-9e14', path.read_text()))
    assert _page(read_log_folder(tmp_path)).all("h1")[0].text == "job-1"


def test_a_hundred_thousand_chunks_and_ten_thousand_frames_make_a_small_page(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(100_000)
    for chunk_id in range(100_000):
        begin = float(chunk_id // 40 * 10)
        log.chunk(chunk_id, begin, begin + (95 if chunk_id == 777 else 9), slot=chunk_id % 40)
        if chunk_id < 10_000:
            log.add(FrameFinished, begin, chunk_id=chunk_id, attempt=1, frame=chunk_id, path="/f", duration=9.0)
    log.finish(25_000)
    data = read_log_folder(log.write())
    text = render_page(data, Sheet())
    assert len(text) < 1_000_000
    page = parse(text)
    rows = _section(page, "chunks").all("tr")
    assert len(rows) == 1001
    assert "777" in [row.all("td")[0].text for row in rows[1:]]
    assert "chunk 777 (95.0 s)" in _section(page, "chunk-times").text


def test_of_many_frames_flagged_ones_and_evenly_spaced_ones_are_shown() -> None:
    frames = [
        FrameReport(frame=n, chunk_id=0, path="", warnings=("odd",) if n in (5, 700) else ()) for n in range(1000)
    ]
    shown = [frame.frame for frame in choose_frames(frames, 20)]
    assert len(shown) == 20
    assert {0, 5, 700, 999} <= set(shown) and shown == sorted(shown)
    others = [frame for frame in shown if frame not in (5, 700)]
    assert max(after - before for before, after in pairwise(others)) < 70
    assert len(choose_frames([FrameReport(frame=n, chunk_id=0, path="", damage="cut") for n in range(99)], 20)) == 20


def test_a_page_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "logs")
    log.start(1)
    data = read_log_folder(log.write())
    (tmp_path / "report.html").mkdir()
    with pytest.raises(TailraceError, match=r"the report .*/report\.html cannot be written: Is a directory"):
        anyio.run(write_report, data, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "report.html"]


def test_lines_that_cannot_be_read_and_reported_errors_of_chunks_that_are_done_are_told(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.add(ChunkStarted, 0, chunk_id=0, attempt=1, slot=0, command="render")
    log.add(ChunkErrorReported, 0, chunk_id=0, attempt=1, message="no <texture>", category="missing_asset", fatal=True)
    log.chunk(1, 1, 2)
    page = _page(read_log_folder(log.write(rest=b"damaged\n")))
    assert "1 line of the log of events could not be read" in _section(page, "notes").text
    assert "reported: no <texture>" in _section(page, "chunks").text


def _page(data: JobReportData, sheet: Sheet | None = None) -> Node:
    return parse(render_page(data, sheet or Sheet()))


def _section(page: Node, name: str) -> Node:
    section = page.section(name)
    assert section is not None
    return section


def _data_with(text: str, line: str | None = None) -> JobReportData:
    """Return a report with the text in every place that holds any."""
    attempt = AttemptReport(
        attempt=2, slot=0, began=1, duration=2, state="failed", node=text, reason=text, errors=(f"{text}!",)
    )
    lines = (text, text) if line is None else (line, line)
    excerpt = LogExcerpt(stream="stderr", path=text, lines=lines, marked=(1,))
    run = RunReport(
        run_id="0" * 16,
        state="failed",
        started_at=0,
        duration=3,
        total_chunks=1,
        done_before=0,
        error=text,
        incomplete_logs={text: text},
    )
    return JobReportData(
        job_id=text,
        runs=(run,),
        chunks=(ChunkReport(chunk_id=0, state="failed", attempts=(attempt,), command=text, reason=text),),
        frames=(FrameReport(frame=1, chunk_id=0, path=text, duration=1, warnings=(text,)),),
        failures=(FailureReport(chunk_id=0, attempt=attempt, excerpts=(excerpt,)),),
    )


def _sheet_with(text: str) -> Sheet:
    odd = FrameReport(frame=1, chunk_id=0, path=text, warnings=(text, text))
    damaged = FrameReport(frame=2, chunk_id=0, path=text, damage=text)
    return Sheet([SheetFrame(odd, _PIXEL, 1, 1), SheetFrame(damaged, None, 1, 1)])
