"""A chunk on AWS Lambda, through the real boto3: each invocation is one request, and every way to fail has its words.

The endpoint is a server on loopback that answers as Lambda does. What a real function runtime answers is tested in
test_lambda_emulator.py.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from support.event_stream import invoke_complete, payload_chunk, stream_error
from support.raw_server import FrameBytes, Request, Server, answer, send_chunk, serving, start_chunks
from tailrace import AwsLambdaAdapter, WorkerError, WorkerJob, WorkerRemoteError, WorkerResult, WorkerTimeoutError
from tailrace._wire.frames import FrameKind

pytestmark = pytest.mark.anyio

SPEC = "https://files.example/job.json"
LOG = {"LogResult": base64.b64encode(b"START\nno disk\nEND").decode()}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        # What the user has set for other programs does not count.
        "AWS_MAX_ATTEMPTS": "5",
        "AWS_RETRY_MODE": "standard",
    }.items():
        monkeypatch.setenv(name, value)


def chunk(**fields: Any) -> WorkerJob:
    """Return the job of chunk 7."""
    return WorkerJob("render", **{"meta": {"chunk_id": 7}, **fields})


async def execute(server: Server, job: WorkerJob | None = None, **options: Any) -> WorkerResult:
    """Execute a chunk by the function `shots` that `server` has."""
    options = {"job_def_url": SPEC, "endpoint_url": f"http://127.0.0.1:{server.port}", **options}
    return await AwsLambdaAdapter("shots", **options).execute(job or chunk())


def refuse_calls(data: object) -> None:
    """Be a callback that must not be called."""
    raise AssertionError(f"called with {data!r}")


class EventStream:
    """The answer to `InvokeWithResponseStream`, sent event by event."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.frames = FrameBytes()
        start_chunks(connection, "application/vnd.amazon.eventstream")

    def send(self, data: bytes) -> None:
        """Send what the function wrote."""
        self.send_event(payload_chunk(data))

    def send_event(self, data: bytes) -> None:
        """Send one event."""
        send_chunk(self._connection, data)

    def end(self, **fields: str) -> None:
        """Send the completion, and that nothing follows."""
        self.send_event(invoke_complete(**fields))
        send_chunk(self._connection, b"")


# Buffered


