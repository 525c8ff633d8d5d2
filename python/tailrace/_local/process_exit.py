"""How a process that has ended did so, and what it had used, where there is no native core."""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import NamedTuple

from .._command.memory_report import MemoryReport
from .._command.result import ResourceUsage
from . import tree_ending, usage_sampler
from .process_tree import Tree

_UNIT = 1 if sys.platform == "darwin" else 1024
"""What the kernel counts peak memory in, in bytes (getrusage(2))."""

_CHILD_KILLED = 128 + signal.SIGKILL
"""What a shell exits with when what it ran was killed."""


class ProcessExit(NamedTuple):
    """What waiting for the leader of a tree told."""

    code: int | None
    usage: ResourceUsage | None
    memory: MemoryReport | None = None
    """Where it was killed for want of memory, not by us."""
    is_lost: bool = False
    """Whether it cannot be killed, or is about to die: it is collected when it has."""


def collect(tree: Tree, *, host_peak: int, was_ended: bool) -> ProcessExit:
    """Collect the leader of the tree; nobody knows its exit code if somebody else has done so.

    `host_peak` is how much memory, in bytes, this process had at the start, whose copy it was at first; `was_ended`
    says whether all of the tree was ended.
    """
    try:
        pid, status, usage = os.wait4(tree.leader, os.WNOHANG)
    except ChildProcessError:
        return ProcessExit(None, None)
    if pid == 0:
        tree_ending.collect_later(tree)
        known = None
        if tree.usage.peak is not None:
            known = ResourceUsage(*tree.usage.cpu, tree.usage.peak, tree.usage.memory)
        return ProcessExit(None, known, is_lost=True)
    # The kernel's figure includes the memory of this process.
    peak = usage.ru_maxrss * _UNIT if usage.ru_maxrss * _UNIT > host_peak else None
    cpu = (usage.ru_utime, usage.ru_stime)
    if was_ended:
        cpu = max(cpu, tree.usage.cpu, key=sum)
        peak = max(peak or 0, tree.usage.peak or 0) or None
    elif peak is None:
        peak = tree.usage.peak
    code = os.waitstatus_to_exitcode(status)
    memory = None
    if code in (-signal.SIGKILL, _CHILD_KILLED) and not was_ended:
        memory = usage_sampler.memory_report(tree, certain=code == _CHILD_KILLED)
    return ProcessExit(code, ResourceUsage(*cpu, peak, tree.usage.memory), memory)


def own_peak() -> int:
    """Return the most memory that this process had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
