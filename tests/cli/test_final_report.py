"""What is told of a job when it is over, made from events."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace import (
    ChunkErrorReported,
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkProgress,
    ChunkRetrying,
    ChunkStarted,
    ChunkUsage,
    ErrorCategory,
    JobEvent,
    JobState,
    ResourceUsage,
    WorkerError,
    WorkerRemoteError,
    WorkerResult,
    WorkerSpawnError,
    WorkerTimeoutError,
)
from tailrace._cli.display.report import failure_report, summary_table
from tailrace._cli.display.style import TerminalStyle
from tailrace._cli.rerun_command import rerun_command, single_chunk_command, without_secrets

PLAIN = TerminalStyle(colours=False, unicode=True)


class Ended:
    """A job whose events are made up."""

    def __init__(self) -> None:
        self.state = JobState()
        self.errors: dict[int, ChunkFailedError] = {}

    def happen(self, kind: type[JobEvent], chunk: int, at: float = 0, attempt: int = 1, **fields: Any) -> None:
        self.state.apply(
            kind(job_id="j", run_id="r", sequence=0, time=0, monotonic=at, chunk_id=chunk, attempt=attempt, **fields)  # type: ignore[call-arg]
        )

    def start(self, chunk: int, at: float = 0, attempt: int = 1) -> None:
        self.happen(ChunkStarted, chunk, at, attempt, slot=0, command="render")

    def finish(
        self, chunk: int, duration: float = 1, memory: int | None = None, tree_memory: int | None = None
    ) -> None:
        usage = ResourceUsage(1, 1, memory, tree_memory)
        self.happen(ChunkFinished, chunk, result=WorkerResult(0, duration=duration, usage=usage))

    def fail(
        self,
        chunk: int,
        result: WorkerResult | None = None,
        *,
        cause: Exception | None = None,
        category: ErrorCategory | None = None,
        reason: str = "failed",
    ) -> None:
        error = ChunkFailedError(reason, chunk_id=chunk, attempts=1, result=result, category=category)
        error.__cause__ = cause
        self.errors[chunk] = error
        self.happen(ChunkFailed, chunk, error=error)

    def table(self, not_run: int = 0) -> list[str]:
        self.state.end(100)
        return list(summary_table(list(self.state.chunks.values()), PLAIN, not_run=not_run))

    def report(self) -> list[list[str]]:
        command_for = lambda chunk: f"tailrace {chunk}"  # noqa: E731
        chunks = list(self.state.chunks.values())
        return [list(lines) for lines in failure_report(chunks, self.errors, command_for, None)]


def test_the_table_has_a_row_for_each_chunk_that_was_started() -> None:
    job = Ended()
    for chunk in range(3):
        job.start(chunk, at=90)
    job.finish(0, 12.34, 1_234_000_000)
    job.fail(1, WorkerResult(-9, duration=4000))
    assert job.table(not_run=2) == [
        "chunk  attempts  duration  peak memory  exit",
        "    0         1    12.3 s      1.1 GiB  0",
        "    1         1   1:06:40            -  SIGKILL",
        "    2         1    10.0 s            -  cancelled",
        "2 chunks not run",
    ]


def test_the_peak_memory_is_that_of_all_a_chunk_started_as_it_was_seen_or_told_at_the_end() -> None:
    job = Ended()
    unknown: dict[str, Any] = dict.fromkeys(("frame", "frame_fraction", "fraction", "remaining", "status"))
    for chunk in range(4):
        job.start(chunk)
        for memory in (2 << 20, 5 << 20, 3 << 20):
            job.happen(ChunkUsage, chunk, memory=memory, cpu=1)
        # Each renderer counts in its own way.
        job.happen(ChunkProgress, chunk, renderer="r", memory=99 << 20, **unknown)
    job.finish(0, memory=6 << 20, tree_memory=7 << 20)
    job.finish(1, memory=6 << 20)
    job.finish(2)
    assert [line.split()[-3] for line in job.table()[1:4]] == ["7.0", "6.0", "5.0"]
    assert job.table()[4].split()[-3:] == ["5.0", "MiB", "cancelled"]


def test_the_peak_memory_is_what_the_renderer_said_where_nobody_measured_it() -> None:
    job = Ended()
    unknown: dict[str, Any] = dict.fromkeys(("frame", "frame_fraction", "fraction", "remaining", "status"))
    job.start(0)
    for memory in (2 << 20, 9 << 20, 3 << 20):
        job.happen(ChunkProgress, 0, renderer="r", memory=memory, **unknown)
    job.finish(0)
    assert job.table()[1].split()[-3:] == ["9.0", "MiB", "0"]


@pytest.mark.parametrize(
    ("result", "cause", "shown"),
    [
        (WorkerResult(3), None, "3"),
        (WorkerResult(-15), None, "SIGTERM"),
        (WorkerResult(-99), None, "signal 99"),
        (WorkerResult(0), None, "0"),
        (WorkerResult(255), WorkerTimeoutError("late", WorkerResult(255), "total"), "timeout"),
        (WorkerResult(255), WorkerTimeoutError("late", WorkerResult(255), "idle"), "idle timeout"),
        (None, WorkerSpawnError(2, "no such program"), "not started"),
        (None, WorkerError("lost"), "failed"),
        (WorkerResult(255), WorkerRemoteError("no answer", WorkerResult(255), nothing_began=True), "not started"),
        (WorkerResult(255), WorkerRemoteError("it broke off", WorkerResult(255)), "failed"),
        (WorkerResult(255), WorkerError("it answered 403", WorkerResult(255)), "failed"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_table_says_in_a_word_how_a_chunk_ended(
    result: WorkerResult | None, cause: Exception | None, shown: str
) -> None:
    job = Ended()
    job.start(0)
    job.fail(0, result, cause=cause)
    assert job.table()[1].rpartition("  ")[2] == shown


def test_an_attempt_that_was_never_followed_by_another_was_not_retried() -> None:
    job = Ended()
    job.start(0, at=10)
    job.happen(ChunkRetrying, 0, at=15, reason="r", category=None, delay=60)
    assert job.table()[1] == "    0         1     5.0 s            -  not retried"


def test_of_many_chunks_the_table_has_those_that_failed_were_retried_or_slowest() -> None:
    job = Ended()
    for chunk in range(500):
        job.start(chunk, attempt=2 if chunk == 7 else 1)
        if chunk == 300:
            job.fail(chunk, WorkerResult(1))
        else:
            job.finish(chunk, duration=chunk / 10)
    table = job.table()
    assert table[0] == "those that failed, then those that were retried, then the slowest:"
    assert [int(row.split()[0]) for row in table[2:22]] == [300, 7, *range(499, 481, -1)]
    assert table[22:] == ["… and 480 more"]


def test_a_failure_is_told_with_what_was_reported_its_last_lines_and_its_command() -> None:
    job = Ended()
    job.start(4)
    job.happen(ChunkErrorReported, 4, message="no\x1b[2J licence", category="licence", fatal=True)
    stdout = b"".join(b"  out %d\n" % number for number in range(50))
    stderr = b"10%\r20%\rError: \x1b[31mno licence\x1b[0m\n\n"
    job.fail(4, WorkerResult(1, stdout, stderr), category="missing_asset")
    assert job.report() == [
        [
            "chunk 4 reported: no licence",
            "the last lines of chunk 4 on stdout:",
            *[f"    out {number}" for number in range(45, 50)],
            "the last lines of chunk 4 on stderr:",
            "  Error: no licence",
        ],
        ["to run chunk 4 alone: tailrace 4"],
    ]


def test_what_is_the_reason_is_not_told_again_as_reported() -> None:
    job = Ended()
    job.start(0)
    job.happen(ChunkErrorReported, 0, message="no licence", category="licence", fatal=True)
    job.fail(0, WorkerResult(1, b"", b"no licence\n"), reason="chunk 0 failed: r exited with status 1: no licence")
    assert job.report()[0] == ["the last lines of chunk 0 on stderr:", "  no licence"]


def test_one_stream_alone_has_ten_lines_and_long_ones_are_cut() -> None:
    job = Ended()
    job.start(0)
    job.fail(0, WorkerResult(1, b"x" * 5000 + b"\n", b""))
    job.start(1)
    job.fail(1, WorkerResult(1, b"", b"e\n" * 99))
    first, second, _ = job.report()
    assert first[1] == "  " + "x" * 500
    assert second[1:] == ["  e"] * 10


def test_of_many_failures_three_are_told() -> None:
    job = Ended()
    for chunk in range(9):
        job.start(chunk)
        job.fail(chunk)
    assert job.report() == [
        ["and 6 more failed"],
        [f"to run chunk {chunk} alone: tailrace {chunk}" for chunk in range(3)],
    ]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["job", "run", "a b.json"], "tailrace job run --chunk 3 'a b.json'"),
        (["job", "run", "--resume", "j", "--watch", "2"], "tailrace job run --chunk 3 j"),
        (
            ["job", "run", "j", "--watch=2", "--concurrency", "4", "--timeout", "9", "--merge-timeout", "5"],
            "tailrace job run --chunk 3 j --timeout 9",
        ),
        (["job", "run", "--keep-going", "--", "-j"], "tailrace job run --chunk 3 --keep-going -- -j"),
        (["job", "run", "j", "--again=7"], "tailrace job run --chunk 3 --resume j"),
        (["job", "run", "--resume", "j", "--frames", "7"], "tailrace job run --chunk 3 --resume j"),
        (["job", "run", "j", "--frames", "7", "--missing"], "tailrace job run --chunk 3 j --missing"),
    ],
)
def test_the_command_for_one_chunk_has_the_options_that_still_mean_something(words: list[str], command: str) -> None:
    assert single_chunk_command(words, 3) == command


def test_the_command_for_what_is_missing_resumes() -> None:
    assert rerun_command(["job", "run", "j"]) == "tailrace job run --resume j"
    assert rerun_command(["job", "run", "j", "--resume"]) == "tailrace job run j --resume"
    assert rerun_command(["job", "run", "--again", "7", "j"]) == "tailrace job run --resume j"
    assert rerun_command(["job", "run", "j", "--missing"]) == "tailrace job run j --missing"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--slot-env", "TOK=hush1,hush2", "j"], ["--slot-env", "TOK=…", "j"]),
        (["--slot-env=TOK=hush1,hush2"], ["--slot-env=TOK=…"]),
        (
            ["--slot-env", "GPU=0,1", "--url", "http://hush1@h/***"],
            ["--slot-env", "GPU=0,1", "--url", "http://…@h/***"],
        ),
        (
            ["--url=https://u:p@h/a?sig=SIG=", "--url", "http://h/?sig=SIG", "http://u@h/j.json?sig=SIG", "x?y"],
            ["--url=https://…@h/a?…", "--url", "http://h/?…", "http://…@h/j.json?…", "x?y"],
        ),
        (["--url", "http://h/***", "TOKEN=x"], ["--url", "http://h/***", "TOKEN=x"]),
    ],
)
def test_no_secret_is_in_the_commands_for_the_user(words: list[str], shown: list[str]) -> None:
    assert without_secrets(words, ["TOK"], {"TOK": ["hush1", "hush2"], "GPU": ["0", "1"]}) == shown
