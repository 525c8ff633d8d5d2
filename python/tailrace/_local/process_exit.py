"""How a process that has ended did so, and what it had used, where there is no native core."""

from __future__ import annotations

import os
import resource
import sys
from typing import NamedTuple

from .._command.result import ResourceUsage
from . import tree_ending
from .process_tree import Tree

_UNIT = 1 if sys.platform == "darwin" else 1024
"""What the kernel counts peak memory in, in bytes (getrusage(2))."""


class ProcessExit(NamedTuple):
    """What waiting for the leader of a tree told."""

    exit_code: int | None
    usage: ResourceUsage | None
    is_lost: bool
    """Whether it cannot be killed, or is about to die: it is collected when it has."""


def collect(tree: Tree, *, host_peak: int, was_ended: bool) -> ProcessExit:
    """Collect the leader of the tree; nobody knows its exit code if somebody else has done so.

    `host_peak` is how much memory, in bytes, this process had at the start, whose copy it was at first; `was_ended`
    says whether all of the tree was ended.
    """
    try:
        pid, status, usage = os.wait4(tree.leader, os.WNOHANG)
    except ChildProcessError:
        return ProcessExit(None, None, is_lost=False)
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
    return ProcessExit(os.waitstatus_to_exitcode(status), ResourceUsage(*cpu, peak, tree.usage.memory), is_lost=False)


def own_peak() -> int:
    """Return the most memory that this process had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
