"""Workers that are busy are waited for, each gets what it has places for, and what fails is left for the others."""

from __future__ import annotations

import json
import logging
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from click.testing import CliRunner

from support.jobs import job
from support.raw_server import Request, Respond, Server, answer, serving, start_chunks
from support.workers import running_worker
from tailrace import (
    AwsLambdaAdapter,
    ChunkFailedError,
    ChunkWarning,
    HttpWorkerAdapter,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    WorkerBusyError,
    WorkerJob,
    WorkerPool,
    WorkerRemoteError,
    WorkerResult,
    WorkerTimeoutError,
)
from tailrace._cli.root import cli
from tailrace._remote import worker_places, worker_queue

SPEC = "https://files.example/job.json"
TAKEN = '{"error": {"kind": "refused", "message": "all 2 places of this worker are taken"}}'


def chunk(**fields: Any) -> WorkerJob:
    """Return the job of chunk 7."""
    return WorkerJob("render", **{"meta": {"chunk_id": 7}, **fields})


def adapter(server: Server, **options: Any) -> HttpWorkerAdapter:
    """Return the adapter of one worker."""
    return HttpWorkerAdapter(server.url, **{"job_def_url": SPEC, **options})


def pool(*servers: Server, **options: Any) -> WorkerPool:
    """Return the adapter of several workers."""
    return WorkerPool([adapter(server, **options) for server in servers])


def refuse(connection: socket.socket, status: str = "429 Too Many Requests", **headers: str) -> None:
    """Answer that there is no place."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    answer(connection, TAKEN, status=status, headers=lines)


def succeed(connection: socket.socket, _: Request) -> None:
    """Answer as a worker that cannot say how many places it has, and does all it is asked for."""
    answer(connection, {"exitCode": 0})


def posts(server: Server) -> int:
    """Return how often a chunk was asked for."""
    return sum(request.method == "POST" for request in server.requests)


@contextmanager
def nobody() -> Iterator[Server]:
    """Yield an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1])
    yield server


def run_job(adapter: Any, chunks: int, **options: Any) -> list[str]:
    """Run a job, each chunk in its first attempt; return the warnings."""
    warnings: list[str] = []

    def listen(event: JobEvent) -> None:
        if isinstance(event, ChunkWarning):
            warnings.append(event.message)

    async def run() -> None:
        with anyio.fail_after(60):
            report = await JobExecutor(adapter).execute(
                job(*["true"] * chunks), JobExecutionOptions(on_event=listen, **options)
            )
        assert report.attempts == dict.fromkeys(range(chunks), 1)

    anyio.run(run)
    return warnings


# Busy


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("429 Too Many Requests", {"Retry_After": "1"}),
        ("503 Service Unavailable", {"Retry_After": "1"}),
        # This server's clock is an hour behind.
        ("429 Too Many Requests", {"Retry_After": formatdate(2, usegmt=True), "Date": formatdate(1, usegmt=True)}),
    ],
    ids=["429", "503", "date"],
)
def test_a_busy_worker_is_waited_for_as_long_as_it_asks_beyond_the_timeout_too(
    status: str, headers: dict[str, str]
) -> None:
    times: list[float] = []
    warnings: list[str] = []

    def respond(connection: socket.socket, request: Request) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            refuse(connection, status, **headers)
        else:
            succeed(connection, request)

    with serving(respond) as server:
        result = anyio.run(adapter(server).execute, chunk(timeout=0.5, on_warning=warnings.append))
    refused, taken = times
    assert taken - refused >= 1
    assert result.duration < 1
    assert warnings == [
        f"{server.url}: it answered {status}: all 2 places of this worker are taken; waiting for a place"
    ]


def test_a_wait_is_neither_an_attempt_nor_a_failure_to_the_executor() -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        if len(server.requests) <= 2:
            refuse(connection, Retry_After="0")
        else:
            succeed(connection, request)

    with serving(respond) as server:
        warnings = run_job(adapter(server), 1)
    assert len(server.requests) == 3
    assert len({request.json()["attemptId"] for request in server.requests}) == 3
    assert len(warnings) == 1


