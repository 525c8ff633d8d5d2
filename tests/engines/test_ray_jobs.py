"""Whole jobs on a Ray cluster of two nodes, and what is left of them when somebody is killed."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from support import ROOT, tunnel
from support.loops import on_one_loop
from support.processes import wait_until_marked, wait_until_none_is_marked
from support.ray_cluster import RayCluster, running_ray_cluster
from tailrace import (
    Chunk,
    ChunkFinished,
    ChunkRetrying,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    RayAdapter,
)

pytestmark = pytest.mark.ray


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    with running_ray_cluster(cpus=2) as cluster:
        yield cluster


def test_the_demo_renders_on_two_nodes_the_same_video_frame_for_frame(cluster: RayCluster, tmp_path: Path) -> None:
    path = tunnel.search_path()
    folder = tunnel.small_tunnel(tmp_path / "job")
    run = tunnel.run_job(folder, *_options(cluster, "--verify-output", "--events", "ndjson"), path=path)
    assert run.returncode == 0, run.stderr
    # Nothing of Ray's stands among what is told, but that there is no way out of this network.
    assert [line for line in run.stderr.splitlines() if "network_util.cc" not in line] == [
        next(line for line in run.stderr.splitlines() if "6 chunks done" in line)
    ]
    events = [json.loads(line) for line in run.stdout.splitlines()]
    finished = {event["chunk_id"]: event for event in events if event["event"] == "chunk_finished"}
    assert {event["result"]["node"] for event in finished.values()} == {"a", "b"}
    told = [event for event in events if event["event"] == "chunk_output"]
    assert {event["chunk_id"] for event in told} == set(range(6))
    assert all(event["time"] < finished[event["chunk_id"]]["time"] for event in told)
    comparison = tunnel.compare(folder, path=path)
    assert "Equal, frame for frame" in comparison.stdout, comparison.stdout + comparison.stderr


def test_the_program_of_the_documentation_runs(cluster: RayCluster, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/ray.md").read_text(), re.MULTILINE | re.DOTALL)
    job = _write_job(tmp_path, ["sh -c 'echo frame > chunk_0'"]) / "job.json"
    # The nodes here have two processors each.
    for name, stand_in in (("/farm/shot-12/job.json", str(job)), ("head:6379", cluster.address), ("=4)", "=2)")):
        assert name in program
        program = program.replace(name, stand_in)
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
    assert (tmp_path / "chunk_0").read_text() == "frame\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_job_whose_host_ends_leaves_nothing_on_any_node(
    number: signal.Signals, cluster: RayCluster, tmp_path: Path, mark: str
) -> None:
    lasting = f'sh -c "sleep 61; : {mark}"'
    commands = [f"sh -c 'setsid {lasting} & {lasting}; : {mark}'"] * 4
    host = subprocess.Popen(
        tunnel.job_command(_write_job(tmp_path, commands), *_options(cluster)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until_marked(mark, 12)
    began = time.monotonic()
    os.killpg(host.pid, number)
    _, told = host.communicate(timeout=30)
    wait_until_none_is_marked(mark)
    assert time.monotonic() - began < 15
    assert host.returncode in (-number, 128 + number)
    assert all(line.startswith("tailrace: ") or "network_util.cc" in line for line in told.splitlines()), told


@pytest.mark.anyio
@on_one_loop
async def test_output_comes_while_its_command_runs_as_its_time_stamps_show(cluster: RayCluster, tmp_path: Path) -> None:
    printing = "import time; [(print(time.time(), flush=True), time.sleep(0.5)) for _ in range(7)]"
    folder = _write_job(tmp_path, [f"{sys.executable} -I -S -c '{printing}'"] * 3)
    came: dict[int, list[tuple[float, float]]] = {}

    def take(chunk_id: int, line: str) -> None:
        came.setdefault(chunk_id, []).append((float(line), time.time()))

    options = JobExecutionOptions(concurrency=3, record=False, stream="lines", on_chunk_stdout=take)
    async with RayAdapter(cluster.address) as adapter:
        report = await JobExecutor(adapter).execute(JobSpec.load(folder / "job.json"), options)
    assert {result.node for result in report.results.values()} == {"a", "b"}
    assert [len(came[chunk_id]) for chunk_id in range(3)] == [7, 7, 7]
    for lines in came.values():
        # Some milliseconds where there is no other load.
        assert all(seen - printed < 0.5 for printed, seen in lines), lines
        # The command still had to write, and to sleep.
        assert all(seen < following for (_, seen), (following, _) in itertools.pairwise(lines)), lines


@pytest.mark.anyio
@on_one_loop
async def test_a_node_that_dies_amid_forty_chunks_costs_those_that_ran_there_alone(
    cluster: RayCluster, tmp_path: Path, mark: str
) -> None:
    log = tmp_path / "rendered"
    script = f"sleep 1; echo $0 >> {log}; printf frame > frame_$0.txt; : {mark}"
    spec = JobSpec(
        id="forty",
        metadata=JobMetadata(total_frames=40, fps=24, width=64, height=36, duration=2),
        chunks=tuple(
            Chunk(id=n, start_frame=n, frame_count=1, output_file=f"frame_{n}.txt", command=f"sh -c '{script}' {n}")
            for n in range(40)
        ),
    )
    done: Counter[int] = Counter()
    eight_are_done = anyio.Event()
    lost: list[ChunkRetrying] = []

    def hear(event: JobEvent) -> None:
        if isinstance(event, ChunkFinished):
            done[event.chunk_id] += 1
            if len(done) == 8:
                eight_are_done.set()
        elif isinstance(event, ChunkRetrying):
            lost.append(event)

    options = JobExecutionOptions(
        job_dir=tmp_path, concurrency=8, on_event=hear, verify_output=True, record=False, retry_delay=0.1
    )

    async def kill_node() -> None:
        await eight_are_done.wait()
        # Others have begun.
        await anyio.sleep(0.5)
        cluster.kill_node("b")

    async with RayAdapter(cluster.address) as adapter, anyio.create_task_group() as tasks:
        tasks.start_soon(kill_node)
        with anyio.fail_after(120):
            report = await JobExecutor(adapter).execute(spec, options)
    assert sorted(report.results) == list(range(40))
    assert done == dict.fromkeys(range(40), 1)
    # Those that ran on the node, at most as many as it has processors, and none of them counted as an attempt.
    assert 1 <= len(lost) <= 4
    assert all(event.reason in ("node b: the node died", "node b: its worker died") for event in lost), lost
    again = {event.chunk_id for event in lost}
    rendered = Counter(map(int, log.read_text().split()))
    assert all(rendered[n] == 1 for n in range(40) if n not in again), rendered
    assert {report.results[n].node for n in range(40)} == {"a", "b"}
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


def _options(cluster: RayCluster, *more: str) -> list[str]:
    return ["--adapter", "ray", "--ray-address", cluster.address, "--concurrency", "4", *more]


def _write_job(folder: Path, commands: list[str]) -> Path:
    chunks = [
        {"id": n, "startFrame": n, "frameCount": 1, "outputFile": f"chunk_{n}", "command": command}
        for n, command in enumerate(commands)
    ]
    metadata = {"totalFrames": len(commands), "fps": 1, "width": 1, "height": 1, "duration": 2}
    (folder / "job.json").write_text(json.dumps({"metadata": metadata, "chunks": chunks}))
    return folder
