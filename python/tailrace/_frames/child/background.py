"""Has this process take only what the processors and disks have left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import time
from pathlib import Path

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
_WHO_PROCESS = 1
_CLASS_IDLE = 3 << 13
_LEAST_NICE = 19
_FIRST_TO_GO = "1000"
_TRIES = 5


def be_idle() -> None:
    """Do it as far as the system lets: a look at a frame must not slow down the render of the next one."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.nice(_LEAST_NICE)
    _lower_autogroup(_LEAST_NICE)
    # Where the memory is full, the kernel ends it before the render.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    # Where nothing was set before, the kernel goes by the scheduler's class; something may have been.
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE)


def be_nice(levels: int) -> None:
    """Be so many levels less important than who started this process; at 10, get a tenth of what a render gets."""
    level = os.nice(levels)
    if level > 0:
        _lower_autogroup(level)


def _lower_autogroup(level: int) -> None:
    # Where the kernel makes a group of each session, all groups are equal, whatever is in them.
    for _ in range(_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(level))
        except BlockingIOError:
            # It allows one change in a tenth of a second, on the whole machine.
            time.sleep(0.1)
        except OSError:
            return
        else:
            return
