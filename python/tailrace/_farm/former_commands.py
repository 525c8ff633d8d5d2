"""Commands of a manager that has died: nothing is started before they are known to be gone."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import socket
import time
from pathlib import Path

from .._local.process_files import contents, look
from .repository.owner import this_process
from .repository.rows import Owner

VARIABLE = "TAILRACE_FARM"
"""In the environment of all commands of a manager: says which one."""

_log = logging.getLogger("tailrace")
_PATIENCE = 10.0
"""How long the watchdog, which has been killing them, has for it before it is done here, in seconds."""
_LONGEST = 60.0
_PAUSE = 0.05


def mark_of(owner: Owner) -> str:
    """Return what is in the variable for commands of that process."""
    return hashlib.sha256("/".join(map(str, owner)).encode()).hexdigest()[:16]


def await_end_of(former: Owner) -> None:
    """Return when no command of a manager that did not close its repository is running on this machine.

    Blocks. Those that nobody ends are killed; what cannot be, or cannot be seen, is told in the log.
    """
    if former == this_process():
        # What it ran it has ended.
        return
    if former.host != socket.gethostname():
        _log.warning(
            "process %s on %s, which had this farm before, did not close it: what it may still run there cannot be seen"
            " from here, and would write its files beside what is started now; if it is not known to be gone, end it",
            former.pid,
            former.host,
        )
        return
    began = time.monotonic()
    while (left := _marked(mark_of(former))) and (waited := time.monotonic() - began) < _LONGEST:
        if waited > _PATIENCE:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)
    if left:
        _log.error("processes %s, left by the manager before, cannot be ended", ", ".join(map(str, left)))


def _marked(mark: str) -> list[int]:
    wanted = f"{VARIABLE}={mark}".encode()
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = look("environment", numbers, lambda number: _has(number, wanted) or None)
    return sorted(found.found)


def _has(number: int, wanted: bytes) -> bool:
    try:
        return wanted in contents(number, "environ").split(b"\0")
    except OSError:
        return False