async def test_a_function_is_invoked_once_with_what_it_needs() -> None:
    report = {"exitCode": 3, "output": "Fra:1", "stderr": "é", "duration": 1.5}

    def respond(connection: socket.socket, _: Request) -> None:
        answer(connection, {"statusCode": 200, "body": json.dumps(report)})

    with serving(respond) as server:
        result = await execute(server, chunk(timeout=30, on_stdout=refuse_calls, on_stderr=refuse_calls))
    assert (result.exit_code, result.stdout, result.stderr, result.duration) == (3, "Fra:1", "é", 1.5)
    [request] = server.requests
    assert request.path == "/2015-03-31/functions/shots/invocations"
    assert request.headers["x-amz-log-type"] == "Tail"
    asked = request.json()
    assert (asked["jobPath"], asked["chunkIndex"], asked["timeout"]) == (SPEC, 7, 30)
    assert len(asked["attemptId"]) == 32
    assert "heartbeat" not in asked


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"exitCode": 0, "stdout": "all"}, (0, "all", "")),
        ({"statusCode": 200, "body": {"exitCode": 0, "output": "all"}}, (0, "all", "")),
        ({"statusCode": 500, "body": '{"exitCode": 1, "output": "all", "message": "why"}'}, (1, "all", "why")),
        ({"statusCode": 500, "body": {"exitCode": 3, "error": None, "durationMs": 1500}}, (3, "", "")),
        (
            {"statusCode": 200, "isBase64Encoded": True, "body": base64.b64encode(b'{"exitCode": 2}').decode()},
            (2, "", ""),
        ),
    ],
    ids=["bare", "object", "failed-command", "of-our-function", "base64"],
)
async def test_the_answers_of_other_functions_are_understood(payload: Any, expected: tuple[int, str, str]) -> None:
    with serving(lambda connection, _: answer(connection, payload)) as server:
        result = await execute(server)
    assert (result.exit_code, result.stdout, result.stderr) == expected


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("not JSON", "the answer is not JSON but 'not JSON'"),
        ("null", "the answer is not a JSON object but None"),
        ({"statusCode": 200, "body": "<html>"}, "the answer is not JSON but '<html>'"),
        ({"statusCode": 200, "body": "{}"}, "it answered without an exitCode"),
        ({"statusCode": 200, "body": '{"message": "no such chunk"}'}, "without an exitCode: no such chunk"),
        ({"statusCode": 500, "body": '{"message": "no disk"}'}, "it answered 500: no disk"),
        ({"statusCode": 500, "body": '{"exitCode": 0}'}, "it answered 500$"),
        ({"statusCode": "200", "body": '{"exitCode": 0}'}, "it answered 200$"),
        ({"statusCode": 200, "body": "?", "isBase64Encoded": True}, "the body of the answer is not Base64"),
    ],
)
async def test_without_the_word_of_the_function_there_is_no_success(payload: Any, message: str) -> None:
    with (
        serving(lambda connection, _: answer(connection, payload)) as server,
        pytest.raises(WorkerRemoteError, match=message),
    ):
        await execute(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("payload", [{"statusCode": 204}, {"statusCode": 200, "body": "{}"}], ids=repr)
async def test_a_success_without_an_exit_code_is_one_only_for_who_trusts_it(payload: dict[str, Any]) -> None:
    with serving(lambda connection, _: answer(connection, payload)) as server:
        result = await execute(server, trust_2xx=True)
        with pytest.raises(WorkerRemoteError):
            await execute(server)
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize("status", [403, 503])
async def test_what_our_function_will_never_do_is_not_worth_another_attempt(status: int) -> None:
    refusal = {"exitCode": 255, "error": {"kind": "refused", "message": "not from there"}}
    payload = {"statusCode": status, "body": json.dumps(refusal)}
    with (
        serving(lambda connection, _: answer(connection, payload)) as server,
        pytest.raises(WorkerError, match="not from there") as caught,
    ):
        await execute(server)
    assert type(caught.value) is (WorkerError if status == 403 else WorkerRemoteError)


async def test_an_error_of_the_function_comes_with_the_end_of_its_log() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        headers = f"X-Amz-Function-Error: Unhandled\r\nX-Amz-Log-Result: {LOG['LogResult']}\r\n"
        error = {"errorType": "OSError", "errorMessage": "disk full", "stackTrace": ["x"]}
        answer(connection, error, headers=headers)

    with serving(respond) as server, pytest.raises(WorkerRemoteError) as caught:
        await execute(server)
    assert str(caught.value) == (
        "Lambda function shots: the function failed: OSError: disk full\n"
        "The function's log ends with:\nSTART\nno disk\nEND"
    )
    assert len(server.requests) == 1


async def test_the_limit_for_answers_is_named_as_what_it_is() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        error = {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        }
        answer(connection, error, headers="X-Amz-Function-Error: Unhandled\r\n")

    with (
        serving(respond) as server,
        pytest.raises(WorkerRemoteError, match=r"Lambda takes answers up to 6 MB: .* streaming=True"),
    ):
        await execute(server)


@pytest.mark.parametrize(
    ("status", "kind", "streaming"),
    [
        ("500 Internal Server Error", "ServiceException", False),
        ("502 Bad Gateway", "EC2UnexpectedException", True),
        ("404 Not Found", "ResourceNotFoundException", False),
    ],
)
async def test_an_error_of_lambda_is_named_and_the_invocation_is_not_repeated(
    status: str, kind: str, streaming: bool
) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        answer(connection, {"Message": "Rate"}, status=status, headers=f"x-amzn-ErrorType: {kind}\r\n")

    with serving(respond) as server, pytest.raises(WorkerRemoteError, match=f"Lambda function shots: {kind}: Rate"):
        await execute(server, streaming=streaming)
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", ['{"Message": 5}', '{"__type": 5}', "[]", "null"])
async def test_an_error_of_another_shape_than_lambdas_is_the_error_of_a_worker(body: str) -> None:
    with (
        serving(lambda connection, _: answer(connection, body, status="502 Bad Gateway")) as server,
        pytest.raises(WorkerRemoteError, match="Lambda function shots: "),
    ):
        await execute(server)


async def test_a_page_of_html_in_place_of_an_answer_is_an_error() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        answer(connection, "<html>Bad gateway</html>", status="502 Bad Gateway", media_type="text/html")

    with (
        serving(respond) as server,
        pytest.raises(WorkerRemoteError, match="Lambda function shots: 502: Bad Gateway"),
    ):
        await execute(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_a_connection_dropped_before_the_answer_is_not_tried_again(streaming: bool) -> None:
    with serving(lambda *_: None) as server, pytest.raises(WorkerRemoteError, match="the connection was lost"):
        await execute(server, streaming=streaming)
    assert len(server.requests) == 1


async def test_a_connection_dropped_during_the_answer_is_an_error() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"exitCode": 0}')

    with serving(respond) as server, pytest.raises(WorkerRemoteError, match="the connection was lost"):
        await execute(server)
    assert len(server.requests) == 1


async def test_the_limit_of_a_job_does_not_count_until_a_streaming_function_has_begun() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        # It starts cold.
        time.sleep(3)
        stream = EventStream(connection)
        stream.send(stream.frames.make(FrameKind.HEARTBEAT))
        stream.send(stream.frames.stdout(b"done") + stream.frames.result(0))
        stream.end()

    told: list[str] = []
    with serving(respond) as server:
        job = chunk(timeout=0.5, on_started=lambda: told.append("started"), on_stdout=told.append)
        assert (await execute(server, job, streaming=True)).exit_code == 0
    assert told == ["started", "done"]


async def test_a_function_that_takes_too_long_to_answer_is_invoked_once() -> None:
    with (
        serving(lambda connection, _: server.wait_for_disconnect(connection)) as server,
        pytest.raises(WorkerRemoteError, match="no answer in the time that a function may take"),
    ):
        await execute(server, response_timeout=0.3)
    assert len(server.requests) == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_the_limit_of_the_job_is_kept_and_ends_the_thread(streaming: bool) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        if streaming:
            stream = EventStream(connection)
            stream.send(stream.frames.stdout(b"begun"))
        server.wait_for_disconnect(connection)

    with serving(respond) as server:
        with pytest.raises(WorkerTimeoutError, match=r"ran longer than 0\.2 s"):
            await execute(server, chunk(timeout=0.2), streaming=streaming)
        assert server.disconnected.wait(10)
    assert len(server.requests) == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_cancelling_closes_the_connection_and_ends_the_thread_at_once(streaming: bool) -> None:
    arrived = threading.Event()

    def respond(connection: socket.socket, _: Request) -> None:
        if streaming:
            stream = EventStream(connection)
            stream.send(stream.frames.stdout(b"one"))
        arrived.set()
        server.wait_for_disconnect(connection)

    with serving(respond) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(execute, server, streaming=streaming))
            assert await anyio.to_thread.run_sync(arrived.wait, 10)
            begin = time.monotonic()
            tasks.cancel_scope.cancel()
        assert server.disconnected.wait(10)
        while waiting := [thread for thread in threading.enumerate() if _is_in_boto(thread)]:
            assert time.monotonic() - begin < 10, waiting
            await anyio.sleep(0.01)
    assert time.monotonic() - begin < 10