@pytest.mark.anyio
async def test_a_long_wait_is_told_of_again_and_logged_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_queue, "_TELL_EVERY", 0.2)

    def respond(connection: socket.socket, request: Request) -> None:
        if len(caplog.messages) < 2:
            refuse(connection, Retry_After="0")
        else:
            succeed(connection, request)

    with caplog.at_level(logging.WARNING, "tailrace"), serving(respond) as server, anyio.fail_after(30):
        await adapter(server).execute(chunk())
    assert "all 2 places of this worker are taken; waiting for a place" in caplog.text


@pytest.mark.anyio
async def test_many_that_wait_for_the_same_worker_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        if len(server.requests) <= 8:
            refuse(connection, Retry_After="0")
        else:
            succeed(connection, request)

    with serving(respond) as server, anyio.fail_after(30):
        worker = adapter(server)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(worker.execute, chunk())
    assert len(server.requests) == 12
    assert len(caplog.messages) == 1


@pytest.mark.anyio
async def test_what_on_warning_raises_comes_out_as_it_is() -> None:
    def complain(message: str) -> None:
        raise LookupError(message)

    with (
        serving(lambda connection, _: refuse(connection)) as server,
        pytest.raises(LookupError, match="waiting for a place"),
    ):
        await adapter(server).execute(chunk(on_warning=complain))


@pytest.mark.anyio
async def test_who_does_not_want_to_wait_is_told_how_long_it_would_take() -> None:
    with serving(lambda connection, _: refuse(connection, Retry_After="30")) as server:
        worker = adapter(server)
        with pytest.raises(WorkerBusyError, match="all 2 places") as caught:
            await worker.try_execute(chunk())
    assert (caught.value.retry_after, caught.value.nothing_began, caught.value.result) == (30, True, None)


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
def test_lambda_that_runs_no_more_functions_is_waited_for(streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def respond(connection: socket.socket, _: Request) -> None:
        if len(server.requests) <= 2:
            headers = "x-amzn-ErrorType: TooManyRequestsException\r\nRetry-After: 0\r\n"
            answer(connection, {"Message": "Rate"}, status="429 Too Many Requests", headers=headers)
        else:
            answer(connection, "no function", status="400 Bad Request")

    warnings: list[str] = []
    with serving(respond) as server:
        function = AwsLambdaAdapter("shots", job_def_url=SPEC, endpoint_url=server.url, streaming=streaming)
        with pytest.raises(WorkerRemoteError, match="400"):
            anyio.run(function.execute, chunk(on_warning=warnings.append))
    assert len(server.requests) == 3
    assert warnings == ["Lambda function shots: TooManyRequestsException: Rate; waiting for a place"]


# Places


def test_sixteen_at_a_time_use_all_places_of_two_workers_and_none_is_refused(tmp_path: Path) -> None:
    # Each script takes the next number, and ends when those of its four run: with fewer at a time none would.
    script = (
        f"cd {shlex.quote(str(tmp_path))}; n=0; until mkdir began-$n 2> /dev/null; do n=$((n+1)); done;"
        " until test -d began-$((n / 4 * 4 + 3)); do sleep 0.02; done"
    )
    spec = job(*[script] * 16)
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    warnings: list[JobEvent] = []

    def listen(event: JobEvent) -> None:
        if isinstance(event, ChunkWarning):
            warnings.append(event)

    async def run(urls: list[str]) -> None:
        adapters = [HttpWorkerAdapter(url, job_def_url=str(tmp_path / "job.json")) for url in urls]
        assert [await adapter.places() for adapter in adapters] == [2, 2]
        with anyio.fail_after(60):
            report = await JobExecutor(WorkerPool(adapters)).execute(
                spec, JobExecutionOptions(concurrency=16, on_event=listen)
            )
        assert set(report.attempts.values()) == {1}

    with running_worker(tmp_path, concurrency=2) as one, running_worker(tmp_path, concurrency=2) as other:
        anyio.run(run, [f"http://127.0.0.1:{worker.port}/" for worker in (one, other)])
    assert warnings == []


def test_workers_that_cannot_say_get_what_they_do_not_refuse() -> None:
    all_have_asked = threading.Barrier(16, timeout=30)
    four_run = threading.Barrier(4, timeout=30)

    def foreign() -> Respond:
        """Return a worker of somebody else's: it has two places, and knows no way to say so."""
        lock = threading.Lock()
        asked = running = 0

        def respond(connection: socket.socket, request: Request) -> None:
            nonlocal asked, running
            if request.method != "POST":
                answer(connection, "no such page", status="404 Not Found", media_type="text/plain")
                return
            with lock:
                asked += 1
                is_early = asked <= 8
                has_place = running < 2
                running += has_place
            if is_early:
                all_have_asked.wait()
            if not has_place:
                refuse(connection)
                return
            four_run.wait()
            with lock:
                running -= 1
            succeed(connection, request)

        return respond

    with serving(foreign()) as one, serving(foreign()) as other:
        began = time.monotonic()
        warnings = run_job(pool(one, other), 16, concurrency=16)
        pauses = (time.monotonic() - began) // worker_places._PAUSE
    # After the first have been refused, a place that gets free is used at once, and none is asked for in vain, but
    # after a pause: by one more than have a place, and by one for each of these.
    assert posts(one) + posts(other) <= 16 + 12 + 4 + 2 * 3 * pauses
    assert len(warnings) == 1


def test_a_busy_worker_is_left_for_another() -> None:
    with serving(lambda connection, _: refuse(connection, Retry_After="3600")) as busy, serving(succeed) as free:
        run_job(pool(busy, free), 8, concurrency=4)
    assert posts(free) == 8
    assert posts(busy) <= 4


@pytest.mark.anyio
async def test_those_that_wait_go_in_the_order_they_came() -> None:
    class One:
        """Somebody else's adapter, which has one place and says so."""

        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            order.append(job.meta["chunk_id"])
            await anyio.sleep(0.01)
            return WorkerResult(0)

        async def places(self) -> int | None:
            return 1

    order: list[object] = []
    line = WorkerPool([One()])
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(line.execute, chunk(meta={"chunk_id": number}))
            await anyio.lowlevel.checkpoint()
    assert order == list(range(10))


@pytest.mark.anyio
async def test_who_gives_up_waiting_makes_way_for_the_next() -> None:
    class Held:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            begun.append(job.meta["chunk_id"])
            await go_on.wait()
            return WorkerResult(0)

        async def places(self) -> int | None:
            return 1

    begun: list[object] = []
    go_on = anyio.Event()
    line = WorkerPool([Held()])
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(line.execute, chunk(meta={"chunk_id": 0}))
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.05):
                await line.execute(chunk(meta={"chunk_id": 1}))
            tasks.start_soon(line.execute, chunk(meta={"chunk_id": 2}))
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert begun == [0, 2]


