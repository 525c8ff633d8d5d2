"""What the processes of a tree used, as far as it was seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from .._command.memory_report import ProcessMemory
from .activity import NOTHING_DONE, Activity
from .memory_watch import largest
from .process_files import Figures

_LONGEST_INTERVAL = 10.0
"""The longest between two looks that counts as watched, in seconds: this process may have been stopped, and read
nothing."""


class TreeUsage:
    """What the processes of a tree used; times are seconds, sizes bytes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.peak: int | None = None
        """The largest resident memory of one of them."""
        self.memory: int | None = None
        """The most that they had together."""
        self.cpu = (0.0, 0.0)
        """Processor time, in user and system mode, of all that were there before a signal of ours."""
        self.on_sample: Callable[[int, float], object] | None = None
        self.watched_since: Callable[[], float | None] = lambda: 0.0
        """Returns since when its output has been read without a pause, on the monotonic clock; None while it is not."""
        self._activity = NOTHING_DONE
        self._earlier: Mapping[int, Figures] = {}
        self._figures: Mapping[int, Figures] = {}
        """At the last two looks."""
        self._looked_at: float | None = None

    def take(self, figures: Mapping[int, Figures], *, before_signal: bool = False) -> None:
        """Note the figures of all members at one moment."""
        if not figures:
            self._looked_at = None
            return
        peaks = [figure.peak for figure in figures.values() if figure.peak is not None]
        self.peak = max([*peaks, self.peak or 0]) if peaks else self.peak
        memory = _memory_of(figures)
        self.memory = max(self.memory or 0, memory)
        user = sum(figure.user for figure in figures.values())
        system = sum(figure.system for figure in figures.values())
        if before_signal:
            self.cpu = max(self.cpu, (user, system), key=sum)
            return
        self._count_activity(figures)
        if self.on_sample is not None:
            self.on_sample(memory, user + system)

    def activity(self) -> Activity:
        """Return what it has done so far."""
        return self._activity

    def largest(self) -> Sequence[ProcessMemory]:
        """Return the largest processes at that of the two last looks at which they were larger, the largest first."""
        # Some who were killed are gone at the next look, before the command itself is.
        figures = max(self._earlier, self._figures, key=_memory_of)
        return largest(ProcessMemory(number, each.name, each.memory) for number, each in figures.items())

    def _count_activity(self, figures: Mapping[int, Figures]) -> None:
        # What a process did before it ended counts again when its parent has waited for it: that is a sign of life too.
        work = 0.0
        for number, figure in figures.items():
            before = self._figures.get(number)
            is_same = before is not None and before.started == figure.started
            done = before.user + before.system if before is not None and is_same else 0.0
            work += max(0.0, figure.user + figure.system - done)
        now, watched_since = self._clock(), self.watched_since()
        last, self._looked_at = self._looked_at, now
        self._earlier, self._figures = self._figures, figures
        was_watched = last is not None and watched_since is not None and watched_since <= last
        seen = min(now - last, _LONGEST_INTERVAL) if last is not None and was_watched else 0.0
        self._activity = Activity(self._activity.seen + seen, self._activity.work + work, tuple(figures))


def _memory_of(figures: Mapping[int, Figures]) -> int:
    return sum(figure.memory for figure in figures.values())
