"""`tailrace serve` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

SERVE = (sys.executable, "-m", "tailrace", "serve")


class Serving:
    """A server that runs, and what it has told."""

    def __init__(self, process: subprocess.Popen[str], address: str, environment: Mapping[str, str]) -> None:
        self.process = process
        self.url, _, self.token = address.partition("/#")
        self.port = int(self.url.rpartition(":")[2])
        self.environment = {**environment, "TAILRACE_SERVER": self.url}
        """For commands that are to find it."""

    def end(self) -> str:
        """Have it end, and return what it told since it began."""
        self.process.terminate()
        assert self.process.stderr is not None
        told = self.process.stderr.read()
        assert self.process.wait() == 0, told
        return told


@contextmanager
def serve_command(
    folder: Path, *options: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Serving]:
    """Run a farm with its repository in the folder, and end it."""
    variables = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), **environment}
    variables.pop("TAILRACE_SERVER_TOKEN", None)
    command = [*SERVE, "--port", "0", "--db", str(folder / "farm.db"), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables, cwd=folder) as process:
        assert process.stderr is not None
        try:
            told = process.stderr.readline()
            assert told.startswith("tailrace: the farm listens on http"), told + process.stderr.read()
            yield Serving(process, told.split()[-1], variables)
        finally:
            process.kill()
