"""The command line while nobody reads what it writes, as in a pager that waits for a key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.jobs import job
from support.processes import descendants_marked, wait_until_marked

FLOOD = "yes hello"


class Blocked:
    """A run of a job whose output goes into a pipe that is full and that nobody reads."""

    def __init__(self, folder: Path, *scripts: str, options: tuple[str, ...], with_stderr: bool) -> None:
        spec = folder / "job.json"
        spec.write_text(job(*scripts).model_dump_json(by_alias=True))
        self.read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tailrace", "job", "run", str(spec), *options],
            stdout=write_end,
            stderr=write_end if with_stderr else subprocess.DEVNULL,
        )
        os.close(write_end)

    def end(self) -> None:
        os.close(self.read_end)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)


@pytest.fixture
def mark() -> Iterator[str]:
    word = f"mark-{uuid.uuid4()}"
    yield word
    deadline = time.monotonic() + 20
    while descendants_marked(word) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert descendants_marked(word) == []


@pytest.mark.parametrize("concurrency", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda n: str(int(n))
)
def test_a_signal_ends_the_job_though_both_streams_are_blocked(
    tmp_path: Path, mark: str, concurrency: str, number: signal.Signals, status: int
) -> None:
    scripts = [f": {mark}; {FLOOD}; :"] * 2
    blocked = Blocked(tmp_path, *scripts, options=("--concurrency", concurrency), with_stderr=True)
    try:
        wait_until_marked(mark, int(concurrency))
        time.sleep(1)
        blocked.process.send_signal(number)
        assert blocked.process.wait(30) == status
        assert descendants_marked(mark) == []
    finally:
        blocked.end()


def test_a_second_signal_kills_at_once_though_both_streams_are_blocked(tmp_path: Path, mark: str) -> None:
    # The command keeps its pipes full and does not end when it is asked to: the five seconds of grace are running.
    script = f": {mark}; trap '' TERM; while :; do {FLOOD}; done"
    blocked = Blocked(tmp_path, script, options=(), with_stderr=True)
    try:
        wait_until_marked(mark)
        time.sleep(1)
        blocked.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert blocked.process.poll() is None
        started = time.monotonic()
        blocked.process.send_signal(signal.SIGINT)
        assert blocked.process.wait(30) == 130
        assert time.monotonic() - started < 3.5
        assert descendants_marked(mark) == []
    finally:
        blocked.end()


def test_a_line_without_its_end_does_not_keep_an_interrupted_job_from_ending(tmp_path: Path, mark: str) -> None:
    scripts = (f": {mark}; printf partial; sleep 60; :", f": {mark}; sleep 0.5; {FLOOD}; :")
    blocked = Blocked(tmp_path, *scripts, options=("--concurrency", "2"), with_stderr=False)
    try:
        wait_until_marked(mark, 2)
        time.sleep(1.5)
        blocked.process.send_signal(signal.SIGTERM)
        assert blocked.process.wait(30) == 143
        assert descendants_marked(mark) == []
    finally:
        blocked.end()


def test_what_is_said_after_an_interruption_arrives_though_the_pipe_was_full(tmp_path: Path, mark: str) -> None:
    blocked = Blocked(tmp_path, f": {mark}; {FLOOD}; :", options=(), with_stderr=True)
    try:
        wait_until_marked(mark)
        time.sleep(1)
        blocked.process.send_signal(signal.SIGTERM)
        with os.fdopen(os.dup(blocked.read_end), "rb") as reader:
            shown = reader.read()
        assert blocked.process.wait(30) == 143
        assert b"0 chunks done, interrupted" in shown
        assert b"to run what is missing: tailrace job run --resume" in shown
    finally:
        blocked.end()


def test_chunks_do_not_mix_in_a_line_after_a_limit_ended_one_that_could_not_be_shown(tmp_path: Path) -> None:
    # Its last piece is still being written when those of the other chunks come. The grace of a limit is 5 s.
    scripts = [f"yes {letter * 30}" for letter in "abcd"]
    options = ("--concurrency", "2", "--keep-going", "--timeout", "0.5")
    blocked = Blocked(tmp_path, *scripts, options=options, with_stderr=True)
    try:
        time.sleep(9)
        with os.fdopen(os.dup(blocked.read_end), "rb") as reader:
            shown = reader.read()
        assert blocked.process.wait(30) == 1
        whole = {b"[chunk %d] %s" % (chunk, letter.encode() * 30) for chunk, letter in enumerate("abcd")}
        lines = [line for line in shown.splitlines() if not line.startswith(b"tailrace: ")]
        # A chunk that is ended in the middle of a line leaves a shorter one.
        mixed = {line for line in lines if line not in whole and not any(all_.startswith(line) for all_ in whole)}
        assert mixed == set()
        assert len(lines) > 1000
        assert shown.splitlines()[-1].startswith(b"tailrace: to run what is missing: ")
    finally:
        blocked.end()