def test_a_pool_may_be_used_by_one_event_loop_after_another_and_by_several_at_a_time() -> None:
    with serving(succeed) as server:
        line = pool(server)
        run_job(line, 2)
        threads = [threading.Thread(target=run_job, args=(line, 5), kwargs={"concurrency": 5}) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert posts(server) == 12


# Failures


def test_a_worker_that_cannot_be_reached_costs_no_attempt_while_there_is_another() -> None:
    with nobody() as dead, serving(succeed) as alive:
        warnings = run_job(pool(dead, alive), 6, concurrency=3)
    assert posts(alive) == 6
    assert warnings == [f"{dead.url}: no answer: Connection refused; another worker is asked"]


@pytest.mark.anyio
async def test_when_no_worker_can_be_reached_that_is_the_error() -> None:
    with nobody() as one, nobody() as other, pytest.raises(WorkerRemoteError, match=r"no answer: .*refused"):
        await pool(one, other).execute(chunk())


def test_a_worker_that_failed_is_left_for_the_others() -> None:
    def fail(connection: socket.socket, _: Request) -> None:
        answer(connection, {"message": "no disk"}, status="500 Internal Server Error")

    async def run() -> None:
        options = JobExecutionOptions(retries=1, retry_delay=0)
        report = await JobExecutor(pool(broken, works)).execute(job(*["true"] * 6), options)
        assert sorted(report.attempts.values()) == [1, 1, 1, 1, 1, 2]

    with serving(fail) as broken, serving(succeed) as works:
        anyio.run(run)
    assert (posts(broken), posts(works)) == (1, 6)


def test_what_may_have_begun_is_not_begun_elsewhere_without_a_retry() -> None:
    async def run() -> None:
        await JobExecutor(pool(lost, works)).execute(job("true"))

    with (
        serving(lambda *_: None) as lost,
        serving(succeed) as works,
        pytest.raises(ChunkFailedError, match="no answer"),
    ):
        anyio.run(run)
    assert (posts(lost), posts(works)) == (1, 0)


@pytest.mark.anyio
async def test_a_worker_that_failed_is_used_again_when_it_has_rested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_places, "_FIRST_REST", 0.3)

    def respond(connection: socket.socket, request: Request) -> None:
        if posts(mended) == 1 and request.method == "POST":
            answer(connection, {}, status="500 Internal Server Error")
        else:
            succeed(connection, request)

    with serving(respond) as mended, serving(lambda connection, _: refuse(connection, Retry_After="3600")) as busy:
        line = pool(mended, busy)
        with pytest.raises(WorkerRemoteError, match="500"):
            await line.execute(chunk())
        with anyio.fail_after(30):
            await line.execute(chunk())
    assert posts(mended) == 2


