"""A chunk on Cloud Run: the identity tokens come from a metadata server on loopback, through the real google-auth.

What becomes of the answers is the same as for any HTTP worker: see test_http_worker_adapter.py.
"""

from __future__ import annotations

import base64
import importlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import google.auth.compute_engine._metadata as metadata
import pytest

from support.metadata_server import TokenSource, variables
from support.raw_server import FrameStream, Request, Server, answer, serving
from tailrace import CloudRunAdapter, WorkerJob, WorkerRemoteError, WorkerResult

pytestmark = pytest.mark.anyio

SPEC = "https://files.example/job.json"


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenSource]:
    """Run a metadata server that google-auth asks."""
    source = TokenSource()
    with serving(source.respond) as server:
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        for name, value in variables(server).items():
            monkeypatch.setenv(name, value)
        # It reads them when it is imported.
        importlib.reload(metadata)
        yield source
        monkeypatch.undo()
        importlib.reload(metadata)


def number_of(request: Request) -> int:
    """Return which token a request was authorised with."""
    scheme, _, token = request.headers["authorization"].partition(" ")
    assert scheme == "Bearer"
    payload = token.split(".")[1]
    number: int = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["number"]
    return number


async def execute(adapter: CloudRunAdapter, **fields: Any) -> WorkerResult:
    """Execute a chunk."""
    return await adapter.execute(WorkerJob("render", **{"meta": {"chunk_id": 7}, **fields}))


def new_adapter(server: Server, **options: Any) -> CloudRunAdapter:
    """Return an adapter for `server`."""
    return CloudRunAdapter(server.url, job_def_url=SPEC, **options)


async def test_a_token_for_the_service_is_fetched_once_for_many_requests(tokens: TokenSource) -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 3, "stdout": "all"})) as server:
        adapter = new_adapter(server)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(execute, adapter)
        result = await execute(adapter)
    assert (result.exit_code, result.stdout) == (3, "all")
    assert tokens.audiences == [f"http://127.0.0.1:{server.port}"]
    assert {number_of(request) for request in server.requests} == {1}
    assert server.requests[0].path == "/run"


async def test_a_token_is_renewed_before_it_expires(tokens: TokenSource) -> None:
    tokens.lifetime = 60
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        adapter = new_adapter(server, audience="https://farm.example")
        await execute(adapter)
        tokens.lifetime = 3600
        await execute(adapter)
        await execute(adapter)
    assert tokens.audiences == ["https://farm.example"] * 2
    assert [number_of(request) for request in server.requests] == [1, 2, 2]


async def test_a_refused_token_is_renewed_once_and_the_request_sent_again(tokens: TokenSource) -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        is_good = number_of(request) == 2
        answer(connection, {"exitCode": 0}, status="200 OK" if is_good else "401 Unauthorized")

    with serving(respond) as server:
        assert (await execute(new_adapter(server))).exit_code == 0
    assert [number_of(request) for request in server.requests] == [1, 2]
    # To the service both are the same attempt, of which it began one.
    assert len({request.json()["attemptId"] for request in server.requests}) == 1


async def test_many_that_are_refused_at_once_renew_the_token_once(tokens: TokenSource) -> None:
    together = threading.Barrier(10)

    def respond(connection: socket.socket, request: Request) -> None:
        is_good = number_of(request) == 2
        if not is_good:
            together.wait(20)
        answer(connection, {"exitCode": 0}, status="200 OK" if is_good else "401 Unauthorized")

    with serving(respond) as server:
        adapter = new_adapter(server)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(execute, adapter)
    assert len(tokens.audiences) == 2


@pytest.mark.parametrize("payload", [[], {}, {"exp": "soon"}, {"exp": 10**400}], ids=["list", "none", "text", "huge"])
async def test_a_token_that_is_none_is_an_error(payload: object, tokens: TokenSource) -> None:
    tokens.payload = payload
    with (
        serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server,
        pytest.raises(WorkerRemoteError, match="no identity token for"),
    ):
        await execute(new_adapter(server))
    assert server.requests == []


async def test_a_metadata_server_that_does_not_answer_is_given_up(
    tokens: TokenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace._remote.identity_tokens._LONGEST_FETCH", 0.5)
    tokens.delay = 2
    with (
        serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server,
        pytest.raises(WorkerRemoteError, match=r"no answer within 0\.5 s"),
    ):
        await execute(new_adapter(server))


async def test_a_service_that_refuses_every_token_is_an_error(tokens: TokenSource) -> None:
    with (
        serving(lambda connection, _: answer(connection, {}, status="401 Unauthorized")) as server,
        pytest.raises(WorkerRemoteError, match="it answered 401 Unauthorized"),
    ):
        await execute(new_adapter(server))
    assert [number_of(request) for request in server.requests] == [1, 2]
    assert len(tokens.audiences) == 2


@pytest.mark.parametrize("status", ["403 Forbidden", "503 Service Unavailable"])
async def test_no_other_error_asks_for_a_new_token(status: str, tokens: TokenSource) -> None:
    with (
        serving(lambda connection, _: answer(connection, "<html>", status=status, media_type="text/html")) as server,
        pytest.raises(WorkerRemoteError, match=f"it answered {status}"),
    ):
        await execute(new_adapter(server))
    assert len(server.requests) == len(tokens.audiences) == 1


async def test_without_a_token_nothing_is_sent(tokens: TokenSource) -> None:
    tokens.is_broken = True
    with (
        serving(lambda connection, _: answer(connection, {})) as server,
        pytest.raises(WorkerRemoteError, match=r"no identity token for http://127\.0\.0\.1:"),
    ):
        await execute(new_adapter(server))
    assert server.requests == []


async def test_output_is_streamed(tokens: TokenSource) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        stream = FrameStream(connection)
        stream.stdout(b"first\n")
        assert server.released.wait(20)
        stream.stdout(b"second")
        stream.result(3)
        stream.end()

    lines: list[str] = []

    def on_stdout(line: str) -> None:
        lines.append(line)
        server.released.set()

    with serving(respond) as server:
        adapter = new_adapter(server, streaming=True)
        result = await execute(adapter, stream="lines", on_stdout=on_stdout)
    assert (adapter.streams, adapter.remote) == (True, True)
    assert lines == ["first", "second"]
    assert (result.exit_code, result.stdout) == (3, "first\nsecond")
    assert tokens.audiences != []
