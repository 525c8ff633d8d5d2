"""The worker as a Lambda function, called as Lambda's Python runtime calls it."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from support import web_servers
from support.jobs import job, names_in
from support.processes import descendants_marked, wait_until_none_is_marked
from tailrace.worker import _lambda_handler, lambda_handler
from tailrace.worker._tasks import TaskFinder

Handle = Callable[..., tuple[int, dict[str, Any]]]


class Context:
    """What Lambda passes with an event."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function may go on."""
        return int((self._deadline - time.monotonic()) * 1000)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Set the function up as its environment says, and anew for each test."""
    monkeypatch.setenv("TAILRACE_ALLOW_SPEC", f"{tmp_path} https://specs.example/")
    _lambda_handler._worker.cache_clear()
    yield monkeypatch
    _lambda_handler._worker.cache_clear()


@pytest.fixture
def handle(tmp_path: Path, environment: pytest.MonkeyPatch) -> Handle:
    """Return what asks for chunk 0 of a job, and returns the status and what the body says."""

    def ask(script: str, *, seconds: float = 60, **keys: object) -> tuple[int, dict[str, Any]]:
        path = tmp_path / "job.json"
        path.write_text(job(script).model_dump_json(by_alias=True))
        answer = lambda_handler({"jobPath": str(path), "chunkIndex": 0, **keys}, Context(seconds))
        assert set(answer) == {"statusCode", "headers", "body"}
        return answer["statusCode"], json.loads(answer["body"])

    return ask


def test_the_answer_has_the_exit_code_and_the_output(handle: Handle) -> None:
    status, body = handle("printf out; echo err >&2; exit 3")
    assert status == 500
    assert (body["exitCode"], body["output"], body["stderr"]) == (3, "out", "err\n")
    assert (body["truncated"], body["error"]) == (False, None)
    assert body["duration"] > 0
    assert body["durationMs"] == round(body["duration"] * 1000)
    assert handle("true")[0] == 200


def test_bytes_that_are_no_text_come_exactly(handle: Handle) -> None:
    _, body = handle(r"printf 'a\377'")
    assert body["output"] == "a�"
    assert base64.b64decode(body["stdoutBase64"]) == b"a\xff"
    assert "stderrBase64" not in body


def test_the_command_is_ended_before_the_function_would_be(handle: Handle) -> None:
    mark = f"mark-{os.getpid()}-lambda"
    started = time.monotonic()
    status, body = handle(f"echo begun; sh -c 'sleep 60; : {mark}'", seconds=4)
    assert time.monotonic() - started < 4
    assert status == 500
    assert body["error"]["kind"] == "timeout-total"
    assert body["message"] == body["error"]["message"]
    assert (body["exitCode"], body["output"]) == (-15, "begun\n")
    wait_until_none_is_marked(mark)
    assert descendants_marked(mark) == []


def test_a_shorter_timeout_of_the_request_counts(handle: Handle) -> None:
    _, body = handle("sleep 60", timeout=0.2)
    assert body["error"] == {"kind": "timeout-total", "message": "sh was ended because it ran longer than 0.2 s"}


def test_a_command_that_uses_no_processor_is_ended_if_that_is_asked_for(handle: Handle) -> None:
    _, body = handle("sleep 60", cpuIdleTimeout=1)
    assert body["error"]["kind"] == "timeout-cpu"


def test_nothing_is_begun_when_no_time_is_left(handle: Handle, tmp_path: Path) -> None:
    status, body = handle(f"touch '{tmp_path}/started'", seconds=1)
    assert status == 503
    assert body["message"] == "too little is left of the time that the function may take"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("text", ["tailrace\\n", '"\\\\', "é", "\\001", "\\377"])
def test_more_output_than_lambda_takes_is_cut_in_the_middle(text: str, handle: Handle) -> None:
    script = f"printf begin; yes \"$(printf '{text}')\" | head -c 8000000; printf end; yes | head -c 1000000 >&2"
    _, body = handle(script)
    assert body["exitCode"] == 0
    assert body["truncated"] is True
    assert body["output"].startswith("begin")
    assert body["output"].endswith("end")
    # The runtime makes JSON of what has JSON in it already.
    answer = {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(body, ensure_ascii=False),
    }
    assert 4 * 2**20 < len(json.dumps(answer)) <= 6 * 2**20


def test_a_command_that_cannot_start_is_told(handle: Handle, tmp_path: Path) -> None:
    handle("true")
    spec = json.loads((tmp_path / "job.json").read_text())
    spec["chunks"][0]["command"] = "no-such-renderer"
    (tmp_path / "job.json").write_text(json.dumps(spec))
    answer = lambda_handler({"jobPath": f"{tmp_path}/job.json", "chunkIndex": 0}, Context(60))
    body = json.loads(answer["body"])
    assert (answer["statusCode"], body["exitCode"], body["error"]["errno"]) == (500, 255, "ENOENT")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({}, 400),
        ({"jobPath": "/etc/passwd", "chunkIndex": 0}, 403),
        ({"jobPath": "http://169.254.169.254/latest", "chunkIndex": 0}, 403),
        ({"jobPath": "file:///etc/passwd", "chunkIndex": 0}, 403),
    ],
)
def test_what_is_refused_is_told_as_older_clients_expect_it_too(
    event: dict[str, object], status: int, environment: pytest.MonkeyPatch
) -> None:
    answer = lambda_handler(event, Context(60))
    body = json.loads(answer["body"])
    assert answer["statusCode"] == status
    assert body["error"]["kind"] == "refused"
    assert body["message"] == body["error"]["message"]


def test_an_unforeseen_failure_tells_nothing_of_the_function(
    handle: Handle, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the-secret-value")

    environment.setattr(TaskFinder, "find", fail)
    status, body = handle("true")
    assert (status, body["message"]) == (500, "the worker failed; its log says why")
    assert "the-secret-value" in caplog.text


def test_the_output_goes_into_a_shared_folder(handle: Handle, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TAILRACE_WORK_DIR", str(tmp_path))
    assert handle("echo rendered > chunk_0")[0] == 200
    assert (tmp_path / "chunk_0").read_text() == "rendered\n"
    assert names_in(tmp_path / ".tailrace" / ".attempts") == set()


def test_only_allowed_commands_are_run(handle: Handle, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TAILRACE_ALLOW_COMMAND", "ffmpeg blender")
    assert handle("true")[0] == 403


def test_requests_over_http_carry_a_body_and_the_token(
    handle: Handle, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("TAILRACE_TOKEN", "s3cret")
    handle("echo rendered; env")
    request = json.dumps({"jobPath": f"{tmp_path}/job.json", "chunkIndex": 0})
    event = {"requestContext": {}, "headers": {"authorization": "Bearer s3cret"}, "body": request}
    encoded = {**event, "body": base64.b64encode(request.encode()).decode(), "isBase64Encoded": True}
    for good in (event, encoded):
        answer = lambda_handler(good, Context(60))
        assert answer["headers"]["Content-Type"] == "application/json"
        output = json.loads(answer["body"])["output"]
        assert output.startswith("rendered\n")
        assert "s3cret" not in output
    assert lambda_handler({**event, "headers": {"X-Functions-Key": "s3cret"}}, Context(60))["statusCode"] == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Functions-Key": "wrong"}):
        assert lambda_handler({**event, "headers": headers}, Context(60))["statusCode"] == 401
    assert lambda_handler({**encoded, "body": "%"}, Context(60))["statusCode"] == 400
    assert lambda_handler({**event, "body": None}, Context(60))["statusCode"] == 400


@pytest.mark.parametrize(
    "wrong",
    [{"TAILRACE_TOKEN": "a\nb"}, {"TAILRACE_ALLOW_SPEC": "/no/such/folder"}, {"TAILRACE_ALLOW_COMMAND": " "}],
    ids=["token", "places", "commands"],
)
def test_settings_that_cannot_be_used_never_open_the_function(
    wrong: dict[str, str], handle: Handle, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    for name, value in ({"TAILRACE_TOKEN": "secret"} | wrong).items():
        environment.setenv(name, value)
    handle(f"touch '{tmp_path}/started'")
    body = json.dumps({"jobPath": f"{tmp_path}/job.json", "chunkIndex": 0})
    for _ in range(2):
        answer = lambda_handler({"requestContext": {}, "headers": {}, "body": body}, Context(60))
        assert answer["statusCode"] == 500
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(("seconds", "status"), [(5.5, 500), (3.3, 504)], ids=["late", "too late"])
def test_a_slow_download_counts_towards_the_functions_time(
    seconds: float, status: int, environment: pytest.MonkeyPatch
) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(1)
        with suppress(OSError):
            web_servers.send(handler, job("sleep 60").model_dump_json(by_alias=True).encode())

    with web_servers.serving(respond) as url:
        environment.setenv("TAILRACE_ALLOW_SPEC", url)
        context = Context(seconds)
        answer = lambda_handler({"jobPath": f"{url}/job.json", "chunkIndex": 0}, context)
        # What is left is for the answer, and for the command's last words.
        assert context.get_remaining_time_in_millis() > 1000
    assert answer["statusCode"] == status


def test_jobs_with_assets_are_refused_unless_those_are_to_be_ignored(
    handle: Handle, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    handle("true")
    path = tmp_path / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"assetsUrl": "https://a.example/x.zip"}))
    event = {"jobPath": str(path), "chunkIndex": 0}
    answer = lambda_handler(event, Context(60))
    assert answer["statusCode"] == 422
    assert "assetsUrl" in json.loads(answer["body"])["message"]
    environment.setenv("TAILRACE_IGNORE_ASSETS", "1")
    _lambda_handler._worker.cache_clear()
    assert lambda_handler(event, Context(60))["statusCode"] == 200


def test_web_pages_are_not_answered(environment: pytest.MonkeyPatch) -> None:
    event = {"requestContext": {}, "headers": {"Origin": "https://page.example"}, "body": "{}"}
    assert lambda_handler(event, Context(60))["statusCode"] == 403
