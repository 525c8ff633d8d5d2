"""AWS's Runtime Interface Emulator, which runs our Lambda handler as the managed Python runtime does.

The real programs: `aws-lambda-rie` is AWS's emulator, and `awslambdaric` the client that is in AWS's Python runtime.
One emulator serves one invocation at a time, calls its function `function`, sends no FunctionError and does not stream.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FUNCTION = "function"


@contextmanager
def lambda_emulator(log: Path, **environment: str) -> Iterator[str]:
    """Run an emulator with our handler, and yield its endpoint; `environment` is the function's, with what is set here.

    What both write goes to the file `log`.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    emulator = shutil.which("aws-lambda-rie", path=path)
    if emulator is None:
        pytest.fail("this test needs AWS's Lambda emulator: `make .venv/bin/aws-lambda-rie` installs it")
    endpoint, runtime = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                emulator,
                "--runtime-interface-emulator-address",
                endpoint,
                "--runtime-api-address",
                runtime,
                sys.executable,
                "-m",
                "awslambdaric",
                "tailrace.worker.lambda_handler",
            ],
            env={**os.environ, "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_listening(endpoint, process, log)
        yield f"http://{endpoint}"
    finally:
        # With the function, which it started.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_listening(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return
