"""Whatever ends the wait for a chunk ends the chunk, with all that it started."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from support.jobs import job, names_in
from support.processes import DAEMON, PYTHON, descendants_marked, wait_until_marked, wait_until_none_is_marked
from support.workers import FRAMES, Worker, WorkerThread, read_frames, result_of, running_worker, wait_until
from tailrace._wire.frames import FrameKind
from tailrace.worker import _answers, _http_server

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def mark() -> Iterator[str]:
    word = f"mark-{uuid.uuid4()}"
    yield word
    assert descendants_marked(word) == []


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerThread]:
    with running_worker(tmp_path, concurrency=2, work_dir=tmp_path) as running:
        yield running


def write_python_job(folder: Path, source: str, mark: str) -> str:
    (folder / "program.py").write_text(source)
    spec = job("true")
    chunk = spec.chunks[0].model_copy(update={"command": shlex.join([*PYTHON, "program.py", mark])})
    path = folder / "job.json"
    path.write_text(spec.model_copy(update={"chunks": (chunk,)}).model_dump_json(by_alias=True))
    return str(path)


@pytest.mark.parametrize("headers", [FRAMES, {}], ids=["frames", "buffered"])
@pytest.mark.parametrize("source", [DAEMON, STUBBORN], ids=["daemon", "ignores-terminate"])
def test_a_client_that_goes_away_ends_the_whole_tree_within_two_seconds(
    source: str, headers: dict[str, str], worker: Worker, mark: str
) -> None:
    address = write_python_job(worker.specs, source, mark)
    with worker.requesting(f'{{"jobPath": "{address}", "chunkIndex": 0}}', headers):
        wait_until_marked(mark, 2 if source == DAEMON else 1)
        # Time for the first signal to be ignored.
        time.sleep(0.5)
        assert descendants_marked(mark)
        left = time.monotonic()
    wait_until_none_is_marked(mark)
    # What ignores the request to terminate has half of the two seconds for it, which leaves a busy machine little.
    assert time.monotonic() - left < (10 if source == STUBBORN else 2)
    # Its folder is gone as well.
    wait_until(lambda: names_in(worker.specs / ".tailrace" / ".attempts") == set())


@pytest.mark.parametrize("is_at_once", [True, False], ids=["with the request", "later"])
@pytest.mark.parametrize("extra", [b"\r\n", b"GET /healthz HTTP/1.1\r\nHost: w\r\n\r\n", b"\0" * 10**6])
def test_a_client_that_goes_away_is_noticed_whatever_it_has_sent(
    extra: bytes, is_at_once: bool, worker: Worker, mark: str
) -> None:
    address = worker.write_job(f"sh -c 'sleep 60; : {mark}'")
    body = f'{{"jobPath": "{address}", "chunkIndex": 0}}'.encode()
    with worker.connect() as connection:
        request = b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        connection.sendall(request + (extra if is_at_once else b""))
        wait_until_marked(mark)
        if not is_at_once:
            connection.sendall(extra)
            time.sleep(0.2)
    wait_until_none_is_marked(mark)


def test_what_follows_a_request_is_dropped_and_the_answer_is_the_last_one(worker: Worker) -> None:
    address = worker.write_job("sleep 0.5; echo done")
    body = f'{{"jobPath": "{address}", "chunkIndex": 0}}'.encode()
    with worker.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.2)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: w\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"done" in answer


def test_a_client_that_goes_away_while_it_is_sent_a_flood_ends_it(worker: Worker, mark: str) -> None:
    address = worker.write_job(f"sh -c 'yes; : {mark}'")
    with worker.asking(address, headers=FRAMES) as response:
        next(read_frames(response))
        wait_until_marked(mark)
    wait_until_none_is_marked(mark)


def test_a_timeout_ends_the_render_of_a_client_that_reads_nothing_and_frees_its_place(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_answers, "_FAREWELL", 0.5)
    with running_worker(tmp_path, concurrency=1) as worker:
        address = worker.write_job(f"sh -c 'yes; : {mark}'", "true")
        with worker.asking(address, headers=FRAMES, timeout=1) as response:
            wait_until_marked(mark)
            wait_until_none_is_marked(mark)
            wait_until(lambda: worker.ask(address, 1).status == 200)
            # It has had its time: the rest is not sent any more.
            wait_until(lambda: not worker.request_count)
            with pytest.raises(IncompleteRead):
                list(read_frames(response))


def test_ending_the_worker_ends_its_renders_and_tells_their_clients(worker: WorkerThread, mark: str) -> None:
    address = worker.write_job(f"echo begun; sh -c 'sleep 60; : {mark}'")
    with worker.asking(address, headers=FRAMES) as response:
        next(frames := read_frames(response))
        wait_until_marked(mark)
        worker.end_renders()
        result = result_of(list(frames))
        assert result["error"] == {"kind": "internal", "message": "the worker is shutting down"}
        answer = worker.ask(address)
        assert (answer.status, answer.message) == (503, "the worker is shutting down")


def test_a_connection_that_is_being_accepted_does_not_hold_up_the_workers_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PATIENCE", "_SHUTDOWN_PATIENCE"):
        monkeypatch.setattr(_http_server, name, 40)
    accepted, ours = socket.socketpair()
    tasks = []
    with ours:
        with running_worker(tmp_path) as running:
            server = running.server

            def accept() -> None:
                make: Any = server.config.http_protocol_class
                loop, state = asyncio.get_running_loop(), server.server_state
                new = partial(make, config=server.config, server_state=state, app_state={})
                # As the loop does with what it has accepted: the server hears of it a moment later.
                tasks.append(loop.create_task(loop.connect_accepted_socket(new, accepted)))

            monkeypatch.setattr(server, "_end", accept)
            began = time.monotonic()
        assert time.monotonic() - began < 20
        assert ours.recv(1) == b""
    assert [task.done() for task in tasks] == [True]


def test_who_takes_nothing_is_left_alone_when_the_worker_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http_server, "_SHUTDOWN_PATIENCE", 0.2)
    with ExitStack() as stack:
        with running_worker(tmp_path) as running:
            body = f'{{"jobPath": "{running.write_job("yes")}", "chunkIndex": 0}}'
            connection = stack.enter_context(running.requesting(body, FRAMES))
            frames = read_frames(stack.enter_context(connection.getresponse()))
            assert next(frames).kind is FrameKind.STDOUT
        # The worker's end of the connection is closed.
        with pytest.raises((ConnectionResetError, IncompleteRead)):
            list(frames)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_worker_and_its_renders_in_time(number: signal.Signals, tmp_path: Path, mark: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(job(f"echo begun; trap '' TERM; sh -c 'sleep 60; : {mark}'").model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "tailrace", "worker", "serve", "--port", "0", "--allow-spec", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        worker = Worker(int(address.rpartition(":")[2]), tmp_path)
        with worker.asking(str(path), headers=FRAMES) as response:
            next(frames := read_frames(response))
            wait_until_marked(mark)
            os.kill(process.pid, number)
            signalled = time.monotonic()
            assert result_of(list(frames))["error"]["message"] == "the worker is shutting down"
            assert process.wait(20) == (-signal.SIGTERM if number == signal.SIGTERM else 130)
            assert time.monotonic() - signalled < 8
        assert descendants_marked(mark) == []
        said = process.stderr.read()
        assert re.fullmatch(
            rf"tailrace: chunk 0 of {re.escape(str(path))}: the worker is shutting down, \d+\.\d s\n", said
        )
