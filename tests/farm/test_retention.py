"""What is older than it is to be kept is forgotten, and nothing that is needed."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.farms import farm, until
from support.jobs import job
from tailrace import JobNotFoundError, Retention

pytestmark = pytest.mark.anyio


async def test_old_jobs_go_with_their_logs_and_events_but_not_what_they_rendered(tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        old = await manager.wait(await manager.submit(job("echo a > chunk_0; echo said")))
        needed = await manager.wait(await manager.submit(job("true")))
        waits = await manager.submit(job("true"), after=[needed.id], not_before=time.time() + 999)
        await anyio.sleep(0.6)
        last = manager._farm.ledger.last_durable
    async with farm(tmp_path, retention=timedelta(seconds=0.5)) as manager:

        async def is_gone() -> bool:
            return old.id not in [status.id for status in await manager.list()]

        await until(is_gone)
        with pytest.raises(JobNotFoundError):
            await manager.get(old.id)
        assert [status.id for status in await manager.list()] == [waits, needed.id]
        await until(lambda: not (tmp_path / "logs" / old.id).exists())
        assert (Path(old.folder) / "chunk_0").read_text() == "a\n"
        async with manager.events(after=0) as events:
            gap = await anext(events)
            assert (gap.gap, gap.id) == (True, last)
            assert ((await anext(events)).job_id, manager._farm.repository.check()) == (old.id, [])
        # It may still be run again.
        await manager.resume(waits)
        assert (await manager.wait(waits)).state == "completed"


async def test_nothing_is_forgotten_that_is_not_old(tmp_path: Path) -> None:
    async with farm(tmp_path, retention=3600.0) as manager:
        job_id = (await manager.wait(await manager.submit(job("true")))).id
        await anyio.sleep(0.2)
        assert (await manager.get(job_id)).state == "completed"
    with pytest.raises(ValueError, match="retention must be a positive number"):
        farm(tmp_path, retention=0)


async def test_of_logs_that_take_too_much_room_those_of_the_jobs_that_ended_first_go(tmp_path: Path) -> None:
    says = "head -c 100000 /dev/zero"
    async with farm(tmp_path, slots=1) as manager:
        # It is the oldest, and ends last.
        late = await manager.submit(job(says), not_before=2e9)
        ids = [(await manager.wait(await manager.submit(job(says)))).id for _ in range(3)]
        await manager.resume(late)
        await manager.wait(late)
        waits = await manager.submit(job("true"), not_before=2e9)
    async with farm(tmp_path, retention=Retention(log_bytes=250_000)) as manager:

        async def some_are_gone() -> bool:
            return [status.id for status in await manager.list()] == [waits, ids[2], late]

        await until(some_are_gone)
        await until(lambda: not any((tmp_path / "logs" / job_id).exists() for job_id in ids[:2]))
        assert manager._farm.repository.check() == []


@pytest.mark.parametrize("limits", [{"log_bytes": -1}, {"log_bytes": 1.5}, {"age": 0}, {"age": timedelta(0)}])
def test_what_is_no_limit_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"log_bytes|retention"):
        Retention(**limits)
