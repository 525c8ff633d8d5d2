"""Which backend runs commands, and what is there without the native core."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import anyio
import pytest

from loops import ASYNCIO, TRIO, UVLOOP
from processes import open_descriptors
from tailrace import LocalWorkerAdapter, WorkerJob

WITHOUT_CORE = """
import sys
sys.modules["tailrace._native"] = None
import anyio, tailrace
job = tailrace.WorkerJob("sh", ["-c", "echo one; echo two"], stream="lines", on_stdout=print)
print(tailrace.run(job).exit_code)
print(anyio.run(tailrace.LocalWorkerAdapter().execute, job).stdout_bytes)
try:
    tailrace.LocalWorkerAdapter(backend="native")
except ImportError as error:
    print(error)
"""


def test_everything_works_where_the_core_is_missing() -> None:
    result = subprocess.run([sys.executable, "-c", WITHOUT_CORE], capture_output=True, text=True, timeout=200)
    assert result.stdout.splitlines() == [
        "one",
        "two",
        "0",
        "one",
        "two",
        "b'one\\ntwo\\n'",
        "tailrace was installed without its native core: use backend='python'",
    ]
    assert result.stderr == ""


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend must be 'auto', 'native' or 'python', not 'rust'"):
        LocalWorkerAdapter(backend="rust")  # type: ignore[arg-type]


@pytest.mark.parametrize(("loop", "options"), [ASYNCIO, UVLOOP, TRIO])
def test_an_event_loop_that_is_gone_leaves_no_descriptor(loop: str, options: dict[str, Any]) -> None:
    def run_once() -> None:
        anyio.run(LocalWorkerAdapter().execute, WorkerJob("true"), backend=loop, backend_options=options)

    run_once()
    gc.collect()
    before = open_descriptors()
    for _ in range(20):
        run_once()
    gc.collect()
    assert open_descriptors() <= before
