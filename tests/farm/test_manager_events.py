"""Changes of state are told once, in order and without gaps; output is read from the logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskStatus

from support import farms
from support.any_farm import AnyFarm
from support.farms import begun, held, open_gate, shown, until
from support.jobs import job
from tailrace import ChunkOutput, ChunkStarted
from tailrace._errors import JobNotFoundError
from tailrace._farm.manager import JobManager
from tailrace._farm.settings import JobSettings
from tailrace._farm.status import FarmEvent, StateChange

pytestmark = pytest.mark.anyio


def told(event: FarmEvent) -> tuple[int | None, str]:
    assert isinstance(event.event, StateChange)
    return event.event.chunk_id, event.event.state


async def changes(events: AsyncIterator[FarmEvent], count: int) -> list[FarmEvent]:
    """Return the next so many events that are changes of states."""
    found: list[FarmEvent] = []
    with anyio.fail_after(20):
        async for event in events:
            if isinstance(event.event, StateChange):
                found.append(event)
                if len(found) == count:
                    break
    return found


ALL = [
    (None, "pending"),
    (None, "running"),
    (0, "running"),
    (0, "completed"),
    (1, "running"),
    (1, "completed"),
    (None, "merging"),
    (None, "completed"),
]


async def test_each_change_of_a_state_is_told_while_it_happens_and_afterwards(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager, manager.events() as events:
        job_id = await manager.submit(job("true", "true", merge="true"))
        found = await changes(events, len(ALL))
        assert [told(event) for event in found] == ALL
        assert [event.id for event in found] == list(range(1, len(ALL) + 1))
        assert {event.job_id for event in found} == {job_id}
        async with manager.events(after=3) as later:
            assert await changes(later, len(ALL) - 3) == found[3:]
    async with farm(tmp_path) as manager, manager.events(after=0) as events:
        assert [told(event) for event in await changes(events, len(ALL))] == ALL
        await manager.delete(job_id)
        (event,) = await changes(events, 1)
        # Ids go on where they were.
        assert (event.id, told(event)) == (len(ALL) + 1, (None, "deleted"))


async def test_what_is_told_is_in_the_repository(tmp_path: Path) -> None:
    async with farms.farm(tmp_path) as manager, manager.events() as events:
        await manager.submit(job("true"))
        for _ in range(4):
            (event,) = await changes(events, 1)
            assert manager._farm.repository.events(event.id - 1, limit=1).events[0].id == event.id


async def test_the_states_at_one_moment_and_the_changes_since_then_are_those_now(tmp_path: Path) -> None:
    seen = []
    async with farms.farm(tmp_path) as manager:
        job_id = await manager.submit(job(*["true"] * 20))
        while (await manager.get(job_id)).state != "completed":
            seen.append(await manager.chunk_states(job_id))
        for then in seen:
            states = dict(zip(then.ids, then.states, strict=True))
            later = map(told, await manager.changes(then.last_event, job_id))
            states |= {chunk_id: state for chunk_id, state in later if chunk_id is not None}  # type: ignore[misc]
            assert set(states.values()) == {"completed"}
    # That of a chunk that ran is among them.
    assert any("running" in then.states for then in seen)


async def test_output_and_progress_are_told_to_who_listens(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager, manager.events() as events:
        job_id = await manager.submit(job("echo hello"))
        kinds: list[type] = []
        with anyio.fail_after(20):
            async for event in events:
                kinds.append(type(event.event))
                if isinstance(event.event, ChunkOutput):
                    assert (event.job_id, event.event.data, event.is_durable) == (job_id, "hello\n", False)
                    break
        assert ChunkStarted in kinds


async def test_a_slow_listener_misses_no_change(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job(*["echo x"] * 400)
    async with farm(tmp_path, slots=4) as manager, manager.events() as events:
        await manager.wait(await manager.submit(spec))
        await manager.submit(spec, not_before=2e9)
        found = await changes(events, 804)
        assert [event.id for event in found] == list(range(1, 805))


async def test_changes_that_are_no_longer_kept_are_told_as_a_gap(tmp_path: Path) -> None:
    async with farms.farm(tmp_path) as manager:
        await manager.wait(await manager.submit(job("true", "true")))
        manager._farm.repository.prune(events_up_to=4)
        async with manager.events(after=1) as events:
            gap = await anext(events)
            assert (gap.gap, gap.id, gap.event) == (True, 4, None)
            assert (await anext(events)).id == 5
        found = await manager.changes(1)
        assert found[0] == gap and [event.id for event in found[1:]] == [5, 6, 7]
        assert [event.id for event in await manager.changes(4, limit=2)] == [5, 6]
        assert await manager.changes(4, "another") == []


async def test_the_last_change_is_known_to_who_did_not_listen(tmp_path: Path) -> None:
    async with farms.farm(tmp_path) as manager:
        assert manager.last_event == 0
        job_id = await manager.submit(job("true"), not_before=2e9)
        assert manager.last_event == 1
        assert list(await manager.find(job_id[:5])) == [job_id]
        assert list(await manager.find("x")) == []


async def test_listening_ends_with_the_manager(tmp_path: Path) -> None:
    found: list[FarmEvent] = []

    async def listen(manager: JobManager, *, task_status: TaskStatus[None]) -> None:
        async with manager.events() as events:
            task_status.started()
            found.extend([event async for event in events])

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks, farms.farm(tmp_path) as manager:
            await tasks.start(listen, manager)
            await manager.submit(job("true"), not_before=2e9)
    assert [told(event) for event in found] == [(None, "pending")]


async def test_output_is_read_while_it_is_written_and_afterwards(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job(f"echo one >&2; {held(tmp_path, 'go')}; echo two >&2; echo out", "true")
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(spec)
        pieces: list[bytes] = []
        with anyio.fail_after(20):
            async for piece in manager.output(job_id, 0):
                pieces.append(piece)
                open_gate(tmp_path, "go")
        assert b"".join(pieces) == b"one\ntwo\n"
        assert len(pieces) > 1
        await manager.wait(job_id)
        assert [piece async for piece in manager.output(job_id, 0, "stdout")] == [b"out\n"]
        assert [piece async for piece in manager.output(job_id, 0, offset=4)] == [b"two\n"]
        assert [piece async for piece in manager.output(job_id, 1)] == []
        assert [piece async for piece in manager.output(job_id, 0, attempt=7)] == []
        with pytest.raises(JobNotFoundError, match="no chunk 9"):
            await anext(manager.output(job_id, 9))


async def test_output_of_earlier_attempts_is_kept_over_a_restart(farm: AnyFarm, tmp_path: Path) -> None:
    spec = shown(tmp_path, "a", tail=f"echo attempt >&2; {held(tmp_path, 'go')}")
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(spec, JobSettings(log_compress=True))
        assert await anext(manager.output(job_id, 0)) == b"attempt\n"
    async with farm(tmp_path) as manager:
        await until(lambda: begun(tmp_path) == ["a", "a"])
        open_gate(tmp_path, "go")
        await manager.wait(job_id)
        for attempt in (1, 2):
            assert [piece async for piece in manager.output(job_id, 0, attempt=attempt)] == [b"attempt\n"]


@pytest.mark.parametrize("compressed", [False, True])
async def test_it_is_told_how_much_output_there_is_and_of_which_attempt(tmp_path: Path, compressed: bool) -> None:
    async with farms.farm(tmp_path) as manager:
        settings = JobSettings(retries=1, retry_delay=0, log_compress=compressed)
        status = await manager.wait(await manager.submit(job("echo some >&2; exit 1"), settings))
        reader = manager.output(status.id, 0)
        assert ((await reader.find()).attempt, await reader.size()) == (2, len("some\n"))
        assert await manager.output(status.id, 0, attempt=7).size() == 0


async def test_output_of_a_chunk_that_has_not_begun_is_waited_for(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(job("echo late >&2"), not_before=2e9)
        assert [piece async for piece in manager.output(job_id, 0, follow=False)] == []
        found: list[bytes] = []

        async def follow() -> None:
            found.extend([piece async for piece in manager.output(job_id, 0)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.sleep(0.1)
            await manager.resume(job_id)
        assert found == [b"late\n"]


async def test_an_attempt_that_is_named_is_waited_for(tmp_path: Path) -> None:
    spec = job(f"echo x >> tries; echo $(wc -l < tries) >&2; {held(tmp_path, 'go')}; exit 1")
    found: dict[int, list[bytes]] = {}

    async def read(attempt: int) -> None:
        found[attempt] = [piece async for piece in manager.output(job_id, 0, attempt=attempt)]

    async with farms.farm(tmp_path, slots=1) as manager:
        other = await manager.submit(job(held(tmp_path, "other")))
        job_id = await manager.submit(spec, JobSettings(retries=1, retry_delay=0))
        async with anyio.create_task_group() as tasks:
            for attempt in (1, 2, 3):
                tasks.start_soon(read, attempt)
            await anyio.sleep(0.2)
            assert found == {}
            open_gate(tmp_path, "other")
            await manager.wait(other)
            await until(lambda: (tmp_path / "jobs" / job_id / "tries").exists())
            await anyio.sleep(0.3)
            assert found == {}
            open_gate(tmp_path, "go")
    assert found == {1: [b"1\n"], 2: [b"2\n"], 3: []}


async def test_a_listener_that_is_behind_ends_when_the_manager_is_closed(tmp_path: Path) -> None:
    found: list[FarmEvent] = []
    async with farms.farm(tmp_path) as manager:
        await manager.wait(await manager.submit(job("true")))
        behind = manager.events(after=0)
        events = await behind.__aenter__()
    with anyio.fail_after(20):
        found += [event async for event in events]
    assert found == []
    await behind.__aexit__(None, None, None)
