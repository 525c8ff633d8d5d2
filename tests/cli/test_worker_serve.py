"""`tailrace worker serve`, as its users run it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from support import ROOT
from support.workers import Answer, Worker, running_worker
from tailrace.worker import _http_server

SERVE = (sys.executable, "-m", "tailrace", "worker", "serve")


@contextmanager
def serving(
    specs: Path,
    *options: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    open_files: tuple[int, int] | None = None,
) -> Iterator[Worker]:
    """Run a worker that takes the specifications in `specs` on a port of its choice, under limits if they are given."""
    command = [*SERVE, "--port", "0", "--allow-spec", str(specs), *options]
    if open_files is not None:
        command = ["sh", "-c", f'ulimit -Sn {open_files[0]}; ulimit -Hn {open_files[1]}; exec "$@"', "sh", *command]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        assert process.stderr is not None
        try:
            told = process.stderr.readline()
            assert told.startswith("tailrace: the worker listens on http://127.0.0.1:"), told
            yield Worker(int(told.rpartition(":")[2]), specs)
        finally:
            process.terminate()


def refused(*options: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Run a worker that cannot start, and return why."""
    finished = subprocess.run(
        [*SERVE, *options], capture_output=True, text=True, timeout=200, env={**os.environ, **environment}
    )
    assert finished.returncode == 2, finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    return finished.stderr


def test_a_worker_tells_where_it_listens_and_runs_chunks(tmp_path: Path) -> None:
    with serving(tmp_path) as worker:
        answer = worker.ask(worker.write_job("echo rendered > chunk_0; cat chunk_0"))
    assert answer.json()["stdout"] == "rendered\n"
    assert not (tmp_path / "chunk_0").exists()


def test_a_worker_tells_how_each_chunk_ended_and_whom_it_refused_unless_it_is_quiet(tmp_path: Path) -> None:
    command = [*SERVE, "--port", "0", "--allow-spec", str(tmp_path), "--token-env", "RENDER_TOKEN"]
    for quiet in ([], ["--quiet"]):
        with subprocess.Popen(
            [*command, *quiet], stderr=subprocess.PIPE, text=True, env={**os.environ, "RENDER_TOKEN": "s3cret"}
        ) as process:
            assert process.stderr is not None
            worker = Worker(int(process.stderr.readline().rpartition(":")[2]), tmp_path)
            authorized = {"Authorization": "Bearer s3cret"}
            address = worker.write_job("true", "exit 3")
            for chunk in (0, 1):
                assert worker.ask(address, chunk, headers=authorized).status == 200
            assert worker.ask(address, headers={"Authorization": "Bearer gue55"}).status == 401
            assert worker.ask("/etc/a\nb", headers=authorized).status == 403
            process.terminate()
            told = process.stderr.read()
        assert "s3cret" not in told
        assert "gue55" not in told
        assert "Traceback" not in told
        patterns = [
            rf"chunk 0 of {re.escape(address)}: exit 0, \d+\.\d s",
            rf"chunk 1 of {re.escape(address)}: exit 3, \d+\.\d s",
            r"refused 127\.0\.0\.1, port \d+: 401, this is not the worker's token: .*",
            r"refused 127\.0\.0\.1, port \d+: 403, '/etc/a\\nb' is in no place .*",
        ]
        lines = told.splitlines()
        assert len(lines) == (0 if quiet else len(patterns)), told
        for pattern, line in zip(patterns, lines, strict=False):
            assert re.fullmatch(f"tailrace: {pattern}", line), line


def test_the_options_do_what_they_say(tmp_path: Path) -> None:
    options = ("--work-dir", str(tmp_path), "--allow-command", "sh", "--max-body", "500", "--concurrency", "1")
    with serving(tmp_path, *options, "--token-env", "RENDER_TOKEN", environment={"RENDER_TOKEN": "s3cret"}) as worker:
        authorized = {"Authorization": "Bearer s3cret"}
        address = worker.write_job("echo rendered > chunk_0; env")
        assert worker.ask(address).status == 401
        answer = worker.ask("job.json", headers=authorized)
        assert answer.json()["exitCode"] == 0
        # Nor is it told to what is run.
        assert "s3cret" not in answer.json()["stdout"]
        assert worker.send(" " * 501, authorized).status == 413
        (tmp_path / "job.json").write_text((tmp_path / "job.json").read_text().replace('"sh ', '"env sh '))
        assert worker.ask(address, headers=authorized).status == 403
    assert (tmp_path / "chunk_0").read_text() == "rendered\n"


def test_a_job_with_assets_is_refused_by_a_worker_that_was_not_told_to_ignore_them(tmp_path: Path) -> None:
    def ask(worker: Worker) -> Answer:
        path = Path(worker.write_job("echo rendered"))
        path.write_text(json.dumps(json.loads(path.read_text()) | {"assetsUrl": "https://a.example/x.zip"}))
        return worker.ask(str(path))

    with serving(tmp_path) as worker:
        refusal = ask(worker)
        assert (refusal.status, refusal.json()["error"]["kind"]) == (422, "refused")
        assert refusal.message == "the job has an assetsUrl, and this worker fetches no assets (--ignore-assets)"
    with serving(tmp_path, "--ignore-assets") as worker:
        assert ask(worker).json()["stdout"] == "rendered\n"


