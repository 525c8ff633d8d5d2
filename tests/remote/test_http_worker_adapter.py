"""A chunk on an HTTP worker: what is asked, what comes of each answer, and that nothing is asked twice."""

from __future__ import annotations

import contextlib
import math
import socket
import sys
import threading
import time
from itertools import groupby
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from support.jobs import job
from support.raw_server import FrameStream, Request, Server, answer, send_chunk, serving, start_chunks
from tailrace import (
    Capture,
    ChunkFailedError,
    HttpWorkerAdapter,
    JobExecutionOptions,
    JobExecutor,
    ResourceUsage,
    WorkerError,
    WorkerJob,
    WorkerRemoteError,
    WorkerResult,
    WorkerSpawnError,
    WorkerTimeoutError,
)

pytestmark = pytest.mark.anyio

SPEC = "https://files.example/job.json?signature=secret"


def chunk(**fields: Any) -> WorkerJob:
    """Return the job of chunk 7."""
    return WorkerJob("render", ["--fast"], **{"meta": {"chunk_id": 7}, **fields})


async def execute(server: Server, job: WorkerJob | None = None, **options: Any) -> WorkerResult:
    """Execute a chunk on `server`."""
    return await HttpWorkerAdapter(server.url, **{"job_def_url": SPEC, **options}).execute(job or chunk())


def refuse_calls(data: object) -> None:
    """Be a callback that must not be called."""
    raise AssertionError(f"called with {data!r}")


# What is asked


async def test_the_request_names_the_chunk_the_specification_and_the_attempt() -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        await execute(server, chunk(timeout=30))
        await execute(server)
    first, second = (request.json() for request in server.requests)
    assert (server.requests[0].method, server.requests[0].path) == ("POST", "/run")
    assert {key: first[key] for key in ("jobPath", "chunkIndex", "timeout")} == {
        "jobPath": SPEC,
        "chunkIndex": 7,
        "timeout": 30,
    }
    assert "timeout" not in second
    assert "heartbeat" not in second
    assert len({first["attemptId"], second["attemptId"]}) == 2


async def test_the_address_in_the_meta_of_a_job_counts_before_that_of_the_adapter() -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        await execute(server, chunk(meta={"chunk_id": 0, "job_def_url": "/jobs/other.json"}))
    assert server.requests[0].json()["jobPath"] == "/jobs/other.json"


async def test_a_stream_is_asked_for_with_heartbeats_thrice_as_often_as_needed() -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        await execute(server, streaming=True, silence_timeout=6)
    assert server.requests[0].headers["accept"] == "application/vnd.tailrace.frames"
    assert server.requests[0].json()["heartbeat"] == 2


@pytest.mark.parametrize(
    ("meta", "options", "message"),
    [
        ({}, {}, r"meta\['chunk_id'\] is None"),
        ({"chunk_id": "7"}, {}, "is '7', not an int"),
        ({"chunk_id": True}, {}, "is True, not an int"),
        ({"chunk_id": 7}, {"job_def_url": None}, "chunk 7: .* give the adapter a job_def_url"),
    ],
)
async def test_without_a_chunk_or_a_specification_nothing_is_sent(
    meta: dict[str, object], options: dict[str, Any], message: str
) -> None:
    with serving(refuse_calls_from) as server, pytest.raises(ValueError, match=message):
        await execute(server, chunk(meta=meta), **options)
    assert server.requests == []


def refuse_calls_from(_: socket.socket, request: Request) -> None:
    raise AssertionError(f"asked for {request}")


async def _token() -> str:
    return "from-a-function"


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ("secret", "authorization", "Bearer secret"),
        ({"x-functions-key": "secret"}, "x-functions-key", "secret"),
        (lambda: "from-a-lambda", "authorization", "Bearer from-a-lambda"),
        (_token, "authorization", "Bearer from-a-function"),
    ],
    ids=["token", "header", "function", "async-function"],
)
async def test_a_request_is_authorised(auth: Any, name: str, value: str) -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        await execute(server, auth=auth, headers={"X-Farm": "north"})
    assert server.requests[0].headers[name] == value
    assert server.requests[0].headers["x-farm"] == "north"


