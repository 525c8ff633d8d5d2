"""A process that owns a repository."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from support import ROOT

_OWNER = """
import sys
from support.farm_rows import added, opened
with opened(sys.argv[1]) as repository:
    for line in sys.stdin:
        try:
            repository.write([added(int(line))])
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        else:
            print("ready", flush=True)
"""


class Owner:
    """Writes a job when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def add(self, number: int) -> str:
        """Have it write the job with that number; return "ready", or what was raised."""
        self.tell(number)
        return self.answer()

    def tell(self, number: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def owner_process(where: str) -> Iterator[Owner]:
    """Start one that has the repository open, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "python")]), "PATH": ""},
    )
    with process:
        try:
            owner = Owner(process)
            assert owner.add(1) == "ready"
            yield owner
        finally:
            process.kill()
