"""Jobs on real workers: the same as on this machine, live where that is asked for, and ended when nobody wants them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from support import tunnel
from support.jobs import count_lines, job
from support.lambda_emulator import FUNCTION, lambda_emulator
from support.metadata_server import TokenSource, variables
from support.processes import wait_until_marked, wait_until_none_is_marked
from support.raw_server import Request, answer, serving
from support.workers import WorkerThread, running_worker
from tailrace import (
    HttpWorkerAdapter,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerTimeoutError,
)

both_ways = pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])

# Much of it, of both streams, in pieces that end within characters, and not all of it text.
NOISY = """
import os, random, sys
data = random.Random(int(sys.argv[1])).randbytes(300_000) + "é\\r\\nü".encode() * 20_000
while data:
    size = random.randrange(1, 9_000)
    os.write(1, data[:size]); os.write(2, data[:size])
    data = data[size:]
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerThread]:
    """Run a worker that takes jobs from the test's folder."""
    with running_worker(tmp_path, concurrency=3) as worker:
        yield worker


@pytest.fixture
def mark() -> str:
    """Return what marks the processes of this test."""
    return f"mark-{os.getpid()}-remote"


def url_of(worker: WorkerThread) -> str:
    """Return where the worker is."""
    return f"http://127.0.0.1:{worker.port}/"


def write(folder: Path, spec: JobSpec) -> str:
    """Write the job file, and return its path."""
    path = folder / "job.json"
    path.write_text(spec.model_dump_json(by_alias=True))
    return str(path)


@pytest.mark.anyio
@both_ways
@pytest.mark.parametrize("stream", ["text", "bytes", "lines"])
async def test_a_job_has_the_results_that_it_has_on_this_machine(
    stream: Any, streaming: bool, worker: WorkerThread, tmp_path: Path
) -> None:
    commands = [f"exec {sys.executable} -I -S -c '{NOISY}' {number}" for number in range(3)]
    spec = job(*commands)
    received: dict[tuple[str, int], list[Any]] = {}

    def take(name: str, chunk_id: int, data: Any) -> None:
        received.setdefault((name, chunk_id), []).append(data)

    options = JobExecutionOptions(
        concurrency=3,
        stream=stream,
        on_chunk_stdout=partial(take, "stdout"),
        on_chunk_stderr=partial(take, "stderr"),
    )
    adapter = HttpWorkerAdapter(url_of(worker), job_def_url=write(tmp_path, spec), streaming=streaming)
    report = await JobExecutor(adapter).execute(spec, options)
    remote, received = received, {}
    local = await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    for chunk_id in range(3):
        result = report.results[chunk_id]
        assert result.stdout_bytes == local.results[chunk_id].stdout_bytes
        assert result.stderr_bytes == local.results[chunk_id].stderr_bytes
        assert result.usage is not None
        if not streaming:
            assert remote == {}
        elif stream == "lines":
            assert remote["stdout", chunk_id] == received["stdout", chunk_id]
        else:
            # Where a piece ends is up to chance.
            joined = b"" if stream == "bytes" else ""
            assert joined.join(remote["stdout", chunk_id]) == joined.join(received["stdout", chunk_id])


@pytest.mark.anyio
async def test_output_of_many_chunks_arrives_while_they_run(worker: WorkerThread, tmp_path: Path) -> None:
    # Each chunk ends only when what it wrote has arrived.
    scripts = [f"echo begun; while ! test -e {tmp_path}/heard-{number}; do sleep 0.02; done" for number in range(2)]
    spec = job(*scripts)
    heard: list[int] = []

    def hear(chunk_id: int, text: str) -> None:
        assert text == "begun\n"
        heard.append(chunk_id)
        (tmp_path / f"heard-{chunk_id}").touch()

    adapter = HttpWorkerAdapter(url_of(worker), job_def_url=write(tmp_path, spec), streaming=True)
    with anyio.fail_after(30):
        await JobExecutor(adapter).execute(spec, JobExecutionOptions(concurrency=2, on_chunk_stdout=hear))
    assert sorted(heard) == [0, 1]


@pytest.mark.anyio
@both_ways
async def test_cancelling_ends_the_whole_tree_on_the_worker(
    streaming: bool, worker: WorkerThread, tmp_path: Path, mark: str
) -> None:
    spec = job(f"sh -c 'sleep 60; : {mark}' & sh -c 'sleep 60; : {mark}'; true")
    adapter = HttpWorkerAdapter(url_of(worker), job_def_url=write(tmp_path, spec), streaming=streaming)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(adapter.execute, WorkerJob("render", meta={"chunk_id": 0}))
        await anyio.to_thread.run_sync(wait_until_marked, mark, 2)
        tasks.cancel_scope.cancel()
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