@pytest.mark.anyio
async def test_a_worker_that_does_not_say_its_places_in_time_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace._remote.http_transport._LONGEST_QUESTION", 0.2)

    def respond(connection: socket.socket, request: Request) -> None:
        if request.method == "GET":
            hangs.wait_for_disconnect(connection)
        else:
            succeed(connection, request)

    warnings: list[str] = []
    with serving(respond) as hangs, serving(succeed) as works, anyio.fail_after(15):
        line = pool(hangs, works)
        for _ in range(3):
            await line.execute(chunk(on_warning=warnings.append))
    assert (posts(hangs), posts(works)) == (0, 3)
    assert warnings == [f"{hangs.url}: no answer within 0.2 s; another worker is asked"]


@pytest.mark.anyio
async def test_a_worker_that_begins_to_answer_but_does_not_say_its_places_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tailrace._remote.http_transport._LONGEST_QUESTION", 0.2)

    def respond(connection: socket.socket, request: Request) -> None:
        if request.method == "GET":
            start_chunks(connection, "application/json")
            server.wait_for_disconnect(connection)
        else:
            succeed(connection, request)

    with serving(respond) as server, anyio.fail_after(15):
        assert (await pool(server).execute(chunk())).exit_code == 0


@pytest.mark.anyio
async def test_the_time_that_credentials_take_is_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace._remote.http_transport._LONGEST_QUESTION", 0.5)

    async def authorise() -> str:
        await anyio.sleep(0.6)
        return "token"

    with serving(lambda connection, _: answer(connection, {"places": 3})) as server:
        assert await adapter(server, auth=authorise).places() == 3


@pytest.mark.anyio
@pytest.mark.parametrize("says_its_places", [True, False])
@pytest.mark.parametrize("begins", [False, True], ids=["nothing", "headers"])
async def test_a_worker_that_hangs_with_its_chunks_is_left_for_the_others(says_its_places: bool, begins: bool) -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        if request.method == "GET":
            answer(connection, {"places": 4} if says_its_places else {})
            return
        if begins:
            start_chunks(connection, "application/json")
        hangs.wait_for_disconnect(connection)

    with serving(respond) as hangs, serving(succeed) as works:
        with anyio.fail_after(30):
            options = JobExecutionOptions(concurrency=1, timeout=0.2, retries=1, retry_delay=0)
            report = await JobExecutor(pool(hangs, works)).execute(job(*["true"] * 6), options)
    assert sorted(report.attempts.values()) == [1, 1, 1, 1, 1, 2]
    assert (posts(hangs), posts(works)) == (1, 6)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["timeout-total", "timeout-idle"])
