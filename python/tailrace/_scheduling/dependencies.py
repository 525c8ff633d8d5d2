"""What has to be done before what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

_T = TypeVar("_T", bound=Hashable)


class Dependencies(Generic[_T]):
    """Which items may start; each is told once that it has succeeded or failed for good."""

    def __init__(self, depends_on: Mapping[_T, Collection[_T]], succeeded: Iterable[_T] = ()) -> None:
        """Take what each item depends on; what `succeeded` counts as done before."""
        done = set(succeeded)
        self._open = {item: {other for other in others if other not in done} for item, others in depends_on.items()}
        self._dependents: dict[_T, list[_T]] = defaultdict(list)
        for item, others in self._open.items():
            for other in others:
                self._dependents[other].append(item)
        self._because_of: dict[_T, _T] = {}

    def is_ready(self, item: _T) -> bool:
        """Return whether all that it depends on has succeeded."""
        return not self._open[item]

    def succeed(self, item: _T) -> list[_T]:
        """Return what may start now that did not before, in the order of what was given."""
        ready = []
        for dependent in self._dependents.pop(item, ()):
            others = self._open[dependent]
            others.discard(item)
            if not others and dependent not in self._because_of:
                ready.append(dependent)
        return ready

    def fail(self, item: _T) -> Iterator[_T]:
        """Yield what will never start for it and was not told of before, the nearest first."""
        reached = [item]
        for failed in reached:
            for dependent in self._dependents.pop(failed, ()):
                if dependent not in self._because_of:
                    self._because_of[dependent] = item
                    reached.append(dependent)
                    yield dependent


def find_circle(depends_on: Mapping[_T, Collection[_T]]) -> list[_T] | None:
    """Return items of which each depends on the next, and the last on the first; None if there are none."""
    finished: set[_T] = set()
    for start in depends_on:
        # Without recursion: a chain may be as long as there are chunks.
        path: dict[_T, Iterator[_T]] = {}
        following = [start]
        while following or path:
            if following:
                item = following.pop()
                if item in path:
                    circle = list(path)
                    return circle[circle.index(item) :]
                if item not in finished:
                    path[item] = iter(depends_on.get(item, ()))
            if path:
                last = next(reversed(path))
                found = next(path[last], None)
                if found is None:
                    finished.add(last)
                    del path[last]
                else:
                    following.append(found)
    return None