@pytest.mark.anyio
@both_ways
async def test_the_workers_word_for_the_limit_of_the_job_comes_with_the_output_so_far(
    streaming: bool, worker: WorkerThread, tmp_path: Path, mark: str
) -> None:
    spec = job(f"trap 'echo last words; exit 0' TERM; echo begun; sh -c 'sleep 60; : {mark}'")
    adapter = HttpWorkerAdapter(url_of(worker), job_def_url=write(tmp_path, spec), streaming=streaming)
    with pytest.raises(WorkerTimeoutError) as caught:
        await adapter.execute(WorkerJob("render", timeout=0.5, meta={"chunk_id": 0}))
    assert caught.value.kind == "total"
    assert caught.value.result is not None
    assert caught.value.result.stdout == "begun\nlast words\n"
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


@pytest.mark.anyio
@both_ways
async def test_a_request_that_is_delivered_twice_starts_one_render(
    streaming: bool, worker: WorkerThread, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    spec = job(f"echo begun >> {starts}; sleep 0.3; echo done")

    def deliver_twice(connection: socket.socket, request: Request) -> None:
        # As a proxy does that sends again what it believes lost.
        names = ("content-type", "accept")
        head = "".join(f"{name}: {request.headers[name]}\r\n" for name in names)
        length = f"Content-Length: {len(request.body)}\r\nConnection: close\r\n\r\n"
        message = f"POST / HTTP/1.1\r\nHost: worker\r\n{head}{length}".encode() + request.body
        with worker.connect() as first, worker.connect() as second:
            first.sendall(message)
            second.sendall(message)
            while data := second.recv(2**16):
                connection.sendall(data)

    with serving(deliver_twice) as proxy:
        adapter = HttpWorkerAdapter(proxy.url, job_def_url=write(tmp_path, spec), streaming=streaming)
        result = await adapter.execute(WorkerJob("render", meta={"chunk_id": 0}))
    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert count_lines(starts) == 1


@pytest.mark.anyio
async def test_the_executor_alone_repeats_each_time_as_a_new_attempt() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        if len(server.requests) < 3:
            answer(connection, {}, status="503 Service Unavailable")
        else:
            answer(connection, {"exitCode": 0})

    with serving(respond) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json")
        options = JobExecutionOptions(retries=4, retry_delay=0)
        report = await JobExecutor(adapter).execute(job("true"), options)
    assert report.attempts == {0: 3}
    assert len({request.json()["attemptId"] for request in server.requests}) == len(server.requests) == 3


# The command line


@contextmanager
def serving_worker(folder: Path, path: str, **environment: str) -> Iterator[str]:
    """Run `tailrace worker serve` with a shared folder, and yield its URL."""
    options = ["--port", "0", "--allow-spec", str(folder), "--work-dir", str(folder)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tailrace",
            "worker",
            "serve",
            *options,
            *(f"--token-env={name}" for name in environment),
        ],
        env=os.environ | {"PATH": path} | environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr:
        told = process.stderr.readline()
        found = re.search(r"http://\S+:\d+", told)
        try:
            assert found is not None, told
            yield found[0]
        finally:
            process.terminate()
            process.stderr.read()


def run_cli(spec: Path, *options: str, path: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a job by the command line."""
    return subprocess.run(
        [sys.executable, "-m", "tailrace", "job", "run", str(spec), *options],
        env=os.environ | {"PATH": path, "AWS_EC2_METADATA_DISABLED": "true"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=200,
        check=False,
    )


def _http(stack: ExitStack, folder: Path, path: str) -> tuple[list[str], dict[str, str]]:
    token = {"FARM_TOKEN": "secret"}
    url = stack.enter_context(serving_worker(folder, path, **token))
    return ["--adapter", "http", "--url", url, "--token-env", "FARM_TOKEN", "--concurrency", "2"], token


def _gcp(stack: ExitStack, folder: Path, path: str) -> tuple[list[str], dict[str, str]]:
    metadata = stack.enter_context(serving(TokenSource().respond))
    environment = variables(metadata) | {"TAILRACE_URL": stack.enter_context(serving_worker(folder, path))}
    return ["--adapter", "gcp", "--concurrency", "2"], environment


def _aws(stack: ExitStack, folder: Path, path: str) -> tuple[list[str], dict[str, str]]:
    settings = {"TAILRACE_ALLOW_SPEC": str(folder), "TAILRACE_WORK_DIR": str(folder), "PATH": path}
    endpoint = stack.enter_context(lambda_emulator(folder.parent / "emulator.log", **settings))
    # One emulator serves one invocation at a time.
    return ["--function", FUNCTION, "--endpoint-url", endpoint], {"TAILRACE_ADAPTER": "aws"}


Prepare = Callable[[ExitStack, Path, str], tuple[list[str], dict[str, str]]]


@pytest.mark.parametrize(
    ("prepare", "options"),
    [(_aws, []), (_gcp, []), (_gcp, ["--streaming"]), (_http, []), (_http, ["--streaming"])],
    ids=["aws", "gcp", "gcp-streaming", "http", "http-streaming"],
)
def test_the_demo_is_the_same_video_wherever_its_chunks_run(
    prepare: Prepare, options: list[str], tmp_path: Path
) -> None:
    path = tunnel.search_path()
    folder = tunnel.small_tunnel(tmp_path / "tunnel")
    with ExitStack() as stack:
        where, environment = prepare(stack, folder, path)
        where = [*where, *options, "--shares-files", "--verify-output"]
        run = run_cli(folder / "job.json", *where, path=path, **environment)
    assert run.returncode == 0, run.stderr.decode()
    comparison = tunnel.compare(folder, path=path)
    assert comparison.returncode == 0, comparison.stdout + comparison.stderr
    assert "Equal, frame for frame" in comparison.stdout


def test_with_streaming_the_output_comes_before_the_end_of_its_chunk(tmp_path: Path) -> None:
    path = os.environ["PATH"]
    spec = job("echo one; sleep 0.5; echo two; sleep 0.5")
    write(tmp_path, spec)
    with serving_worker(tmp_path, path) as url:
        where = ["--adapter", "http", "--url", url, "--streaming", "--events", "ndjson"]
        run = run_cli(tmp_path / "job.json", *where, path=path)
    assert run.returncode == 0, run.stderr.decode()
    events = [json.loads(line) for line in run.stdout.splitlines()]
    times = {event["event"]: event["time"] for event in events}
    outputs = {event["data"]: event["time"] for event in events if event["event"] == "chunk_output"}
    assert list(outputs) == ["one\n", "two\n"]
    assert outputs["two\n"] - outputs["one\n"] > 0.3
    assert times["chunk_finished"] - outputs["two\n"] > 0.3


def test_without_streaming_the_output_is_shown_at_the_end_of_its_chunk(tmp_path: Path) -> None:
    path = os.environ["PATH"]
    write(tmp_path, job("echo one; echo err >&2; sleep 0.3; echo two", "head -c 200000 /dev/zero; exit 3"))
    with serving_worker(tmp_path, path) as url:
        where = ["--adapter", "http", "--url", url, "--log-dir", str(tmp_path / "logs"), "--no-progress-timeout", "0.1"]
        run = run_cli(tmp_path / "job.json", *where, path=path)
    assert run.returncode == 1
    assert run.stdout == b"one\ntwo\n" + bytes(200_000)
    assert b"err\n" in run.stderr
    assert b"exited with status 3" in run.stderr
    logs = sorted((tmp_path / "logs").rglob("*stdout*"))
    assert [log.read_bytes() for log in logs] == [b"one\ntwo\n", bytes(200_000)]


def test_a_worker_that_cannot_stream_loses_nothing_where_that_was_asked_for(tmp_path: Path) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        time.sleep(0.6)
        answer(connection, {"exitCode": 0, "stdout": "out\n", "stderr": "err\n"})

    write(tmp_path, job("true"))
    with serving(respond) as server:
        where = ["--adapter", "http", "--url", server.url, "--streaming", "--log-dir", str(tmp_path / "logs")]
        run = run_cli(tmp_path / "job.json", *where, "--no-progress-timeout", "0.1", path=os.environ["PATH"])
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout == b"out\n"
    assert b"err\n" in run.stderr
    assert [log.read_bytes() for log in (tmp_path / "logs").rglob("*stdout*")] == [b"out\n"]


@both_ways
def test_an_interrupted_command_line_ends_the_renders_on_the_worker(streaming: bool, tmp_path: Path, mark: str) -> None:
    write(tmp_path, job(f"sh -c 'sleep 60; : {mark}'; true"))
    path = os.environ["PATH"]
    with serving_worker(tmp_path, path) as url:
        where = ["--adapter", "http", "--url", url, *(["--streaming"] if streaming else [])]
        process = subprocess.Popen(
            [sys.executable, "-m", "tailrace", "job", "run", str(tmp_path / "job.json"), *where],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_marked(mark, 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        wait_until_none_is_marked(mark)


def test_a_failed_chunk_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    write(tmp_path, job("true"))
    run = run_cli(tmp_path / "job.json", "--adapter", "http", "--url", url, path=os.environ["PATH"])
    assert run.returncode == 1
    assert f"{url}: no answer: Connection refused" in run.stderr.decode()
    assert "Traceback" not in run.stderr.decode()
