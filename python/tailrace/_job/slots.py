"""What the chunks of one job run in, or those of several jobs that share it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

import anyio

from .._scheduling.packer import Lane, Order, Packer, Turn
from .._scheduling.places import NOTHING, Place, to_pieces
from .._spec.needs import GPUS
from .capacity import Gpus


class Slot(NamedTuple):
    """What a chunk has while it runs."""

    place: Place
    number: int
    gpus: tuple[str, ...] | None
    """Those that are its own, as `CUDA_VISIBLE_DEVICES` names them; None: nobody counts them there."""


class Slots:
    """Slots of one or several places, to which each job has a lane."""

    def __init__(
        self,
        places: Iterable[Place],
        shared: Mapping[str, float] = NOTHING,
        *,
        gpus: Mapping[Place, Gpus] | None = None,
        on_taken: Callable[[Lane], object] | None = None,
        on_idle: Callable[[], object] | None = None,
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take the places, what all have together, and the GPUs of those places where each chunk gets its own.

        `on_taken` is told of the lane of each chunk that gets a slot; `on_idle` is called when slots are free that
        nothing which waits can have now. As long as `may_start` says no, none is handed out; then `changed` has to be
        called.
        """
        self._places = tuple(places)
        self._gpus = gpus or {}
        self._on_taken = on_taken
        self._on_idle = on_idle
        self._may_start = may_start
        self._packer: Packer[tuple[Lane, int]] = Packer(self._places, shared, clock=anyio.current_time)
        self._is_halted = False
        self._wakers: dict[Lane, Callable[[], object]] = {}
        self._woken: Lane | None = None
        """The lane that was woken for its turn and has not looked yet."""
        self._taken: dict[tuple[Lane, int], Slot] = {}

    @classmethod
    def of(cls, count: int, capacity: Mapping[str, float] | None, *, is_remote: bool) -> Slots:
        """Return so many slots that share a capacity.

        Raises `ValueError` if they are here and this process may see too few GPUs; nobody knows of those elsewhere.
        """
        here = Place("", count, capacity or NOTHING)
        gpus = None if is_remote else Gpus.of(capacity)
        return cls([here], gpus=None if gpus is None else {here: gpus})

    def join(self, lane: Lane, wake: Callable[[], object]) -> None:
        """Have a lane take part; `wake` is called when it is the turn of one of its chunks."""
        self._wakers[lane] = wake

    def leave(self, lane: Lane) -> None:
        """Give back what the lane has, and have nothing wait there any more."""
        del self._wakers[lane]
        self._has_looked(lane)
        self._packer.withdraw_lane(lane)
        for key in [key for key in self._taken if key[0] is lane]:
            self._give_back(key)
        self.changed()

    def most(self, name: str) -> float | None:
        """Return the most that one place has of a resource; None where it is not counted."""
        amounts = [place.capacity[name] for place in self._places if name in place.capacity]
        return max(amounts, default=None)

    def add(
        self, lane: Lane, chunk_id: int, order: Order, needs: Mapping[str, float], *, group: Hashable = None
    ) -> None:
        """Have a chunk wait for its turn; see `Packer.add`. `changed` has to be called afterwards."""
        self._packer.add((lane, chunk_id), order, needs, lane=lane, group=group)

    def change_needs(self, lane: Lane, group: Hashable, needs: Mapping[str, float]) -> None:
        """Change what the waiting chunks of a group need."""
        self._packer.change_needs(group, needs, lane=lane)

    def take(self, lane: Lane) -> tuple[int, Slot] | None:
        """Return the chunk of this lane whose turn it is, and its slot.

        None if nothing fits now, or it is the turn of another lane, which is woken.
        """
        self._has_looked(lane)
        turn = self._next()
        if turn is None:
            self._tell_if_idle()
            return None
        if turn.lane is not lane:
            self._wake(turn.lane)
            return None
        key = turn.item
        place, number, needs = self._packer.hand_out(turn)
        pool = self._gpus.get(place)
        gpus = None if pool is None else pool.take(to_pieces(needs.get(GPUS, 0)))
        slot = self._taken[key] = Slot(place, number, gpus)
        if self._on_taken is not None:
            self._on_taken(lane)
        # There may be room for another one.
        self.changed()
        return key[1], slot

    def give_back(self, lane: Lane, chunk_id: int) -> None:
        """Have the slot of a chunk free again. `changed` has to be called afterwards."""
        self._give_back((lane, chunk_id))

    def changed(self) -> None:
        """Wake the lane whose turn it is now."""
        if len(self._wakers) == 1 and self._on_idle is None:
            # It looks itself.
            (wake,) = self._wakers.values()
            wake()
        elif (turn := self._next()) is not None:
            self._wake(turn.lane)
        else:
            self._tell_if_idle()

    def place_of(self, lane: Lane, chunk_id: int) -> str:
        """Return the name of the place that a chunk has a slot of. Raises `KeyError` if it has none."""
        return self._taken[lane, chunk_id].place.name

    def spare(self) -> int:
        """Return how many slots are free that nothing which waits can have now."""
        if self._is_halted or self._next() is not None:
            return 0
        return sum(place.free_slots for place in self._places if place.is_open)

    def halt(self) -> None:
        """Hand out no slot until `go_on` is called."""
        self._is_halted = True

    def go_on(self) -> None:
        """Hand out slots again."""
        self._is_halted = False
        self.changed()

    def _wake(self, lane: Lane) -> None:
        if lane is not self._woken:
            self._woken = lane
            self._wakers[lane]()

    def _has_looked(self, lane: Lane) -> None:
        if lane is self._woken:
            self._woken = None

    def _next(self) -> Turn[tuple[Lane, int]] | None:
        return None if self._is_halted or not self._may_start() else self._packer.next()

    def _tell_if_idle(self) -> None:
        if self._on_idle is not None and any(place.has_room for place in self._places):
            self._on_idle()

    def _give_back(self, key: tuple[Lane, int]) -> None:
        place, _, gpus = self._taken.pop(key)
        self._packer.release(key)
        if gpus:
            self._gpus[place].give_back(gpus)
