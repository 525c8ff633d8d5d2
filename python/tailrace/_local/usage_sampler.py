"""What the trees of running commands use, looked at now and then by one thread for all of them."""

from __future__ import annotations

import os
import threading
import time

from .._command.memory_report import MemoryReport, ProcessMemory
from .memory_watch import MemoryWatch
from .process_files import children_of, figures_of, look, resident_of
from .process_tree import Processes, Tree

_EVERY = 0.5
"""How often to look, in seconds."""
_FIRST = 0.05
"""How long after its start a command is looked at first: many are over before the next round."""
_SHARE = 0.01
"""How much of one processor's time the looking may take."""
_WITHIN = 2.0


class _Sampler:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._trees: set[Tree] = set()
        self._next = 0.0
        self._is_running = False
        self._processes = Processes()
        self.memory = MemoryWatch()

    def add(self, tree: Tree) -> None:
        with self._changed:
            self._trees.add(tree)
            self._next = min(self._next, time.monotonic() + _FIRST)
            if not self._is_running:
                self._next = time.monotonic() + _FIRST
                try:
                    threading.Thread(target=self._run, name="tailrace-usage", daemon=True).start()
                except RuntimeError:
                    # Commands run all the same, and less is known of them.
                    return
                self._is_running = True
            self._changed.notify_all()

    def remove(self, tree: Tree) -> None:
        with self._changed:
            self._trees.discard(tree)

    def _run(self) -> None:
        not_before = 0.0
        while True:
            with self._changed:
                while not self._trees or (wait := max(self._next, not_before) - time.monotonic()) > 0:
                    self._changed.wait(wait if self._trees else None)
                trees = list(self._trees)
                self._next = time.monotonic() + _EVERY
            cost = self._sample(trees)
            not_before = time.monotonic() + cost / _SHARE

    def _sample(self, trees: list[Tree]) -> float:
        """Tell each tree what it uses; return how much processor time that took."""
        began = time.thread_time()
        self._processes.cost = 0.0
        tells_memory = self.memory.glance()
        members = self._processes.sessions(trees)
        # Who has taken a session of his own is still somebody's child, which no file of a stranger has to tell.
        new = list(members)
        while new:
            looked = look("children", new, children_of, _WITHIN)
            self._processes.cost += looked.cost
            new = []
            for parent, children in looked.found.items():
                for child in children:
                    if child not in members:
                        members[child] = members[parent]
                        new.append(child)
        figures, cost = figures_of(members, _WITHIN)
        if tells_memory:
            residents, more = resident_of(self._processes.numbers(), _WITHIN)
            self.memory.tell(ProcessMemory(outer, *found) for outer, found in residents.items())
            cost += more
        for tree in trees:
            with self._changed:
                is_there = tree in self._trees
            if is_there:
                tree.usage.take({outer: figure for outer, figure in figures.items() if members[outer] is tree})
        return time.thread_time() - began + self._processes.cost + cost


_sampler = _Sampler()


def add(tree: Tree) -> None:
    """Look at what `tree` uses, until it is removed."""
    _sampler.add(tree)


def remove(tree: Tree) -> None:
    """Look at it no more."""
    _sampler.remove(tree)


def memory_report(tree: Tree, *, certain: bool) -> MemoryReport | None:
    """Return what is known if the command of `tree`, killed just now, was killed for want of memory, else None.

    `certain`: only if the kernel says that it has killed somebody.
    """
    return _sampler.memory.report(tree.usage.largest(), certain=certain)


def _start_anew() -> None:
    global _sampler
    _sampler = _Sampler()


os.register_at_fork(after_in_child=_start_anew)
