"""What fits starts, in its order, and nothing waits for ever."""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tailrace._scheduling.packer import Lane, Packer
from tailrace._scheduling.places import Place


@dataclass(eq=False)
class Waiting:
    """An item in the model's queue."""

    item: int
    lane: Lane
    order: tuple[int, int]
    needs: dict[str, float]


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def packer_of(capacity: dict[str, float], slots: int = 100, clock: Clock | None = None) -> Packer[int]:
    return Packer([Place("here", slots, capacity)], clock=clock or Clock())


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


def test_those_that_come_before_it_later_are_overtakers_too() -> None:
    packer = packer_of({"memory": 10})
    packer.add(0, (0,), {"memory": 5})
    packer.add(100, (100,), {"memory": 10})
    assert taken(packer) == [0]
    for item in range(1, 11):
        packer.add(item, (item,), {"memory": 1})
        assert taken(packer) == [item]
        packer.release(item)
    packer.add(11, (11,), {"memory": 1})
    assert taken(packer) == []
    packer.release(0)
    assert taken(packer) == [100]


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


@pytest.mark.parametrize("parts", [3, 6, 7, 64])
def test_so_many_parts_fit_into_one_and_not_one_more(parts: int) -> None:
    packer = packer_of({"cpus": 1})
    for item in range(parts + 1):
        packer.add(item, (item,), {"cpus": 1 / parts})
    assert taken(packer) == list(range(parts))


def test_bytes_are_counted_each() -> None:
    packer = packer_of({"memory": 64 << 30})
    for item in range(8):
        packer.add(item, (item,), {"memory": (8 << 30) + (item == 7)})
    assert taken(packer) == list(range(7))


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


def test_a_lane_that_has_as_many_out_as_it_may_is_passed_over() -> None:
    packer: Packer[int] = Packer([Place("", 9)])
    few, other = Lane((1,), most=2), Lane((2,))
    for item in range(4):
        packer.add(item, (item,), {}, lane=few)
    packer.add(4, (4,), {}, lane=other)
    assert taken(packer) == [0, 1, 4]
    packer.release(0)
    assert taken(packer) == [2]
    few.most = None
    assert taken(packer) == [3]


def test_lanes_come_in_the_order_of_their_ranks_whatever_that_is_now() -> None:
    packer = packer_of({})
    first, second = Lane(rank=(1,)), Lane(rank=(2,))
    for item in range(6):
        packer.add(item, (item,), {}, lane=first if item < 3 else second)
    assert packer.take() == 0
    first.rank = (3,)
    assert packer.take() == 3
    second.rank = (4,)
    assert packer.take() == 1
    first.is_open = False
    assert taken(packer) == [4, 5]
    first.is_open = True
    assert taken(packer) == [2]


def test_a_look_at_whose_turn_it_is_takes_nothing() -> None:
    packer = packer_of({"memory": 2})
    packer.add(0, (0,), {"memory": 2})
    assert [turn and turn.item for turn in (packer.next(), packer.next())] == [0, 0]
    turn = packer.next()
    assert turn is not None
    seat = packer.hand_out(turn)
    assert (seat.place.name, seat.slot) == ("here", 0)
    assert packer.next() is None


def test_two_machines_of_32_do_not_hold_40_and_the_emptiest_is_taken() -> None:
    packer: Packer[int] = Packer([Place("a", 4, {"memory": 32}), Place("b", 4, {"memory": 32})])
    packer.add(0, (0,), {"memory": 40})
    for item in range(1, 5):
        packer.add(item, (item,), {"memory": 10})
    places = []
    while (turn := packer.next()) is not None:
        places.append((turn.item, packer.hand_out(turn).place.name))
    assert places == [(1, "a"), (2, "b"), (3, "a"), (4, "b")]


def test_nothing_starts_where_it_is_closed() -> None:
    machines = [Place("a", 2), Place("b", 1)]
    packer: Packer[int] = Packer(machines)
    machines[0].is_open = False
    for item in range(4):
        packer.add(item, (item,), {})
    assert taken(packer) == [0]
    machines[0].is_open = True
    assert taken(packer) == [1, 2]


