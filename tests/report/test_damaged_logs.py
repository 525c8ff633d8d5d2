"""Whatever stands in a log of events, a report is made of the rest, or one line says why there is none."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.report_pages import EventLog, parse
from tailrace import ChunkErrorReported, ChunkRetrying, TailraceError
from tailrace._events.types import FrameFinished, FrameFlagged, MergeStarted
from tailrace.report import read_log_folder, report_to_csv, report_to_json
from tailrace.report._page import render_page
from tailrace.report._sheet import Sheet

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([-(10**15) + 1, 10**15 - 1, 10**400, 1e308, "", "failed"]),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
)


def _whole_log(folder: Path) -> list[dict[str, Any]]:
    log = EventLog(folder)
    log.start(4, 3)
    log.chunk(0, 1, 5, node="blade-7")
    log.add(FrameFinished, 4, chunk_id=0, attempt=1, frame=1, path="/f/1.exr", duration=3.0)
    log.add(FrameFlagged, 4, chunk_id=0, attempt=1, frame=2, path="/f/2.exr", level="looks", reason="dark", fatal=False)
    log.add(ChunkErrorReported, 5, chunk_id=1, attempt=1, message="bad", category="memory", fatal=True)
    log.failed_chunk(1, 5, 6, "it is broken")
    log.add(ChunkRetrying, 6, chunk_id=2, attempt=1, reason="again", category=None, delay=1.0)
    log.add(MergeStarted, 6)
    log.finish(7)
    return [json.loads(line) for line in (log.write() / "job.ndjson").read_text().splitlines()]


@given(st.data())
def test_a_log_in_which_anything_was_changed_is_still_reported_on(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        events = _whole_log(folder)
        for _ in range(data.draw(st.integers(1, 4))):
            event = data.draw(st.sampled_from(events))
            place = event["result"] if isinstance(event.get("result"), dict) and data.draw(st.booleans()) else event
            place[data.draw(st.sampled_from(sorted(place)))] = data.draw(_VALUES)
        order = data.draw(st.permutations(events)) if data.draw(st.booleans()) else events
        (folder / "job.ndjson").write_text("".join(f"{json.dumps(event)}\n" for event in order))
        try:
            report = read_log_folder(folder)
        except TailraceError as error:
            assert "\n" not in str(error)
            return
        parse(render_page(report, Sheet()))
        assert report_to_csv(report).count("\n") > len(report.chunks)
        json.loads(report_to_json(report))