async def test_credentials_that_can_be_renewed_are_renewed_once_when_they_are_refused() -> None:
    tokens = iter(["old", "new"])

    def respond(connection: socket.socket, request: Request) -> None:
        is_good = request.headers["authorization"] == "Bearer new"
        answer(connection, {"exitCode": 3}, status="200 OK" if is_good else "401 Unauthorized")

    with serving(respond) as server:
        result = await execute(server, auth=lambda: next(tokens))
    assert result.exit_code == 3
    attempts = {request.json()["attemptId"] for request in server.requests}
    assert (len(server.requests), len(attempts)) == (2, 1)


@pytest.mark.parametrize("auth", ["fixed", lambda: "always the same".replace(" ", "-")], ids=["fixed", "function"])
async def test_credentials_that_stay_refused_are_an_error(auth: Any) -> None:
    with (
        serving(lambda connection, _: answer(connection, {}, status="401 Unauthorized")) as server,
        pytest.raises(WorkerRemoteError, match="it answered 401 Unauthorized"),
    ):
        await execute(server, auth=auth)
    assert len(server.requests) == (2 if callable(auth) else 1)


async def test_a_token_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="a bearer token has no") as caught:
        HttpWorkerAdapter("http://127.0.0.1/", auth="secret\n")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "headers", [{"X-Key": "secret\n"}, {"X-Key": "secr\xe9t"}, {"X-Key": " secret"}, {"X Key": "secret"}]
)
async def test_headers_that_cannot_be_sent_are_refused_without_showing_them(headers: dict[str, str]) -> None:
    both: list[dict[str, Any]] = [{"auth": headers}, {"headers": headers}]
    for options in both:
        with pytest.raises(ValueError, match="header") as caught:
            HttpWorkerAdapter("http://127.0.0.1/", **options)
        assert "secr" not in str(caught.value)
    with serving(refuse_calls_from) as server, pytest.raises(ValueError, match="header") as caught:
        await execute(server, auth=lambda: headers)
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://user:secret@worker/", "http://secret@worker", "http://user:secret@[bad/"])
async def test_a_password_in_the_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="must have no user name or password") as caught:
        HttpWorkerAdapter(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("limit", [math.inf, 1e9])
async def test_a_limit_that_is_none_is_not_sent(limit: float) -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        await execute(server, chunk(timeout=limit), streaming=True, silence_timeout=1e6)
    assert "timeout" not in server.requests[0].json()
    assert server.requests[0].json()["heartbeat"] == 60


async def test_numbers_that_nothing_can_have_are_left_out() -> None:
    huge = 10**400
    usage = {"cpuUser": 1, "cpuSystem": 1, "maxRss": huge}
    with serving(lambda connection, _: answer(connection, {"exitCode": 0, "duration": huge, "usage": usage})) as server:
        result = await execute(server)
    assert 0 <= result.duration < 60
    assert result.usage is not None
    assert result.usage.max_rss is None
    with (
        serving(lambda connection, _: answer(connection, {"exitCode": huge})) as server,
        pytest.raises(WorkerRemoteError, match="it answered with exitCode 1000"),
    ):
        await execute(server)


@pytest.mark.parametrize("url", ["", "worker", "ftp://worker/", "http://", "http://[", "file:///etc/passwd"])
async def test_what_is_no_address_of_a_worker_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        HttpWorkerAdapter(url)


# Buffered answers


@pytest.mark.parametrize("tree", [{"treeMaxRss": 9000}, {}], ids=["new", "older"])
async def test_a_buffered_answer_is_the_result_and_no_callback_is_called(tree: dict[str, int]) -> None:
    report = {
        "exitCode": 3,
        "stdout": "Fra:1\n",
        "stderr": "é",
        "duration": 1.5,
        "usage": {"cpuUser": 1, "cpuSystem": 0.25, "maxRss": 4096, **tree},
    }
    with serving(lambda connection, _: answer(connection, report)) as server:
        result = await execute(server, chunk(on_stdout=refuse_calls, on_stderr=refuse_calls))
    assert (result.exit_code, result.stdout, result.stderr, result.duration) == (3, "Fra:1\n", "é", 1.5)
    assert result.usage is not None
    assert result.usage == ResourceUsage(1, 0.25, 4096, tree.get("treeMaxRss"))
    assert not result.truncated


async def test_the_answer_of_an_older_worker_is_understood() -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 0, "output": "done"})) as server:
        result = await execute(server, chunk(on_stdout=refuse_calls), streaming=True)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "done", "")