def test_room_is_kept_on_one_machine_alone() -> None:
    clock = Clock()
    packer: Packer[int] = Packer([Place("a", 9, {"memory": 10}), Place("b", 9, {"memory": 8})], clock=clock)
    packer.add(0, (0,), {"memory": 4})
    packer.add(1, (1,), {"memory": 9})
    assert taken(packer) == [0]
    clock.now = 600
    for item in range(2, 8):
        packer.add(item, (item,), {"memory": 4})
    # Two on b, none more on a.
    assert taken(packer) == [2, 3]
    packer.release(0)
    assert taken(packer) == [1]


def test_what_all_machines_share_is_counted_over_all() -> None:
    packer: Packer[int] = Packer([Place("a", 9), Place("b", 9)], {"licence": 3})
    for item in range(9):
        packer.add(item, (item,), {"licence": 1})
    assert taken(packer) == [0, 1, 2]


def test_room_is_kept_of_what_all_machines_share() -> None:
    clock = Clock()
    packer: Packer[int] = Packer([Place("a", 9), Place("b", 9)], {"licence": 4}, clock=clock)
    packer.add(0, (0,), {"licence": 2})
    packer.add(1, (1,), {"licence": 3})
    assert taken(packer) == [0]
    clock.now = 600
    packer.add(2, (2,), {"licence": 1})
    assert taken(packer) == []
    packer.release(0)
    assert taken(packer) == [1, 2]


def test_slots_have_the_lowest_number_that_is_free() -> None:
    packer = packer_of({}, slots=3)
    for item in range(5):
        packer.add(item, (item,), {})
    slots = []
    for released in (None, 1, 0):
        if released is not None:
            packer.release(released)
        while (turn := packer.next()) is not None:
            slots.append((turn.item, packer.hand_out(turn).slot))
    assert slots == [(0, 0), (1, 1), (2, 2), (3, 1), (4, 0)]


@dataclass
class Machine:
    """A place in the model."""

    slots: int
    capacity: dict[str, float]
    running: dict[int, dict[str, float]] = field(default_factory=dict)
    is_open: bool = True

    def free(self, name: str) -> float:
        return self.capacity[name] - sum(needs[name] for needs in self.running.values())

    def holds(self, needs: dict[str, float], kept: dict[str, float] | None = None) -> bool:
        beside = kept or dict.fromkeys(needs, 0.0)
        return all(not needs[name] or needs[name] <= self.free(name) - beside[name] for name in self.capacity)

    @property
    def has_room(self) -> bool:
        return self.is_open and len(self.running) < self.slots


