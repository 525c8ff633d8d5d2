"""Which chunk is next: by priority, in turn, after what has to be done before, and not too early."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.farms import begun, farm, held, open_gate, shown, until
from support.jobs import job
from tailrace._farm.settings import JobSettings

pytestmark = pytest.mark.anyio


async def test_chunks_come_by_the_priority_of_their_jobs(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        gate = await manager.submit(shown(tmp_path, "first", tail=held(tmp_path, "go")))
        await until(lambda: begun(tmp_path) == ["first"])
        low = await manager.submit(shown(tmp_path, "l1", "l2"), priority=-1)
        plain = await manager.submit(shown(tmp_path, "p1", "p2"))
        high = await manager.submit(shown(tmp_path, "h1", "h2"), priority=5)
        open_gate(tmp_path, "go")
        for job_id in (gate, low, plain, high):
            await manager.wait(job_id)
        assert begun(tmp_path) == ["first", "h1", "h2", "p1", "p2", "l1", "l2"]


async def test_a_job_of_a_higher_priority_is_next_though_others_have_begun(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        low = await manager.submit(shown(tmp_path, "l1", "l2", "l3", tail=held(tmp_path, "go")))
        await until(lambda: begun(tmp_path) == ["l1"])
        high = await manager.submit(shown(tmp_path, "h1", "h2"), priority=1)
        # It has to have been read before the slot is free.
        await until(lambda: manager._farm.table.get(high).row.state == "running")  # type: ignore[union-attr]
        open_gate(tmp_path, "go")
        await manager.wait(low)
        assert begun(tmp_path) == ["l1", "h1", "h2", "l2", "l3"]


async def test_jobs_of_the_same_priority_take_turns(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=2) as manager:
        hold = [await manager.submit(shown(tmp_path, "x", tail=held(tmp_path, f"go{n}"))) for n in range(2)]
        await until(lambda: begun(tmp_path) == ["x", "x"])
        ids = [await manager.submit(shown(tmp_path, *[f"{name}{n}" for n in range(4)])) for name in "ab"]
        await until(lambda: all(one.row.state == "running" for one in manager._farm.table))
        open_gate(tmp_path, "go0")
        for job_id in (*ids, hold[0]):
            await manager.wait(job_id)
        open_gate(tmp_path, "go1")
        assert begun(tmp_path)[2:] == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]


async def test_a_change_of_priority_counts_at_once(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        first = await manager.submit(shown(tmp_path, "a1", "a2", tail=held(tmp_path, "go")))
        await until(lambda: begun(tmp_path) == ["a1"])
        second = await manager.submit(shown(tmp_path, "b1"))
        third = await manager.submit(shown(tmp_path, "c1"))
        await manager.set_priority(third, 9)
        await until(lambda: manager._farm.table.get(third).row.state == "running")  # type: ignore[union-attr]
        assert (await manager.get(third)).priority == 9
        open_gate(tmp_path, "go")
        for job_id in (first, second, third):
            await manager.wait(job_id)
        assert begun(tmp_path)[:2] == ["a1", "c1"]


async def test_a_job_may_be_kept_to_some_chunks_at_a_time(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=3) as manager:
        few = await manager.submit(
            shown(tmp_path, "f", "f", "f", tail=held(tmp_path, "go")), JobSettings(max_running=1)
        )
        other = await manager.submit(shown(tmp_path, "o", "o", tail=held(tmp_path, "go")), priority=-1)
        await until(lambda: sorted(begun(tmp_path)) == ["f", "o", "o"])
        open_gate(tmp_path, "go")
        for job_id in (few, other):
            assert (await manager.wait(job_id)).state == "completed"


async def test_chunks_begin_in_the_order_that_the_settings_name(tmp_path: Path) -> None:
    names = list("abcdefg")
    orders = {"listed": "abcdefg", "reverse": "gfedcba", "ends_first": "agbcdef", "middle_first": "dbfaceg"}
    async with farm(tmp_path, slots=1) as manager:
        for order, expected in orders.items():
            (tmp_path / "begun").write_text("")
            settings = JobSettings(chunk_order=order)  # type: ignore[arg-type]
            await manager.wait(await manager.submit(shown(tmp_path, *names), settings))
            assert "".join(begun(tmp_path)) == expected


async def test_a_job_begins_when_those_before_it_are_completed(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=4) as manager:
        first = await manager.submit(shown(tmp_path, "a", tail=held(tmp_path, "go")))
        second = await manager.submit(shown(tmp_path, "b"))
        third = await manager.submit(shown(tmp_path, "c"), after=[first, second])
        fourth = await manager.submit(shown(tmp_path, "d"), after=[third])
        await manager.wait(second)
        await until(lambda: sorted(begun(tmp_path)) == ["a", "b"])
        assert (await manager.get(third)).after == (first, second)
        open_gate(tmp_path, "go")
        assert (await manager.wait(fourth)).state == "completed"
        assert begun(tmp_path)[2:] == ["c", "d"]
        # What is completed already is not waited for.
        assert (await manager.wait(await manager.submit(shown(tmp_path, "e"), after=[fourth]))).state == "completed"


async def test_a_merge_needs_no_slot_though_jobs_that_go_first_have_them_all(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        first = await manager.submit(job("true", merge=f"[ -e {tmp_path}/good ]"))
        assert (await manager.wait(first)).state == "failed"
        second = await manager.submit(shown(tmp_path, "b", "c", tail=held(tmp_path, "go")), priority=2)
        await until(lambda: begun(tmp_path) == ["b"])
        open_gate(tmp_path, "good")
        await manager.retry(first)
        assert (await manager.wait(first)).state == "completed"
        assert begun(tmp_path) == ["b"]
        open_gate(tmp_path, "go")
        assert (await manager.wait(second)).state == "completed"


@pytest.mark.parametrize("how", ["failed", "cancelled", "deleted"])
async def test_a_job_whose_predecessor_came_to_nothing_waits_and_says_so(tmp_path: Path, how: str) -> None:
    async with farm(tmp_path) as manager:
        script = "exit 1" if how == "failed" else "sleep 60"
        first = await manager.submit(job(script), not_before=None if how == "failed" else time.time() + 999)
        second = await manager.submit(shown(tmp_path, "b"), after=[first])
        if how != "failed":
            assert (await manager.get(second)).error == f"it comes after job {first}, which is not completed yet"
        if how == "cancelled":
            await manager.cancel(first)
        elif how == "deleted":
            await manager.delete(first)

        async def is_told() -> bool:
            return "to do without" in ((await manager.get(second)).error or "")

        await until(is_told)
        status = await manager.get(second)
        verb = {"failed": "which failed", "cancelled": "which was cancelled", "deleted": "which was deleted"}[how]
        assert status.state == "pending"
        assert status.error is not None and f"job {first}, {verb}" in status.error
        # One that comes later hears the same.
        if how != "deleted":
            later = await manager.submit(shown(tmp_path, "c"), after=[first])
            await until(lambda: manager._farm.table.get(later).row.error is not None)  # type: ignore[union-attr]
        assert begun(tmp_path) == []
        await manager.resume(second)
        status = await manager.wait(second)
        assert (status.state, status.error, begun(tmp_path)) == ("completed", None, ["b"])


async def test_a_job_goes_on_when_its_predecessor_is_retried(tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        first = await manager.submit(job(f"[ -e {tmp_path}/good ]"))
        second = await manager.submit(shown(tmp_path, "b"), after=[first])
        await manager.wait(first)
        await until(lambda: manager._farm.table.get(second).row.error is not None)  # type: ignore[union-attr]
        open_gate(tmp_path, "good")
        await manager.retry(first)
        status = await manager.wait(second)
        assert (status.state, status.error) == ("completed", None)


@pytest.mark.parametrize("how", ["deleted", "retried"])
async def test_a_job_that_has_begun_goes_on_whatever_becomes_of_its_predecessor(tmp_path: Path, how: str) -> None:
    async with farm(tmp_path, slots=1) as manager:
        first = await manager.submit(job("true"))
        second = await manager.submit(shown(tmp_path, "b", tail=held(tmp_path, "go")), after=[first])
        await until(lambda: begun(tmp_path) == ["b"])
        if how == "deleted":
            await manager.delete(first)
        else:
            await manager.retry(first, [0], done=True)
            await manager.pause(first)
        await manager.pause(second, now=True)
        await manager.resume(second)
        await until(lambda: begun(tmp_path) == ["b", "b"])
    async with farm(tmp_path, slots=1) as manager:
        await until(lambda: begun(tmp_path) == ["b", "b", "b"])
        open_gate(tmp_path, "go")
        assert (await manager.wait(second)).state == "completed"
        # To run it again is to begin it anew.
        await manager.retry(second, [0], done=True)
        await until(lambda: manager._farm.table.get(second).row.error is not None or how == "retried")  # type: ignore[union-attr]
        status = await manager.get(second)
        assert (status.state, status.started_at, begun(tmp_path)) == ("pending", None, ["b", "b", "b"])


async def test_a_job_does_not_begin_before_its_time(tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        due = time.time() + 0.5
        job_id = await manager.submit(shown(tmp_path, "a"), not_before=due)
        now = await manager.wait(await manager.submit(job("true")))
        assert now.finished_at is not None and now.finished_at < due
        status = await manager.wait(job_id)
        assert status.started_at is not None and due <= status.started_at < due + 5


async def test_jobs_of_a_lower_priority_only_get_what_others_leave(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=2) as manager:
        high = await manager.submit(shown(tmp_path, *["h"] * 6, tail="sleep 0.05"), priority=1)
        lows = [await manager.submit(shown(tmp_path, "l")) for _ in range(4)]
        for job_id in (high, *lows):
            await manager.wait(job_id)
        # The last chunk of the one may run beside the first of the others.
        assert "l" not in begun(tmp_path)[:5]


async def test_only_as_many_jobs_are_read_as_there_are_slots(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=2) as manager:
        ids = [await manager.submit(shown(tmp_path, "x", "x", "x", tail=held(tmp_path, "go"))) for _ in range(6)]
        await until(lambda: len(begun(tmp_path)) == 2)
        await anyio.sleep(0.2)
        assert sum(job.active is not None for job in manager._farm.table) == 2
        open_gate(tmp_path, "go")
        for job_id in ids:
            await manager.wait(job_id)


async def test_how_a_job_ended_is_only_remembered_for_those_that_wait_for_it(tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        first = await manager.submit(job("exit 1"))
        second = await manager.submit(job("true"), after=[first])
        await manager.wait(first)
        assert "failed" in ((await manager.get(second)).error or "")
        await manager.resume(second)
        await manager.wait(second)
        assert manager._farm.table._ended == {}


async def test_a_job_that_ends_while_one_after_it_is_submitted_is_known_to_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended = threading.Event()
    realpath = os.path.realpath

    def look(path: Any, **options: Any) -> Any:
        if str(path).startswith(str(tmp_path / "jobs")):
            has_ended.wait(10)
        return realpath(path, **options)

    ids: list[str] = []

    async def submit() -> None:
        ids.append(await manager.submit(job("true"), after=[first]))

    async with farm(tmp_path) as manager:
        first = await manager.submit(shown(tmp_path, "a", tail=held(tmp_path, "go")))
        await until(lambda: begun(tmp_path) == ["a"])
        async with anyio.create_task_group() as tasks:
            monkeypatch.setattr("os.path.realpath", look)
            tasks.start_soon(submit)
            await anyio.sleep(0.2)
            open_gate(tmp_path, "go")
            await manager.wait(first)
            has_ended.set()
        with anyio.fail_after(20):
            assert (await manager.wait(ids[0])).state == "completed"