async def test_bytes_that_are_no_text_come_as_they_were() -> None:
    report = {"exitCode": 0, "stdout": "\ufffd", "stdoutBase64": "/w==", "stderr": "plain"}
    with serving(lambda connection, _: answer(connection, report)) as server:
        result = await execute(server)
    assert (result.stdout_bytes, result.stdout, result.stderr) == (b"\xff", "\ufffd", "plain")


async def test_a_buffered_answer_is_kept_as_the_capture_says() -> None:
    report = {"exitCode": 0, "stdout": "0123456789", "stderr": "abc"}
    with serving(lambda connection, _: answer(connection, report)) as server:
        result = await execute(server, chunk(capture=Capture.tail(4)))
    assert (result.stdout, result.stderr, result.truncated) == ("6789", "abc", True)


async def test_an_answer_of_50_mb_is_complete() -> None:
    text = "0123456789abcdef" * (50 * 2**20 // 16)
    with serving(lambda connection, _: answer(connection, {"exitCode": 0, "stdout": text})) as server:
        result = await execute(server)
    assert len(server.requests) == 1
    assert result.stdout == text


async def test_an_answer_that_is_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace._remote.http_transport._LARGEST_ANSWER", 2**20)
    with (
        serving(lambda connection, _: answer(connection, {"exitCode": 0, "stdout": "x" * 2**21})) as server,
        pytest.raises(WorkerRemoteError, match="more than 1 MiB"),
    ):
        await execute(server)
    assert len(server.requests) == 1


# Failures


@pytest.mark.parametrize(
    ("exit_code", "message"),
    [
        (None, "it answered without an exitCode"),
        ("0", "it answered with exitCode '0'"),
        (0.0, "it answered with exitCode 0.0"),
        (False, "it answered with exitCode False"),
        ([0], r"it answered with exitCode \[0\]"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_without_a_true_exit_code_there_is_no_success(exit_code: object, message: str, streaming: bool) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        if not streaming:
            answer(connection, {"exitCode": exit_code, "stdout": "so far"})
            return
        stream = FrameStream(connection)
        stream.stdout(b"so far")
        stream.result(exit_code)
        stream.end()

    with serving(respond) as server, pytest.raises(WorkerRemoteError, match=message) as caught:
        await execute(server, streaming=streaming)
    assert len(server.requests) == 1
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.exit_code) == ("so far", 255)


@pytest.mark.parametrize(
    ("status", "media_type", "body", "message"),
    [
        ("408 Request Timeout", "text/plain", "try later\n", "it answered 408 Request Timeout: try later$"),
        (
            "500 Internal Server Error",
            "application/json",
            '{"message": "no disk"}',
            "500 Internal Server Error: no disk$",
        ),
        ("500 Oh", "application/json", '{"error": {"kind": "internal", "message": "no disk"}}', "500 Oh: no disk$"),
        ("502 Bad Gateway", "text/html", "<html>" + "long" * 9999, "it answered 502 Bad Gateway$"),
        ("503 Service Unavailable", "application/json", "[1]", "it answered 503 Service Unavailable$"),
        ("302 Found", "text/html", "", "it answered 302 Found to https://login.example/$"),
    ],
    ids=["408", "500", "500-of-our-worker", "502-html", "503", "302"],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_an_http_error_is_named_with_what_the_worker_says_of_it(
    status: str, media_type: str, body: str, message: str, streaming: bool
) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        headers = "Location: https://u:secret@login.example/?token=secret\r\n" if status.startswith("302") else ""
        answer(connection, body, status=status, media_type=media_type, headers=headers)

    with serving(respond) as server, pytest.raises(WorkerRemoteError, match=message):
        await execute(server, streaming=streaming)
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["mailto:a", "http://["])
async def test_a_redirection_to_what_is_no_address_is_an_error(location: str) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        answer(connection, "", status="302 Found", headers=f"Location: {location}\r\n")

    with serving(respond) as server, pytest.raises(WorkerRemoteError, match=r"no answer: |it answered 302 Found"):
        await execute(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("403 Forbidden", WorkerError),
        ("404 Not Found", WorkerError),
        ("422 Unprocessable", WorkerError),
        ("401 Unauthorized", WorkerRemoteError),
        ("503 Service Unavailable", WorkerRemoteError),
    ],
)
async def test_what_a_worker_of_ours_will_never_do_is_not_worth_another_attempt(
    status: str, expected: type[WorkerError]
) -> None:
    refusal = {"error": {"kind": "refused", "message": "not from there"}}
    with (
        serving(lambda connection, _: answer(connection, refusal, status=status)) as server,
        pytest.raises(ChunkFailedError, match=f"it answered {status}: not from there") as caught,
    ):
        adapter = HttpWorkerAdapter(server.url, job_def_url=SPEC)
        await JobExecutor(adapter).execute(job("true"), JobExecutionOptions(retries=1, retry_delay=0))
    assert type(caught.value.__cause__) is expected
    assert len(server.requests) == (2 if expected is WorkerRemoteError else 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>Sign in</html>", "the answer is not JSON but '<html>Sign in</html>'"),
        ("", "the answer is not JSON but ''"),
        ('{"exitCode": 0', "the answer is not JSON"),
        ("[" * 100_000, "the answer is not JSON"),
        ("0", "the answer is not a JSON object but 0"),
        ('{"exitCode": 0, "stdout": 1}', "stdout in the answer is not a text but 1"),
        ('{"exitCode": 0, "stdoutBase64": "!"}', "stdoutBase64 in the answer is not Base64"),
    ],
)
async def test_an_answer_that_is_not_what_was_agreed_is_an_error(body: str, message: str) -> None:
    with (
        serving(lambda connection, _: answer(connection, body)) as server,
        pytest.raises(WorkerRemoteError, match=message),
    ):
        await execute(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_a_command_that_failed_is_a_result_whatever_the_status(streaming: bool) -> None:
    # More than of an error that is none of a command's.
    report = {"exitCode": 3, "stdout": "x" * 200_000, "stderr": "why", "durationMs": 1500}
    with serving(lambda connection, _: answer(connection, report, status="500 Internal Server Error")) as server:
        result = await execute(server, streaming=streaming)
    assert (result.exit_code, len(result.stdout), result.stderr, result.duration) == (3, 200_000, "why", 1.5)


@pytest.mark.parametrize(
    "report", [{"exitCode": 0}, {"exitCode": True}, {"exitCode": "3"}, {"exitCode": 3, "error": "no disk"}], ids=repr
)
async def test_the_status_of_an_error_is_one_unless_a_command_failed(report: dict[str, object]) -> None:
    with (
        serving(lambda connection, _: answer(connection, report, status="500 Internal Server Error")) as server,
        pytest.raises(WorkerRemoteError, match="it answered 500 Internal Server Error"),
    ):
        await execute(server)


async def test_a_limit_is_told_by_the_error_beside_the_exit_code() -> None:
    error = {"kind": "timeout-total", "message": "longer than 5 s"}
    report = {"exitCode": 255, "output": "so far", "error": error, "message": error["message"]}
    with (
        serving(lambda connection, _: answer(connection, report, status="500 Internal Server Error")) as server,
        pytest.raises(WorkerTimeoutError, match="longer than 5 s") as caught,
    ):
        await execute(server)
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.stderr) == ("so far", "")


@pytest.mark.parametrize(
    ("status", "body", "output"),
    [
        ("200 OK", "{}", ""),
        ("200 OK", '{"output": "all", "exitCode": null}', "all"),
        ("202 Accepted", "begun\n", "begun\n"),
        ("204 No Content", "", ""),
        ("200 OK", "[1]", "[1]"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_a_success_without_an_exit_code_is_one_only_for_who_trusts_it(
    status: str, body: str, output: str, streaming: bool
) -> None:
    with serving(lambda connection, _: answer(connection, body, status=status)) as server:
        result = await execute(server, streaming=streaming, trust_2xx=True)
        with pytest.raises(WorkerRemoteError):
            await execute(server, streaming=streaming)
    assert (result.exit_code, result.stdout) == (0, output)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("200 OK", '{"exitCode": "0"}'),
        ("200 OK", '{"error": "no disk"}'),
        ("200 OK", '{"stdout": 1}'),
        ("302 Found", "{}"),
        ("500 Internal Server Error", "{}"),
    ],
)
async def test_nothing_else_is_trusted(status: str, body: str) -> None:
    with (
        serving(lambda connection, _: answer(connection, body, status=status)) as server,
        pytest.raises(WorkerRemoteError),
    ):
        await execute(server, trust_2xx=True)
    with serving(lambda connection, _: answer(connection, {"exitCode": 3})) as server:
        assert (await execute(server, trust_2xx=True)).exit_code == 3


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_a_connection_dropped_before_the_answer_is_an_error(streaming: bool) -> None:
    with serving(lambda *_: None) as server, pytest.raises(WorkerRemoteError, match="no answer: "):
        await execute(server, streaming=streaming)
    assert len(server.requests) == 1


async def test_a_connection_dropped_during_a_buffered_answer_is_an_error() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"exitCode": 0}')

    with (
        serving(respond) as server,
        pytest.raises(WorkerRemoteError, match="the connection was lost before the answer was complete"),
    ):
        await execute(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("is_ended", [False, True], ids=["dropped", "ended"])
async def test_a_stream_without_its_result_is_an_error_that_has_the_output(is_ended: bool) -> None:
    pieces: list[str] = []

    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        stream.stdout("before é".encode()[:-1])
        stream.stderr(b"all of it")
        if is_ended:
            stream.end()

    with (
        serving(respond) as server,
        pytest.raises(WorkerRemoteError, match=r"without the result|connection was lost") as caught,
    ):
        await execute(server, chunk(on_stdout=pieces.append), streaming=True)
    assert len(server.requests) == 1
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.stderr) == ("before \ufffd", "all of it")
    assert pieces == ["before ", "\ufffd"]


async def test_a_connection_dropped_after_the_result_does_no_harm() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        stream.stdout(b"all")
        stream.result(4)

    with serving(respond) as server:
        result = await execute(server, streaming=True)
    assert (result.exit_code, result.stdout) == (4, "all")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\1" + (1).to_bytes(8, "big") + bytes(4), "frame 0 was expected, and 1 came"),
        (b"plain output", "frame 0 is of an unknown kind, 112"),
    ],
    ids=["lost", "no-frames"],
)
async def test_frames_that_are_lost_or_none_are_an_error(data: bytes, message: str) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        FrameStream(connection).send(data + bytes(13))
        server.wait_for_disconnect(connection)

    with serving(respond) as server, pytest.raises(WorkerRemoteError, match=message):
        await execute(server, streaming=True)
    assert server.disconnected.is_set()