def _is_in_boto(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if "botocore" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


async def test_many_functions_run_at_a_time_and_nobody_else_waits_for_them() -> None:
    count = 60
    everybody = threading.Barrier(count + 1)

    def respond(connection: socket.socket, _: Request) -> None:
        everybody.wait(20)
        answer(connection, {"exitCode": 0})

    with serving(respond) as server:
        adapter = AwsLambdaAdapter("shots", job_def_url=SPEC, endpoint_url=f"http://127.0.0.1:{server.port}")
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(adapter.execute, chunk())
            # One of the threads that there are for everybody is to be had.
            tasks.start_soon(anyio.to_thread.run_sync, everybody.wait, 20)
    assert len(server.requests) == count


async def test_without_a_chunk_nothing_is_sent() -> None:
    with (
        serving(lambda connection, _: answer(connection, {})) as server,
        pytest.raises(ValueError, match="chunk_id"),
    ):
        await execute(server, chunk(meta={}))
    assert server.requests == []


def test_a_password_in_the_endpoint_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="endpoint_url must have no user name or password") as caught:
        AwsLambdaAdapter("shots", endpoint_url="http://user:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)


async def test_an_emulator_needs_neither_region_nor_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        assert (await execute(server)).exit_code == 0
    assert "authorization" not in server.requests[0].headers


async def test_without_a_region_the_adapter_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="no AWS region"):
        AwsLambdaAdapter("shots")


