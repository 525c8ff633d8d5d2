"""Chunks start when what they wait for is done and what they need is free."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tailrace import Chunk, JobMetadata, JobSpec, SpecError
from tailrace._job.capacity import Gpus, check_needs
from tailrace._job.queue import ChunkQueue, QueuedChunk
from tailrace._job.slots import Slots

pytestmark = pytest.mark.anyio


def chunk(id_: int, **fields: Any) -> Chunk:
    return Chunk(id=id_, start_frame=1, frame_count=1, output_file="a.png", command="true", **fields)


async def handed_out(queue: ChunkQueue) -> list[QueuedChunk]:
    """Return what is handed out without waiting for anything to end."""
    found = []
    with anyio.move_on_after(0.05):
        while (queued := await queue.get()) is not None:
            found.append(queued)
    return found


def slots(count: int, capacity: dict[str, float] | None = None) -> Slots:
    return Slots.of(count, capacity, is_remote=False)


def ids(queued: list[QueuedChunk]) -> list[int]:
    return [one.chunk.id for one in queued]


async def test_a_chunk_waits_for_those_that_it_depends_on() -> None:
    queue = ChunkQueue([chunk(0, depends_on=(2,)), chunk(1), chunk(2), chunk(3, depends_on=(0, 1))], slots(9))
    first = await handed_out(queue)
    assert ids(first) == [1, 2]
    queue.succeed(first[1])
    second = await handed_out(queue)
    assert ids(second) == [0]
    queue.succeed(second[0])
    assert await handed_out(queue) == []
    queue.succeed(first[0])
    third = await handed_out(queue)
    assert ids(third) == [3]
    queue.succeed(third[0])
    assert await queue.get() is None


async def test_what_depends_on_a_failed_chunk_is_not_handed_out_and_the_others_are() -> None:
    queue = ChunkQueue([chunk(0), chunk(1, depends_on=(0,)), chunk(2, depends_on=(1,)), chunk(3)], slots(1))
    (failed,) = await handed_out(queue)
    assert [one.id for one in queue.fail(failed)] == [1, 2]
    assert await handed_out(queue) == []
    queue.end_failed(failed)
    (other,) = await handed_out(queue)
    assert other.chunk.id == 3
    assert queue.following(9) == []
    queue.succeed(other)
    assert await queue.get() is None


async def test_what_depends_on_a_chunk_waits_for_its_next_attempt() -> None:
    queue = ChunkQueue([chunk(0), chunk(1, depends_on=(0,))], slots(9))
    (first,) = await handed_out(queue)
    queue.put_back(first, 0.1)
    assert await handed_out(queue) == []
    again = await queue.get()
    assert again is not None and (again.chunk.id, again.attempt) == (0, 2)
    queue.succeed(again)
    assert ids(await handed_out(queue)) == [1]


async def test_a_chunk_that_is_tried_again_comes_before_the_others() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(4)], slots(1))
    first = await queue.get()
    assert first is not None
    queue.put_back(first, 0)
    assert [(one.chunk.id, one.attempt) for one in await handed_out(queue)] == [(0, 2)]


async def test_while_the_others_are_held_one_may_be_tried_again() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(4)], slots(2))
    first = await queue.get()
    assert first is not None
    queue.hold(0.3)
    queue.put_back(first, 0)
    began = anyio.current_time()
    assert ids(await handed_out(queue)) == [0]
    following = await queue.get()
    assert following is not None and following.chunk.id == 1
    assert anyio.current_time() - began >= 0.25


async def test_chunks_that_do_not_say_how_much_memory_they_need_run_alone_until_that_is_known() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(12)], slots(12, {"memory": 100}))
    (first,) = await handed_out(queue)
    queue.learn_memory(first, 20, was_short=False)
    queue.succeed(first)
    second = await handed_out(queue)
    assert ids(second) == [1, 2, 3, 4, 5]
    # The largest counts, also for those that ran already.
    for one, peak in zip(second, (10, 30, 10, 10, 10), strict=True):
        queue.learn_memory(one, peak, was_short=False)
        queue.succeed(one)
    assert ids(await handed_out(queue)) == [6, 7, 8]


async def test_want_of_memory_raises_what_is_taken_for_needed_up_to_all_there_is() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(12)], slots(12, {"memory": 100}))
    (first,) = await handed_out(queue)
    queue.learn_memory(first, 20, was_short=False)
    queue.succeed(first)
    for expected in (5, 2, 1, 1):
        found = await handed_out(queue)
        assert len(found) == expected
        queue.learn_memory(found[0], 20, was_short=True)
        for one in found:
            queue.put_back(one, 0)


async def test_a_chunk_that_ran_out_of_memory_alone_is_not_tried_beside_others() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(4)], slots(4, {"memory": 100}))
    (first,) = await handed_out(queue)
    queue.learn_memory(first, 20, was_short=True)
    queue.put_back(first, 0)
    assert ids(await handed_out(queue)) == [0]


async def test_want_of_memory_counts_also_where_nobody_can_tell_what_chunks_use() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(4)], slots(4, {"memory": 100}))
    (first,) = await handed_out(queue)
    queue.learn_memory(first, None, was_short=False)
    queue.succeed(first)
    for one in await handed_out(queue):
        queue.learn_memory(one, None, was_short=True)
        queue.put_back(one, 0)
    assert ids(await handed_out(queue)) == [1]


async def test_several_that_ran_out_of_memory_together_double_the_need_once() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(12)], slots(12, {"memory": 100}))
    (first,) = await handed_out(queue)
    queue.learn_memory(first, 10, was_short=False)
    queue.succeed(first)
    together = await handed_out(queue)
    assert len(together) == 10
    for one in together:
        queue.learn_memory(one, 10, was_short=True)
        queue.put_back(one, 0)
    assert len(await handed_out(queue)) == 5


async def test_chunks_whose_memory_nobody_can_tell_are_not_kept_from_running_side_by_side() -> None:
    queue = ChunkQueue([chunk(id_) for id_ in range(4)], slots(4, {"memory": 100}))
    (first,) = await handed_out(queue)
    queue.learn_memory(first, None, was_short=False)
    queue.succeed(first)
    assert ids(await handed_out(queue)) == [1, 2, 3]


async def test_each_chunk_has_gpus_of_its_own_and_none_that_it_does_not_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b,GPU-c")
    capacity = {"gpus": 3.0}
    chunks = [chunk(0, needs={"gpus": 2}), chunk(1, needs={"gpus": 2}), chunk(2, needs={"gpus": 1}), chunk(3)]
    queue = ChunkQueue(chunks, slots(9, capacity))
    first = await handed_out(queue)
    assert [(one.chunk.id, one.slot.gpus) for one in first] == [(0, ("GPU-a", "GPU-b")), (2, ("GPU-c",)), (3, ())]
    queue.succeed(first[0])
    assert [(one.chunk.id, one.slot.gpus) for one in await handed_out(queue)] == [(1, ("GPU-a", "GPU-b"))]


def test_without_a_variable_that_names_gpus_they_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = Gpus.of({"gpus": 2})
    assert gpus is not None and gpus.take(2) == ("0", "1")
    assert Gpus.of({"memory": 1}) is None
    assert Gpus.of(None) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,1,2,-1,3")
    gpus = Gpus.of({"gpus": 2})
    assert gpus is not None and gpus.take(2) == ("1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(ValueError, match=r"gpus: 2 are more than CUDA_VISIBLE_DEVICES has \(1\)"):
        Gpus.of({"gpus": 2})


@pytest.mark.parametrize(
    ("needs", "capacity", "problem"),
    [
        ({"gpus": 4}, {"gpus": 2}, "chunks[1].needs: gpus: 4 can never be had: the capacity has 2; lower the need"),
        (
            {"nuke_i": 1},
            {"gpus": 2},
            "chunks[1].needs: nuke_i: 1 can never be had: the capacity names none;",
        ),
        ({"memory": (8 << 30) + 1}, {"memory": 8 << 30}, "memory: 8589934593 can never be had: the capacity has 8G"),
        ({"nuke_i": 0, "cpus": 64, "memory": "1T"}, {"gpus": 2}, None),
        ({"nuke_i": 1, "gpus": 8}, None, None),
    ],
)
def test_what_no_capacity_can_hold_is_told(
    needs: dict[str, float], capacity: dict[str, float] | None, problem: str | None
) -> None:
    metadata = JobMetadata(total_frames=1, fps=24, width=1, height=1, duration=1)
    spec = JobSpec(metadata=metadata, chunks=(chunk(0), chunk(1, needs=needs)))
    if problem is None:
        check_needs(spec, capacity)
        return
    with pytest.raises(SpecError) as raised:
        check_needs(spec, capacity)
    assert problem in str(raised.value)
    check_needs(spec, capacity, done={1})
    with pytest.raises(SpecError, match=r"^needs: "):
        check_needs(JobSpec(metadata=metadata, chunks=(chunk(0),), needs=needs), capacity)