async def test_a_frozen_worker_is_given_up_when_the_job_may_take_no_longer() -> None:
    with (
        serving(lambda connection, _: server.wait_for_disconnect(connection)) as server,
        pytest.raises(WorkerTimeoutError, match=r"render was ended because it ran longer than 0\.2 s") as caught,
    ):
        await execute(server, chunk(timeout=0.2))
    assert caught.value.kind == "total"
    assert len(server.requests) == 1
    assert server.disconnected.is_set()


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_a_frozen_worker_is_given_up_when_it_has_not_begun_to_answer(streaming: bool) -> None:
    with (
        serving(lambda connection, _: server.wait_for_disconnect(connection)) as server,
        pytest.raises(WorkerRemoteError, match=r"no answer within 0\.2 s"),
    ):
        await execute(server, streaming=streaming, response_timeout=0.2)
    assert len(server.requests) == 1


async def test_a_worker_that_freezes_while_it_streams_is_given_up_without_heartbeats() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        FrameStream(connection).stdout(b"one")
        server.wait_for_disconnect(connection)

    with (
        serving(respond) as server,
        pytest.raises(WorkerRemoteError, match=r"nothing came for 0\.3 s, not even a heartbeat") as caught,
    ):
        await execute(server, streaming=True, silence_timeout=0.3)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "one"
    assert server.disconnected.is_set()


