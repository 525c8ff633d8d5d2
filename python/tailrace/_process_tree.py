"""Ending everything that a command has started: the pure-Python counterpart of the core's terminator."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MARK_VARIABLE = "TAILRACE_COMMAND"
"""Holds the marks of the commands a process descends from, separated by colons."""

_PROC = Path("/proc")
_PAUSE = 0.02
_MAX_ROUNDS = 100
"""How often to look whether processes were missed. More than that would be somebody who never stops forking."""
_PATIENCE = 10.0
"""How long killed processes may take to disappear, in seconds. Longer means they hang in the kernel."""


def end_tree(leader: int, mark: str, grace: float) -> None:
    """Terminate the command `leader` and all its descendants, and kill after `grace` seconds what is left.

    Blocks until nothing is left. The leader itself may be a zombie: whoever started it has yet to collect it.
    """
    _end(lambda: _descendants(leader, mark), grace)


def end_group(group: int, grace: float) -> None:
    """Do the same with the processes of one group, whose leader has been collected."""
    _end(lambda: _members(group), grace)


def _end(find: Callable[[], list[int]], grace: float) -> None:
    kill_at = time.monotonic() + grace
    terminated: set[int] = set()
    while (now := time.monotonic()) < kill_at + _PATIENCE:
        alive = find()
        if not alive:
            return
        for pid in alive:
            if now >= kill_at:
                _signal(pid, signal.SIGKILL)
                if pid < 0:
                    # There is no telling who of a group is left, and a zombie there always is.
                    return
            elif pid not in terminated:
                terminated.add(pid)
                _signal(pid, signal.SIGTERM)
                # A stopped process gets its signal only once it is continued.
                _signal(pid, signal.SIGCONT)
        time.sleep(_PAUSE)


class _Process(NamedTuple):
    pid: int
    parent: int
    group: int
    session: int
    marks: list[bytes]


def _descendants(leader: int, mark: str) -> list[int]:
    """Return the living ones, parents before their children.

    A shell that sees its child die before its own signal has come would exit with a status that tells of the child.
    """
    if not _PROC.joinpath("self/stat").exists():
        return _group_alone(leader)
    processes = _processes()
    found = {
        process.pid
        for process in processes
        if leader in (process.pid, process.group, process.session) or mark.encode() in process.marks
    }
    found_before = -1
    while len(found) != found_before:
        found_before = len(found)
        found |= {process.pid for process in processes if process.parent in found}
    # The leader is older than all others, whatever number it got; among them the numbers mostly grow.
    return sorted(found - {os.getpid()}, key=lambda pid: (pid != leader, pid))


def _members(group: int) -> list[int]:
    if not _PROC.joinpath("self/stat").exists():
        return _group_alone(group)
    # A process with the group's number is a stranger that got it when the group had become empty.
    members = sorted(process.pid for process in _processes() if process.group == group)
    return [] if group in members else members


def _processes() -> list[_Process]:
    seen: set[int] = set()
    processes = []
    for _ in range(_MAX_ROUNDS):
        new = {int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()} - seen
        # What was forked by one that is not there any more is there by now. If there is nobody new, each that could
        # still fork was seen alive.
        if not new:
            break
        seen |= new
        processes += [process for pid in sorted(new) if (process := _read(pid)) is not None]
    return processes


def _group_alone(leader: int) -> list[int]:
    # Without /proc there is no telling more.
    try:
        os.killpg(leader, 0)
    except OSError:
        return []
    return [-leader]


def _read(pid: int) -> _Process | None:
    """Return None for what is gone, or a zombie: signals still reach those, and nothing happens."""
    try:
        fields = _PROC.joinpath(str(pid), "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    threads = int(fields[17])
    if fields[0] == b"X" or (fields[0] == b"Z" and threads <= 1):
        return None
    return _Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), _marks(pid))


def _marks(pid: int) -> list[bytes]:
    try:
        environ = _PROC.joinpath(str(pid), "environ").read_bytes()
    except OSError:
        return []
    prefix = MARK_VARIABLE.encode() + b"="
    values = [variable.removeprefix(prefix) for variable in environ.split(b"\0") if variable.startswith(prefix)]
    return [mark for value in values for mark in value.split(b":")]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)
