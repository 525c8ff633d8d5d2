"""Which completed chunks have lost what they wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.jobs import job
from tailrace import JobExecutionOptions, JobExecutor, LocalWorkerAdapter
from tailrace._state.artifacts import changed_outputs

pytestmark = pytest.mark.anyio


async def test_only_files_that_were_there_and_are_gone_or_others_count(tmp_path: Path) -> None:
    spec = job("echo a > chunk_0", "true", "echo c > chunk_2", "echo d > chunk_3")
    await JobExecutor(LocalWorkerAdapter()).execute(spec, JobExecutionOptions(job_dir=tmp_path))
    assert changed_outputs(spec, {0, 1, 2, 3}, tmp_path) == {}
    (tmp_path / "chunk_0").unlink()
    (tmp_path / "chunk_2").write_text("another\n")
    (tmp_path / "chunk_3").unlink()
    # What is not asked about is not looked at, and what wrote no file has lost none.
    assert changed_outputs(spec, {0, 1, 2}, tmp_path) == {
        0: "its output chunk_0 is missing",
        2: "its output chunk_2 has 8 bytes, and had 2 when it was done",
    }
    assert changed_outputs(spec, {0}, tmp_path / "elsewhere") == {}