async def test_nobody_listening_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(WorkerRemoteError, match=f"http://127.0.0.1:{port}/run: no answer: .*refused"):
        await execute(Server(port))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"kind": "timeout-total", "message": "longer than 5 s"}, WorkerTimeoutError),
        ({"kind": "timeout-idle", "message": "silent for 5 s"}, WorkerTimeoutError),
        ({"kind": "spawn", "message": "no ffmpeg"}, WorkerError),
        ({"kind": "spawn", "message": "no ffmpeg", "errno": "ENOENT"}, WorkerSpawnError),
        ({"kind": "spawn", "message": "no ffmpeg", "errno": "errorcode"}, WorkerError),
        ({"kind": "spawn", "message": "no ffmpeg", "errno": "__spec__"}, WorkerError),
        ({"kind": "refused", "message": "not from there"}, WorkerError),
        ({"kind": "internal", "message": "disk full"}, WorkerRemoteError),
        ({"kind": "of the future", "message": "who knows"}, WorkerRemoteError),
        ("only words", WorkerRemoteError),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_what_the_worker_says_went_wrong_comes_out_as_the_error_for_it(
    error: Any, expected: type[WorkerError], streaming: bool
) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        if not streaming:
            answer(connection, {"exitCode": 0, "stdout": "so far", "error": error})
            return
        stream = FrameStream(connection)
        stream.stdout(b"so far")
        stream.result(0, error=error)
        stream.end()

    with serving(respond) as server, pytest.raises(WorkerError) as caught:
        await execute(server, streaming=streaming)
    assert type(caught.value) is expected
    assert str(caught.value) == f"{server.url}: {error['message'] if isinstance(error, dict) else error}"
    if isinstance(caught.value, WorkerTimeoutError):
        assert caught.value.kind == error["kind"].removeprefix("timeout-")
    if isinstance(caught.value, WorkerSpawnError):
        assert caught.value.errno == 2
    else:
        assert caught.value.result is not None
        assert caught.value.result.stdout == "so far"


