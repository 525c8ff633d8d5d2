"""`tailrace serve`, as its users run it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.request import urlopen

import anyio
import pytest

from support import ROOT
from support.farms import begun, held, open_gate, shown, until
from support.jobs import job
from support.serve_command import SERVE, serve_command
from support.web_servers import send
from support.web_servers import serving as web_server
from support.workers import wait_until
from tailrace import FarmServerError, JobStatus, RemoteFarm, connect


def refused(folder: Path, *options: str, status: int = 2) -> str:
    """Run a server that cannot start, and return why."""
    finished = subprocess.run(
        [*SERVE, *options],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        cwd=folder,
    )
    assert finished.returncode == status, finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    return finished.stderr


def submitted(farm: RemoteFarm, spec: object, folder: Path) -> JobStatus:
    """Add a job, and return it as it is then."""

    async def submit() -> JobStatus:
        return await farm.get(await farm.submit(spec, folder=folder))  # type: ignore[arg-type]

    return anyio.run(submit)


def test_a_server_makes_a_token_tells_where_it_is_and_runs_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serve_command(tmp_path) as serving:
        assert len(serving.token) > 40
        # A client on this machine finds it.
        farm = connect(serving.url)
        status = submitted(farm, job("echo a > chunk_0"), tmp_path)
        assert anyio.run(farm.wait, status.id).state == "completed"
        told = serving.end()
    assert (tmp_path / "chunk_0").exists()
    assert (tmp_path / "logs" / status.id).is_dir()
    lines = told.splitlines()
    assert re.fullmatch(r"tailrace: 127\.0\.0\.1 POST /api/v1/jobs 200, \d+ ms", lines[0])
    assert serving.token not in told
    with serve_command(tmp_path, "--port", str(serving.port)) as again:
        # It is kept, so that pages and clients go on.
        assert again.token == serving.token
        assert anyio.run(connect(again.url).get, status.id).state == "completed"


def test_given_tokens_are_taken_and_told_to_nobody(tmp_path: Path) -> None:
    tokens = {"FARM_TOKEN": "s3cret-1", "LOOK_TOKEN": "s3cret-2"}
    options = ("--server-token-env", "FARM_TOKEN", "--view-token-env", "LOOK_TOKEN", "--log-dir", str(tmp_path / "l"))
    with serve_command(tmp_path, *options, environment=tokens) as serving:
        assert serving.token == ""
        status = submitted(connect(serving.url, "s3cret-1"), job("env"), tmp_path)
        anyio.run(connect(serving.url, "s3cret-2").wait, status.id)
        with pytest.raises(FarmServerError, match="this token allows to look"):
            anyio.run(connect(serving.url, "s3cret-2").cancel, status.id)
        told = serving.end()
    (log,) = (tmp_path / "l" / status.id).glob("chunk-0-*-stdout.log")
    for text in (told, log.read_text()):
        assert "s3cret" not in text
    assert not (tmp_path / "state").exists()


def test_what_a_server_cannot_start_with_is_told_in_one_line(tmp_path: Path) -> None:
    with serve_command(tmp_path) as serving:
        taken = refused(tmp_path, "--port", str(serving.port), "--db", "other.db")
        assert f"cannot listen on 127.0.0.1, port {serving.port}: Address already in use: give another --port" in taken
        locked = refused(tmp_path, "--port", "0", status=1)
        assert re.search(rf"farm.db is in use by process {serving.process.pid} on {socket.gethostname()}; stop", locked)
    for host in ("a" * 70, "a..b"):
        assert f"cannot listen on {host}, port 0: " in refused(tmp_path, "--port", "0", "--host", host)
    assert "'farm:8089' should be a name alone" in refused(tmp_path, "--port", "0", "--allowed-host", "farm:8089")
    assert "there is no environment variable NOX" in refused(tmp_path, "--port", "0", "--server-token-env", "NOX")
    assert "token must be printable ASCII" in refused(tmp_path, "--port", "0", "--server-token-env", "LINES")
    assert "tls_cert and tls_key go together" in refused(tmp_path, "--port", "0", "--tls-cert", "x")
    assert "the certificate or its key cannot be used: No such file" in refused(
        tmp_path, "--port", "0", "--tls-cert", "x", "--tls-key", "y"
    )
    assert "a repository is a file or a postgresql:// URL" in refused(
        tmp_path, "--port", "0", "--db", "x://y", status=1
    )
    assert "--adapter http needs --url" in refused(tmp_path, "--port", "0", "--adapter", "http")
    told = refused(tmp_path, "--adapter", "http", "--url", "http://127.0.0.1:1", "--job-def-url", "x")
    assert "--job-def-url is of a job, and a farm has many: give it to tailrace job submit" in told
    for path in (tmp_path / "state" / "tailrace").glob("*"):
        path.chmod(0o644)
    taken_over = refused(tmp_path, "--port", str(serving.port))
    assert f"server-{serving.port}.token has the server's token and can be read by others: delete it" in taken_over


@pytest.fixture(autouse=True)
def _lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "a\nb")


def test_what_runs_is_ended_with_the_server_and_run_again_by_the_next(tmp_path: Path, mark: str) -> None:
    spec = shown(tmp_path, "a", tail=f"{held(tmp_path, 'go')}; : {mark}")
    with serve_command(tmp_path) as serving:
        status = submitted(connect(serving.url, serving.token), spec, tmp_path)
        wait_until(lambda: begun(tmp_path) == ["a"])
        serving.end()
    open_gate(tmp_path, "go")
    with serve_command(tmp_path) as serving:
        farm = connect(serving.url, serving.token)
        assert anyio.run(farm.wait, status.id).state == "completed"
        assert [chunk.attempts for chunk in anyio.run(farm.chunks, status.id)] == [2]
    assert begun(tmp_path) == ["a", "a"]


def test_a_server_that_drains_lets_what_runs_end_and_starts_no_more(tmp_path: Path) -> None:
    spec = shown(tmp_path, "a", "b", tail=held(tmp_path, "go"))
    with serve_command(tmp_path, "--drain", "--slots", "1") as serving:
        status = submitted(connect(serving.url, serving.token), spec, tmp_path)
        wait_until(lambda: begun(tmp_path) == ["a"])
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        # Meanwhile it answers.
        assert anyio.run(connect(serving.url, serving.token).get, status.id).state == "running"
        open_gate(tmp_path, "go")
        assert serving.process.wait(20) == 0
    assert begun(tmp_path) == ["a"]
    with serve_command(tmp_path) as serving:
        assert anyio.run(connect(serving.url, serving.token).wait, status.id).state == "completed"
    assert begun(tmp_path) == ["a", "b"]


def test_the_second_signal_ends_a_server_that_drains(tmp_path: Path, mark: str) -> None:
    spec = shown(tmp_path, "a", tail=f"{held(tmp_path, 'go')}; : {mark}")
    with serve_command(tmp_path, "--drain") as serving:
        submitted(connect(serving.url, serving.token), spec, tmp_path)
        wait_until(lambda: begun(tmp_path) == ["a"])
        serving.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert serving.process.poll() is None
        serving.process.send_signal(signal.SIGINT)
        assert serving.process.wait(20) == 0


@pytest.mark.anyio
async def test_events_go_on_when_the_server_is_started_anew(tmp_path: Path) -> None:
    found: list[int] = []
    gaps: list[int] = []
    with serve_command(tmp_path, "--slots", "1") as serving:
        farm = connect(serving.url, serving.token)
        async with farm.events() as events:
            await farm.submit(job("true"), folder=tmp_path)
            with anyio.fail_after(20):
                while len(found) < 5:
                    if (event := await anext(events)).is_durable:
                        found.append(event.id)
            await anyio.to_thread.run_sync(serving.end)
            with serve_command(tmp_path, "--slots", "1", "--port", str(serving.port)):
                await farm.submit(job("true"), folder=tmp_path)
                with anyio.fail_after(30):
                    while len(found) < 10:
                        event = await anext(events)
                        if event.gap:
                            gaps.append(event.id)
                        elif event.is_durable:
                            found.append(event.id)
    assert found == list(range(1, 11))
    # What is not durable may have been lost there.
    assert gaps == [5]


@pytest.mark.parametrize("option", [("--retention", "1"), ("--retention-logs", "0")])
def test_jobs_that_ended_are_forgotten_as_asked(tmp_path: Path, option: tuple[str, str]) -> None:
    with serve_command(tmp_path) as serving:
        farm = connect(serving.url, serving.token)
        status = submitted(farm, job("true"), tmp_path)
        anyio.run(farm.wait, status.id)
        serving.end()
    assert (tmp_path / "logs" / status.id).is_dir()
    with serve_command(tmp_path, *option) as serving:
        farm = connect(serving.url, serving.token)
        wait_until(lambda: anyio.run(farm.list) == [])
        wait_until(lambda: not (tmp_path / "logs" / status.id).exists())


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_what_is_waited_for_goes_on_with_the_next_server(
    tmp_path: Path, number: signal.Signals, mark: str
) -> None:
    written = bytearray()
    ends: list[str] = []
    refusals: list[str] = []

    async def read() -> None:
        async for piece in farm.output(job_id, 0, "stdout"):
            written.extend(piece)
        ends.append("read")

    async def wait() -> None:
        ends.append((await farm.wait(job_id)).state)

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        # As a proxy does while the server behind it is gone.
        refusals.append(handler.path)
        send(handler, b"<html>502 Bad Gateway</html>", 502)

    with serve_command(tmp_path) as serving:
        farm = connect(serving.url, serving.token)
        job_id = await farm.submit(job(f"echo first; {held(tmp_path, 'go')}; echo second; : {mark}"), folder=tmp_path)
        watch = [*SERVE[:-1], "job", "watch", job_id]
        # One that this machine keeps is told to no proxy.
        environment = {**serving.environment, "TAILRACE_SERVER_TOKEN": serving.token}
        with ExitStack() as stack:
            watching = stack.enter_context(
                subprocess.Popen(watch, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: ASYNC220
            )
            stack.callback(watching.kill)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                tasks.start_soon(wait)
                assert watching.stderr is not None
                assert "is running" in await anyio.to_thread.run_sync(watching.stderr.readline)
                await until(lambda: bytes(written) == b"first\n")
                serving.process.send_signal(number)
                # Who waits holds up nobody's end.
                with anyio.fail_after(4):
                    await anyio.to_thread.run_sync(serving.process.wait)
                with web_server(refuse, port=serving.port):
                    await until(lambda: len({path.partition("?")[0] for path in refusals}) >= 3)
                with serve_command(tmp_path, "--port", str(serving.port)):
                    open_gate(tmp_path, "go")
                    await until(lambda: len(ends) == 2, seconds=30)
                    assert await anyio.to_thread.run_sync(watching.wait) == 0, watching.stderr.read()
    # The chunk was run again, and that is another attempt.
    assert (sorted(ends), bytes(written)) == (["completed", "read"], b"first\n")


def test_what_listens_where_a_server_was_is_not_told_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serve_command(tmp_path) as serving:
        farm = connect(serving.url)
        assert anyio.run(farm.list) == []
        serving.process.kill()
        serving.process.wait()
        with socket.create_server(("127.0.0.1", serving.port)) as another:
            another.settimeout(0.2)
            for client in (farm, connect(serving.url)):
                with pytest.raises(FarmServerError, match=f"{serving.url}: the server that made the token has ended; "):
                    anyio.run(client.list)
            with pytest.raises(TimeoutError):
                another.accept()
    with serve_command(tmp_path, "--port", str(serving.port)):
        assert anyio.run(farm.list) == []


def test_a_program_of_ones_own_serves_several_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # Slurm's is for the tests that have one.
    nodes = "{'a': s.make_nodes()['here'], 'b': s.Node(adapter=s.LocalWorkerAdapter(), slots=1)}"
    program = f"import anyio, several_nodes as s; anyio.run(s.main, {nodes}, 0)"
    path = os.pathsep.join([str(ROOT / "examples" / "server"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", "-c", program]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        assert process.stdout is not None
        farm = connect(process.stdout.readline().partition("/#")[0])
        assert [(node.name, node.slots) for node in anyio.run(farm.list_nodes)] == [("a", 4), ("b", 1)]
        assert anyio.run(farm.wait, submitted(farm, job("true"), tmp_path).id).state == "completed"
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_all_addresses_are_those_of_both_protocols(tmp_path: Path) -> None:
    with serve_command(tmp_path, "--host", "::") as serving:
        for host in ("127.0.0.1", "[::1]"):
            with urlopen(f"http://{host}:{serving.port}/healthz") as answer:
                assert answer.status == 200


def test_a_note_warns_of_tokens_on_the_way(tmp_path: Path) -> None:
    with serve_command(tmp_path, "--host", "0.0.0.0") as serving:
        assert "without --tls-cert, tokens can be read on their way" in serving.end()


def test_no_server_is_told_in_one_line_with_the_command_that_starts_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(FarmServerError, match=f"no farm's server answers at {url}: .*; `tailrace serve` starts one"):
        anyio.run(connect(url, "x").list)
