"""A farm that cannot note what is asked for says so, in place of an answer that does not come."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import pytest

from support.farm_servers import served_farm
from support.farms import begun, held, open_gate, shown, until, until_states
from support.jobs import job
from support.processes import descendants_marked
from support.small_disks import full, mounted_disk
from tailrace import RepositoryUnavailableError

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small disk"),
]


async def test_a_client_is_told_and_what_it_asked_for_first_is_done_later(tmp_path: Path) -> None:
    spec = shown(tmp_path, "a", "b", "c", tail=held(tmp_path, "go"))
    with mounted_disk(tmp_path / "disk", "8M") as disk:
        async with served_farm(disk, slots=1, log_dir=tmp_path / "logs") as farm:
            job_id = await farm.submit(spec, folder=tmp_path)
            await until(lambda: begun(tmp_path) == ["a"])
            with full(disk):
                # Nothing was written since, so nobody knows yet.
                with pytest.raises(RepositoryUnavailableError, match=r"full.*is done is seen when that is mended"):
                    await farm.set_priority(job_id, 3)
                began = time.monotonic()
                with pytest.raises(RepositoryUnavailableError, match=r"nothing was changed.*full"):
                    await farm.submit(spec, folder=tmp_path)
                assert time.monotonic() - began < 10
                (told,) = await farm.list()
                assert "the repository cannot be written" in (told.error or "")
            open_gate(tmp_path, "go")
            status = await farm.wait(job_id)
            assert (status.state, status.error, status.priority) == ("completed", None, 3)
            assert [one.id for one in await farm.list()] == [job_id]


@pytest.mark.parametrize("how", ["cancelled", "paused"])
async def test_what_fills_the_disk_can_be_ended(tmp_path: Path, how: str) -> None:
    with mounted_disk(tmp_path / "disk", "8M") as disk:
        async with served_farm(disk, slots=1, log_dir=tmp_path / "logs") as farm:
            job_id = await farm.submit(job(held(tmp_path, "go")), folder=tmp_path)
            await until_states(farm, job_id, ["running"])
            with full(disk):
                with pytest.raises(RepositoryUnavailableError):
                    await farm.set_priority(job_id, 3)
                assert descendants_marked(f"{tmp_path}/go") != []
                with pytest.raises(RepositoryUnavailableError, match="is seen when that is mended"):
                    await (farm.cancel(job_id) if how == "cancelled" else farm.pause(job_id, now=True))
                await until(lambda: descendants_marked(f"{tmp_path}/go") == [])
            await until_states(farm, job_id, ["cancelled" if how == "cancelled" else "pending"])
            assert (await farm.get(job_id)).state == how


async def test_what_was_written_before_is_told_meanwhile(tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "8M") as disk:
        async with served_farm(disk, slots=1, log_dir=tmp_path / "logs") as farm:
            job_id = await farm.submit(job(f"echo a; {held(tmp_path, 'go')}", "true"), folder=tmp_path)
            await until_states(farm, job_id, ["running", "pending"])
            with full(disk):
                with pytest.raises(RepositoryUnavailableError):
                    await farm.set_priority(job_id, 3)
                with anyio.fail_after(20):
                    assert list(await farm.find(job_id[:6])) == [job_id]
                    assert [data async for data in farm.output(job_id, 0, "stdout", follow=False)] == [b"a\n"]
                    async with farm.events(after=0) as events:
                        assert (await anext(events)).job_id == job_id
            open_gate(tmp_path, "go")
            assert (await farm.wait(job_id)).state == "completed"


async def test_a_job_that_was_deleted_before_leaves_no_logs(tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "8M") as disk:
        async with served_farm(disk, log_dir=tmp_path / "logs") as farm:
            job_id = await farm.submit(job("true"), folder=tmp_path)
            await farm.wait(job_id)
            with full(disk):
                with pytest.raises(RepositoryUnavailableError, match="is seen when that is mended"):
                    await farm.delete(job_id)
                assert (tmp_path / "logs" / job_id).is_dir()
            await until(lambda: not (tmp_path / "logs" / job_id).exists())
            assert await farm.list() == []
