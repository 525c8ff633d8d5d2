"""Jobs on a real Slurm, by the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from support import tunnel
from support.slurm_cluster import NODES, SlurmCluster, running_slurm
from tailrace import SlurmAdapter, WorkerJob

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """Run Slurm for all tests."""
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def test_the_demo_on_two_nodes_is_the_same_video_and_live(slurm: SlurmCluster, tmp_path: Path) -> None:
    folder = tunnel.small_tunnel(tmp_path / "tunnel")
    path = tunnel.search_path()
    # Each of the nodes has room for one of them: a chunk takes more than half of what it has.
    spec = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**spec, "needs": {"cpus": 5}}))
    done = tunnel.run_job(
        folder, "--adapter", "slurm", "--concurrency", "2", "--verify-output", "--events", "ndjson", path=path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    compared = tunnel.compare(folder, path=path)
    assert compared.returncode == 0, compared.stdout
    assert "Equal, frame for frame" in compared.stdout
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["result"]["node"] for event in events if event["event"] == "chunk_finished"} == set(NODES)
    # What ffmpeg shows of its progress comes while it runs, and not at its end.
    finished = {event["chunk_id"]: event["time"] for event in events if event["event"] == "chunk_finished"}
    told = [event for event in events if event["event"] == "chunk_output"]
    assert all(event["time"] < finished[event["chunk_id"]] for event in told)
    assert {event["chunk_id"] for event in told} == set(finished)


@pytest.mark.anyio
async def test_output_comes_while_the_command_runs(slurm: SlurmCluster) -> None:
    came: list[tuple[float, float]] = []

    def hear(line: str) -> None:
        came.append((float(line), time.time()))

    # Each line is when it was written.
    script = "for each in 1 2 3 4 5 6; do date +%s.%N; sleep 1; done; date +%s.%N"
    with anyio.fail_after(60):
        await SlurmAdapter().execute(WorkerJob("sh", ["-c", script], stream="lines", on_stdout=hear))
    assert len(came) == 7
    ended = came[-1][0]
    # On an idle machine it takes hundredths of a second.
    assert all(heard - written < 0.5 for written, heard in came)
    assert all(heard < ended for _, heard in came[:-1]), "it came at the end"


def test_the_options_of_the_command_line_are_srun_s(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = {
        "metadata": {"totalFrames": 1, "fps": 1, "width": 1, "height": 1, "duration": 1},
        "chunks": [
            {
                "id": 0,
                "startFrame": 0,
                "frameCount": 1,
                "outputFile": "out",
                "command": "sh -c 'scontrol show job $SLURM_JOB_ID > out'",
            }
        ],
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    options = ["--slurm-partition", "night", "--slurm-account", "film", "--slurm-option=--comment=shot 7"]
    done = tunnel.run_job(tmp_path, "--adapter", "slurm", *options, path=tunnel.search_path())
    assert done.returncode == 0, done.stdout + done.stderr
    shown = (tmp_path / "out").read_text()
    for expected in ("Partition=night", "Account=film", "Comment=shot 7", "JobName=tailrace-0-"):
        assert expected in shown