# Streaming


async def test_output_arrives_while_the_command_runs() -> None:
    arrived = anyio.Event()

    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        stream.stdout(b"first")
        server.released.wait(20)
        stream.result()
        stream.end()

    def on_stdout(text: str) -> None:
        assert text == "first"
        arrived.set()
        server.released.set()

    with serving(respond) as server:
        with anyio.fail_after(10):
            result = await execute(server, chunk(on_stdout=on_stdout), streaming=True)
    assert arrived.is_set()
    assert (result.exit_code, result.stdout) == (0, "first")


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("text", ["é\r", "\na", "\ufffdb"]),
        ("lines", ["é", "a\ufffdb"]),
        ("bytes", ["é".encode()[:1], "é".encode()[1:] + b"\r", b"\na", b"\xffb"]),
    ],
)
async def test_callbacks_receive_what_they_do_on_this_machine(stream: Any, expected: list[Any]) -> None:
    output = "é\r\na".encode() + b"\xffb"
    pieces: list[Any] = []

    def respond(connection: socket.socket, _: Request) -> None:
        frames = FrameStream(connection)
        for begin, end in ((0, 1), (1, 3), (3, 5), (5, 7)):
            frames.stdout(output[begin:end])
            frames.heartbeat()
        frames.result()
        frames.end()

    with serving(respond) as server:
        result = await execute(server, chunk(stream=stream, on_stdout=pieces.append), streaming=True)
    assert pieces == expected
    assert result.stdout_bytes == output
    if stream == "bytes":
        assert all(isinstance(piece, memoryview) and piece.readonly for piece in pieces)


async def test_async_callbacks_are_awaited_in_order_and_hold_the_worker_back() -> None:
    sent = 0
    order: list[tuple[int, int]] = []

    def respond(connection: socket.socket, _: Request) -> None:
        nonlocal sent
        stream = FrameStream(connection)
        for number in range(64):
            stream.stdout(bytes([number]) * 2**20)
            sent += 1
        stream.result()
        stream.end()

    async def on_stdout(data: memoryview) -> None:
        if not order:
            await anyio.sleep(0.3)
            # What fits into the buffers of two sockets is under way, and no more.
            assert sent < 48
        await anyio.lowlevel.checkpoint()
        order.append((data[0], len(data)))

    with serving(respond) as server:
        job = chunk(stream="bytes", on_stdout=on_stdout, capture=Capture.none())
        await execute(server, job, streaming=True)
    # A frame may come in several pieces.
    sizes = [(number, sum(size for _, size in pieces)) for number, pieces in groupby(order, lambda piece: piece[0])]
    assert sizes == [(number, 2**20) for number in range(64)]


