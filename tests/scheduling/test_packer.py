"""What fits starts, in its order, and nothing waits for ever."""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tailrace._scheduling.packer import Packer

_NAMES = ("memory", "gpus")


@dataclass
class Waiting:
    """An item in the model's queue."""

    item: int
    order: tuple[int, int]
    needs: dict[str, float]
    overtakers: int = 0
    since: float | None = None


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def packer_of(capacity: dict[str, float], slots: int = 100, clock: Clock | None = None) -> Packer[int]:
    return Packer(capacity, slots=slots, clock=clock or Clock())


def taken(packer: Packer[int]) -> list[int]:
    items = []
    while (item := packer.take()) is not None:
        items.append(item)
    return items


def test_items_come_in_their_order_as_long_as_there_are_slots() -> None:
    packer = packer_of({}, slots=2)
    for item in (3, 1, 2):
        packer.add(item, (item,), {"memory": 10})
    assert taken(packer) == [1, 2]
    packer.release(1)
    assert taken(packer) == [3]
    assert len(packer) == 0


def test_what_does_not_fit_is_overtaken_by_what_does() -> None:
    packer = packer_of({"memory": 16})
    for item, memory in enumerate((10, 10, 6, 1)):
        packer.add(item, (item,), {"memory": memory})
    assert taken(packer) == [0, 2]
    packer.release(0)
    assert taken(packer) == [1]
    packer.release(2)
    assert taken(packer) == [3]


def test_after_ten_overtakers_room_is_kept() -> None:
    packer = packer_of({"memory": 10})
    packer.add(0, (0,), {"memory": 5})
    packer.add(1, (1,), {"memory": 10})
    for item in range(2, 100):
        packer.add(item, (item,), {"memory": 1})
    assert taken(packer) == [0, 2, 3, 4, 5, 6]
    for item in (2, 3, 4, 5, 6):
        packer.release(item)
        assert taken(packer) == [item + 5]
    packer.release(7)
    assert taken(packer) == []
    for item in (0, 8, 9, 10, 11):
        packer.release(item)
    assert taken(packer) == [1]


def test_after_ten_minutes_room_is_kept() -> None:
    clock = Clock()
    packer = packer_of({"memory": 10}, clock=clock)
    packer.add(0, (0,), {"memory": 5})
    packer.add(1, (1,), {"memory": 10})
    assert taken(packer) == [0]
    clock.now = 599
    packer.add(2, (2,), {"memory": 1})
    assert taken(packer) == [2]
    clock.now = 600
    packer.add(3, (3,), {"memory": 1})
    assert taken(packer) == []
    packer.release(0)
    packer.release(2)
    assert taken(packer) == [1]


def test_room_is_kept_of_what_is_needed_alone() -> None:
    clock = Clock()
    packer = packer_of({"memory": 10, "gpus": 2}, clock=clock)
    packer.add(0, (0,), {"memory": 5})
    packer.add(1, (1,), {"memory": 10, "gpus": 1})
    assert taken(packer) == [0]
    clock.now = 600
    for item, needs in ((2, {"gpus": 1.0}), (3, {"gpus": 1.0}), (4, {"memory": 1.0}), (5, {})):
        packer.add(item, (item,), needs)
    # The second GPU is kept, too.
    assert taken(packer) == [2, 5]


def test_fractions_add_up_exactly() -> None:
    packer = packer_of({"cpus": 1})
    for item in range(11):
        packer.add(item, (item,), {"cpus": 0.1})
    assert taken(packer) == list(range(10))


def test_what_is_not_named_by_the_capacity_is_not_counted() -> None:
    packer = packer_of({"gpus": 1})
    packer.add(0, (0,), {"memory": 1e15, "gpus": 1})
    assert taken(packer) == [0]


def test_a_group_can_learn_what_it_needs() -> None:
    packer = packer_of({"memory": 10})
    for item in range(5):
        packer.add(item, (item,), {"memory": 10}, group="learned")
    assert taken(packer) == [0]
    packer.change_needs("learned", {"memory": 3})
    packer.release(0)
    assert taken(packer) == [1, 2, 3]
    for item in (1, 2, 3):
        packer.release(item)
    assert taken(packer) == [4]


def test_what_is_withdrawn_is_not_handed_out() -> None:
    packer = packer_of({}, slots=10)
    for item in range(4):
        packer.add(item, (item,), {})
    packer.withdraw(0)
    packer.withdraw(2)
    assert 0 not in packer
    assert taken(packer) == [1, 3]
    with pytest.raises(KeyError):
        packer.withdraw(1)