class PackerBesideAModel(RuleBasedStateMachine):
    """A packer and the plainest thing that does the same, on which anything is done in any order."""

    machines: ClassVar[tuple[tuple[int, dict[str, float]], ...]] = ((5, {"memory": 8.0, "gpus": 2.0}),)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.places = [Place(str(number), *machine) for number, machine in enumerate(self.machines)]
        self.packer: Packer[int] = Packer(self.places, {"licence": 3}, clock=self.clock)
        self.lanes = [Lane(rank=(number,)) for number in range(2)]
        self.models = [Machine(*machine) for machine in self.machines]
        # What all share is like a machine on which everything runs.
        self.shared = Machine(10**9, {"licence": 3})
        self.waiting: list[Waiting] = []
        self.front: Waiting | None = None
        self.overtakers = 0
        self.since = 0.0
        self.kept: int | None = None
        self.next = 0

    @rule(
        lane=st.integers(0, 1),
        priority=st.integers(0, 3),
        memory=st.sampled_from([0, 0.5, 1, 2, 3, 5, 8]),
        gpus=st.integers(0, 2),
        licence=st.integers(0, 3),
    )
    def add(self, lane: int, priority: int, memory: float, gpus: int, licence: int) -> None:
        needs = {"memory": memory, "gpus": float(gpus), "licence": float(licence)}
        order = (priority, self.next)
        self.packer.add(self.next, order, needs, lane=self.lanes[lane])
        self.waiting.append(Waiting(self.next, self.lanes[lane], order, needs))
        self.next += 1

    @rule(seconds=st.sampled_from([1, 600]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(lane=st.integers(0, 1), rank=st.integers(-5, 5))
    def move(self, lane: int, rank: int) -> None:
        self.lanes[lane].rank = (rank, lane)

    @rule(lane=st.integers(0, 1), before=st.sampled_from([None, (2,)]), is_open=st.booleans())
    def limit(self, lane: int, before: tuple[int, ...] | None, is_open: bool) -> None:
        self.lanes[lane].before = before
        self.lanes[lane].is_open = is_open

    @rule(data=st.data(), is_open=st.booleans())
    def open_or_close(self, data: st.DataObject, is_open: bool) -> None:
        number = data.draw(st.integers(0, len(self.places) - 1))
        self.places[number].is_open = self.models[number].is_open = is_open

    @rule()
    def take(self) -> None:
        expected = self._expected()
        turn = self.packer.next()
        if expected is None:
            assert turn is None
            return
        assert turn is not None
        seat = self.packer.hand_out(turn)
        assert (turn.item, self.places.index(seat.place)) == expected

    @precondition(lambda self: self.shared.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.shared.running)))
        for machine in (*self.models, self.shared):
            machine.running.pop(item, None)
        self.packer.release(item)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(entry)
        self.packer.withdraw(entry.item)

    @invariant()
    def never_more_than_there_is(self) -> None:
        for machine in (*self.models, self.shared):
            assert len(machine.running) <= machine.slots
            assert all(machine.free(name) >= 0 for name in machine.capacity)
        assert len(self.packer) == len(self.waiting)

    def _machine_for(self, entry: Waiting, beside: Waiting | None = None) -> int | None:
        """Return the emptiest machine with room for an entry, beside another one for which room is kept."""
        if not self.shared.holds(entry.needs, None if beside is None else beside.needs):
            return None
        numbers = [
            number
            for number, machine in enumerate(self.models)
            if machine.has_room
            and machine.holds(entry.needs, beside.needs if beside is not None and number == self.kept else None)
        ]
        return max(numbers, key=lambda number: self._free_share(number), default=None)

    def _free_share(self, number: int) -> float:
        return 1 - len(self.models[number].running) / self.models[number].slots

    def _keep(self, front: Waiting) -> None:
        able = [
            number
            for number, machine in enumerate(self.models)
            if machine.is_open and all(front.needs[name] <= amount for name, amount in machine.capacity.items())
        ]
        if self.kept not in able:
            self.kept = min(able, key=lambda number: self._shortage(number, front), default=None)

    def _shortage(self, number: int, front: Waiting) -> float:
        machine = self.models[number]
        needed = [name for name in machine.capacity if front.needs[name]]
        return max(((front.needs[name] - machine.free(name)) / machine.capacity[name] for name in needed), default=0.0)

    def _expected(self) -> tuple[int, int] | None:
        queue = sorted(
            (
                entry
                for entry in self.waiting
                if entry.lane.is_open and (entry.lane.before is None or entry.order < entry.lane.before)
            ),
            key=lambda entry: (entry.lane.rank, entry.order),
        )
        if not queue or not any(machine.has_room for machine in self.models):
            return None
        front = self.front if self.front in queue else queue[0]
        assert front is not None
        number = self._machine_for(front)
        if number is not None:
            return self._start(front, number)
        if front is not self.front:
            self.front, self.overtakers, self.since, self.kept = front, 0, self.clock.now, None
        is_kept = self.overtakers >= 10 or self.clock.now - self.since >= 600
        if is_kept:
            self._keep(front)
        for entry in queue:
            number = self._machine_for(entry, front if is_kept else None)
            if entry is not front and number is not None:
                return self._start(entry, number)
        return None

    def _start(self, entry: Waiting, number: int) -> tuple[int, int]:
        if entry is self.front:
            self.front = None
        elif self.front is not None:
            self.overtakers += 1
        self.waiting.remove(entry)
        self.models[number].running[entry.item] = self.shared.running[entry.item] = entry.needs
        return entry.item, number


class PackerOfTwoMachinesBesideAModel(PackerBesideAModel):
    """The same with another machine, which holds less."""

    machines = ((3, {"memory": 8.0, "gpus": 2.0}), (3, {"memory": 5.0, "gpus": 0.0}))


_SETTINGS = settings(deadline=None, max_examples=100, stateful_step_count=60)
TestPackerBesideAModel = PackerBesideAModel.TestCase
TestPackerBesideAModel.settings = _SETTINGS
TestPackerOfTwoMachinesBesideAModel = PackerOfTwoMachinesBesideAModel.TestCase
TestPackerOfTwoMachinesBesideAModel.settings = _SETTINGS
