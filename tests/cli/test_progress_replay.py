"""`tailrace progress replay` shows what is understood of a log."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import anyio

from support import ROOT
from support.jobs import job
from tailrace import JobExecutionOptions, JobExecutor, LocalWorkerAdapter

LOGS = ROOT / "tests" / "progress" / "logs"


def _replay(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tailrace", "progress", "replay", *args]
    result = subprocess.run(command, input=stdin, capture_output=True, timeout=200)
    return subprocess.CompletedProcess(command, result.returncode, result.stdout.decode(), result.stderr.decode())


def test_each_change_is_shown_with_its_line_and_the_whole_in_one_line() -> None:
    result = _replay(str(LOGS / "blender_animation.stdout"), "--frames", "4-6")
    assert (result.returncode, result.stderr) == (0, "")
    *rows, summary = result.stdout.splitlines()
    log = (LOGS / "blender_animation.stdout").read_text().splitlines()
    saved = [row.split(maxsplit=2) for row in rows if row.split()[1] == "saved"]
    assert [path for _, _, path in saved] == [f"/tmp/render/frame_{number:04}.png" for number in (4, 5, 6)]
    for number, _, path in saved:
        assert log[int(number) - 1] == f"Saved: '{path}'"
    assert summary == "blender: frames 4 to 6, 3 files saved, 0 errors, 100.0 % done"


def test_standard_input_is_read_and_carriage_returns_count_no_lines() -> None:
    text = b"POV-Ray\nRendered 1024 of 4096 pixels (25%)\rRendered 2048 of 4096 pixels (50%)\r\nParse Error: no\n"
    result = _replay("-", "--renderer", "povray", "--frames", "7", stdin=text)
    assert result.stdout.splitlines() == [
        "      2  progress  25.0 % of the frame, 25.0 % of all",
        "      2  progress  50.0 % of the frame, 50.0 % of all",
        "      3  error     fatal scene: Parse Error: no",
        "povray: no frames, 0 files saved, 1 error (1 fatal), 50.0 % done",
    ]


def test_a_packed_log_is_read_as_it_was_before(tmp_path: Path) -> None:
    log = LOGS / "blender_animation.stdout"
    middle = len(log.read_bytes()) // 2
    packed = tmp_path / "x.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()[:middle]) + gzip.compress(log.read_bytes()[middle:]))
    assert _replay(str(packed)).stdout == _replay(str(log)).stdout
    assert _replay("-", stdin=packed.read_bytes()).stdout == _replay(str(log)).stdout
    packed.write_bytes(packed.read_bytes()[:10] + b"\xff" * 20)
    spoilt = _replay(str(packed))
    assert spoilt.returncode == 1
    assert spoilt.stderr.startswith("tailrace: the log cannot be unpacked: ")


def test_the_events_of_a_job_are_no_log_of_a_renderer_and_the_right_file_is_named(tmp_path: Path) -> None:
    anyio.run(JobExecutor(LocalWorkerAdapter()).execute, job("echo done"), JobExecutionOptions(log_dir=tmp_path))
    result = _replay(str(tmp_path / "job.ndjson"))
    assert (result.returncode, result.stdout) == (2, "")
    assert (
        "these are the events of a job: give what a chunk wrote, such as chunk-0-attempt-1-stdout.log" in result.stderr
    )
    assert _replay(str(tmp_path / "chunk-0-attempt-1-stdout.log")).returncode == 0
    # A renderer that writes JSON is one.
    assert _replay("-", stdin=b'{"event": "frame", "n": 1}\n').returncode == 0


def test_what_is_wrong_with_the_command_line_is_one_clear_line(tmp_path: Path) -> None:
    log = str(LOGS / "ffmpeg.stderr")
    for args, problem in (
        ([str(tmp_path / "none")], "No such file or directory"),
        ([log, "--renderer", "none"], "'none' is not one of 'auto', 'aftereffects'"),
        ([log, "--frames", "1-9:2"], "write 1-9x2 for every frame that is 2 after another"),
        ([log, "--frames", "all"], "'all' is not of the form 300, 1-250"),
    ):
        result = _replay(*args)
        assert result.returncode == 2
        assert problem in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_an_error_pattern_can_be_tried_out() -> None:
    result = _replay("-", "--error-pattern", "disk=quota of \\w+ is used up", stdin=b"the quota of ann is used up\n")
    assert result.stdout.splitlines()[0] == "      1  error     disk: the quota of ann is used up"
