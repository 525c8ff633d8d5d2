"""What becomes of a command when something around it dies, on a real cluster."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from support import ROOT
from support.processes import DAEMON, descendants_marked, wait_until_marked
from support.ray_cluster import running_ray_cluster
from tailrace import Capture, RayAdapter, WorkerError, WorkerJob, WorkerLostError

pytestmark = [pytest.mark.ray, pytest.mark.anyio]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_ray_cluster() as cluster:
        yield cluster.address


@pytest.fixture
async def adapter(address: str) -> AsyncIterator[RayAdapter]:
    async with RayAdapter(address) as adapter:
        yield adapter


async def test_a_worker_that_is_killed_is_a_lost_one_and_leaves_nothing(adapter: RayAdapter, mark: str) -> None:
    # In a session of its own, which dies with nobody.
    script = f"echo begun; python3 -c '{DAEMON}' {mark} & sleep 61; : {mark}"
    job = WorkerJob("sh", ["-c", script], meta={"needs": {"b": 1}})

    begun = anyio.Event()
    job = replace(job, on_stdout=lambda _: begun.set())

    async def kill_worker() -> None:
        await begun.wait()
        await anyio.to_thread.run_sync(wait_until_marked, mark, 3)
        await anyio.to_thread.run_sync(_wait_until_listened_for, adapter, 1)
        os.kill(_worker_of(descendants_marked(mark)), signal.SIGKILL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kill_worker)
        with pytest.raises(WorkerLostError, match="node b: its worker died") as caught:
            await adapter.execute(job)
    assert (caught.value.node, caught.value.may_run) == ("b", False)
    assert caught.value.result is not None
    assert caught.value.result.stdout.startswith("begun\n")
    assert descendants_marked(mark) == []
    await anyio.to_thread.run_sync(_wait_until_listened_for, adapter, 0)


async def test_a_command_that_waits_for_a_node_can_be_cancelled_and_does_not_begin(
    adapter: RayAdapter, mark: str
) -> None:
    begun: list[str] = []
    job = WorkerJob("sleep", ["60"], meta={"needs": {"nothing_has_it": 1}}, on_started=lambda: begun.append(mark))
    with anyio.move_on_after(1) as scope:
        await adapter.execute(job)
    assert scope.cancelled_caught
    assert begun == []
    assert (await adapter.execute(WorkerJob("echo", ["after"]))).stdout == "after\n"


async def test_a_need_that_no_node_can_meet_is_warned_of_once(adapter: RayAdapter) -> None:
    warnings: list[str] = []
    job = WorkerJob("true", meta={"needs": {"cpus": 64, "nuke_i": 1}}, on_warning=warnings.append)
    with anyio.move_on_after(8):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(adapter.execute, job)
    assert warnings == [
        "waits for a node: none of the Ray cluster has what it needs:"
        " cpus=64 (one has at most 4), nuke_i=1 (one has at most 0)"
    ]


async def test_commands_that_wait_for_a_node_have_no_thread_each(adapter: RayAdapter) -> None:
    threads = len(threading.enumerate())
    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(adapter.execute, WorkerJob("true", meta={"needs": {"threads_are_counted": 1}}))
        await anyio.sleep(1)
        assert len(threading.enumerate()) <= threads + 10
        tasks.cancel_scope.cancel()


async def test_the_environment_has_nothing_of_ray_s_that_changes_what_a_renderer_does(adapter: RayAdapter) -> None:
    result = await adapter.execute(WorkerJob("env"))
    names = {line.partition("=")[0] for line in result.stdout.splitlines()}
    assert not names & {"OMP_NUM_THREADS", "PYTHONBREAKPOINT"}
    assert "OMP_NUM_THREADS" not in os.environ


async def test_variables_of_the_runtime_environment_reach_the_command(address: str) -> None:
    adapter = RayAdapter(address, runtime_env={"env_vars": {"OMP_NUM_THREADS": "3"}})
    assert (await adapter.execute(WorkerJob("sh", ["-c", "echo $OMP_NUM_THREADS"]))).stdout == "3\n"


async def test_needs_choose_the_node_and_the_result_names_it(adapter: RayAdapter) -> None:
    for node in ("a", "b"):
        result = await adapter.execute(WorkerJob("true", meta={"needs": {node: 1, "cpus": 0.5, "memory": 2**20}}))
        assert result.node == node


async def test_nodes_to_avoid_are_avoided_unless_no_other_has_what_is_needed(adapter: RayAdapter) -> None:
    for avoided, chosen in (("a", "b"), ("b", "a")):
        results = [
            await adapter.execute(WorkerJob("true", meta={"avoid_nodes": (avoided,), "needs": {"cpus": 1}}))
            for _ in range(3)
        ]
        assert {result.node for result in results} == {chosen}
    assert (await adapter.execute(WorkerJob("true", meta={"avoid_nodes": ("a",), "needs": {"a": 1}}))).node == "a"
    assert (await adapter.execute(WorkerJob("true", meta={"avoid_nodes": ("a", "b")}))).node in ("a", "b")


async def test_a_node_with_another_version_is_told_in_one_line(
    adapter: RayAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter._cluster, "_version", "9.9")
    with pytest.raises(WorkerLostError, match=r"node [ab]: it cannot be used: it has tailrace \S+, and this machine 9"):
        await adapter.execute(WorkerJob("true"))


async def test_a_node_without_tailrace_is_told_in_one_line(address: str, tmp_path: Path) -> None:
    (tmp_path / "tailrace.py").write_text("raise ImportError('not here')\n")
    adapter = RayAdapter(address, runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}})
    with pytest.raises(WorkerLostError, match=r"node [ab]: it cannot be used: it has no tailrace") as caught:
        await adapter.execute(WorkerJob("true"))
    assert "\n" not in str(caught.value)
    assert not caught.value.may_run


async def test_needs_that_ray_does_not_know_are_told_in_one_line(adapter: RayAdapter) -> None:
    with pytest.raises(WorkerError, match=r"Ray cannot give what the chunk needs: .*CPU") as caught:
        await adapter.execute(WorkerJob("true", meta={"needs": {"CPU": 1}}))
    assert "\n" not in str(caught.value)


async def test_who_leaves_first_does_not_disconnect_who_stays(address: str) -> None:
    async with RayAdapter(address) as adapter:
        async with adapter:
            pass
        assert adapter._cluster.is_connected
        assert (await adapter.execute(WorkerJob("echo", ["here"]))).stdout == "here\n"
    assert not adapter._cluster.is_connected


async def test_usage_is_told(adapter: RayAdapter) -> None:
    samples: list[int] = []
    script = "x = bytearray(50_000_000); import time; time.sleep(2)"
    await adapter.execute(
        WorkerJob(sys.executable, ["-c", script], on_usage=lambda sample: samples.append(sample.memory))
    )
    assert max(samples) > 50_000_000


async def test_a_callback_that_hangs_is_cancelled_after_the_grace_of_a_limit(adapter: RayAdapter, mark: str) -> None:
    was_cancelled = False

    async def hang(_: str) -> None:
        nonlocal was_cancelled
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            was_cancelled = True
            raise

    job = WorkerJob("sh", ["-c", f"echo begun; sleep 60; : {mark}"], timeout=1, kill_grace=0.5, on_stdout=hang)
    with anyio.fail_after(20), pytest.raises(TimeoutError, match="ran longer than 1 s"):
        await adapter.execute(job)
    assert was_cancelled


async def test_a_callback_may_take_longer_than_a_command_that_ended_in_time(adapter: RayAdapter) -> None:
    told: list[str] = []

    async def take(text: str) -> None:
        await anyio.sleep(5)
        told.append(text)

    result = await adapter.execute(WorkerJob("echo", ["done"], timeout=1, kill_grace=0.5, on_stdout=take))
    assert (result.exit_code, told) == (0, ["done\n"])


async def test_time_in_which_a_callback_is_busy_is_no_silence(adapter: RayAdapter) -> None:
    async def take(_: str) -> None:
        await anyio.sleep(1.5)

    script = "echo one; sleep 2; echo two"
    result = await adapter.execute(WorkerJob("sh", ["-c", script], idle_timeout=1, on_stdout=take))
    assert result.stdout == "one\ntwo\n"


async def test_time_in_which_the_event_loop_does_not_run_is_no_silence(adapter: RayAdapter) -> None:
    begun = anyio.Event()

    async def stall() -> None:
        await begun.wait()
        await anyio.sleep(0.5)
        time.sleep(3)  # noqa: ASYNC251 (that is what is tried)

    script = "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; sleep 0.5; done"
    job = WorkerJob("sh", ["-c", script], idle_timeout=1.5, on_stdout=lambda _: begun.set())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stall)
        assert (await adapter.execute(job)).stdout.splitlines()[-1] == "10"


async def test_what_is_written_in_the_grace_after_a_limit_does_not_pile_up_here(
    adapter: RayAdapter, tmp_path: Path
) -> None:
    progress = tmp_path / "progress"
    script = (
        "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"for n in range(2000): os.write(1, bytes(1 << 20)); open({str(progress)!r}, 'w').write(str(n))"
    )

    async def hang(_: memoryview) -> None:
        await anyio.sleep(60)

    job = WorkerJob(
        sys.executable,
        ["-c", script],
        stream="bytes",
        capture=Capture.none(),
        timeout=1.5,
        kill_grace=5,
        on_stdout=hang,
    )
    with pytest.raises(TimeoutError, match=r"ran longer than 1\.5 s"):
        await adapter.execute(job)
    # The callback hung until the command was over.
    assert int(progress.read_text()) < 160


@pytest.mark.parametrize("limit", [None, 3600])
async def test_a_slow_callback_holds_the_command_up(adapter: RayAdapter, tmp_path: Path, limit: float | None) -> None:
    progress = tmp_path / "progress"
    script = (
        f"import os\nfor n in range(256):\n  os.write(1, bytes(1 << 20)); open({str(progress)!r}, 'w').write(str(n))"
    )
    came = anyio.Event()

    async def take(_: memoryview) -> None:
        if not came.is_set():
            came.set()
            await anyio.sleep(4)

    async def look() -> None:
        await came.wait()
        await anyio.sleep(3)
        # What fits into the pipe, the core's queue, the object store and the queue here.
        assert int(progress.read_text()) < 64

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        job = WorkerJob(sys.executable, ["-c", script], stream="bytes", timeout=limit, on_stdout=take)
        assert len((await adapter.execute(job)).stdout_bytes) == 256 << 20


async def test_what_a_command_writes_while_it_is_ended_is_for_its_log_alone(adapter: RayAdapter, mark: str) -> None:
    log = Log()
    script = f"trap 'echo last words; exit 7' TERM; echo begun; sleep 60 & wait; : {mark}"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(adapter.execute, WorkerJob("sh", ["-c", script], on_stdout=log))
        await log.hears.wait()
        tasks.cancel_scope.cancel()
    assert log.last_words == "last words\n"


async def test_an_object_store_that_is_full_loses_no_output(adapter: RayAdapter) -> None:
    # Each view keeps what it came in; the store of a node has 256 MiB.
    views: list[memoryview] = []
    job = WorkerJob(
        "sh", ["-c", "head -c 400M /dev/zero"], stream="bytes", on_stdout=views.append, capture=Capture.none()
    )
    assert (await adapter.execute(job)).exit_code == 0
    assert sum(map(len, views)) == 400 << 20


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("auto", "none runs on this machine"),
        ("head", "Invalid address format: head"),
    ],
)
async def test_a_cluster_that_is_not_there_is_told_in_one_line_with_the_remedy(
    wrong: str, reason: str, tmp_path: Path
) -> None:
    script = (
        "import anyio, tailrace\n"
        f"try: anyio.run(tailrace.RayAdapter({wrong!r}).execute, tailrace.WorkerJob('true'))\n"
        "except tailrace.WorkerLostError as error: print(error)"
    )
    # Where "auto" does not find the cluster of these tests: by its processes, and by a file.
    command = ["sh", str(ROOT / "scripts/in_own_network.sh"), sys.executable, "-c", script]
    ended = await anyio.run_process(command, env=os.environ | {"RAY_TMPDIR": str(tmp_path)}, check=True)
    told = ended.stdout.decode()
    assert told.startswith(f"no connection to the Ray cluster '{wrong}': ")
    assert reason in told
    assert "--ray-address" in told
    assert "RayAdapter(address)" in told
    assert (told.count("\n"), ended.stderr) == (1, b"")


async def test_ray_client_is_refused_in_one_line() -> None:
    client = "ray://127.0.0.1:10001"
    with pytest.raises(ValueError, match=rf"^address: output cannot be streamed through Ray Client \({client}\): give"):
        RayAdapter(client)
    script = (
        "import anyio, tailrace\n"
        "try: anyio.run(tailrace.RayAdapter().execute, tailrace.WorkerJob('true'))\n"
        "except tailrace.WorkerLostError as error: print(error)"
    )
    ended = await anyio.run_process(
        [sys.executable, "-c", script], env=os.environ | {"RAY_ADDRESS": client}, check=True
    )
    told = ended.stdout.decode()
    reason = f"output cannot be streamed through Ray Client (RAY_ADDRESS={client}): give HOST:PORT"
    assert told.startswith(f"no connection to the Ray cluster 'auto': {reason}")
    assert (told.count("\n"), ended.stderr) == (1, b"")


class Log:
    """A callback for a log, which takes what comes while a command is ended."""

    def __init__(self) -> None:
        self.hears = anyio.Event()
        self.last_words: str | None = None

    def __call__(self, text: str) -> None:
        self.hears.set()
        if self.last_words is not None:
            self.last_words += text

    def begin_last_words(self) -> None:
        self.last_words = ""


def _wait_until_listened_for(adapter: RayAdapter, count: int) -> None:
    """Wait until as many commands as that listen for being told to end."""
    import ray

    deadline = time.monotonic() + 20
    while ray.get(adapter._cluster._endings.__ray_call__.remote(lambda endings: len(endings._waiting))) != count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _worker_of(marked: list[int]) -> int:
    """Return the worker of Ray's among the ancestors of these processes."""
    for pid in marked:
        while pid > 1:
            if (Path("/proc") / str(pid) / "cmdline").read_bytes().startswith(b"ray::"):
                return pid
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    raise AssertionError("no worker was found")