# Streaming


async def test_output_arrives_while_the_function_runs() -> None:
    pieces: list[str] = []

    def respond(connection: socket.socket, request: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout("first é".encode()[:-1]))
        assert server.released.wait(20)
        # Lambda cuts as it likes.
        for byte in stream.frames.stdout("é".encode()[1:]) + stream.frames.stderr(b"e") + stream.frames.result(3):
            stream.send(bytes([byte]))
        stream.end()

    def on_stdout(text: str) -> None:
        pieces.append(text)
        server.released.set()

    with serving(respond) as server:
        with anyio.fail_after(20):
            result = await execute(server, chunk(on_stdout=on_stdout), streaming=True, silence_timeout=6)
    assert pieces == ["first ", "é"]
    assert (result.exit_code, result.stdout, result.stderr) == (3, "first é", "e")
    [request] = server.requests
    assert request.path == "/2021-11-15/functions/shots/response-streaming-invocations"
    assert request.json()["heartbeat"] == 2


async def test_a_function_that_does_not_stream_is_understood() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        body = json.dumps({"statusCode": 200, "body": json.dumps({"exitCode": 3, "output": "all"})}).encode()
        stream.send(body[:5])
        stream.send(body[5:])
        stream.end()

    with serving(respond) as server:
        result = await execute(server, chunk(on_stdout=refuse_calls), streaming=True)
    assert (result.exit_code, result.stdout) == (3, "all")


@pytest.mark.parametrize("size", [3, 10_000])
async def test_frames_of_a_server_behind_the_web_adapter_are_found(size: int) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        head = json.dumps({"statusCode": 200, "headers": {"content-type": "application/vnd.tailrace.frames"}})
        data = head.encode() + bytes(8) + stream.frames.stdout(b"all") + stream.frames.result(3)
        for begin in range(0, len(data), size):
            stream.send(data[begin : begin + size])
        stream.end()

    pieces: list[str] = []
    with serving(respond) as server:
        result = await execute(server, chunk(on_stdout=pieces.append), streaming=True)
    assert (result.exit_code, result.stdout, "".join(pieces)) == (3, "all", "all")


async def test_an_error_of_a_server_behind_the_web_adapter_is_one() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(json.dumps({"statusCode": 503}).encode() + bytes(8) + b'{"message": "too many"}')
        stream.end()

    with serving(respond) as server, pytest.raises(WorkerRemoteError, match="it answered 503: too many"):
        await execute(server, streaming=True)


