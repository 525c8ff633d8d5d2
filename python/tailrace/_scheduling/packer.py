"""What fits beside what runs."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from .places import NOTHING, Amounts, Place, Store, to_amounts

_T = TypeVar("_T", bound=Hashable)

_OVERTAKERS = 10
_PATIENCE = 600.0
"""How often and how long, in seconds, one may be overtaken whose turn it is, before room is kept for it."""

Order: TypeAlias = tuple[Any, ...]
"""Of two the lesser one comes first."""


@dataclass(slots=True, eq=False)
class Lane:
    """Items that come before or after those of another lane together."""

    rank: Order = ()
    """The items of the lane with the least rank come first; it may change at any time."""
    before: Order | None = None
    """Of its own items, only those whose order is less than this are handed out; None: all."""
    is_open: bool = True
    """Whether any of its items is handed out."""
    most: int | None = None
    """How many of its items may be out at a time; None: any number."""
    out: int = 0
    """How many are: handed out and not released."""

    @property
    def may_have_more(self) -> bool:
        """Whether another one of its items may be handed out."""
        return self.is_open and (self.most is None or self.out < self.most)


_ONLY_LANE = Lane()


class Seat(NamedTuple):
    """What an item has while it runs."""

    place: Place
    slot: int
    needs: Amounts


@dataclass(slots=True, eq=False)
class _Entry(Generic[_T]):
    order: Order
    item: _T
    group: _Group[_T]
    is_gone: bool = False

    def __lt__(self, other: _Entry[_T]) -> bool:
        return self.order < other.order


@dataclass(slots=True, eq=False)
class _Front(Generic[_T]):
    """An entry whose turn has come and that does not fit."""

    entry: _Entry[_T]
    since: float
    overtakers: int = 0
    place: Place | None = None
    """Where room is kept for it."""


class _Group(Generic[_T]):
    """Those of a lane that need the same: if the first of them does not fit, none does."""

    def __init__(self, needs: Amounts, lane: Lane, *, can_change: bool) -> None:
        self.needs = needs
        self.lane = lane
        self.can_change = can_change
        self.waiting: list[_Entry[_T]] = []

    def is_empty(self) -> bool:
        """Return whether nothing waits; each that was withdrawn is passed over once."""
        while self.waiting and self.waiting[0].is_gone:
            heapq.heappop(self.waiting)
        return not self.waiting


class Turn(NamedTuple, Generic[_T]):
    """An item that may be handed out now, and where."""

    entry: _Entry[_T]
    place: Place

    @property
    def lane(self) -> Lane:
        """The lane that it is in."""
        return self.entry.group.lane

    @property
    def item(self) -> _T:
        """What may be handed out."""
        return self.entry.item


class Packer(Generic[_T]):
    """Hands out items in their order, as far as what they need fits beside what was handed out and not released.

    An item takes a slot of one of the `places` and what it needs there, and of what is `shared` by all places. One
    whose turn has come and that fits nowhere is overtaken by those that do, those included that were added since and
    come before it. But not for ever: after ten of them, or ten minutes, only what leaves room for it is handed out.
    Nothing is counted that nothing names. An item is handed out in O(log n) for each lane and distinct set of needs
    that waits.
    """

    def __init__(
        self,
        places: Iterable[Place],
        shared: Mapping[str, float] = NOTHING,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = tuple(places)
        self._shared = Store(shared)
        self._clock = clock
        self._groups: dict[Hashable, _Group[_T]] = {}
        self._waiting: dict[_T, _Entry[_T]] = {}
        self._seats: dict[_T, tuple[Seat, Lane]] = {}
        self._front: _Front[_T] | None = None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def __contains__(self, item: object) -> bool:
        """Return whether it waits."""
        return item in self._waiting

    def add(
        self, item: _T, order: Order, needs: Mapping[str, float], *, lane: Lane = _ONLY_LANE, group: Hashable = None
    ) -> None:
        """Have an item wait for its turn. `group` is for those whose needs `change_needs` will change together."""
        counted = self._counted(needs)
        key: Hashable = (lane, frozenset(counted.items())) if group is None else (lane, "group", group)
        members = self._groups.get(key)
        if members is None:
            members = self._groups[key] = _Group(counted, lane, can_change=group is not None)
        entry = _Entry(order, item, members)
        self._waiting[item] = entry
        heapq.heappush(members.waiting, entry)

    def change_needs(self, group: Hashable, needs: Mapping[str, float], *, lane: Lane = _ONLY_LANE) -> None:
        """Change what the waiting items of a group need."""
        if (members := self._groups.get((lane, "group", group))) is not None:
            members.needs = self._counted(needs)

    def withdraw(self, item: _T) -> None:
        """Have an item wait no longer. Raises `KeyError` if it does not."""
        self._waiting.pop(item).is_gone = True

    def withdraw_lane(self, lane: Lane) -> None:
        """Have all of a lane wait no longer."""
        for key in [key for key, group in self._groups.items() if group.lane is lane]:
            for entry in self._groups.pop(key).waiting:
                if not entry.is_gone:
                    del self._waiting[entry.item]

    def next(self) -> Turn[_T] | None:
        """Return what may be handed out next, or None if nothing fits now."""
        if not any(place.has_room for place in self._places):
            return None
        heads = self._heads()
        if not heads:
            return None
        front = self._front
        if front is None or front.entry not in heads:
            if (place := self._place_for(heads[0])) is not None:
                return Turn(heads[0], place)
            front = self._front = _Front(heads[0], self._clock())
        elif (place := self._place_for(front.entry)) is not None:
            return Turn(front.entry, place)
        is_kept = front.overtakers >= _OVERTAKERS or self._clock() - front.since >= _PATIENCE
        if is_kept:
            self._keep_room(front)
        for entry in heads:
            if entry is front.entry:
                continue
            if (place := self._place_for(entry, front if is_kept else None)) is not None:
                return Turn(entry, place)
        return None

    def hand_out(self, turn: Turn[_T]) -> Seat:
        """Take what `next` has just returned out of the queue, and what it needs with it."""
        entry, place = turn
        if self._front is not None:
            if entry is self._front.entry:
                self._front = None
            else:
                self._front.overtakers += 1
        needs = entry.group.needs
        heapq.heappop(entry.group.waiting)
        del self._waiting[entry.item]
        place.store.take(needs)
        self._shared.take(needs)
        lane = entry.group.lane
        lane.out += 1
        seat = Seat(place, place.take_slot(), needs)
        self._seats[entry.item] = seat, lane
        return seat

    def take(self) -> _T | None:
        """Hand out the next item and return it, or None if nothing fits now."""
        turn = self.next()
        if turn is None:
            return None
        self.hand_out(turn)
        return turn.entry.item

    def release(self, item: _T) -> None:
        """Give back what an item has that was handed out."""
        (place, slot, needs), lane = self._seats.pop(item)
        lane.out -= 1
        place.give_back_slot(slot)
        place.store.give_back(needs)
        self._shared.give_back(needs)

    def _counted(self, needs: Mapping[str, float]) -> Amounts:
        return to_amounts(needs) if needs else NOTHING

    def _heads(self) -> list[_Entry[_T]]:
        """Return the first of each group, in the order in which it is their turn."""
        heads, empty = [], []
        for key, group in self._groups.items():
            if group.is_empty():
                if not group.can_change:
                    empty.append(key)
                continue
            first, lane = group.waiting[0], group.lane
            if lane.may_have_more and (lane.before is None or first.order < lane.before):
                heads.append(first)
        for key in empty:
            del self._groups[key]
        if len(heads) > 1:
            heads.sort(key=_turn)
        return heads

    def _place_for(self, entry: _Entry[_T], front: _Front[_T] | None = None) -> Place | None:
        """Return where there is room for an entry, of several the emptiest; what is kept for `front` is none."""
        needs = entry.group.needs
        kept = NOTHING if front is None else front.entry.group.needs
        if not self._shared.fits(needs, kept):
            return None
        best: Place | None = None
        for place in self._places:
            if not place.has_room or (best is not None and place.free_share <= best.free_share):
                continue
            if place.store.fits(needs, kept if front is not None and place is front.place else NOTHING):
                best = place
        return best

    def _keep_room(self, front: _Front[_T]) -> None:
        """Choose where room is kept: where least has to become free, and then for good."""
        needs = front.entry.group.needs
        if front.place is None or not front.place.is_open or not front.place.store.could_hold(needs):
            able = [place for place in self._places if place.is_open and place.store.could_hold(needs)]
            front.place = min(able, key=lambda place: place.store.shortage(needs), default=None)


def _turn(entry: _Entry[Any]) -> tuple[Order, Order]:
    return entry.group.lane.rank, entry.order
