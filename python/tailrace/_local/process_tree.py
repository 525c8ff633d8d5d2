"""A command and all that it started, and how to find them among the processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

from .process_files import contents, look, stat_fields, status_fields
from .python_spawn import MARK_VARIABLE
from .tree_usage import TreeUsage

_MAX_ROUNDS = 100
"""How often to look whether processes were missed. More than that would be somebody who never stops forking."""
_GROUP = 4
"""PIDFD_SIGNAL_PROCESS_GROUP (linux/pidfd.h)."""
_KERNEL_THREAD = 0x0020_0000
"""PF_KTHREAD (linux/sched.h)."""


class Tree:
    """A command and all that it started.

    Its number is used only where it is certain to be the command's still: while that is uncollected, or through the
    descriptor.
    """

    def __init__(self, leader: int, pidfd: int | None, mark: str) -> None:
        self.leader = leader
        self.pidfd = pidfd
        self.mark = mark.encode()
        self.usage = TreeUsage()
        # Signals are sent from several threads, and the descriptor's number may be another's once it is given back.
        # The same thread may come again, in a signal handler that kills everything.
        self._lock = threading.RLock()

    def signal_group(self, number: int) -> bool:
        """Send a signal to the command's group; False if there is nobody, or nobody vouches for its number."""
        with self._lock, contextlib.suppress(OSError):
            if self.pidfd is not None:
                try:
                    signal.pidfd_send_signal(self.pidfd, number, None, _GROUP)
                except ProcessLookupError:
                    return False
                except OSError:
                    # Older than Linux 6.9, or not allowed to signal any of them.
                    pass
                else:
                    return True
            if self.is_uncollected():
                os.killpg(self.leader, number)
                return True
        return False

    def is_uncollected(self) -> bool:
        """Whether the command is running, or has yet to be collected."""
        try:
            os.waitid(os.P_PID, self.leader, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def is_running(self) -> bool:
        """Whether the command has not exited."""
        try:
            return os.waitid(os.P_PID, self.leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def is_vouched_for(self) -> bool:
        """Whether its number is certain to be that of its group and session still."""
        return self.is_uncollected() or self.signal_group(0)

    def can_signal_group(self) -> bool:
        """Whether the descriptor vouches for the command's group, also when the command has been collected."""
        with self._lock:
            if self.pidfd is None:
                return False
            try:
                signal.pidfd_send_signal(self.pidfd, 0, None, _GROUP)
            except ProcessLookupError:
                pass
            except OSError:
                # Older than Linux 6.9, or not allowed to signal any of them.
                return False
            return True

    def collect(self) -> None:
        """Take the exit status of a command that has exited, for nobody, and give the descriptor back."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.leader, os.WNOHANG)
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            pidfd, self.pidfd = self.pidfd, None
            if pidfd is not None:
                os.close(pidfd)


class _Stranger(NamedTuple):
    parent: int
    marks: list[bytes]
    is_final: bool
    """Whether it need not be read again."""


class Processes:
    """The processes of this machine, and which of them belong to a tree. Not for several threads at once.

    Keys are the numbers that /proc shows.
    """

    def __init__(self) -> None:
        self._inodes: dict[int, int] = {}
        """Of their folders in /proc: a number that is given out again has another one."""
        self._seen: dict[int, int] = {}
        """The same when members were last looked for."""
        self._numbers: dict[int, int] = {}
        self._strangers: dict[int, _Stranger] = {}
        self.cost = 0.0
        """Seconds of processor time that other threads took for it."""

    @property
    def is_blind(self) -> bool:
        """Whether there is nothing to find them by."""
        return not self._inodes

    def numbers(self) -> Collection[int]:
        """Return the numbers of all that were there at the last look."""
        return self._inodes.keys()

    def number(self, outer: int) -> int | None:
        """Return the number that a process has for this one, None if none is known."""
        return self._numbers.get(outer)

    def inode(self, outer: int) -> int | None:
        """Return what a process' folder in /proc was known by."""
        return self._inodes.get(outer)

    def sessions(self, trees: Iterable[Tree], *, groups_only: bool = False) -> dict[int, Tree]:
        """Return what is of the groups and sessions of `trees`, in the order of their numbers."""
        self._refresh()
        by_leader = {tree.leader: tree for tree in trees if tree.is_vouched_for()}
        own = os.getpid()
        found = {}
        for outer in sorted(self._numbers):
            number = self._numbers[outer]
            try:
                tree = by_leader.get(os.getpgid(number))
                if tree is None and not groups_only:
                    tree = by_leader.get(os.getsid(number))
            except OSError:
                continue
            if tree is not None and number != own:
                found[outer] = tree
        return found

    def members(self, trees: list[Tree], within: float) -> tuple[dict[int, Tree], list[int], bool]:
        """Return all that belongs to `trees`, what could not be asked, and whether there was time for all."""
        by_mark = {tree.mark: tree for tree in trees}
        found: dict[int, Tree] = {}
        unseen: set[int] = set()
        is_complete = True
        parents: dict[int, int] = {}
        deadline = time.monotonic() + within
        candidates: Iterable[int] | None = None
        for _ in range(_MAX_ROUNDS):
            found.update(self.sessions(trees))
            new = [outer for outer, inode in self._inodes.items() if self._seen.get(outer) != inode]
            self._seen = self._inodes
            # What has an empty environment may be about to get one, and is read every time.
            candidates = self._inodes if candidates is None else new
            strangers = [outer for outer in candidates if outer not in found and outer not in self._strangers]
            remaining = max(0.0, deadline - time.monotonic())
            looked = look("stranger", strangers, lambda outer: _read_stranger(outer, parents), remaining)
            self.cost += looked.cost
            self._strangers.update(looked.found)
            unseen.update(looked.unseen)
            is_complete &= not looked.late
            # What was forked by one that is not there any more is there by now. If there is nobody new, each that
            # could still fork was seen alive.
            if not new:
                break
        for outer, stranger in self._strangers.items():
            parents[outer] = stranger.parent
            for mark in stranger.marks:
                if (tree := by_mark.get(mark)) is not None:
                    found[outer] = tree
        self._strangers = {outer: stranger for outer, stranger in self._strangers.items() if stranger.is_final}
        while more := {
            outer: found[parent] for outer, parent in parents.items() if outer not in found and parent in found
        }:
            found.update(more)
        own = os.getpid()
        return (
            {outer: tree for outer, tree in found.items() if self._numbers.get(outer) not in (None, own)},
            [outer for outer in unseen if outer not in found and outer in self._inodes],
            is_complete,
        )

    def _refresh(self) -> None:
        try:
            with os.scandir("/proc") as entries:
                inodes = {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}
            is_ours = os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115
            namespace = "" if is_ours else os.readlink("/proc/self/ns/pid")  # noqa: PTH115
        except OSError:
            # No /proc, or not of this namespace, or no descriptor left to read it with.
            inodes, is_ours, namespace = {}, True, ""
        kept = {outer for outer, inode in inodes.items() if self._inodes.get(outer) == inode}
        self._inodes = inodes
        self._strangers = {outer: stranger for outer, stranger in self._strangers.items() if outer in kept}
        if is_ours:
            self._numbers = {outer: outer for outer in inodes}
        else:
            # It was mounted for a namespace around ours.
            self._numbers = {outer: number for outer, number in self._numbers.items() if outer in kept}
            new = [outer for outer in inodes if outer not in self._numbers]
            looked = look("number", new, lambda outer: _number_in(namespace, outer))
            self.cost += looked.cost
            self._numbers.update(looked.found)


def _number_in(namespace: str, outer: int) -> int | None:
    # Where there is no such number, another process may have it: siblings of our namespace count from one too.
    if os.readlink(f"/proc/{outer}/ns/pid") != namespace:  # noqa: PTH115
        return None
    return int(status_fields(outer)[b"NSpid"].split()[-1])


def _read_stranger(outer: int, parents: dict[int, int]) -> _Stranger:
    fields = stat_fields(outer)
    parent = parents[outer] = int(fields[1])
    if int(fields[6]) & _KERNEL_THREAD or (fields[0] in b"ZX" and int(fields[17]) <= 1):
        return _Stranger(parent, [], True)
    try:
        environ = contents(outer, "environ")
    except PermissionError:
        return _Stranger(parent, [], True)
    prefix = MARK_VARIABLE.encode() + b"="
    values = [variable.removeprefix(prefix) for variable in environ.split(b"\0") if variable.startswith(prefix)]
    return _Stranger(parent, [mark for value in values for mark in value.split(b":")], bool(environ))
