"""Changes are written together where nobody waits for them, and at once where somebody does."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest

from support.farms import until
from tailrace._farm.ledger import Ledger
from tailrace._farm.repository.changes import Change, JobAdded
from tailrace._farm.repository.rows import JobRow
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.repository.writer import Writer

pytestmark = pytest.mark.anyio


class CountingWriter(Writer):
    """Says how many changes went together."""

    def __init__(self) -> None:
        super().__init__(SqlRepository.in_memory())
        self.batches: list[int] = []
        self.goes_on = anyio.Event()
        self.goes_on.set()

    async def submit(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        self.batches.append(len(changes))
        await self.goes_on.wait()


def added(job_id: str) -> JobAdded:
    return JobAdded(JobRow(id=job_id, place=1, name="shot", created_at=0.0), "{}", ())


async def test_what_comes_one_after_the_other_is_written_together() -> None:
    writer = CountingWriter()
    ledger = Ledger(writer, 0, lambda event: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.run)
        for _ in range(5):
            ledger.note(added("a"))
            await anyio.sleep(0.001)
        assert writer.batches == []
        await until(lambda: bool(writer.batches))
        ledger.close()
    assert writer.batches == [5]


async def test_who_waits_for_a_change_has_it_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace._farm.ledger._GATHERED", 60)
    writer = CountingWriter()
    ledger = Ledger(writer, 0, lambda event: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.run)
        ledger.note(added("a"))
        await anyio.sleep(0.05)
        assert writer.batches == []
        with anyio.fail_after(5):
            await ledger.flush()
        assert writer.batches == [1]
        ledger.note(added("a"))
        ledger.close()


async def test_who_waits_for_one_job_waits_for_no_other() -> None:
    writer = CountingWriter()
    ledger = Ledger(writer, 0, lambda event: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.run)
        writer.goes_on = anyio.Event()
        ledger.note(added("a"), added("b"))
        with anyio.fail_after(5):
            await ledger.flush("c")
        for job_id in ("a", "b"):
            with anyio.move_on_after(0.1) as scope:
                await ledger.flush(job_id)
            assert scope.cancelled_caught
        writer.goes_on.set()
        with anyio.fail_after(5):
            await ledger.flush("a")
        assert writer.batches == [2]
        ledger.close()