class MistakeError(Exception):
    pass


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_a_callback_that_raises_closes_the_connection_and_its_exception_comes_out_bare(is_async: bool) -> None:
    mistake = MistakeError()
    calls = []

    def on_stdout(text: str) -> Any:
        calls.append(text)
        if not is_async:
            raise mistake

        async def fail() -> None:
            await anyio.lowlevel.checkpoint()
            raise mistake

        return fail()

    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        stream.stdout(b"one")
        stream.stdout(b"two")
        server.wait_for_disconnect(connection)

    with serving(respond) as server:
        with pytest.raises(MistakeError) as caught:
            await execute(server, chunk(on_stdout=on_stdout), streaming=True)
        assert server.disconnected.wait(10)
    assert caught.value is mistake
    assert calls == ["one"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_cancelling_closes_the_connection_at_once(streaming: bool) -> None:
    asked = threading.Event()

    def respond(connection: socket.socket, _: Request) -> None:
        if streaming:
            FrameStream(connection).stdout(b"one")
        asked.set()
        server.wait_for_disconnect(connection)

    async def cancel_when_asked() -> None:
        await anyio.to_thread.run_sync(asked.wait)
        tasks.cancel_scope.cancel()

    with serving(respond) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_asked)
            await execute(server, streaming=streaming)
        assert tasks.cancel_scope.cancelled_caught
        # The server itself would keep the connection for 20 s.
        assert server.disconnected.wait(10)


async def test_the_limit_of_the_job_ends_a_stream_and_keeps_the_output_so_far() -> None:
    pieces: list[str] = []

    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        stream.stdout(b"line\nrest")
        with contextlib.suppress(ConnectionError):
            while not server.released.wait(0.05):
                stream.heartbeat()
        server.wait_for_disconnect(connection)

    with serving(respond) as server:
        job = chunk(timeout=0.3, stream="lines", on_stdout=pieces.append)
        with pytest.raises(WorkerTimeoutError, match=r"ran longer than 0\.3 s") as caught:
            await execute(server, job, streaming=True)
    assert caught.value.kind == "total"
    assert caught.value.result is not None
    assert caught.value.result.stdout == "line\nrest"
    assert pieces == ["line", "rest"]


async def test_the_worker_may_say_what_its_own_limit_ended() -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        stream = FrameStream(connection)
        time.sleep(request.json()["timeout"])
        stream.stdout(b"last words")
        stream.result(-15, error={"kind": "timeout-total", "message": "render was ended"})
        stream.end()

    with serving(respond) as server, pytest.raises(WorkerTimeoutError, match="render was ended") as caught:
        await execute(server, chunk(timeout=0.2), streaming=True)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "last words"


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_a_silent_command_is_ended_where_its_output_is_streamed(streaming: bool) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        if not streaming:
            time.sleep(0.6)
            answer(connection, {"exitCode": 0})
            return
        stream = FrameStream(connection)
        stream.stdout(b"one")
        while not server.released.wait(0.05):
            stream.heartbeat()

    with serving(respond) as server:
        job = chunk(idle_timeout=0.3)
        if not streaming:
            assert (await execute(server, job)).exit_code == 0
            return
        with pytest.raises(WorkerTimeoutError, match=r"wrote nothing for 0\.3 s") as caught:
            await execute(server, job, streaming=True)
    assert caught.value.kind == "idle"
    assert caught.value.result is not None
    assert caught.value.result.stdout == "one"


async def test_the_idle_clock_and_the_limit_do_not_take_a_slow_callback_for_a_slow_command() -> None:
    async def on_stdout(_: str) -> None:
        await anyio.sleep(0.5)

    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        stream.stdout(b"one")
        stream.stdout(b"two")
        stream.result()
        stream.end()

    with serving(respond) as server:
        job = chunk(timeout=0.3, idle_timeout=0.2, on_stdout=on_stdout)
        result = await execute(server, job, streaming=True)
    assert result.stdout == "onetwo"


