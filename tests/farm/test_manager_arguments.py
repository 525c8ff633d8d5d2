"""What a manager cannot use is refused before anything of it is noted, and none of the other jobs is the worse."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from support.any_farm import AnyFarm
from support.jobs import job
from tailrace import LocalWorkerAdapter
from tailrace._errors import SpecError
from tailrace._farm.manager import JobManager
from tailrace._farm.settings import JobSettings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ({"priority": "high"}, "priority must be a whole number, not 'high'"),
        ({"priority": 1.5}, "priority must be a whole number, not 1.5"),
        ({"priority": True}, "priority must be a whole number, not True"),
        ({"priority": 1 << 31}, "priority must be from -2147483647 to 2147483647"),
        ({"not_before": "tomorrow"}, "not_before must be a time in seconds since the epoch, not 'tomorrow'"),
        ({"not_before": 3600}, r"not_before=3600 is long ago: in so many seconds is time.time\(\) \+ 3600"),
        ({"not_before": 1e300}, r"not_before=1e\+300 is no time of the years until 9999"),
        ({"not_before": math.nan}, "not_before must be a time in seconds since the epoch, not nan"),
        ({"name": 5}, "name must be a text, not 5"),
        ({"owner": 5}, "owner must be a text, not 5"),
        ({"comment": 5}, "comment must be a text, not 5"),
        ({"tags": "abc"}, "tags must be a collection of words"),
        ({"after": "abc"}, "after must be a collection of ids"),
        ({"folder": "a\0b"}, "null byte"),
    ],
)
async def test_a_job_with_an_argument_that_cannot_be_used_is_not_taken(
    farm: AnyFarm, tmp_path: Path, argument: dict[str, Any], reason: str
) -> None:
    async with farm(tmp_path) as manager:
        with pytest.raises((TypeError, ValueError), match=reason):
            await manager.submit(job("true"), **argument)
        assert await manager.list() == []
        assert (await manager.wait(await manager.submit(job("true")))).state == "completed"
    async with farm(tmp_path) as manager:
        assert [status.state for status in await manager.list()] == ["completed"]


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ({"adapter": "farm.db"}, "adapter must be an adapter, not 'farm.db': a repository is given by its name"),
        ({"adapter": LocalWorkerAdapter}, r"adapter must be an object, not the class .*: write LocalWorkerAdapter\(\)"),
        ({"nodes": {"a": None}}, r"adapter must have an async method execute\(\), and None has none"),
        ({"slots": 0}, "slots must be at least 1: 0"),
        ({"slots": "4"}, "slots must be a whole number, not '4'"),
        ({"slots": True}, "slots must be a whole number, not True"),
    ],
)
def test_a_manager_that_could_run_nothing_is_not_made(tmp_path: Path, argument: dict[str, Any], reason: str) -> None:
    with pytest.raises((TypeError, ValueError), match=reason):
        JobManager(repository=tmp_path / "farm.db", **argument)


async def test_numbers_that_no_database_takes_are_refused(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        spec = job("true")
        chunk = spec.chunks[0].model_copy(update={"id": 1 << 31})
        with pytest.raises(SpecError, match="chunk 2147483648: a farm takes ids up to 2147483647"):
            await manager.submit(spec.model_copy(update={"chunks": (chunk,)}))
        assert await manager.list() == []
    with pytest.raises(SpecError, match="max_running"):
        JobSettings(max_running=1 << 31)


async def test_the_largest_numbers_are_kept(where: str, tmp_path: Path) -> None:
    most = (1 << 31) - 1
    async with JobManager(repository=where, log_dir=tmp_path / "logs") as manager:
        job_id = await manager.submit(
            job("true"), JobSettings(max_running=most), priority=-most, folder=tmp_path / "shot"
        )
        await manager.set_priority(job_id, most)
        status = await manager.wait(job_id)
        assert (status.state, status.priority) == ("completed", most)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ({"settings": {"retries": 2}}, "settings must be a JobSettings"),
        ({"name": 5}, "name must be a text, not 5"),
        ({"comment": b"x"}, "comment must be a text"),
        ({"tags": "abc"}, "tags must be a collection of words"),
    ],
)
async def test_an_edit_that_cannot_be_made_changes_nothing(
    farm: AnyFarm, tmp_path: Path, argument: dict[str, Any], reason: str
) -> None:
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(job("true"), not_before=time.time() + 999)
        before = await manager.get(job_id)
        with pytest.raises(TypeError, match=reason):
            await manager.edit(job_id, **argument)
        with pytest.raises(ValueError, match="priority must be from"):
            await manager.set_priority(job_id, 1 << 70)
        assert await manager.get(job_id) == before


async def test_states_and_ids_that_there_cannot_be_are_named(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        job_id = (await manager.wait(await manager.submit(job("true")))).id
        with pytest.raises(TypeError, match="states must be a collection of states, such as a list, not 'running'"):
            await manager.list(states="running")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="states: 'runing' is none of pending, running, paused"):
            await manager.list(states=["runing"])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="states: 'paused' is none of pending, running, completed"):
            await manager.chunks(job_id, states=["paused"])  # type: ignore[list-item]
        with pytest.raises(TypeError, match="chunk_ids must be a collection of chunks' ids"):
            await manager.chunks(job_id, chunk_ids=0)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="chunk_ids must be at most 1000 ids, not 1001"):
            await manager.chunks(job_id, chunk_ids=range(1001))
        with pytest.raises(TypeError, match="after must be the id of a chunk, not 'a'"):
            await manager.chunks(job_id, after="a")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="limit must be 1 or more: 0"):
            await manager.chunks(job_id, limit=0)
        with pytest.raises(TypeError, match="chunk_ids must be a collection of chunks' ids"):
            await manager.retry(job_id, 0, done=True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="chunk_ids must be a collection of chunks' ids"):
            await manager.mark_done(job_id, ["0"])  # type: ignore[list-item]