async def _stream_failure(server: Server) -> WorkerRemoteError:
    pieces: list[str] = []
    with pytest.raises(WorkerRemoteError) as caught:
        await execute(server, chunk(on_stdout=pieces.append), streaming=True, silence_timeout=5)
    assert len(server.requests) == 1
    assert pieces == ["so far"]
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.exit_code) == ("so far", 255)
    return caught.value


@pytest.mark.parametrize("is_dropped", [False, True], ids=["ended", "dropped"])
@pytest.mark.parametrize("has_result", [False, True], ids=["without-result", "with-result"])
async def test_a_stream_that_is_not_completed_is_an_error(is_dropped: bool, has_result: bool) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"so far"))
        if has_result:
            stream.send(stream.frames.result(0))
        if not is_dropped:
            send_chunk(connection, b"")

    with serving(respond) as server:
        error = await _stream_failure(server)
    assert ("the connection was lost" if is_dropped else "without Lambda saying that it is complete") in str(error)


@pytest.mark.parametrize("has_result", [False, True], ids=["without-result", "with-result"])
async def test_a_completion_with_an_error_is_an_error_with_the_end_of_the_log(has_result: bool) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"so far"))
        if has_result:
            stream.send(stream.frames.result(0))
        stream.end(ErrorCode="Function.ResponseSizeTooLarge", ErrorDetails="too much", **LOG)

    with serving(respond) as server:
        error = await _stream_failure(server)
    assert str(error) == (
        "Lambda function shots: the function failed: Function.ResponseSizeTooLarge: too much"
        " (Lambda takes streams up to 200 MB)\nThe function's log ends with:\nSTART\nno disk\nEND"
    )


async def test_a_stream_that_lambda_breaks_off_is_an_error() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"so far"))
        stream.send_event(stream_error("InternalStreamFailure", "oh"))

    with serving(respond) as server:
        error = await _stream_failure(server)
    assert "InternalStreamFailure: oh" in str(error)


async def test_a_damaged_event_is_an_error() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"so far"))
        damaged = bytearray(payload_chunk(b"rest"))
        damaged[-6] ^= 1
        stream.send_event(bytes(damaged))

    with serving(respond) as server:
        error = await _stream_failure(server)
    assert "Checksum" in str(error)


async def test_a_completed_stream_without_a_result_is_an_error() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"so far"))
        stream.end()

    with serving(respond) as server:
        error = await _stream_failure(server)
    assert "the stream ended after 1 frames, without the result" in str(error)


async def test_a_result_that_came_in_time_counts_however_slow_the_callbacks_are() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"no end") + stream.frames.result(0))
        time.sleep(0.3)
        stream.end()

    async def on_stdout(_: str) -> None:
        await anyio.sleep(3)

    with serving(respond) as server:
        job = chunk(timeout=0.5, stream="lines", on_stdout=on_stdout)
        assert (await execute(server, job, streaming=True)).exit_code == 0


async def test_a_function_that_freezes_while_it_streams_is_given_up() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"one"))
        server.wait_for_disconnect(connection)

    with serving(respond) as server:
        with pytest.raises(WorkerRemoteError, match=r"nothing came for 0\.3 s"):
            await execute(server, streaming=True, silence_timeout=0.3)
        assert server.disconnected.wait(10)


class MistakeError(Exception):
    """What a callback raises."""


async def test_a_callback_that_raises_closes_the_connection_and_its_exception_comes_out_bare() -> None:
    mistake = MistakeError()

    def respond(connection: socket.socket, _: Request) -> None:
        stream = EventStream(connection)
        stream.send(stream.frames.stdout(b"one"))
        server.wait_for_disconnect(connection)

    def fail(_: str) -> None:
        raise mistake

    with serving(respond) as server:
        with pytest.raises(MistakeError) as caught:
            await execute(server, chunk(on_stdout=fail), streaming=True)
        assert server.disconnected.wait(10)
    assert caught.value is mistake
