"""What is run again of a job that has ended: never before what it depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.farms import farm, open_gate, states
from support.jobs import job
from tailrace import JobSpec
from tailrace._errors import JobStateError

pytestmark = pytest.mark.anyio


def depending(spec: JobSpec, on: dict[int, int]) -> JobSpec:
    """Return the job with some of its chunks depending on others."""
    chunks = [
        chunk.model_copy(update={"depends_on": (on[chunk.id],)}) if chunk.id in on else chunk for chunk in spec.chunks
    ]
    return spec.model_copy(update={"chunks": tuple(chunks)})


async def test_a_chunk_is_not_retried_without_one_that_was_cancelled(tmp_path: Path) -> None:
    spec = depending(job("exit 1", "echo 1 >> ran", "echo 2 >> ran"), {1: 2})
    async with farm(tmp_path, slots=1) as manager:
        status = await manager.wait(await manager.submit(spec))
        assert await states(manager, status.id) == ["failed", "cancelled", "cancelled"]
        with pytest.raises(JobStateError, match="its chunk 1 depends on chunk 2, which is cancelled: retry that too"):
            await manager.retry(status.id, [1])
        await manager.retry(status.id, [1, 2])
        await manager.wait(status.id)
        assert (Path(status.folder) / "ran").read_text().split() == ["2", "1"]


async def test_no_chunk_between_two_others_is_left_out(tmp_path: Path) -> None:
    spec = depending(job(f"[ -e {tmp_path}/good ]", "echo 1 >> ran", "echo 2 >> ran"), {1: 0, 2: 1})
    async with farm(tmp_path, slots=1) as manager:
        status = await manager.wait(await manager.submit(spec))
        assert await states(manager, status.id) == ["failed", "skipped", "skipped"]
        open_gate(tmp_path, "good")
        with pytest.raises(JobStateError, match="its chunk 2 depends on chunk 1, which is skipped: retry that too"):
            await manager.retry(status.id, [0, 2])
        await manager.mark_done(status.id, [1])
        await manager.retry(status.id, [0, 2])
        assert (await manager.wait(status.id)).state == "completed"
        assert (Path(status.folder) / "ran").read_text().split() == ["2"]
