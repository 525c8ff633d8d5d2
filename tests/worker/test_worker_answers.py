"""What a worker answers, over real HTTP."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.workers import FRAMES, LINES, Worker, output_of, read_frames, result_of, running_worker, wait_until
from tailrace._wire.frames import FrameKind

KEYS = {"exitCode", "duration", "durationMs", "usage", "truncated", "error"}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with running_worker(tmp_path_factory.mktemp("specs"), concurrency=4) as running:
        yield running


def test_a_buffered_answer_has_the_exit_code_and_all_output(worker: Worker) -> None:
    answer = worker.ask(worker.write_job("printf out; printf 'err\\n' >&2; exit 3"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert set(body) == KEYS | {"stdout", "stderr"}
    assert (body["exitCode"], body["stdout"], body["stderr"]) == (3, "out", "err\n")
    assert (body["truncated"], body["error"]) == (False, None)
    assert body["duration"] > 0
    assert body["durationMs"] == round(body["duration"] * 1000)
    assert set(body["usage"]) == {"cpuUser", "cpuSystem", "maxRss", "treeMaxRss"}


def test_bytes_that_are_no_text_come_exactly(worker: Worker) -> None:
    body = worker.ask(worker.write_job(r"printf 'a\303'; sleep 0.1; printf '\251\377'; printf '\303' >&2")).json()
    assert body["stdout"] == "aé�"
    assert base64.b64decode(body["stdoutBase64"]) == b"a\xc3\xa9\xff"
    assert base64.b64decode(body["stderrBase64"]) == b"\xc3"


def test_text_is_sent_once(worker: Worker) -> None:
    body = worker.ask(worker.write_job(r"""printf '"\\\303\251\001\342\200\250'""")).json()
    assert body["stdout"] == '"\\é\x01\u2028'
    assert "stdoutBase64" not in body


def test_the_second_chunk_is_the_one_with_that_id(worker: Worker) -> None:
    assert worker.ask(worker.write_job("echo first", "echo second"), 1).json()["stdout"] == "second\n"


def test_50_mb_come_whole_in_one_answer(worker: Worker) -> None:
    body = worker.ask(worker.write_job("yes tailrace | head -c 50000000")).json()
    assert body["stdout"] == ("tailrace\n" * 5_555_556)[:50_000_000]
    assert body["truncated"] is False


def test_frames_arrive_while_the_command_runs_and_hold_every_byte(worker: Worker, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    script = f"printf 'a\\377'; while [ ! -e '{go_on}' ]; do sleep 0.01; done; echo err >&2; exit 7"
    with worker.asking(worker.write_job(script), headers=FRAMES) as response:
        assert response.headers["Content-Type"] == "application/vnd.tailrace.frames"
        frames = read_frames(response)
        first = next(frames)
        assert first == (FrameKind.STDOUT, b"a\xff")
        # The command cannot have ended: it waits for this.
        go_on.touch()
        rest = list(frames)
    assert output_of([first, *rest], FrameKind.STDOUT) == b"a\xff"
    assert output_of(rest, FrameKind.STDERR) == b"err\n"
    result = result_of(rest)
    assert set(result) == KEYS
    assert result["exitCode"] == 7


def test_much_output_of_both_streams_comes_exactly_in_frames(worker: Worker) -> None:
    script = "seq 1 3000000 & seq 1 3000000 >&2; wait"
    with worker.asking(worker.write_job(script), headers=FRAMES, attemptId="a") as response:
        frames = list(read_frames(response))
    expected = b"".join(b"%d\n" % number for number in range(1, 3_000_001))
    assert output_of(frames, FrameKind.STDOUT) == expected
    assert output_of(frames, FrameKind.STDERR) == expected
    assert result_of(frames)["truncated"] is False


def test_people_get_a_json_object_a_line(worker: Worker, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    script = rf"printf 'a\377'; while [ ! -e '{go_on}' ]; do sleep 0.01; done; echo err >&2"
    with worker.asking(worker.write_job(script), headers=LINES, heartbeat=0.2) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        lines = [json.loads(response.readline()) for _ in range(2)]
        go_on.touch()
        lines += map(json.loads, response)
    assert lines[:2] == [
        {"stream": "stdout", "data": "a�", "base64": base64.b64encode(b"a\xff").decode()},
        {"heartbeat": True},
    ]
    assert {"stream": "stderr", "data": "err\n"} in lines
    assert lines[-1]["result"]["exitCode"] == 0


def test_what_is_accepted_may_be_a_list_and_anything_else_is_answered_at_once(worker: Worker) -> None:
    job = worker.write_job("true")
    for accepted, kind in {
        "text/html, application/vnd.tailrace.frames;q=0.5": "application/vnd.tailrace.frames",
        "application/json": "application/json",
        "*/*": "application/json",
    }.items():
        assert worker.ask(job, headers={"Accept": accepted}).headers["Content-Type"] == kind


@pytest.mark.parametrize("headers", [{}, FRAMES], ids=["buffered", "frames"])
def test_a_command_that_a_signal_ended_tells_which(headers: dict[str, str], worker: Worker) -> None:
    assert how_it_ended(worker, worker.write_job("kill -KILL $$"), headers)["exitCode"] == -9


@pytest.mark.parametrize("headers", [{}, FRAMES], ids=["buffered", "frames"])
def test_a_command_that_uses_no_processor_is_ended_if_that_is_asked_for(
    headers: dict[str, str], worker: Worker
) -> None:
    result = how_it_ended(worker, worker.write_job("echo begun; sleep 60; :"), headers, cpuIdleTimeout=1.5)
    assert result["error"] == {
        "kind": "timeout-cpu",
        "message": "sh was ended because it used less than 1 % of a processor for 1.5 s",
    }
    assert (result["exitCode"], result["stdout"]) == (-15, "begun\n")


@pytest.mark.parametrize("headers", [{}, FRAMES], ids=["buffered", "frames"])
def test_a_timeout_is_told_with_the_output_so_far_and_never_with_exit_code_0(
    headers: dict[str, str], worker: Worker
) -> None:
    script = "trap 'exit 0' TERM; echo begun; while :; do sleep 0.01; done"
    result = how_it_ended(worker, worker.write_job(script), headers, timeout=0.5)
    assert result["error"] == {
        "kind": "timeout-total",
        "message": "sh was ended because it ran longer than 0.5 s",
    }
    assert result["message"] == result["error"]["message"]
    assert result["exitCode"] == 255
    assert result["stdout"] == "begun\n"


@pytest.mark.parametrize("headers", [{}, FRAMES], ids=["buffered", "frames"])
def test_a_command_that_cannot_start_is_told_by_the_name_of_its_errno(headers: dict[str, str], worker: Worker) -> None:
    spec = json.loads(Path(worker.write_job("true")).read_text())
    spec["chunks"][0]["command"] = "no-such-renderer --fast"
    (worker.specs / "job.json").write_text(json.dumps(spec))
    error = how_it_ended(worker, str(worker.specs / "job.json"), headers)["error"]
    assert (error["kind"], error["errno"]) == ("spawn", "ENOENT")
    assert "no-such-renderer" in error["message"]


def how_it_ended(worker: Worker, job_path: str, headers: dict[str, str], **keys: Any) -> dict[str, Any]:
    """Return what the answer says, in whatever form, with the standard output."""
    if not headers:
        answer: dict[str, Any] = worker.ask(job_path, **keys).json()
        return answer
    with worker.asking(job_path, headers=headers, **keys) as response:
        frames = list(read_frames(response))
    return result_of(frames) | {"stdout": output_of(frames, FrameKind.STDOUT).decode()}


# Between two heartbeats is the time that was asked for, or more where the machine is busy, and never less.
@pytest.mark.parametrize(("asked", "least"), [(0.2, 0.2), (1e-9, 0.1)], ids=["often", "too often"])
def test_heartbeats_come_as_often_as_they_are_asked_for_and_never_so_often_that_it_costs_anything(
    asked: float, least: float, worker: Worker, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    job = worker.write_job(f"while [ ! -e '{go_on}' ]; do sleep 0.01; done")
    began = time.monotonic()
    with worker.asking(job, headers=FRAMES, heartbeat=asked) as response:
        frames = read_frames(response)
        for _ in range(4):
            assert next(frames).kind is FrameKind.HEARTBEAT
        took = time.monotonic() - began
        go_on.touch()
        assert result_of(list(frames))["exitCode"] == 0
    assert 4 * least <= took
    # By themselves they come every 15 s.
    assert took < 15


def test_a_request_without_headers_is_streamed_if_it_asks_for_heartbeats(worker: Worker) -> None:
    with worker.asking(worker.write_job("echo all"), heartbeat=5) as response:
        frames = list(read_frames(response))
    assert output_of(frames, FrameKind.STDOUT) == b"all\n"
    assert result_of(frames)["exitCode"] == 0


def test_a_heartbeat_pushes_output_through_a_proxy_that_gathers_16_kib(worker: Worker, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    script = f"echo first; while [ ! -e '{go_on}' ]; do sleep 0.01; done"
    with worker.asking(worker.write_job(script), headers=FRAMES, heartbeat=0.2) as response:
        gathered = response.read(16 * 2**10)
        assert b"first\n" in gathered
        go_on.touch()
        response.read()


def test_each_chunk_finds_a_slot_of_its_own(worker: Worker, tmp_path: Path) -> None:
    until_all_run = f": > '{tmp_path}'/$$; while [ $(ls '{tmp_path}' | wc -l) -lt 3 ]; do sleep 0.01; done"
    job = worker.write_job(*[f"echo $TAILRACE_SLOT; {until_all_run}"] * 3)
    slots: list[str] = []
    threads = [
        threading.Thread(target=lambda chunk=chunk: slots.append(worker.ask(job, chunk).json()["stdout"]))
        for chunk in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slots) == ["0\n", "1\n", "2\n"]


def test_beyond_the_limit_requests_are_told_to_come_again(worker: Worker, tmp_path: Path) -> None:
    with running_worker(tmp_path, concurrency=1) as small:
        job = small.write_job("echo begun; sleep 60", "true")
        with small.asking(job, headers=FRAMES):
            busy = small.ask(job, 1)
            assert (busy.status, busy.message) == (429, "all 1 places of this worker are taken")
            assert int(busy.headers["Retry-After"]) > 0
            assert small.send(None, method="GET", path="/healthz").status == 200
            assert small.send(None, method="GET", path="/places").json() == {"places": 1, "free": 0}
        wait_until(lambda: small.ask(job, 1).status == 200)
        assert small.send(None, method="GET", path="/any/path/places").json() == {"places": 1, "free": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "the request: line 1, column 1: not JSON: Expecting value"),
        ("{'a'}", "not JSON"),
        (b"\xff", "the request: byte 0 is not UTF-8: expected JSON in UTF-8"),
        ("[" * 100_000, "the request: the JSON is nested too deeply"),
        ("[]", "the request should be a JSON object"),
        ("{}", "jobPath should be the address of a job specification, a text"),
        ({"jobPath": 1}, "jobPath should be"),
        ({"jobPath": "a" * 4097}, "jobPath should have at most 4096 characters"),
        ({"jobPath": "\ud800"}, "jobPath should be Unicode: it has half of a surrogate pair"),
        ({"chunkIndex": "0"}, "chunkIndex should be the id of a chunk, a whole number"),
        ({"chunkIndex": True}, "chunkIndex should be"),
        ({"chunkIndex": 7}, "the job has no chunk 7"),
        ({"attemptId": ""}, "attemptId should be a text of 1 to 128 characters"),
        ({"attemptId": "a" * 129}, "attemptId should be"),
        ({"timeout": 0}, "timeout should be a positive number of seconds, less than a billion"),
        ({"timeout": 10**400}, "timeout should be"),
        ({"cpuIdleTimeout": "5"}, "cpuIdleTimeout should be"),
        ('{"jobPath": "a", "chunkIndex": 0, "timeout": NaN}', "the request: not JSON: NaN is not a number"),
        ({"heartbeat": "1"}, "heartbeat should be a positive number of seconds"),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused_in_one_line(
    body: str | bytes | dict[str, object], message: str, worker: Worker
) -> None:
    job = worker.write_job("touch started")
    if isinstance(body, dict):
        body = json.dumps({"jobPath": job, "chunkIndex": 0, **body})
    answer = worker.send(body)
    assert answer.status in (400, 404)
    assert answer.json()["error"]["kind"] == "refused"
    assert message in answer.message
    assert answer.json()["message"] == answer.message


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/healthz", 200), ("HEAD", "/healthz", 200), ("PUT", "/", 405), ("OPTIONS", "/", 405)],
)
def test_other_methods_run_nothing(method: str, path: str, status: int, worker: Worker) -> None:
    assert worker.send(None, method=method, path=path).status == status


def test_keys_that_are_not_known_are_ignored_and_any_path_will_do(worker: Worker) -> None:
    request = {"jobPath": worker.write_job("echo done"), "chunkIndex": 0, "priority": 5}
    assert worker.send(json.dumps(request), path="/render?x=1").json()["stdout"] == "done\n"


def test_a_connection_is_used_again(worker: Worker) -> None:
    job = worker.write_job("true")
    body = json.dumps({"jobPath": job, "chunkIndex": 0})
    with worker.requesting(body) as connection:
        for _ in range(3):
            with connection.getresponse() as response:
                assert json.load(response)["exitCode"] == 0
            connection.request("POST", "/", body)
        connection.getresponse().read()


def test_output_beyond_what_is_kept_is_cut_in_the_middle_of_a_buffered_answer(tmp_path: Path) -> None:
    with running_worker(tmp_path, kept_output=4 * 2**20) as worker:
        job = worker.write_job("seq 1 3000000")
        body = worker.ask(job).json()
        assert body["truncated"] is True
        assert body["stdout"].startswith("1\n2\n3\n")
        assert body["stdout"].endswith("\n2999999\n3000000\n")
        assert 4 * 2**20 < len(body["stdout"]) < 6 * 2**20
        # Who reads while it comes gets it all.
        with worker.asking(job, headers=FRAMES, attemptId="a") as response:
            frames = list(read_frames(response))
        assert output_of(frames, FrameKind.STDOUT).count(b"\n") == 3_000_000
        assert result_of(frames)["truncated"] is False


def test_a_client_that_reads_slowly_holds_the_command_up(worker: Worker, tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    script = f"for i in 1 2 3 4 5 6 7 8; do head -c 4000000 /dev/zero; echo $i >> '{progress}'; done"
    with worker.asking(worker.write_job(script), headers=FRAMES) as response:
        first = next(frames := read_frames(response))
        time.sleep(1)
        reached = len(progress.read_text().splitlines()) if progress.exists() else 0
        assert reached < 8
        rest = list(frames)
    assert len(output_of([first, *rest], FrameKind.STDOUT)) == 32_000_000