def test_places_and_commands_may_come_from_the_environment(tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    environment = {"TAILRACE_ALLOW_SPEC": f"{tmp_path} {more}", "TAILRACE_ALLOW_COMMAND": "sh ffmpeg", "PORT": "0"}
    with subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        assert process.stderr is not None
        worker = Worker(int(process.stderr.readline().rpartition(":")[2]), more)
        assert worker.ask(worker.write_job("echo rendered")).json()["stdout"] == "rendered\n"
        process.terminate()


def test_other_machines_are_only_let_in_with_a_token_or_knowingly(tmp_path: Path) -> None:
    options = ("--host", "0.0.0.0", "--port", "0", "--allow-spec", str(tmp_path))
    assert "0.0.0.0 can be reached from other machines: give --token-env, or --no-token if" in refused(*options)
    for let_in in (["--no-token"], ["--token-env", "RENDER_TOKEN"]):
        environment = {**os.environ, "RENDER_TOKEN": "s3cret"}
        with subprocess.Popen(
            [*SERVE, *options, *let_in], stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("tailrace: the worker listens on http://0.0.0.0:")
            process.terminate()


def test_what_a_worker_cannot_start_with_is_told_in_one_line(tmp_path: Path) -> None:
    with serving(tmp_path) as worker:
        taken = refused("--port", str(worker.port), "--allow-spec", str(tmp_path))
    assert f"cannot listen on 127.0.0.1, port {worker.port}: Address already in use" in taken
    assert "--allow-spec is missing: say where job specifications may come from" in refused()
    assert "should be a folder or an http(s) URL: 'missing'" in refused("--allow-spec", "missing")
    assert "there is no environment variable RENDER_TOKEN" in refused(
        "--allow-spec", str(tmp_path), "--token-env", "RENDER_TOKEN"
    )
    assert "--work-dir" in refused("--allow-spec", str(tmp_path), "--work-dir", "missing")
    assert "cannot listen on no.such.host.invalid" in refused(
        "--allow-spec", str(tmp_path), "--host", "no.such.host.invalid"
    )


def open_idle(worker: Worker, stack: ExitStack, sent: bytes, count: int) -> list[socket.socket]:
    connections = [stack.enter_context(worker.connect()) for _ in range(count)]
    for connection in connections:
        connection.sendall(sent)
    return connections


@pytest.mark.parametrize(
    "sent", [b"", b"POST / HTTP/1.1\r\nHost:", b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 9\r\n\r\n{"]
)
def test_idle_connections_shut_nobody_out(sent: bytes, tmp_path: Path) -> None:
    # With a hard limit of 256 files a worker can have no 600 connections.
    with serving(tmp_path, open_files=(256, 256)) as worker, ExitStack() as stack:
        address = worker.write_job("echo rendered")
        for _ in range(3):
            open_idle(worker, stack, sent, 200)
            assert worker.ask(address).json()["stdout"] == "rendered\n"


def test_the_limit_of_open_files_is_raised_for_the_worker_and_not_for_its_commands(tmp_path: Path) -> None:
    with serving(tmp_path, open_files=(128, 4096)) as worker, ExitStack() as stack:
        open_idle(worker, stack, b"", 500)
        assert worker.ask(worker.write_job("ulimit -Sn; ulimit -Hn")).json()["stdout"] == "128\n4096\n"


def test_a_connection_has_to_bring_its_request_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_server, "_PATIENCE", 0.2)
    with running_worker(tmp_path) as worker, ExitStack() as stack:
        (silent,) = open_idle(worker, stack, b"", 1)
        (slow,) = open_idle(worker, stack, b"GET /healthz HT", 1)
        for connection in (silent, slow):
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        # What is being answered takes its time.
        assert worker.ask(worker.write_job("sleep 1; echo rendered")).json()["stdout"] == "rendered\n"


@pytest.mark.parametrize("blank", ["", " "])
def test_a_list_of_commands_that_is_blank_does_not_allow_them_all(blank: str, tmp_path: Path) -> None:
    message = "allow_commands (--allow-command, TAILRACE_ALLOW_COMMAND) must name commands, or be unset"
    options = ("--port", "0", "--allow-spec", str(tmp_path))
    assert message in refused(*options, environment={"TAILRACE_ALLOW_COMMAND": blank})
    assert message in refused(*options, "--allow-command", blank)


def test_without_uvicorn_the_remedy_is_told(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ImportError('not installed', name='uvicorn')")
    finished = subprocess.run(
        [*SERVE, "--port", "0", "--allow-spec", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert finished.returncode == 1
    assert finished.stderr == "tailrace: tailrace.worker.serve needs uvicorn: pip install 'tailrace[worker]'\n"


def test_the_package_itself_needs_nothing_more() -> None:
    program = "import sys, tailrace.worker; sys.exit('uvicorn' in sys.modules or 'http.server' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", ["http.Dockerfile", "lambda.Dockerfile"])
def test_what_the_dockerfiles_copy_exists(name: str) -> None:
    lines = (ROOT / "docker" / name).read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert copied
    assert [path for paths in copied for path in paths if not (ROOT / path).exists()] == []


def test_the_container_lets_nobody_in_unless_told_and_collects_zombies() -> None:
    lines = (ROOT / "docker" / "http.Dockerfile").read_text().splitlines()
    instructions = [line for line in lines if not line.startswith("#")]
    assert not [line for line in instructions if "--no-token" in line]
    assert instructions[-1].startswith('ENTRYPOINT ["tini", "--", "tailrace", ')
    assert any("apt-get install" in line and " tini " in line for line in instructions)
