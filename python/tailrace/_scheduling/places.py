"""Where things can run, and what there is of each resource."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import TypeAlias

_UNITS = 1_000_000
"""In a whole one: amounts are counted in whole numbers, since sums of fractions are not exact."""
_ROUNDING = 0.01
"""So much of a unit is the error of a fraction at most."""

Amounts: TypeAlias = Mapping[str, float]
"""In whole millionths; infinity where there is no end of something."""
NOTHING: Amounts = {}


def to_amounts(needs: Mapping[str, float]) -> Amounts:
    """Return needs in the units that are counted here, without those of nothing.

    They are rounded down, so that three thirds fit into one.
    """
    return {name: amount for name, value in needs.items() if (amount := math.floor(value * _UNITS + _ROUNDING))}


def to_pieces(amount: float) -> int:
    """Return an amount of what is counted in whole pieces as their number."""
    return int(amount // _UNITS)


def _to_capacity(value: float) -> float:
    return value if math.isinf(value) else math.ceil(value * _UNITS - _ROUNDING)


class Store:
    """What there is of some resources, and how much of it nobody has. Of others it knows nothing."""

    def __init__(self, capacity: Mapping[str, float]) -> None:
        self._capacity = {name: _to_capacity(value) for name, value in capacity.items()}
        self._free = dict(self._capacity)

    def fits(self, needs: Amounts, kept: Amounts = NOTHING) -> bool:
        """Return whether so much is free, beside what is kept of the same for another."""
        free = self._free
        return all(amount <= free[name] - kept.get(name, 0) for name, amount in needs.items() if name in free)

    def could_hold(self, needs: Amounts) -> bool:
        """Return whether there is so much in all."""
        return all(amount <= self._capacity[name] for name, amount in needs.items() if name in self._capacity)

    def shortage(self, needs: Amounts) -> float:
        """Return how much is free too little for that, as the greatest share of all there is."""
        return max(
            (
                (amount - self._free[name]) / self._capacity[name]
                for name, amount in needs.items()
                if name in self._free
            ),
            default=0.0,
        )

    def take(self, needs: Amounts) -> None:
        """Take so much, which has to be free."""
        for name, amount in needs.items():
            if name in self._free:
                self._free[name] -= amount

    def give_back(self, needs: Amounts) -> None:
        """Have so much free again."""
        for name, amount in needs.items():
            if name in self._free:
                self._free[name] += amount


class Place:
    """A machine: so many slots, and what those in them have together."""

    def __init__(self, name: str, slots: int, capacity: Mapping[str, float] = NOTHING) -> None:
        self.name = name
        self.slots = slots
        self.capacity = capacity
        self.store = Store(capacity)
        self.is_open = True
        """Whether anything more may start there."""
        self._taken = 0
        self._given_back: list[int] = []

    @property
    def has_room(self) -> bool:
        """Whether something that needs nothing could start there."""
        return self.is_open and self._taken < self.slots

    @property
    def free_slots(self) -> int:
        """How many of its slots are free."""
        return self.slots - self._taken

    @property
    def free_share(self) -> float:
        """Which part of its slots is free."""
        return 1 - self._taken / self.slots

    def take_slot(self) -> int:
        """Return the lowest number of a slot that is free, which there has to be."""
        slot = heapq.heappop(self._given_back) if self._given_back else self._taken
        self._taken += 1
        return slot

    def give_back_slot(self, slot: int) -> None:
        """Have a slot free again."""
        self._taken -= 1
        heapq.heappush(self._given_back, slot)
