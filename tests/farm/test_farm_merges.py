"""Merges of many jobs run a few at a time, and like all else they can be paused."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from support.farms import farm, held, open_gate, until
from support.jobs import count_lines, job
from tailrace import JobSpec
from tailrace._farm.manager import JobManager

pytestmark = pytest.mark.anyio


def merged(folder: Path) -> JobSpec:
    """Return a job whose merge says that it has begun, and waits for the gate."""
    return job("true", merge=f"echo x >> {folder}/merges; {held(folder, 'go')}")


async def has_rendered(manager: JobManager, *job_ids: str) -> bool:
    return all([(await manager.get(job_id)).progress == 1 for job_id in job_ids])


async def test_no_more_merges_run_at_a_time_than_there_are_slots(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        ids = [await manager.submit(merged(tmp_path)) for _ in range(3)]
        # Nor do those that wait for theirs keep chunks of others from running.
        await until(lambda: has_rendered(manager, *ids))
        await until(lambda: count_lines(tmp_path / "merges") == 1)
        await anyio.sleep(0.3)
        assert count_lines(tmp_path / "merges") == 1
        assert sorted([(await manager.get(job_id)).state for job_id in ids]) == ["merging", "running", "running"]
        open_gate(tmp_path, "go")
        assert [(await manager.wait(job_id)).state for job_id in ids] == ["completed"] * 3
    assert count_lines(tmp_path / "merges") == 3


async def test_a_job_that_waits_to_be_merged_is_paused_at_once_and_merged_when_it_goes_on(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        first = await manager.submit(merged(tmp_path))
        await until(lambda: count_lines(tmp_path / "merges") == 1)
        second = await manager.submit(merged(tmp_path))
        await until(lambda: has_rendered(manager, second))
        await manager.pause(second)
        open_gate(tmp_path, "go")
        await manager.wait(first)
        await anyio.sleep(0.3)
        assert (count_lines(tmp_path / "merges"), (await manager.get(second)).state) == (1, "paused")
        await manager.resume(second)
        assert (await manager.wait(second)).state == "completed"
    assert count_lines(tmp_path / "merges") == 2
