"""How commands in containers end, and that nothing is left of them, by docker and by podman."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import pytest

from support.container_engines import IMAGE, ContainerEngine, running_engine
from support.jobs import job as job_of
from support.processes import wait_until_marked, wait_until_none_is_marked
from support.tunnel import compare, job_command, run_job, search_path, small_tunnel
from tailrace import (
    Capture,
    ChunkFailedError,
    ChunkRetrying,
    DockerAdapter,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobReport,
    WorkerJob,
    WorkerLostError,
    WorkerResult,
    WorkerSpawnError,
    WorkerTimeoutError,
)
from tailrace._engines.containers import exchange
from tailrace._engines.containers.engine import new_name

pytestmark = [pytest.mark.containers, pytest.mark.anyio]

Run: TypeAlias = Callable[..., Awaitable[WorkerResult]]

_MEMORY = 64 * 2**20


@pytest.fixture(scope="module", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerEngine]:
    """Have an engine ready for all tests."""
    with running_engine(request.param, tmp_path_factory.mktemp(request.param)) as engine:
        yield engine


@pytest.fixture(autouse=True)
def nothing_left(engine: ContainerEngine) -> Iterator[None]:
    """Fail the test that leaves a container; the next one does not find it."""
    yield
    try:
        engine.wait_until_empty()
    finally:
        engine.clear()


@pytest.fixture
def run(engine: ContainerEngine, tmp_path: Path) -> Run:
    """Return what runs a script in a container."""

    async def run(script: str, **fields: Any) -> WorkerResult:
        job = WorkerJob("sh", ["-c", script], **{"cwd": tmp_path, **fields})
        return await engine.adapter().execute(job)

    return run


def marked(script: str, mark: str) -> str:
    """Return a script that goes on for minutes, and whose processes have the mark in their command lines."""
    return f"{script}; sh -c 'sleep 300; : {mark}' & wait; : {mark}"


@pytest.mark.parametrize("status", [0, 1, 125, 126, 127, 137, 143, 255])
async def test_an_exit_status_is_not_taken_for_a_signal_nor_for_a_failure_of_the_engine(status: int, run: Run) -> None:
    result = await run(f"exit {status}")
    assert result.exit_code == status
    assert result.killed_for_memory is None
    assert result.node == os.uname().nodename


async def test_what_a_command_leaves_running_ends_with_its_container(run: Run, engine: ContainerEngine) -> None:
    mark = f"mark-{uuid.uuid4()}"
    script = f"setsid sh -c 'sleep 300; : {mark}' > /dev/null 2>&1 & echo done"
    assert (await run(script)).stdout == "done\n"
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)
    await anyio.to_thread.run_sync(engine.wait_until_empty)


async def test_the_processor_time_and_memory_of_all_in_the_container_are_told(run: Run) -> None:
    result = await run("awk 'BEGIN { for (i = 0; i < 5000000; i++) sum += i }' & wait")
    assert result.usage is not None and result.usage.max_rss is not None
    assert result.usage.cpu_user > 0.1
    assert 2**19 < result.usage.max_rss < 2**25


async def test_a_command_has_the_variables_of_the_job_and_the_image_and_no_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILRACE_OF_THE_HOST", "1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    result = await run("env", env={"OWN": "one\ntwo", "PATH": "/bin:/elsewhere", "LD_PRELOAD": ""})
    names = {line.partition("=")[0] for line in result.stdout.replace("one\ntwo", "").splitlines()}
    assert names - {"container", "TERM", "SHLVL"} == {"OWN", "PATH", "LD_PRELOAD", "PWD", "HOME", "HOSTNAME"}
    assert "OWN=one\ntwo\n" in result.stdout
    assert "PATH=/bin:/elsewhere\n" in result.stdout


async def test_a_secret_is_seen_neither_by_inspection_nor_in_a_command_line(run: Run, engine: ContainerEngine) -> None:
    seen: list[str] = []

    async def look(_: object) -> None:
        def ask() -> None:
            (name,) = engine.containers()
            seen.append(engine.ask("inspect", name))
            seen.append(subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout)

        await anyio.to_thread.run_sync(ask)

    script = 'test "$LICENCE" = "se""cret" && echo known; sleep 3'
    assert (await run(script, env={"LICENCE": "secret"}, on_stdout=look)).stdout == "known\n"
    assert len(seen) == 2
    assert all("LICENCE=secret" not in text for text in seen)


async def test_there_is_no_network_but_the_one_that_is_asked_for(engine: ContainerEngine, tmp_path: Path) -> None:
    job = WorkerJob("ls", ["/sys/class/net"], cwd=tmp_path)
    assert (await engine.adapter().execute(job)).stdout.split() == ["lo"]
    here = sorted(name for _, name in socket.if_nameindex())
    result = await engine.adapter(options=["--network=host"]).execute(job)
    assert sorted(result.stdout.split()) == here


async def test_the_files_belong_to_the_user_and_volumes_are_there(
    engine: ContainerEngine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assets = tmp_path_factory.mktemp("assets")
    (assets / "texture").write_text("wood")
    adapter = engine.adapter(volumes=[f"{assets}:/assets:ro"])
    script = "cp /assets/texture .; ! touch /assets/other 2> /dev/null && id -u && id -g"
    result = await adapter.execute(WorkerJob("sh", ["-c", script], cwd=tmp_path))
    assert result.stdout.split() == [str(os.getuid()), str(os.getgid())]
    assert (tmp_path / "texture").stat().st_uid == os.getuid()


async def test_want_of_memory_is_told(run: Run, tmp_path: Path) -> None:
    result = await run("tail /dev/zero", meta={"needs": {"memory": _MEMORY, "cpus": 0.5}})
    assert result.exit_code in (-9, 137)
    assert result.killed_for_memory is not None and result.killed_for_memory.kernel_killed
    assert "0.0 KiB of 64.0 MiB available" in str(result.killed_for_memory)
    # podman would leave a file where it was started.
    assert not any(Path(folder, "oom").exists() for folder in (".", tmp_path))  # noqa: ASYNC240


async def test_a_chunk_that_wants_more_memory_than_it_needs_fails_for_that(
    engine: ContainerEngine, tmp_path: Path
) -> None:
    spec = job_of("tail /dev/zero")
    needy = spec.chunks[0].model_copy(update={"needs": {"memory": _MEMORY}})
    options = JobExecutionOptions(job_dir=tmp_path, record=False)
    with pytest.raises(ChunkFailedError, match="killed because the memory was full") as caught:
        await JobExecutor(engine.adapter()).execute(spec.model_copy(update={"chunks": (needy,)}), options)
    assert caught.value.category == "memory"


@pytest.mark.parametrize(
    ("option", "reason"),
    [("--no-such-option", "unknown flag: --no-such-option"), ("--volume=/no/such/folder:/assets:bad-mode", "bad-mode")],
    ids=["option", "volume"],
)
async def test_what_the_engine_refuses_is_told_with_its_reason(
    option: str, reason: str, engine: ContainerEngine, tmp_path: Path
) -> None:
    with pytest.raises(WorkerSpawnError, match=f"cannot start render in a container of {IMAGE}: .*{reason}"):
        await engine.adapter(options=[option]).execute(WorkerJob("render", cwd=tmp_path))
    assert await anyio.to_thread.run_sync(engine.containers) == []


def test_an_image_that_is_not_there_is_told_once_before_the_first_chunk(
    engine: ContainerEngine, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(job_of(*["echo begun > log"] * 3).model_dump_json(by_alias=True))
    options = ["--docker-image", "no-such-image", "--docker-engine", engine.program, "--keep-going"]
    command = job_command(tmp_path, "--adapter", "docker", *options)
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    expected = (
        f"{engine.program} does not have the image no-such-image (get it with: {engine.program} pull no-such-image)"
    )
    assert ran.stderr.count(expected) == 1
    assert not (tmp_path / "log").exists()


async def test_an_engine_that_does_not_answer_is_told_at_once(
    engine: ContainerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # podman has no daemon; without its storage it cannot answer either.
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-such-socket")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", f"{tmp_path}/no-such-file")
    with anyio.fail_after(20), pytest.raises(WorkerSpawnError, match=f"{engine.program} does not answer: "):
        await engine.adapter().execute(WorkerJob("render", cwd=tmp_path))


@pytest.mark.parametrize(
    ("order", "capture"),
    [(["kill"], Capture.full()), (["stop"], Capture.none()), (["rm", "--force"], Capture.full())],
    ids=["kill", "stop", "rm"],
)
async def test_a_container_that_somebody_else_ends_is_lost(
    order: list[str], capture: Capture, run: Run, engine: ContainerEngine, mark: str
) -> None:
    async def end(_: object) -> None:
        (name,) = await anyio.to_thread.run_sync(engine.containers)
        await anyio.to_thread.run_sync(lambda: engine.ask(*order, name))

    # What the command says is not taken for words of the engine.
    script = marked("echo begun; echo 'error during connect: unexpected EOF' >&2", mark)
    with pytest.raises(WorkerLostError, match="the container was ended from outside") as caught:
        await run(script, on_stdout=end, capture=capture)
    assert not caught.value.may_run
    assert caught.value.node == os.uname().nodename
    assert caught.value.result is not None
    assert caught.value.result.stdout == ("" if capture.kind == "none" else "begun\n")
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


async def test_a_command_cannot_write_down_how_it_ended(run: Run, engine: ContainerEngine, mark: str) -> None:
    async def kill(_: object) -> None:
        (name,) = await anyio.to_thread.run_sync(engine.containers)
        await anyio.to_thread.run_sync(engine.ask, "kill", name)

    # As the first process writes of a command that has exited with 0.
    record = r"{ printf '\001'; head -c 55 /dev/zero; }"
    script = f"for file in /proc/1/fd/*; do {record} > $file; done 2> /dev/null; echo begun"
    with pytest.raises(WorkerLostError, match="the container was ended from outside"):
        await run(marked(script, mark), on_stdout=kill)


@pytest.mark.parametrize("status", [1, 125])
async def test_a_command_that_speaks_as_the_engine_does_has_failed_by_itself(status: int, run: Run) -> None:
    words = "Cannot connect to the Docker daemon"
    result = await run(f"echo '{words}' >&2; exit {status}")
    assert (result.exit_code, result.stderr) == (status, f"{words}\n")


async def test_a_command_that_ends_its_own_container_has_failed_by_itself(run: Run) -> None:
    warnings: list[str] = []
    result = await run("kill 1; sleep 30", on_warning=warnings.append)
    assert result.exit_code == -signal.SIGTERM
    assert [warning for warning in warnings if "told the first process of its container to end" in warning] == warnings
    assert len(warnings) == 1
    assert (await run("kill -9 $$")).exit_code == -signal.SIGKILL


async def test_a_command_whose_stand_in_does_not_connect_is_lost_and_not_announced(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exchange, "_STAND_IN_TIME", 0)
    announced: list[bool] = []
    with pytest.raises(WorkerLostError, match="it did not begin: its container, or what stands for that here") as lost:
        await run("touch begun", on_started=lambda: announced.append(True))
    assert not lost.value.may_run
    assert announced == []
    assert not (tmp_path / "begun").exists()


async def test_want_of_descriptors_when_a_command_is_to_begin_is_told_as_such(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.memfd_create

    def lack(name: str) -> int:
        if name == "tailrace-variables":
            raise OSError(errno.EMFILE, "Too many open files")
        return make(name)

    monkeypatch.setattr(os, "memfd_create", lack)
    with pytest.raises(WorkerSpawnError, match=r"cannot start sh: .*: Too many open files") as caught:
        await run("true")
    assert caught.value.errno == errno.EMFILE


async def test_a_frozen_container_is_ended_by_its_limit(run: Run, engine: ContainerEngine, mark: str) -> None:
    async def freeze(_: object) -> None:
        (name,) = await anyio.to_thread.run_sync(engine.containers)
        await anyio.to_thread.run_sync(engine.ask, "pause", name)

    with pytest.raises(WorkerTimeoutError, match="sh was ended because it ran longer than 1 s"):
        await run(marked("echo begun", mark), timeout=1, kill_grace=0.5, on_stdout=freeze)
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)
    await anyio.to_thread.run_sync(engine.wait_until_empty)


async def test_a_container_whose_stand_in_is_killed_ends_and_is_lost(
    run: Run, engine: ContainerEngine, mark: str
) -> None:
    def kill(_: object) -> None:
        (name,) = engine.containers()
        (stand_in,) = [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.read_bytes().endswith(b"/shared/init\0socket\0") and name in str((path.parent / "exe").readlink())
        ]
        os.kill(int(stand_in), signal.SIGKILL)

    with pytest.raises(WorkerLostError) as caught:
        await run(marked("echo begun", mark), on_stdout=kill, kill_grace=0.5)
    assert not caught.value.may_run
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)
    await anyio.to_thread.run_sync(engine.wait_until_empty)


async def test_limits_and_the_announcement_count_from_when_the_command_begins(
    engine: ContainerEngine, tmp_path: Path
) -> None:
    slow = tmp_path / engine.program
    program = shutil.which(engine.program)
    slow.write_text(f'#!/bin/sh\ntest "$1" != run || sleep 3\nexec {program} "$@"\n')
    slow.chmod(0o755)
    adapter = DockerAdapter(IMAGE, engine=str(slow))
    announced: list[float] = []
    begin = time.monotonic()
    job = WorkerJob(
        "sh",
        ["-c", "sleep 0.5; echo done"],
        cwd=tmp_path,
        timeout=2.5,
        idle_timeout=2.5,
        on_started=lambda: announced.append(time.monotonic() - begin),
    )
    result = await adapter.execute(job)
    assert result.stdout == "done\n"
    assert result.duration < 2.5
    assert len(announced) == 1 and announced[0] > 3
    with pytest.raises(WorkerTimeoutError, match="ran longer than"):
        await adapter.execute(replace(job, timeout=0.2))


async def test_output_comes_while_the_command_runs(engine: ContainerEngine, tmp_path: Path) -> None:
    # The clock that /proc/uptime shows is the same in a container.
    heard: list[tuple[float, float]] = []

    def note(_: int, line: str) -> None:
        heard.append((float(line.split()[0]), time.clock_gettime(time.CLOCK_BOOTTIME)))

    spec = job_of("cat /proc/uptime; sleep 2; cat /proc/uptime")
    options = JobExecutionOptions(job_dir=tmp_path, record=False, stream="lines", on_chunk_stdout=note)
    await JobExecutor(engine.adapter()).execute(spec, options)
    (first, first_heard), (last, _) = heard
    # Some 10 ms on a machine that has nothing else to do.
    assert 0 <= first_heard - first + 0.01 < 1
    assert first_heard < last


async def test_a_user_of_the_container_s_own_can_open_its_output(engine: ContainerEngine, tmp_path: Path) -> None:
    adapter = engine.adapter(options=["--user=1234:1234"])
    job = WorkerJob("sh", ["-c", "echo out > /dev/stdout; echo err > /dev/stderr; id -u"], cwd=tmp_path)
    result = await adapter.execute(job)
    assert (result.stdout, result.stderr) == ("out\n1234\n", "err\n")


async def test_what_a_killed_host_left_is_removed_by_the_next(run: Run, engine: ContainerEngine) -> None:
    pid = str(os.getpid())
    name = new_name().replace(f"-{pid}-", "-99999999-")
    for each in (name, "of-somebody-else"):
        create = partial(engine.ask, "create", f"--name={each}", "--label=tailrace", IMAGE, "true")
        await anyio.to_thread.run_sync(create)
    assert (await run("true")).exit_code == 0
    await anyio.to_thread.run_sync(lambda: engine.wait_until_empty(but=["of-somebody-else"]))
    await anyio.to_thread.run_sync(engine.ask, "rm", "of-somebody-else")


def test_the_demo_gives_the_same_video_frame_for_frame(engine: ContainerEngine, tmp_path: Path) -> None:
    path = search_path()
    folder = small_tunnel(tmp_path / "tunnel")
    ran = run_job(folder, *_in_container(engine, path), "--concurrency", "2", "--verify-output", path=path)
    assert ran.returncode == 0, ran.stderr
    assert "frame=" in ran.stdout + ran.stderr
    compared = compare(folder, path=path)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    engine.wait_until_empty()


def _in_container(engine: ContainerEngine, path: str) -> list[str]:
    ffmpeg = next(file for folder in path.split(":") if (file := Path(folder) / "ffmpeg").exists()).resolve()
    options = ["--docker-image", IMAGE, "--docker-engine", engine.program]
    volumes = [f"{ffmpeg}:/bin/ffmpeg:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"]
    return ["--adapter", "docker", *options, *(word for volume in volumes for word in ("--docker-volume", volume))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_ctrl_c_leaves_no_container(number: int, engine: ContainerEngine, tmp_path: Path, mark: str) -> None:
    host = _start_job(engine, tmp_path, mark)
    wait_until_marked(mark, 2 * 3)
    host.send_signal(number)
    assert host.wait(30) == 128 + number
    wait_until_none_is_marked(mark)
    engine.wait_until_empty()


def test_a_second_ctrl_c_waits_for_no_container_and_each_ends_after_its_grace(
    engine: ContainerEngine, tmp_path: Path, mark: str
) -> None:
    host = _start_job(engine, tmp_path, mark, "trap '' TERM; ")
    wait_until_marked(mark, 2 * 3)
    host.send_signal(signal.SIGINT)
    time.sleep(0.5)
    host.send_signal(signal.SIGINT)
    begin = time.monotonic()
    assert host.wait(30) == 128 + signal.SIGINT
    # Of the 5 s of a job's grace.
    assert time.monotonic() - begin < 3.5
    wait_until_none_is_marked(mark)


@pytest.mark.parametrize("holds", [False, True], ids=["plain", "holding what the first process has"])
def test_killing_the_host_leaves_no_container(holds: bool, engine: ContainerEngine, tmp_path: Path, mark: str) -> None:
    hold = "for file in /.tailrace/* /proc/1/fd/*; do sleep 300 <> $file & done; " if holds else ""
    host = _start_job(engine, tmp_path, mark, hold)
    wait_until_marked(mark, 2 * 3)
    host.kill()
    host.wait()
    wait_until_none_is_marked(mark)
    engine.wait_until_empty()


def _start_job(engine: ContainerEngine, folder: Path, mark: str, first: str = "") -> subprocess.Popen[bytes]:
    """Run a job of two chunks that do not end by themselves."""
    spec = job_of(*[marked(f"{first}echo begun", mark)] * 2)
    (folder / "job.json").write_text(spec.model_dump_json(by_alias=True))
    command = job_command(folder, "--adapter", "docker", "--docker-image", IMAGE, "--docker-engine", engine.program)
    return subprocess.Popen([*command, "--concurrency", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def test_a_chunk_runs_again_when_the_daemon_was_restarted(
    engine: ContainerEngine, tmp_path: Path, mark: str
) -> None:
    def kill_and_start() -> None:
        if engine.daemon is None:
            # podman has none: what looks after a container of its is conmon.
            engine.kill_conmons()
        else:
            engine.daemon.kill()
            engine.daemon.start()

    events: list[JobEvent] = []
    reports: list[JobReport] = []
    spec = job_of(*[f"echo begun >> log-{number}; sleep 3; : {mark}; echo done >> log-{number}" for number in range(3)])

    async def run() -> None:
        options = JobExecutionOptions(job_dir=tmp_path, concurrency=2, on_event=events.append, record=False)
        async with engine.adapter() as adapter:
            reports.append(await JobExecutor(adapter).execute(spec, options))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not all((tmp_path / f"log-{number}").exists() for number in range(2)):  # noqa: ASYNC110
            await anyio.sleep(0.05)
        await anyio.to_thread.run_sync(kill_and_start)
    assert len(reports[0].results) == 3
    logs = [(tmp_path / f"log-{number}").read_text() for number in range(3)]
    assert logs[2] == "begun\ndone\n"
    reasons = [event.reason for event in events if isinstance(event, ChunkRetrying)]
    if engine.daemon is None:
        # A container comes to its end without conmon, and nothing of it is lost. It is the adapter that removes it.
        assert logs == ["begun\ndone\n"] * 3
        assert reasons == []
    else:
        assert logs[:2] == ["begun\nbegun\ndone\n"] * 2
        # The third chunk may have found no engine to begin with.
        assert len(reasons) >= 2
        # One that was restarted ends what it finds running, and answers again.
        assert {reason.partition(":")[0] for reason in reasons} <= {
            "docker was lost",
            "the container was ended from outside",
        }
    await anyio.to_thread.run_sync(engine.wait_until_empty)


def test_the_interpreter_s_exit_leaves_no_container(engine: ContainerEngine, tmp_path: Path, mark: str) -> None:
    program = (
        "import asyncio, sys, threading, time, tailrace\n"
        "adapter = tailrace.DockerAdapter(sys.argv[1], engine=sys.argv[2])\n"
        "job = tailrace.WorkerJob('sh', ['-c', sys.argv[3]], kill_grace=1)\n"
        "threading.Thread(target=lambda: asyncio.run(adapter.execute(job)), daemon=True).start()\n"
        "sys.stdin.read()\n"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", program, IMAGE, engine.program, marked("echo begun", mark)],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    wait_until_marked(mark, 4)
    assert host.stdin is not None
    host.stdin.close()
    host.wait(30)
    wait_until_none_is_marked(mark)
    engine.wait_until_empty()
