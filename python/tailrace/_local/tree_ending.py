"""Ending everything that a command has started: the pure-Python counterpart of the core's terminator.

One thread ends all trees. It reads no file of a process, and so needs none of them to answer: the command's group is
signalled by the kernel, its session is found by `getsid` over the numbers in /proc, and strangers, which may be daemons
of the command's, are left to `process_files`.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence

from .._command.ending import ProcessNote
from . import process_files
from .event_fd import EventFd
from .process_files import Figures, describe, figures_of, look, stat_fields
from .process_tree import Processes, Tree

PATIENCE = 10.0
"""How long killed processes may take to disappear, in seconds. Longer means they hang in the kernel."""

_SPARE = 5.0
"""How long the end of a tree is waited for after whoever ends it should have given up, in seconds."""
_LOOK_EVERY = 1.0
"""How often to look for new processes while known ones are there, in seconds."""
_LONGEST_PAUSE = 0.5
"""How long the end of a tree may remain unseen so that looking costs little, in seconds."""
_LOOK_WITHIN = 0.5
"""How long one look may keep others from being killed, in seconds."""
_MEASURE_WITHIN = 0.2
"""How long the figures of those who are about to be signalled may take, in seconds."""
_PAUSE = 0.001
"""How long to gather what happens before the next round, in seconds for each tree that is being ended."""
_WITHOUT_PIDFD = 0.05
"""How often to look whether somebody has ended who cannot be waited for, in seconds."""


class Ending:
    """The end of one tree: asked to terminate, then killed when its time has come."""

    def __init__(
        self,
        tree: Tree,
        grace: float,
        notify: Callable[[], object],
        *,
        only_group: bool = False,
        measures: bool = True,
    ) -> None:
        self.tree = tree
        self.notify = notify
        """Called by another thread when it is over."""
        self.only_group = only_group
        self.measures = measures
        """Whether to read the figures of what is there before it is signalled."""
        self.kill_at = time.monotonic() + grace
        self.give_up_at = self.kill_at + PATIENCE
        self.over = threading.Event()
        self.left: list[ProcessNote] = []
        """Those that are there though they were killed; known once it is over."""
        self.unseen: list[ProcessNote] = []
        """Those that did not answer; known once it is over."""
        self.unseen_numbers: Sequence[int] = ()
        self.members: dict[int, _Member] = {}
        self.figures: dict[int, Figures] = {}
        """Of each member before its first signal."""
        self.is_begun = self.is_killed = False
        self.needs_look = True

    @property
    def latest(self) -> float:
        """When to wait no longer, whatever became of who is to end it."""
        return self.give_up_at + _SPARE

    def living(self) -> list[_Member]:
        """Return the members that have not been seen dead."""
        return [member for member in self.members.values() if not member.is_dead]


class _Member:
    """A process of a tree; `outer` is the number that /proc shows, which may be that of another namespace."""

    def __init__(self, tree: Tree, number: int, outer: int, inode: int | None) -> None:
        self.number = number
        self.outer = outer
        self.is_asked = self.is_dead = False
        self.pidfd: int | None = None
        self._tree = tree
        self._inode = inode
        with contextlib.suppress(AttributeError, OSError):
            self.pidfd = os.pidfd_open(number)
        # What the descriptor was opened for may not be what was looked at.
        self.is_dead = not self._is_there()
        self.notice_death()

    def notice_death(self) -> bool:
        """Return whether it has died since it was last asked."""
        if self.pidfd is not None and not self.is_dead:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            has_died = bool(poll.poll(0))
        else:
            has_died = not self.is_dead and not (self._is_there() and self._is_alive())
        self.is_dead |= has_died
        if self.is_dead:
            self.close()
        return has_died

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        with contextlib.suppress(OSError):
            if self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd, number)
            elif self._is_there():
                os.kill(self.number, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.is_asked = True
        self.signal(signal.SIGTERM)
        # A stopped process gets its signal only once it is continued.
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def _is_there(self) -> bool:
        try:
            return os.stat(f"/proc/{self.outer}").st_ino == self._inode  # noqa: PTH116
        except OSError:
            return False

    def _is_alive(self) -> bool:
        if self.number == self._tree.leader:
            return self._tree.is_running()
        states = look("state", [self.outer], lambda outer: stat_fields(outer)[0])
        return states.found.get(self.outer) not in (b"Z", b"X")


class _Terminator:
    """The thread that ends trees."""

    def __init__(self) -> None:
        self._event_fd = EventFd()
        self._lock = threading.RLock()
        self._endings: list[Ending] = []
        self._orphans: list[Tree] = []
        self._processes = Processes()
        self._looked_at = self._look_at = 0.0
        try:
            threading.Thread(target=self._run, name="tailrace-end", daemon=True).start()
        except RuntimeError:
            self._event_fd.close()
            raise

    def end(self, ending: Ending) -> None:
        with self._lock:
            self._endings.append(ending)
        self._event_fd.set()

    def adopt(self, tree: Tree) -> None:
        with self._lock:
            self._orphans.append(tree)
        self._event_fd.set()

    def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    endings = list(self._endings)
                if endings:
                    self._go_on(endings)
                    with self._lock:
                        self._endings = [ending for ending in self._endings if not ending.over.is_set()]
                        endings = list(self._endings)
                self._wait(endings)
        finally:
            # Only a mistake brings us here. Nobody is to wait for what does not come.
            _replace(self)
            for ending in self._endings:
                ending.tree.signal_group(signal.SIGKILL)
                ending.over.set()
                ending.notify()

    def _go_on(self, endings: list[Ending]) -> None:
        began = time.thread_time()
        self._processes.cost = 0.0
        fresh = [ending for ending in endings if not ending.is_begun]
        if fresh:
            self._add(fresh, self._processes.sessions([ending.tree for ending in fresh]))
            self._measure(fresh)
            for ending in fresh:
                self._begin(ending)
        now = time.monotonic()
        due = [ending for ending in endings if now >= ending.kill_at and not ending.is_killed]
        if due:
            self._measure_again(due)
            for ending in due:
                self._kill(ending)
        if fresh or now >= self._next_look(endings):
            self._look(endings)
            # A sixth of a core for one tree, and less the more there are: each death may be that of a tree.
            cost = time.thread_time() - began + self._processes.cost
            self._looked_at = time.monotonic()
            self._look_at = self._looked_at + min(max(0.005, 5 * cost * (1 + len(endings) / 20)), _LONGEST_PAUSE)
        for ending in endings:
            if self._is_over(ending):
                self._conclude(ending)

    def _begin(self, ending: Ending) -> None:
        ending.is_begun = True
        if time.monotonic() >= ending.kill_at:
            self._kill(ending)
            return
        # All of them at once: a shell that sees its child die before its own signal has come would exit with a status
        # that tells of the child.
        if ending.tree.signal_group(signal.SIGTERM):
            ending.tree.signal_group(signal.SIGCONT)
            for member in ending.members.values():
                with contextlib.suppress(OSError):
                    member.is_asked = os.getpgid(member.number) == ending.tree.leader

    def _kill(self, ending: Ending) -> None:
        ending.is_killed = ending.needs_look = True
        # Later than it was to be, if this process was stopped meanwhile.
        ending.give_up_at = max(ending.give_up_at, time.monotonic() + PATIENCE)
        ending.tree.signal_group(signal.SIGKILL)
        for member in ending.living():
            member.signal(signal.SIGKILL)

    def _measure(self, endings: list[Ending]) -> None:
        """Note what those use who are about to be asked to end."""
        new = {
            member.outer: ending
            for ending in endings
            for member in ending.living()
            if ending.measures and not member.is_asked and member.outer not in ending.figures
        }
        if new:
            figures, cost = figures_of(new, _MEASURE_WITHIN)
            self._processes.cost += cost
            for outer, figure in figures.items():
                new[outer].figures[outer] = figure
            for ending in set(new.values()):
                ending.tree.usage.take(ending.figures, before_signal=True)

    def _measure_again(self, endings: list[Ending]) -> None:
        """Note what those use who are about to be killed."""
        living = {ending: [m.outer for m in ending.living()] for ending in endings if ending.measures}
        figures, cost = figures_of([outer for outers in living.values() for outer in outers], _MEASURE_WITHIN)
        self._processes.cost += cost
        for ending, outers in living.items():
            ending.tree.usage.take({o: figures[o] for o in outers if o in figures}, before_signal=True)

    def _next_look(self, endings: list[Ending]) -> float:
        is_urgent = any(ending.needs_look and not ending.living() for ending in endings)
        return self._look_at if is_urgent else max(self._look_at, self._looked_at + _LOOK_EVERY)

    def _look(self, endings: list[Ending]) -> None:
        for ending in endings:
            ending.needs_look = False
        groups = [ending.tree for ending in endings if ending.only_group]
        if groups:
            self._add(endings, self._processes.sessions(groups, groups_only=True))
        whole = [ending for ending in endings if not ending.only_group]
        if whole:
            found, unseen, is_complete = self._processes.members([ending.tree for ending in whole], _LOOK_WITHIN)
            self._add(whole, found)
            for ending in whole:
                ending.unseen_numbers = unseen
                ending.needs_look |= not is_complete
        self._measure(endings)
        for ending in endings:
            for member in ending.living():
                if ending.is_killed:
                    member.signal(signal.SIGKILL)
                elif not member.is_asked:
                    member.terminate()

    def _add(self, endings: list[Ending], found: dict[int, Tree]) -> None:
        by_tree: dict[Tree, list[int]] = {}
        for outer, tree in found.items():
            by_tree.setdefault(tree, []).append(outer)
        for ending in endings:
            for outer in by_tree.get(ending.tree, ()):
                number = self._processes.number(outer)
                known = ending.members.get(number or 0)
                if number is not None and (known is None or known.is_dead):
                    member = _Member(tree, number, outer, self._processes.inode(outer))
                    if not member.is_dead:
                        ending.members[number] = member

    def _is_over(self, ending: Ending) -> bool:
        for member in ending.living():
            if member.pidfd is None:
                ending.needs_look |= member.notice_death()
        now = time.monotonic()
        if now >= ending.give_up_at:
            return True
        if ending.living() or (not ending.only_group and ending.tree.is_running()):
            return False
        if self._processes.is_blind:
            # There is no telling who of a group is left, and a zombie there is while the command is uncollected.
            is_left_to_itself = ending.only_group and ending.tree.is_uncollected()
            return ending.is_killed or is_left_to_itself or not ending.tree.signal_group(0)
        return not ending.needs_look

    def _conclude(self, ending: Ending) -> None:
        living = [member.outer for member in ending.living()]
        if not living and not ending.only_group and ending.tree.is_running():
            living = [ending.tree.leader]
        ending.left = describe(living)
        ending.unseen = describe(ending.unseen_numbers)
        for member in ending.members.values():
            member.close()
        ending.over.set()
        ending.notify()

    def _wait(self, endings: list[Ending]) -> None:
        """Return when somebody has died, or something is to be done."""
        poll = select.poll()
        poll.register(self._event_fd.fd, select.POLLIN)
        waited_for: dict[int, tuple[Ending, _Member]] = {}
        until = self._next_look(endings) if endings else math.inf
        for ending in endings:
            until = min(until, ending.give_up_at if ending.is_killed else ending.kill_at)
            living = ending.living()
            for member in living:
                if member.pidfd is not None:
                    waited_for[member.pidfd] = ending, member
                    poll.register(member.pidfd, select.POLLIN)
            if any(member.pidfd is None for member in living) or (not living and ending.tree.is_running()):
                until = min(until, time.monotonic() + _WITHOUT_PIDFD)
        with self._lock:
            orphans = list(self._orphans)
        for tree in orphans:
            if tree.pidfd is not None:
                poll.register(tree.pidfd, select.POLLIN)
            else:
                until = min(until, time.monotonic() + 1)
        timeout = None if until == math.inf else max(0.0, until - time.monotonic()) * 1000 + 1
        poll.poll(timeout)
        # Many die at the same time, and each costs a round over all.
        time.sleep(min(len(endings) * _PAUSE, 0.1))
        self._event_fd.clear()
        for fd, _ in poll.poll(0):
            if fd in waited_for:
                ending, member = waited_for[fd]
                ending.needs_look = member.is_dead = True
                member.close()
        for tree in orphans:
            if not tree.is_running():
                tree.collect()
                with self._lock:
                    self._orphans.remove(tree)


_terminator: _Terminator | None = None
# As all locks that `end` takes: a signal handler may call it while its thread has them.
_lock = threading.RLock()


def prepare() -> None:
    """Have the threads ready that end trees. Raises `RuntimeError` or `OSError` where they cannot be had."""
    process_files.prepare()
    _get()


def end(ending: Ending) -> None:
    """Begin it; its `over` tells when it is over."""
    _get().end(ending)


def collect_later(tree: Tree) -> None:
    """Collect the command of `tree` whenever it ends."""
    _get().adopt(tree)


def _get() -> _Terminator:
    global _terminator
    with _lock:
        if _terminator is None:
            _terminator = _Terminator()
        return _terminator


def _replace(terminator: _Terminator) -> None:
    global _terminator
    with _lock:
        if _terminator is terminator:
            _terminator = None


def _start_anew() -> None:
    global _terminator, _lock
    _terminator, _lock = None, threading.RLock()


os.register_at_fork(after_in_child=_start_anew)
