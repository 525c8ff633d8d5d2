"""Slots that several jobs share tell when they are idle, and can be halted."""

from __future__ import annotations

import anyio
import pytest

from tailrace._job.slots import Slots
from tailrace._scheduling.packer import Lane
from tailrace._scheduling.places import Place

pytestmark = pytest.mark.anyio


async def test_what_is_spare_is_what_nothing_that_waits_can_have() -> None:
    idle: list[str] = []
    slots = Slots([Place("", 3, {"nuke_i": 1})], on_idle=lambda: idle.append("idle"))
    lane = Lane()
    slots.join(lane, lambda: None)
    assert slots.spare() == 3
    slots.add(lane, 1, (1,), {"nuke_i": 1})
    slots.add(lane, 2, (2,), {"nuke_i": 1})
    assert (slots.spare(), idle) == (0, [])
    taken = slots.take(lane)
    assert taken is not None and taken[0] == 1
    # The other waits for the licence.
    assert (slots.spare(), idle) == (2, ["idle"])
    assert slots.take(lane) is None
    assert idle == ["idle", "idle"]
    slots.give_back(lane, 1)
    assert slots.spare() == 0


async def test_halted_slots_are_not_handed_out() -> None:
    woken = anyio.Event()
    slots = Slots([Place("", 3)])
    lane = Lane()
    slots.join(lane, woken.set)
    slots.add(lane, 1, (1,), {})
    slots.halt()
    assert (slots.take(lane), slots.spare(), woken.is_set()) == (None, 0, False)
    slots.go_on()
    assert woken.is_set()
    assert slots.take(lane) is not None


def test_a_lane_is_woken_once_for_its_turn_until_it_looks_or_leaves() -> None:
    slots, woken = Slots([Place("", 1)], on_idle=lambda: None), []
    first, second = Lane(rank=(0,)), Lane(rank=(1,))
    slots.join(first, lambda: woken.append("first"))
    slots.join(second, lambda: woken.append("second"))
    for lane in (first, second):
        slots.add(lane, 1, (0,), {})
    slots.changed()
    slots.changed()
    assert slots.take(second) is None
    assert woken == ["first"]
    slots.leave(first)
    assert woken == ["first", "second"]
    assert slots.take(second) is not None
    slots.add(second, 2, (0,), {})
    slots.give_back(second, 1)
    slots.changed()
    assert woken == ["first", "second", "second"]
