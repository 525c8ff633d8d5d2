"""What a report reads out of the logs of jobs: real ones, several runs, and what crashes leave of them."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.jobs import job
from support.report_pages import EventLog
from support.tunnel import search_path
from tailrace import ChunkRetrying, JobSpec, TailraceError
from tailrace._events.types import ChunkSkipped, ChunkStarted, FrameFinished, FrameFlagged, MergeStarted
from tailrace.report import read_log_folder
from tailrace.report._log_folder import LogFolder


def test_a_real_job_is_told_chunk_by_chunk(tmp_path: Path) -> None:
    _write(tmp_path, job("echo > chunk_0", "sleep 0.2; exit 3", "sleep 0.1"))
    assert _run(tmp_path, "--keep-going", "--concurrency", "2").returncode == 1
    report = read_log_folder(tmp_path / "logs")
    assert (report.job_id, report.total_chunks, dict(report.counts())) == (
        "job-1",
        3,
        {"completed": 2, "failed": 1, "pending": 0},
    )
    first, failed, _ = report.chunks
    assert (failed.state, failed.reason) == ("failed", "chunk 1 failed: sh exited with status 3")
    assert failed.last is not None and first.last is not None
    assert (failed.last.exit_code, failed.last.slot, failed.last.ending) == (3, 1, "exit")
    assert 0.2 <= failed.last.duration < 5
    assert first.last.memory and first.last.cpu is not None
    assert first.command == "sh -c 'echo > chunk_0'"
    (run,) = report.runs
    assert (run.state, run.error) == ("failed", "chunk 1 failed: sh exited with status 3")
    assert abs(run.started_at - time.time()) < 100


@pytest.mark.parametrize("options", [(), ("--log-compress",), ("--log-limit", "64K")])
def test_a_failure_has_the_last_lines_of_both_streams(tmp_path: Path, options: tuple[str, ...]) -> None:
    script = "seq 30000; echo \"Fatal: no such 'file'\" >&2; echo last >&2; exit 1"
    _write(tmp_path, *[job(script)])
    assert _run(tmp_path, *options).returncode == 1
    (failure,) = read_log_folder(tmp_path / "logs").failures
    assert failure.chunk_id == 0
    stdout, stderr = failure.excerpts
    assert stdout.lines == tuple(str(number) for number in range(29989, 30001))
    assert stderr.lines == ("Fatal: no such 'file'", "last")


def test_a_reported_error_is_shown_and_marked_though_much_was_written_after_it(tmp_path: Path) -> None:
    script = "seq 5; echo 'Error: Cannot read file /a/b.exr'; seq 100; exit 1"
    _write(tmp_path, job(script))
    _run(tmp_path, "--progress", "blender")
    (failure,) = read_log_folder(tmp_path / "logs").failures
    (excerpt,) = failure.excerpts
    assert failure.attempt.errors and failure.attempt.category == "missing_asset"
    assert [excerpt.lines[place] for place in excerpt.marked] == ["Error: Cannot read file /a/b.exr"]
    assert excerpt.lines[:5] == ("4", "5", "Error: Cannot read file /a/b.exr", "1", "2")
    assert excerpt.gaps == (0, 5)
    assert excerpt.lines[-1] == "100"


def test_what_a_killed_host_left_of_a_log_with_a_limit_is_read_in_its_order(tmp_path: Path) -> None:
    _write_failure(tmp_path)
    for suffix, text in (("", "begin\n"), (".tail-before", "then\nmid"), (".tail", "dle\nend")):
        (tmp_path / f"chunk-000-attempt-1-stdout.log{suffix}").write_text(text)
    (failure,) = read_log_folder(tmp_path).failures
    (excerpt,) = failure.excerpts
    assert excerpt.lines == ("begin", "then", "middle", "end")


def test_of_a_compressed_log_that_was_cut_what_can_be_read_is_shown(tmp_path: Path) -> None:
    _write_failure(tmp_path)
    packed = gzip.compress(os.urandom(200_000).hex().encode() + b"\nlast\n")
    path = tmp_path / "chunk-0-attempt-1-stderr.log.gz"
    path.write_bytes(packed[: len(packed) // 2])
    (failure,) = read_log_folder(tmp_path).failures
    (excerpt,) = failure.excerpts
    assert excerpt.stream == "stderr"
    (line,) = excerpt.lines
    assert len(line) == 500 and set(line) <= set("0123456789abcdef")


def test_all_runs_in_a_folder_are_one_job_and_what_a_later_one_did_counts(tmp_path: Path) -> None:
    _write(tmp_path, job("echo > chunk_0", "test -e ready && echo > chunk_1", "echo > chunk_2"))
    assert _run(tmp_path, "--keep-going").returncode == 1
    (tmp_path / "ready").touch()
    assert _run(tmp_path, "--resume").returncode == 0
    report = read_log_folder(tmp_path / "logs")
    assert [run.state for run in report.runs] == ["failed", "completed"]
    assert [chunk.state for chunk in report.chunks] == ["completed"] * 3
    assert [[attempt.run for attempt in chunk.attempts] for chunk in report.chunks] == [[0], [0, 1], [0]]
    assert report.failures == ()
    # What counts as done for --chunk may have failed before.
    (tmp_path / "ready").unlink()
    assert _run(tmp_path, "--chunk", "1").returncode == 1
    assert _run(tmp_path, "--chunk", "2").returncode == 0
    assert [chunk.state for chunk in read_log_folder(tmp_path / "logs").chunks] == ["completed", "failed", "completed"]


def test_a_job_whose_host_is_killed_has_no_end_and_what_ran_is_unfinished(tmp_path: Path) -> None:
    _write(tmp_path, job("true", "sleep 100"))
    host = subprocess.Popen([*_command(), "--concurrency", "2"], cwd=tmp_path, env=_environment())
    log = tmp_path / "logs" / "job.ndjson"
    deadline = time.monotonic() + 60
    while not (log.exists() and b"chunk_finished" in log.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running = read_log_folder(tmp_path / "logs")
    host.send_signal(signal.SIGKILL)
    host.wait()
    for report in (running, read_log_folder(tmp_path / "logs")):
        assert [run.state for run in report.runs] == ["unfinished"]
        assert [chunk.state for chunk in report.chunks] == ["completed", "unfinished"]


def test_damaged_and_newer_lines_are_counted_and_a_cut_one_is_none(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(2)
    log.chunk(0, 1, 2)
    folder = log.write(rest=b'\0\0\0\n{"event":"of_the_future","version":1}\n{"event":"chunk_start')
    report = read_log_folder(folder)
    assert (report.runs[0].unreadable_lines, report.runs[0].state) == (2, "unfinished")
    assert dict(report.counts()) == {"completed": 1, "pending": 1}


def test_a_log_without_its_beginning_tells_the_rest(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(2)
    log.chunk(0, 1, 2)
    log.finish(3)
    text = log.write().joinpath("job.ndjson").read_bytes()
    (tmp_path / "job.ndjson").write_bytes(text.partition(b"\n")[2])
    report = read_log_folder(tmp_path)
    assert (report.job_id, report.runs[0].state, report.runs[0].duration) == ("job-1", "completed", 3)
    (chunk,) = report.chunks
    assert chunk.last is not None and (chunk.last.began, chunk.last.duration) == (0, 1)


@pytest.mark.parametrize("number", ["1e999", "NaN", "-1e300", "9" * 400])
def test_a_number_that_none_can_be_makes_its_line_a_damaged_one(tmp_path: Path, number: str) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.chunk(0, 1, 7.25)
    path = log.write() / "job.ndjson"
    path.write_text(path.read_text().replace('"duration":6.25', f'"duration":{number}'))
    report = read_log_folder(tmp_path)
    assert report.runs[0].unreadable_lines == 1
    assert [chunk.state for chunk in report.chunks] == ["unfinished"]


def test_a_log_that_is_written_still_is_read_on_wherever_it_is_cut(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "whole")
    log.start(3)
    log.chunk(0, 0, 2)
    log.add(ChunkStarted, 1, chunk_id=1, attempt=1, slot=1, command="render")
    log.failed_chunk(2, 4, 5, "chunk 2 failed: it is broken")
    log.finish(6)
    whole = (log.write() / "job.ndjson").read_bytes()
    (tmp_path / "job.ndjson").write_bytes(b"")
    logs = LogFolder(tmp_path)
    for end in range(1, len(whole) + 1):
        with (tmp_path / "job.ndjson").open("ab") as file:
            file.write(whole[end - 1 : end])
        if end % 50 and end < len(whole):
            continue
        read = logs.read_on()
        assert read == whole.rfind(b"\n", 0, end) + 1
        if read:
            # What is told of it now does not change what is told later.
            assert logs.report() == read_log_folder(tmp_path)
    assert logs.report().runs[0].state == "completed"


def test_runs_of_another_job_are_left_out(tmp_path: Path) -> None:
    for number, job_id in enumerate(["other", "job-1"], start=1):
        log = EventLog(tmp_path / f"run-{number}", job_id=job_id)
        log.start(1)
        log.finish(number)
        log.write()
    log = EventLog(tmp_path)
    log.start(1)
    log.finish(3)
    report = read_log_folder(log.write())
    assert [run.duration for run in report.runs] == [2, 3]


def test_runs_are_in_their_order_also_from_the_tenth(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        log = EventLog(tmp_path / f"run-{number}")
        log.start(1)
        log.finish(number)
        log.write()
    assert [run.duration for run in read_log_folder(tmp_path).runs] == [1, 2, 10]


def test_attempts_skipped_chunks_and_frames_are_told(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(4, 3)
    log.add(ChunkStarted, 0, chunk_id=0, attempt=1, slot=1, command="render")
    log.add(ChunkRetrying, 2, chunk_id=0, attempt=1, reason="it was killed", category="memory", delay=1.0)
    log.add(FrameFlagged, 3, chunk_id=0, attempt=1, frame=1, path="/f/1.exr", level="whole", reason="cut", fatal=True)
    log.add(FrameFlagged, 4, chunk_id=0, attempt=1, frame=2, path="/f/2.exr", level="looks", reason="dark", fatal=False)
    log.add(FrameFinished, 4, chunk_id=0, attempt=1, frame=2, path="/f/2.exr", duration=1.5)
    log.failed_chunk(1, 4, 5, "chunk 1 failed: it is broken")
    log.add(ChunkSkipped, 5, chunk_id=2, because_of=1)
    log.add(MergeStarted, 6)
    report = read_log_folder(log.write())
    assert [chunk.state for chunk in report.chunks] == ["unfinished", "failed", "skipped", "completed"]
    first, _, skipped, before = report.chunks
    (attempt,) = first.attempts
    assert (attempt.state, attempt.duration, attempt.reason, attempt.category) == (
        "retried",
        2,
        "it was killed",
        "memory",
    )
    assert (skipped.reason, before.attempts) == ("it depends on chunk 1, which failed", ())
    assert [(frame.frame, frame.damage, frame.warnings, frame.duration) for frame in report.frames] == [
        (1, "cut", (), None),
        (2, None, ("dark",), 1.5),
    ]
    assert report.runs[0].merge is not None and report.runs[0].merge.state == "unfinished"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no log of a job: there is none; --log-dir writes one"),
        (b"", "is no log of a job: it tells nothing"),
        (b"hello\n", "is no log of a job: the line is not JSON"),
        (b'{"event":"job_started","version":9}\n', "read it with a newer tailrace"),
    ],
)
def test_a_folder_that_tells_of_no_job_is_an_error_that_says_why(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "job.ndjson").write_bytes(content)
    with pytest.raises(TailraceError) as raised:
        read_log_folder(tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def _write_failure(folder: Path) -> None:
    log = EventLog(folder)
    log.start(1)
    log.failed_chunk(0, 1, 2, "chunk 0 failed")
    log.write()


def _write(folder: Path, spec: JobSpec) -> None:
    (folder / "job.json").write_text(spec.model_dump_json(by_alias=True))


def _command() -> list[str]:
    return [sys.executable, "-m", "tailrace", "job", "run", "job.json", "-q", "--log-dir", "logs"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": search_path()}


def _run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_command(), *options], cwd=folder, env=_environment(), capture_output=True, text=True)