def test_a_hundred_thousand_items_cost_little_each() -> None:
    packer = packer_of({"memory": 64}, slots=64)
    started = time.process_time()
    for item in range(100_000):
        packer.add(item, (item,), {"memory": item % 8 + 1})
    running: deque[int] = deque()
    handed = 0
    while handed < 100_000:
        found = taken(packer)
        running.extend(found)
        handed += len(found)
        packer.release(running.popleft())
    # A tenth of that on the machine it was written on.
    assert time.process_time() - started < 20


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32))
def test_a_fixed_load_ends_within_a_third_more_than_its_lower_bound(seed: int) -> None:
    draw = random.Random(seed)
    capacity, load = 16, [(draw.randint(1, 8), draw.uniform(1, 10)) for _ in range(200)]
    packer = packer_of({"memory": capacity})
    for item, (memory, _) in enumerate(load):
        packer.add(item, (item,), {"memory": memory})
    ends: list[tuple[float, int]] = []
    now, used = 0.0, 0
    while True:
        for item in taken(packer):
            used += load[item][0]
            heapq.heappush(ends, (now + load[item][1], item))
        assert used <= capacity
        if not ends:
            break
        now, item = heapq.heappop(ends)
        used -= load[item][0]
        packer.release(item)
    assert len(packer) == 0
    assert now <= 1.3 * max(sum(memory * seconds for memory, seconds in load) / capacity, max(t for _, t in load))


class PackerBesideAModel(RuleBasedStateMachine):
    """A packer and the plainest thing that does the same, on which anything is done in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.capacity = {"memory": 8.0, "gpus": 2.0}
        self.slots = 5
        self.packer = packer_of(self.capacity, self.slots, self.clock)
        self.waiting: list[Waiting] = []
        self.running: dict[int, dict[str, float]] = {}
        self.next = 0

    @rule(
        priority=st.integers(0, 3),
        memory=st.sampled_from([0, 0.5, 1, 2, 3, 5, 8]),
        gpus=st.integers(0, 2),
        licence=st.integers(0, 1),
    )
    def add(self, priority: int, memory: float, gpus: int, licence: int) -> None:
        needs = {"memory": memory, "gpus": float(gpus), "licence": float(licence)}
        self.packer.add(self.next, (priority, self.next), needs)
        self.waiting.append(Waiting(self.next, (priority, self.next), needs))
        self.next += 1

    @rule(seconds=st.sampled_from([1, 300, 700]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        assert self.packer.take() == self._expected()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[item]
        self.packer.release(item)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(entry)
        self.packer.withdraw(entry.item)

    @invariant()
    def never_more_than_there_is(self) -> None:
        assert len(self.running) <= self.slots
        for name in _NAMES:
            assert self._used(name) <= self.capacity[name]
        assert len(self.packer) == len(self.waiting)

    def _used(self, name: str) -> float:
        return sum(needs[name] for needs in self.running.values())

    def _is_room_for(self, needs: dict[str, float]) -> bool:
        return all(self._used(name) + needs[name] <= self.capacity[name] for name in _NAMES)

    def _is_kept_for(self, front: Waiting) -> bool:
        return front.overtakers >= 10 or (front.since is not None and self.clock.now - front.since >= 600)

    def _takes_room_of(self, entry: Waiting, front: Waiting) -> bool:
        return any(
            self._used(name) + entry.needs[name] + front.needs[name] > self.capacity[name]
            for name in _NAMES
            if entry.needs[name] and front.needs[name]
        )

    def _expected(self) -> int | None:
        if len(self.running) >= self.slots or not self.waiting:
            return None
        queue = sorted(self.waiting, key=lambda entry: entry.order)
        front = queue[0]
        for entry in queue:
            if not self._is_room_for(entry.needs):
                if entry is front and front.since is None:
                    front.since = self.clock.now
                continue
            if entry is not front:
                if self._is_kept_for(front) and self._takes_room_of(entry, front):
                    continue
                front.overtakers += 1
            self.waiting.remove(entry)
            self.running[entry.item] = entry.needs
            return entry.item
        return None


TestPackerBesideAModel = PackerBesideAModel.TestCase
TestPackerBesideAModel.settings = settings(deadline=None, max_examples=100, stateful_step_count=60)