async def test_a_worker_that_says_what_its_limit_ended_is_used_again_at_once(kind: str) -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        if request.method == "POST" and posts(works) == 1:
            answer(connection, {"error": {"kind": kind, "message": "render was ended"}})
        else:
            succeed(connection, request)

    with serving(respond) as works, serving(lambda connection, _: refuse(connection, Retry_After="3600")) as busy:
        line = pool(works, busy)
        with anyio.fail_after(15):
            with pytest.raises(WorkerTimeoutError, match="render was ended") as caught:
                await line.execute(chunk(timeout=5))
            await line.execute(chunk(timeout=5))
    assert not caught.value.no_answer
    assert posts(works) == 2


# What a pool is


def test_a_pool_is_what_its_adapters_are() -> None:
    remote = HttpWorkerAdapter("http://127.0.0.1:9/", streaming=True)
    silent = HttpWorkerAdapter("http://127.0.0.1:9/")
    both = WorkerPool([LocalWorkerAdapter(), remote])
    assert (both.streams, both.remote) == (True, True)
    assert not WorkerPool([remote, silent]).streams
    assert not WorkerPool([LocalWorkerAdapter()]).remote
    with pytest.raises(ValueError, match="at least one adapter"):
        WorkerPool([])
    with pytest.raises(TypeError, match="adapters must be a collection of adapters"):
        WorkerPool(remote)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"adapters\[0\] must be an object, not the class LocalWorkerAdapter"):
        WorkerPool([LocalWorkerAdapter])  # type: ignore[list-item]


@pytest.mark.anyio
async def test_adapters_of_all_kinds_may_be_mixed() -> None:
    line = WorkerPool([LocalWorkerAdapter(), LocalWorkerAdapter()])
    result = await line.execute(WorkerJob(sys.executable, ["-c", "print('here')"]))
    assert result.stdout == "here\n"


@pytest.mark.parametrize(
    "places", [{"places": 0}, {"places": True}, {"places": "2"}, {"other": 2}, [2], None], ids=repr
)
def test_a_worker_that_speaks_of_something_else_cannot_say(places: object) -> None:
    with serving(lambda connection, _: answer(connection, json.dumps(places))) as server:
        assert anyio.run(adapter(server).places) is None


def test_places_are_asked_for_below_the_workers_own_path() -> None:
    with serving(lambda connection, _: answer(connection, {"places": 3})) as server:
        worker = HttpWorkerAdapter(f"http://127.0.0.1:{server.port}/farm/run/?code=key", auth="secret")
        assert anyio.run(worker.places) == 3
    [request] = server.requests
    assert (request.method, request.path) == ("GET", "/farm/run/places?code=key")
    assert request.headers["authorization"] == "Bearer secret"


# The command line


def run_cli(tmp_path: Path, chunks: int, *options: str, **environment: str) -> Any:
    """Run a job by the command line."""
    path = tmp_path / "job.json"
    path.write_text(job(*["true"] * chunks).model_dump_json(by_alias=True))
    return CliRunner().invoke(cli, ["job", "run", str(path), "--adapter", "http", *options], env=environment)


@pytest.mark.parametrize("given", ["options", "environment"])
def test_several_urls_are_several_workers(given: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(succeed)) for _ in range(2)]
        urls = [server.url for server in servers]
        options = [word for url in urls for word in ("--url", url)] if given == "options" else []
        environment = {} if options else {"TAILRACE_URL": " ".join(urls)}
        result = run_cli(tmp_path, 8, *options, "--concurrency", "4", **environment)
    assert result.exit_code == 0, result.output
    assert sum(map(posts, servers)) == 8
    assert all(map(posts, servers))


def test_one_url_is_not_asked_for_its_places(tmp_path: Path) -> None:
    with serving(succeed) as server:
        result = run_cli(tmp_path, 2, "--url", server.url, "--url", server.url)
    assert result.exit_code == 0, result.output
    assert [request.method for request in server.requests] == ["POST", "POST"]


def test_that_a_worker_is_busy_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        if len(server.requests) == 1:
            refuse(connection, Retry_After="0")
        else:
            succeed(connection, request)

    with serving(respond) as server:
        result = run_cli(tmp_path, 1, "--url", server.url)
    assert result.exit_code == 0, result.output
    told = f"chunk 0: {server.url}: it answered 429 Too Many Requests: all 2 places of this worker are taken;"
    assert f"{told} waiting for a place\n" in capfd.readouterr().err