async def test_a_command_that_ended_in_time_is_done_however_slow_the_callbacks_are() -> None:
    pieces: list[str] = []

    async def on_stdout(piece: str) -> None:
        await anyio.sleep(0.7)
        pieces.append(piece)

    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        for number in range(6):
            stream.stdout(b"%d\n" % number)
        stream.result()
        stream.end()

    with serving(respond) as server:
        job = chunk(timeout=0.5, stream="lines", on_stdout=on_stdout)
        assert (await execute(server, job, streaming=True)).exit_code == 0
        assert pieces == list("012345")
        pieces.clear()
        # The callback that runs when the grace is over cannot know.
        job = chunk(timeout=0.5, kill_grace=0.5, stream="lines", on_stdout=on_stdout)
        result = await execute(server, job, streaming=True)
    assert result.stdout == "0\n1\n2\n3\n4\n5\n"
    assert pieces == list("02345")


async def test_an_answer_that_has_begun_in_time_is_taken_in_to_its_end() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        start_chunks(connection, "application/json")
        send_chunk(connection, b'{"exitCode": 0, ')
        time.sleep(2.5)
        send_chunk(connection, b'"stdout": "all"}')
        send_chunk(connection, b"")

    with serving(respond) as server:
        assert (await execute(server, chunk(timeout=0.2))).stdout == "all"


@pytest.mark.parametrize("sent", [b"", b"  "], ids=["headers", "blanks"])
@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_headers_alone_are_no_answer_and_do_not_outlast_the_limit_of_the_job(
    sent: bytes, streaming: bool
) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        start_chunks(connection, "application/json")
        if sent:
            send_chunk(connection, sent)
        server.wait_for_disconnect(connection)

    began = time.monotonic()
    with serving(respond) as server:
        with pytest.raises(WorkerTimeoutError, match=r"ran longer than 0\.2 s") as caught:
            await execute(server, chunk(timeout=0.2), streaming=streaming, response_timeout=15)
        assert server.disconnected.wait(10)
    assert caught.value.kind == "total"
    # The worker may say for two seconds longer what it ended.
    assert 2.2 <= time.monotonic() - began < 10


async def test_a_worker_that_freezes_in_the_middle_of_its_answer_is_given_up_after_the_limit_of_the_job() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        start_chunks(connection, "application/json")
        send_chunk(connection, b'{"exitCode": 0, ')
        server.wait_for_disconnect(connection)

    began = time.monotonic()
    with (
        serving(respond) as server,
        pytest.raises(WorkerRemoteError, match=r"nothing more of its answer came for 0\.3 s"),
    ):
        await execute(server, chunk(timeout=0.2), silence_timeout=0.3, response_timeout=15)
    assert 2.2 <= time.monotonic() - began < 10


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_an_answer_that_is_not_streamed_may_take_no_longer_in_all_than_to_begin(status: str) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 9999\r\n\r\n".encode())
        while not server.released.wait(0.05):
            connection.sendall(b"x")

    expected = "its answer was not complete 0.6 s after it had begun" if status == "200 OK" else f"it answered {status}"
    with serving(respond) as server, anyio.fail_after(15), pytest.raises(WorkerRemoteError, match=expected):
        await execute(server, response_timeout=0.6)


async def test_a_callback_still_running_after_the_grace_of_the_limit_is_cancelled() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        FrameStream(connection).stdout(b"one")
        server.wait_for_disconnect(connection)

    async def hang(_: str) -> None:
        await anyio.sleep_forever()

    with serving(respond) as server, pytest.raises(WorkerTimeoutError) as caught:
        await execute(server, chunk(timeout=0.2, kill_grace=0.2, on_stdout=hang), streaming=True)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "one"


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 5})) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        result = await HttpWorkerAdapter("http://worker.example/run", job_def_url=SPEC).execute(chunk())
    assert result.exit_code == 5
    assert proxy.requests[0].path == "http://worker.example/run"


async def test_a_proxy_that_cannot_be_used_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ValueError, match="proxy"):
        HttpWorkerAdapter("http://worker.example/run")


async def test_a_socks_proxy_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ValueError, match="a SOCKS proxy, which needs socksio: pip install"):
        HttpWorkerAdapter("http://worker.example/run")
