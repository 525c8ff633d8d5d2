"""The rows that tell how far a job is, made from events."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from support.jobs import job
from tailrace import (
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkOutput,
    ChunkProgress,
    ChunkRetrying,
    ChunkStarted,
    ChunkUsage,
    JobEvent,
    JobStarted,
    JobState,
    MergeOutput,
    MergeStarted,
    WorkerResult,
)
from tailrace._cli.display.rows import ProgressRows
from tailrace._cli.display.style import TerminalStyle

PLAIN = TerminalStyle(colours=False, unicode=True)
COLOURED = TerminalStyle(colours=True, unicode=True)


class Watched:
    """A job whose events are made up, at times that are made up."""

    def __init__(self, chunks: int, style: TerminalStyle = PLAIN, job_id: str = "job-1", skipped: int = 0) -> None:
        self._job_id = job_id
        self._style = style
        self.state = JobState(job(*["render"] * chunks).chunks)
        self.rows_maker = ProgressRows(self.state, style)
        self.happen(JobStarted, 0, total_chunks=chunks, completed_chunk_ids=tuple(range(skipped)))

    def happen(self, kind: type[JobEvent], at: float, **fields: Any) -> None:
        self.state.apply(kind(job_id=self._job_id, run_id="r", sequence=0, time=0, monotonic=at, **fields))

    def start(self, chunk: int, at: float = 0, slot: int | None = None, attempt: int = 1) -> None:
        slot = chunk if slot is None else slot
        self.happen(ChunkStarted, at, chunk_id=chunk, attempt=attempt, slot=slot, command="render")

    def advance(
        self, chunk: int, at: float, fraction: float | None, *, renderer: str = "blender", **fields: Any
    ) -> None:
        others = dict.fromkeys(("frame", "frame_fraction", "remaining", "memory", "status"))
        self.happen(
            ChunkProgress, at, chunk_id=chunk, attempt=1, renderer=renderer, fraction=fraction, **{**others, **fields}
        )

    def use(self, chunk: int, memory: int, at: float = 0) -> None:
        self.happen(ChunkUsage, at, chunk_id=chunk, attempt=1, memory=memory, cpu=1)

    def write(self, chunk: int, data: bytes, stream: str = "stdout") -> None:
        self.happen(ChunkOutput, 0, chunk_id=chunk, attempt=1, stream=stream, data=memoryview(data))

    def finish(self, chunk: int, at: float) -> None:
        self.happen(ChunkFinished, at, chunk_id=chunk, attempt=1, result=WorkerResult(0))

    def fail(self, chunk: int, at: float) -> None:
        error = ChunkFailedError("failed", chunk_id=chunk, attempts=1)
        self.happen(ChunkFailed, at, chunk_id=chunk, attempt=1, error=error)

    def rows(self, now: float, columns: int = 100, lines: int = 30) -> list[str]:
        return [row.text.decode().rstrip() for row in self.rows_maker.make(os.terminal_size((columns, lines)), now)]


def test_a_job_that_has_not_begun_has_taken_no_time() -> None:
    rows = ProgressRows(JobState(job("render").chunks), PLAIN).make(os.terminal_size((100, 30)), time.monotonic())
    assert rows[0].text.decode().rstrip().endswith("0 of 1 chunk, 0 of 10 frames  0:00")


def test_a_row_tells_all_that_is_known_of_a_chunk() -> None:
    job = Watched(24)
    job.start(12, at=100)
    # What the renderer says of its memory is another thing: each of them counts in its own way.
    job.advance(12, 130, 0.62, frame=34, remaining=2, memory=7_000_000_000, status="Sample 20/96")
    job.use(12, 1_200_000_000)
    job.write(12, b"Fra:34 Mem:1144.41M (Peak 1144.41M) | Time:00:07.91 | Remaining:00:02.00 | Sample 20/96\r")
    assert job.rows(130, columns=110)[1] == (
        "chunk 12  ━━━━━━━━━━━───────   62%   0:30   0:19 left   6 of 10 frames    1.1 GiB  Sample 20/96"
    )


def test_the_memory_is_what_the_renderer_says_where_nobody_measures_it() -> None:
    job = Watched(24)
    job.start(12, at=100)
    job.advance(12, 130, 0.62, frame=34, memory=1_200_000_000, status="Sample 20/96")
    assert "  1.1 GiB  Sample 20/96" in job.rows(130, columns=110)[1]


def test_the_status_is_shown_where_the_renderer_is_known_and_the_latest_line_elsewhere() -> None:
    job = Watched(3)
    for chunk, renderer, status in ((0, "blender", "Denoising"), (1, "generic", "3/10"), (2, "blender", None)):
        job.start(chunk)
        job.write(chunk, b"the latest line\n")
        job.advance(chunk, 1, None, renderer=renderer, status=status)
    assert [row.rpartition("   ")[2] for row in job.rows(1)[1:]] == ["Denoising", *["the latest line"] * 2]


def test_a_chunk_of_which_nothing_is_known_has_its_time_and_its_latest_line() -> None:
    job = Watched(2)
    job.start(1, at=0)
    job.write(1, b"loading\nopening scene\n")
    assert job.rows(72)[1] == "chunk 1  ────────────────         1:12  opening scene"


def test_a_chunk_whose_output_tells_nothing_has_its_memory_too_and_none_moves_the_others() -> None:
    job = Watched(2)
    for chunk in range(2):
        job.start(chunk, at=0)
        job.write(chunk, b"opening scene\n")
    job.use(0, 2_000_000_000)
    assert job.rows(72)[1:] == [
        "chunk 0  ────────────────         1:12    1.9 GiB  opening scene",
        "chunk 1  ────────────────         1:12             opening scene",
    ]
    assert job.rows(72, columns=60)[1] == "chunk 0  ─────────         1:12    1.9 GiB  opening scene"
    assert job.rows(72, columns=50)[1] == "chunk 0  ────────         1:12  opening scene"


@pytest.mark.parametrize(
    ("written", "latest"),
    [
        ([b"one\ntwo\n"], "two"),
        ([b"10%\r20%\r"], "20%"),
        ([b"\r10%\r20%"], "20%"),
        ([b"one\ntw", b"o\n"], "two"),
        ([b"one\n", b"\n \n"], "one"),
        ([b"\x1b[31mred\x1b[0m \x1b[2Jline\x07\n"], "red line"),
        ([b"a\tb\n"], "a       b"),
        ([b"x" * 3000 + b"\nlast\n"], "last"),
        ([b"caf\xc3\xa9 \xff\n"], "café �"),
    ],
)
def test_the_latest_line_is_the_last_that_is_not_blank_whatever_ended_it(written: list[bytes], latest: str) -> None:
    job = Watched(1)
    job.start(0)
    for piece in written:
        job.write(0, piece)
    assert job.rows(0)[1] == f"chunk 0  ────────────────         0:00  {latest}"


def test_the_latest_line_is_that_of_the_stream_that_wrote_last() -> None:
    job = Watched(1)
    job.start(0)
    job.write(0, b"to stdout\n")
    job.write(0, b"to stderr", "stderr")
    assert job.rows(0)[1].endswith("  to stderr")
    job.write(0, b"again\n")
    assert job.rows(0)[1].endswith("  again")


def test_the_time_left_of_a_chunk_is_worked_out_from_what_is_done_and_counts_down() -> None:
    job = Watched(2)
    job.start(0, at=0)
    job.start(1, at=0)
    # A renderer may speak of its frame.
    job.advance(0, 10, 0.25, remaining=2)
    job.advance(1, 10, None, remaining=100)
    assert ["  0:10   0:30 left" in job.rows(10)[1], "left" in job.rows(10)[2]] == [True, False]
    assert "  0:15   0:25 left" in job.rows(15)[1]
    # When it is over and the chunk is not, there is no estimate any more.
    assert "left" not in job.rows(50)[1]


def test_the_row_of_the_job_counts_what_running_chunks_have_done() -> None:
    job = Watched(4)
    for chunk in range(3):
        job.start(chunk)
    job.finish(0, 10)
    job.advance(1, 10, 0.5)
    job.advance(2, 10, 0.3)
    # At this pace the frames that are left take 12 s, but chunk 2 takes longer.
    assert re.fullmatch(r"job-1    ━+─+   45%  1 of 4 chunks, 18 of 40 frames  0:10, about 25 s left", job.rows(10)[0])


def test_the_time_left_of_the_job_is_not_told_before_it_means_something() -> None:
    job = Watched(10)
    job.start(0)
    job.advance(0, 1, 0.5)
    assert "about" not in job.rows(1)[0]
    job.advance(0, 60, 0.05)
    assert "about" not in job.rows(60)[0]
    job.advance(0, 100, 0.5)
    assert job.rows(100)[0].endswith("1:40, about 32 min left")


def test_the_time_left_of_the_job_counts_down_between_news() -> None:
    job = Watched(10)
    job.start(0)
    job.start(1)
    job.finish(0, 100)
    first = job.rows(100)[0]
    assert job.rows(160)[0] != first
    left = [int(re.findall(r"about (\d+) min", job.rows(now)[0])[0]) for now in (100, 160, 220, 280)]
    assert left == sorted(left, reverse=True)
    assert left[0] - left[-1] == 3


def test_where_no_renderer_tells_how_far_it_is_the_chunks_that_ended_are_the_measure() -> None:
    # Four at a time, 100 s each: 300 s in all, of which 200 are left once the first of them is done.
    job = Watched(12)
    for chunk in range(4):
        job.start(chunk)
    job.finish(0, 100)
    assert "about 4 min left" in job.rows(100)[0]


def test_chunks_that_were_skipped_do_not_make_the_job_look_fast() -> None:
    job = Watched(10, skipped=8)
    job.start(8)
    job.advance(8, 100, 0.5)
    assert re.search(r" 85%  8 of 10 chunks, 85 of 100 frames  1:40, about 5 min left$", job.rows(100)[0])


def test_chunks_that_failed_are_counted_and_those_that_wait_for_their_next_attempt_have_a_countdown() -> None:
    job = Watched(5)
    for chunk in range(4):
        job.start(chunk)
    job.fail(0, 5)
    job.happen(ChunkRetrying, 5, chunk_id=1, attempt=1, reason="r", category=None, delay=60)
    rows = job.rows(5)
    assert "0 of 5 chunks, 1 failed" in rows[0]
    assert [row[:7] for row in rows[1:3]] == ["chunk 2", "chunk 3"]
    assert rows[3:] == ["chunk 1  next attempt in 1:00"]
    assert job.rows(24.5)[3:] == ["chunk 1  next attempt in 0:41"]
    job.happen(ChunkRetrying, 30, chunk_id=2, attempt=1, reason="r", category=None, delay=5)
    assert job.rows(30)[2:] == ["2 chunks wait for their next attempt  chunk 2 in 0:05"]
    assert job.rows(36)[2:] == ["2 chunks wait for their next attempt  chunk 2 as soon as another ends"]
    job.start(2, at=70, attempt=2)
    job.start(1, at=70, attempt=2)
    assert [row[:7] for row in job.rows(70)[1:]] == ["chunk 1", "chunk 2", "chunk 3"]


@pytest.mark.parametrize(
    ("columns", "end"),
    [
        (80, "0 of 3 chunks  0:10, about 25 s left"),
        (60, "  0/3  0:10, about 25 s left"),
        (38, "  0/3  25 s left"),
    ],
)
def test_the_time_left_of_the_job_is_the_last_thing_that_is_cut(columns: int, end: str) -> None:
    job = Watched(3)
    job.start(0)
    job.advance(0, 10, 0.9)
    assert job.rows(10, columns=columns)[0].endswith(end)


def test_all_is_done_only_when_all_is_done() -> None:
    job = Watched(1)
    job.start(0)
    job.advance(0, 10, 0.999)
    assert [row.count(" 99%") for row in job.rows(10)] == [1, 1]


def test_the_rows_stay_in_the_order_of_their_slots() -> None:
    job = Watched(9)
    for slot, chunk in enumerate([5, 3, 8]):
        job.start(chunk, slot=slot)
    job.finish(3, 1)
    job.start(7, slot=1)
    assert [row[:7] for row in job.rows(1)[1:]] == ["chunk 5", "chunk 7", "chunk 8"]


def test_columns_stay_where_they_are() -> None:
    job = Watched(2)
    job.start(0)
    job.start(1)
    elapsed = job.rows(1)[1].index("0:01")
    job.advance(0, 10, 0.01, status="latest")
    place = job.rows(10)[1].index("latest")
    assert job.rows(10)[1].index("0:10") == elapsed
    job.advance(0, 100, 0.2, frame=100, status="latest")
    job.use(0, 123_400_000)
    assert job.rows(100)[1].index("latest") == place
    frame = job.rows(100)[1].index("frame")
    job.advance(0, 200, 0.9, frame=1, status="latest")
    job.use(0, 1_000)
    assert [job.rows(200)[1].index(text) for text in ("3:20", "frame", "latest")] == [elapsed, frame, place]
    assert job.rows(200)[1].index("%") == job.rows(200)[0].index("%")


def test_more_chunks_than_fit_are_counted() -> None:
    job = Watched(64)
    for chunk in range(64):
        job.start(chunk)
    rows = job.rows(1, columns=80, lines=24)
    assert len(rows) == 19
    assert rows[-1] == "… and 47 more running"
    assert job.rows(1, lines=5)[1:] == ["64 running"]
    assert len(job.rows(1, lines=1)) == 1


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (96, "chunk 3  ━━━━━━━╾───────   50%   0:09   0:09 left   5 of 10 frames    1.9 MiB  Sample 7/9"),
        (76, "chunk 3  ━━━━━━──────   50%   0:09   0:09 left   5 of 10 frames"),
        (60, "chunk 3  ━━━━╾────   50%   0:09   0:09 left  Sample 7/9"),
        (50, "chunk 3  ━━━━────   50%   0:09   0:09 left"),
        (40, "chunk 3   50%   0:09   0:09 left"),
        (20, "chunk 3   50%"),
        (5, "chu…"),
    ],
)
def test_a_narrow_terminal_has_the_most_important_columns(columns: int, row: str) -> None:
    job = Watched(4)
    job.start(3)
    job.advance(3, 9, 0.5, frame=7, status="Sample 7/9")
    job.use(3, 2_000_000)
    assert job.rows(9, columns=columns)[1] == row


def test_without_unicode_everything_is_ascii() -> None:
    job = Watched(30, TerminalStyle(colours=False, unicode=False), job_id="größe")
    for chunk in range(30):
        job.start(chunk)
        job.advance(chunk, 9, 0.5)
    job.write(0, "Überlauf µ\n".encode())
    rows = job.rows(9)
    assert all(row.isascii() for row in rows)
    assert "#" in rows[1]
    assert rows[1].endswith("?berlauf ?")
    assert rows[-1].startswith("... and ")


def test_the_merge_has_a_row() -> None:
    job = Watched(1)
    job.start(0)
    job.finish(0, 5)
    job.happen(MergeStarted, 5)
    job.happen(MergeOutput, 5, stream="stderr", data=memoryview(b"frame= 20\r"))
    assert job.rows(8)[1:] == ["merge  ────────────────         0:03  frame= 20"]


texts = st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode(errors="replace"))


@given(
    columns=st.integers(1, 200),
    lines=st.integers(1, 60),
    job_id=st.text(min_size=1, max_size=30).map(lambda text: text.encode(errors="replace").decode()),
    chunks=st.lists(st.tuples(texts, st.none() | st.floats(-1, 3), st.none() | st.integers(0, 2**40)), max_size=20),
    style=st.sampled_from([PLAIN, COLOURED, TerminalStyle(colours=True, unicode=False)]),
)
# A character that takes no cell becomes a question mark, which does.
@example(columns=5, lines=1, job_id="\U000e0000", chunks=[], style=TerminalStyle(colours=True, unicode=False))
def test_rows_never_fill_the_terminal_whatever_the_chunks_write(
    columns: int,
    lines: int,
    job_id: str,
    chunks: list[tuple[bytes, float | None, int | None]],
    style: TerminalStyle,
) -> None:
    job = Watched(20, style, job_id=job_id)
    for chunk, (output, fraction, memory) in enumerate(chunks):
        job.start(chunk)
        if output:
            job.write(chunk, output)
        job.advance(chunk, 5, fraction, frame=memory, remaining=memory)
        if memory is not None:
            job.use(chunk, memory)
    rows = job.rows_maker.make(os.terminal_size((columns, lines)), now=9)
    assert 1 <= len(rows) <= max(1, lines - 3)
    for row in rows:
        plain = re.sub(r"\x1b\[[0-9]+m", "", row.text.decode("utf-8"))
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in plain)
        assert cell_len(plain.rstrip()) <= max(1, columns - 1)
        assert row.width <= max(1, columns - 1)
