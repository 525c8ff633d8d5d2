"""Whether a chunk takes more memory than it says it needs."""

from __future__ import annotations

from collections.abc import Callable

from .._command.memory_report import to_text
from .._command.result import UsageSample, WorkerResult
from .early_end import EarlyEnd


def peak_memory(result: WorkerResult | None) -> int | None:
    """Return the most memory that a command and all it started had, in bytes; None if nobody knows."""
    usage = None if result is None else result.usage
    return None if usage is None else max(filter(None, (usage.tree_max_rss, usage.max_rss)), default=None)


class MemoryWatch:
    """Takes samples of what a command and all it started use, tells it once if that is too much, and may end it."""

    def __init__(self, need: float, on_warning: Callable[[str], object], early: EarlyEnd | None) -> None:
        """`need` is in bytes; with `early` the command is ended when it takes more."""
        self._need = need
        self._on_warning = on_warning
        self._early = early
        self._is_told = False

    def then(self, on_usage: Callable[[UsageSample], object] | None) -> Callable[[UsageSample], object]:
        """Return what takes a sample and passes it on."""

        def take(sample: UsageSample) -> None:
            self._look(sample.memory)
            if on_usage is not None:
                on_usage(sample)

        return take

    def finish(self, result: WorkerResult | None) -> None:
        """Take the result, since what a command had at most may lie between two samples; nothing is ended for it."""
        self._early = None
        self._look(peak_memory(result) or 0)

    def _look(self, memory: int) -> None:
        if memory <= self._need or self._is_told:
            return
        self._is_told = True
        more = f"it takes {to_text(memory)} of memory, more than the {to_text(int(self._need))} of its needs"
        if self._early is not None:
            self._early.end(f"was ended: {more}", "memory")
        else:
            self._on_warning(f"{more}: raise its needs, or others beside it may want for memory")
