"""What fits beside what runs."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

_T = TypeVar("_T", bound=Hashable)

_OVERTAKERS = 10
_PATIENCE = 600.0
"""How often and how long, in seconds, one may be overtaken whose turn it is, before room is kept for it."""
_UNITS = 1_000_000
"""In a whole one: amounts are counted in whole numbers, since sums of fractions are not exact."""

Amounts: TypeAlias = Mapping[str, int]
_NOTHING: Amounts = {}
Order: TypeAlias = tuple[Any, ...]
"""Of two the lesser one comes first."""


def to_amounts(needs: Mapping[str, float]) -> Amounts:
    """Return needs in the units that are counted here, without those of nothing."""
    return {name: amount for name, value in needs.items() if (amount := round(value * _UNITS))}


@dataclass(slots=True, eq=False)
class _Entry(Generic[_T]):
    order: Order
    item: _T
    group: _Group[_T]
    overtakers: int = 0
    turn_since: float | None = None
    """Since when it would be its turn, and it does not fit."""
    is_gone: bool = False

    def __lt__(self, other: _Entry[_T]) -> bool:
        return self.order < other.order


class _Group(Generic[_T]):
    """Those that need the same: if the first of them does not fit, none does."""

    def __init__(self, needs: Amounts, *, can_change: bool) -> None:
        self.needs = needs
        self.can_change = can_change
        self.waiting: list[_Entry[_T]] = []

    def first(self) -> _Entry[_T] | None:
        """Return the one that comes first, if there is one; each that was withdrawn is passed over once."""
        while self.waiting and self.waiting[0].is_gone:
            heapq.heappop(self.waiting)
        return self.waiting[0] if self.waiting else None


class Packer(Generic[_T]):
    """Hands out items in their order, as far as what they need fits beside what was handed out and not released.

    One that does not fit is overtaken by those that do, but not for ever: once it has been overtaken ten times, or it
    would have been its turn for ten minutes, only what leaves room for it is handed out. Nothing is counted that
    `capacity` does not name, but each item takes one of the `slots`. An item is handed out in O(log n) for each
    distinct set of needs that waits.
    """

    def __init__(
        self, capacity: Mapping[str, float], *, slots: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = to_amounts(capacity)
        self._free = dict(self._capacity)
        self._slots = slots
        self._clock = clock
        self._groups: dict[Hashable, _Group[_T]] = {}
        self._waiting: dict[_T, _Entry[_T]] = {}
        self._taken: dict[_T, Amounts] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def __contains__(self, item: object) -> bool:
        """Return whether it waits."""
        return item in self._waiting

    def add(self, item: _T, order: Order, needs: Mapping[str, float], *, group: Hashable = None) -> None:
        """Have an item wait for its turn. `group` is for those whose needs `change_needs` will change together."""
        counted = self._counted(needs)
        key: Hashable = frozenset(counted.items()) if group is None else ("group", group)
        members = self._groups.get(key)
        if members is None:
            members = self._groups[key] = _Group(counted, can_change=group is not None)
        entry = _Entry(order, item, members)
        self._waiting[item] = entry
        heapq.heappush(members.waiting, entry)

    def change_needs(self, group: Hashable, needs: Mapping[str, float]) -> None:
        """Change what the waiting items of a group need."""
        if (members := self._groups.get(("group", group))) is not None:
            members.needs = self._counted(needs)

    def withdraw(self, item: _T) -> None:
        """Have an item wait no longer. Raises `KeyError` if it does not."""
        self._waiting.pop(item).is_gone = True

    def take(self, before: Order | None = None) -> _T | None:
        """Return the next item and what it needs with it, or None if nothing fits now.

        With `before`, only of those whose order is less.
        """
        if len(self._taken) >= self._slots:
            return None
        entries = self._heads()
        if len(entries) > 1:
            entries.sort()
        if not entries or (before is not None and entries[0].order >= before):
            return None
        front = entries[0]
        if self._fits(front.group.needs):
            return self._hand_out(front)
        now = self._clock()
        if front.turn_since is None:
            front.turn_since = now
        is_kept = front.overtakers >= _OVERTAKERS or now - front.turn_since >= _PATIENCE
        for entry in entries[1:]:
            if before is not None and entry.order >= before:
                break
            if self._fits(entry.group.needs) and not (is_kept and self._is_in_the_way(entry, front)):
                front.overtakers += 1
                return self._hand_out(entry)
        return None

    def release(self, item: _T) -> None:
        """Give back what an item has that was handed out."""
        for name, amount in self._taken.pop(item).items():
            self._free[name] += amount

    def _counted(self, needs: Mapping[str, float]) -> Amounts:
        if not needs or not self._capacity:
            return _NOTHING
        return {name: amount for name, amount in to_amounts(needs).items() if name in self._capacity}

    def _heads(self) -> list[_Entry[_T]]:
        heads, empty = [], []
        for key, group in self._groups.items():
            first = group.first()
            if first is not None:
                heads.append(first)
            elif not group.can_change:
                empty.append(key)
        for key in empty:
            del self._groups[key]
        return heads

    def _fits(self, needs: Amounts) -> bool:
        return all(amount <= self._free[name] for name, amount in needs.items())

    def _is_in_the_way(self, entry: _Entry[_T], front: _Entry[_T]) -> bool:
        """Return whether, with what runs and with `entry`, some of what `front` needs would be too much."""
        return any(
            amount > self._free[name] - wanted
            for name, wanted in front.group.needs.items()
            if (amount := entry.group.needs.get(name))
        )

    def _hand_out(self, entry: _Entry[_T]) -> _T:
        heapq.heappop(entry.group.waiting)
        del self._waiting[entry.item]
        self._taken[entry.item] = entry.group.needs
        for name, amount in entry.group.needs.items():
            self._free[name] -= amount
        return entry.item
