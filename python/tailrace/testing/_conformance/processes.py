"""What runs on this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_PROC = Path("/proc")


def is_running_here(mark: str) -> bool:
    """Whether a process of this machine, other than this one, has `mark` in its command line. Zombies do not count."""
    if not (_PROC / "self" / "cmdline").exists():
        listed = subprocess.run(["ps", "-axww", "-o", "stat=,command="], capture_output=True, text=True, check=True)  # noqa: S607
        return any(mark in line and not line.startswith("Z") for line in listed.stdout.splitlines())
    return any(_holds(folder, mark.encode()) for folder in _PROC.iterdir() if folder.name.isdigit())


def _holds(process: Path, mark: bytes) -> bool:
    if int(process.name) == os.getpid():
        return False
    try:
        # A zombie's is empty.
        return mark in (process / "cmdline").read_bytes()
    except OSError:
        return False
