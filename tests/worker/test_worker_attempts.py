"""An attempt that is asked for again is joined or replayed, and never made twice."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from support import web_servers
from support.jobs import count_lines
from support.processes import descendants_marked, wait_until_marked, wait_until_none_is_marked
from support.workers import FRAMES, Worker, output_of, read_frames, result_of, running_worker, wait_until
from tailrace import JobSpec
from tailrace._wire.frames import FrameKind
from tailrace.worker import WorkerSettings, _attempts, _specs


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with running_worker(tmp_path, concurrency=2) as running:
        yield running


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    """Return the file to which each start appends a line."""
    return tmp_path / "starts"


def waiting_script(starts: Path, go_on: Path) -> str:
    return f"echo x >> '{starts}'; seq 1 50000; while [ ! -e '{go_on}' ]; do sleep 0.01; done; echo end"


EXPECTED = b"".join(b"%d\n" % number for number in range(1, 50_001)) + b"end\n"


def test_a_second_client_joins_and_both_get_all_output_from_the_start(
    worker: Worker, starts: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    job = worker.write_job(waiting_script(starts, go_on))
    with worker.asking(job, headers=FRAMES, attemptId="one") as first:
        begun = next(frames := read_frames(first))
        with worker.asking(job, headers=FRAMES, attemptId="one") as second:
            seen = next(others := read_frames(second))
            go_on.touch()
            assert output_of([seen, *others], FrameKind.STDOUT) == EXPECTED
        assert output_of([begun, *frames], FrameKind.STDOUT) == EXPECTED
    assert count_lines(starts) == 1


def test_two_requests_at_the_same_time_make_one_start(worker: Worker, starts: Path) -> None:
    job = worker.write_job(f"echo x >> '{starts}'; sleep 0.3; echo done")
    for number in range(5):
        ask = partial(worker.ask, job, attemptId=f"attempt {number}")
        with ThreadPoolExecutor(4) as threads:
            answers = [future.result().json()["stdout"] for future in [threads.submit(ask) for _ in range(4)]]
        assert answers == ["done\n"] * 4
        assert count_lines(starts) == number + 1


def test_an_attempt_that_has_ended_is_replayed_in_whatever_form(worker: Worker, starts: Path) -> None:
    job = worker.write_job(f"echo x >> '{starts}'; seq 1 200000; echo err >&2; exit 5")
    with worker.asking(job, headers=FRAMES, attemptId="a") as response:
        first = list(read_frames(response))
    with worker.asking(job, headers=FRAMES, attemptId="a") as response:
        again = list(read_frames(response))
    assert output_of(again, FrameKind.STDOUT) == output_of(first, FrameKind.STDOUT)
    assert result_of(again) == result_of(first)
    body = worker.ask(job, attemptId="a").json()
    assert body["stdout"].encode() == output_of(first, FrameKind.STDOUT)
    assert (body["stderr"], body["exitCode"], body["truncated"]) == ("err\n", 5, False)
    assert count_lines(starts) == 1


def test_another_attempt_is_made_anew(worker: Worker, starts: Path) -> None:
    job = worker.write_job(f"echo x >> '{starts}'")
    for attempt in (None, None, "a", "b"):
        assert worker.ask(job, attemptId=attempt).json()["exitCode"] == 0
    assert count_lines(starts) == 4


def test_the_same_id_for_something_else_is_refused(worker: Worker) -> None:
    job = worker.write_job("true", "true")
    assert worker.ask(job, attemptId="a").status == 200
    answer = worker.ask(job, 1, attemptId="a")
    assert (answer.status, answer.message) == (409, "attemptId is that of an attempt at something else")


def test_a_refusal_is_replayed_too(worker: Worker) -> None:
    missing = str(worker.specs / "missing.json")
    assert worker.ask(missing, attemptId="a").status == 404
    worker.write_job("true", name="missing.json")
    assert worker.ask(missing, attemptId="a").status == 404
    assert worker.ask(missing, attemptId="b").status == 200


def test_a_joined_attempt_goes_on_when_its_first_client_leaves_and_ends_with_the_last(
    worker: Worker, tmp_path: Path
) -> None:
    mark = f"mark-{tmp_path.name}-{id(worker)}"
    job = worker.write_job(f"echo begun; sh -c 'sleep 60; : {mark}'")
    join = partial(worker.asking, job, headers=FRAMES, attemptId="a")
    with ExitStack() as second_stays:
        with join() as first:
            next(read_frames(first))
            wait_until_marked(mark)
            second = second_stays.enter_context(join())
            assert next(read_frames(second)).payload == b"begun\n"
        time.sleep(1)
        assert descendants_marked(mark)
    wait_until_none_is_marked(mark)


def test_an_attempt_that_its_clients_left_is_not_made_again(worker: Worker, starts: Path) -> None:
    job = worker.write_job(f"echo x >> '{starts}'; echo begun; sleep 60")
    with worker.asking(job, headers=FRAMES, attemptId="a") as response:
        next(read_frames(response))
    wait_until(lambda: worker.ask(job, attemptId="b", timeout=0.1).status == 200)
    body = worker.ask(job, attemptId="a").json()
    assert body["error"] == {"kind": "internal", "message": "the attempt was ended because its client went away"}
    assert (body["exitCode"], body["stdout"]) == (255, "begun\n")
    # The second one's may be late.
    wait_until(lambda: starts.exists() and count_lines(starts) == 2)


def test_output_is_forgotten_before_the_attempt_is(
    worker: Worker, starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_attempts, "_REPLAYED", 2)
    monkeypatch.setattr(_attempts, "_REMEMBERED", 4)
    job = worker.write_job(f"echo x >> '{starts}'; seq 1 1000000")
    whole = worker.ask(job, attemptId="0").json()["stdout"]
    for attempt in range(1, 4):
        worker.ask(job, attemptId=str(attempt))
    forgotten = worker.ask(job, attemptId="0").json()
    assert (forgotten["exitCode"], forgotten["truncated"]) == (0, True)
    assert forgotten["stdout"] == ""
    assert worker.ask(job, attemptId="3").json()["stdout"] == whole
    assert count_lines(starts) == 4
    worker.ask(job, attemptId="4")
    assert worker.ask(job, attemptId="0").json()["stdout"] == whole
    assert count_lines(starts) == 6


def test_a_join_takes_no_place(tmp_path: Path, starts: Path) -> None:
    with running_worker(tmp_path, concurrency=1) as worker:
        go_on = tmp_path / "go on"
        job = worker.write_job(waiting_script(starts, go_on))
        join = partial(worker.asking, job, headers=FRAMES, attemptId="one")
        with join(), join() as second:
            assert second.status == 200
            assert worker.ask(job, attemptId="two").status == 429
            go_on.touch()
            assert output_of(list(read_frames(second)), FrameKind.STDOUT) == EXPECTED


def test_a_download_that_its_client_left_keeps_its_place(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        go_on.wait()
        web_servers.send(handler, b"{}")

    with web_servers.serving(respond) as url, running_worker(tmp_path, concurrency=1, allow_specs=[url]) as worker:
        try:
            with worker.requesting(json.dumps({"jobPath": f"{url}/job.json", "chunkIndex": 0})):
                assert asked.wait(20)
            wait_until(lambda: worker.request_count == 0)
            job = worker.write_job("true")
            assert worker.ask(job).status == 429
        finally:
            go_on.set()
        wait_until(lambda: worker.ask(job).status == 200)


def test_a_refusal_that_is_remembered_holds_no_job(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_specs, "_MOST", 1)
    job = worker.write_job("true", "remembered")
    for _ in range(3):
        assert worker.ask(job, 7, attemptId="a").message == "the job has no chunk 7"
    worker.ask(worker.write_job("true", name="other.json"))
    gc.collect()
    held = [held for held in gc.get_objects() if isinstance(held, JobSpec)]
    assert not [spec for spec in held if any("remembered" in chunk.command for chunk in spec.chunks)]


def test_all_attempts_together_keep_no_more_output_than_the_worker_may(tmp_path: Path) -> None:
    with running_worker(tmp_path, kept_output=5 * 2**20) as worker:
        job = worker.write_job(f"head -c {2 * 2**20} /dev/zero", f"head -c {12 * 2**20} /dev/zero")
        for attempt in "abc":
            assert worker.ask(job, attemptId=attempt).json()["truncated"] is False
            # What a client may still be reading is not dropped.
            wait_until(lambda: not worker.request_count)
        assert [worker.ask(job, attemptId=attempt).json()["truncated"] for attempt in "abc"] == [True, False, False]
        assert worker.ask(job, 1, attemptId="larger").json()["truncated"] is True
        wait_until(lambda: not worker.request_count)
        # What that one took is given back when another needs it.
        assert worker.ask(job, attemptId="d").json()["truncated"] is False


def test_settings_for_kept_output_are_checked() -> None:
    with pytest.raises(ValueError, match="kept_output must not be negative: -1"):
        WorkerSettings((), kept_output=-1)
