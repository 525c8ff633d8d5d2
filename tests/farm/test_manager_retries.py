"""What is run again of a job that has ended: never before what it depends on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.farms import farm, open_gate, states
from support.jobs import count_lines, job
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


async def test_what_was_mended_by_hand_and_marked_as_done_is_not_rendered_again(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        spec = job("echo 0 >> ran; echo rendered > chunk_0", f"[ -e {tmp_path}/good ]", merge="cp chunk_0 merged")
        status = await manager.wait(await manager.submit(spec))
        folder = Path(status.folder)
        (folder / "chunk_0").write_text("mended by hand\n")
        await manager.mark_done(status.id, [0])
        open_gate(tmp_path, "good")
        await manager.retry(status.id)
        assert (await manager.wait(status.id)).state == "completed"
        assert (folder / "merged").read_text() == "mended by hand\n"
        # Once it was rendered again, its files count again.
        await manager.retry(status.id, [0], done=True)
        await manager.wait(status.id)
        (folder / "chunk_0").write_text("broken\n")
        await manager.retry(status.id, [1], done=True)
        await manager.wait(status.id)
        assert count_lines(folder / "ran") == 3


async def test_what_had_not_begun_is_run_again_and_told_of_the_job_alone(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(job("true", "true", f"[ -e {tmp_path}/good ]", *["true"] * 20))
        assert (await manager.wait(job_id)).state == "failed"
        assert (await states(manager, job_id)).count("cancelled") == 20
        open_gate(tmp_path, "good")
        async with manager.events() as events:
            await manager.pause(await manager.submit(job("true"), not_before=time.time() + 999))
            await manager.retry(job_id)
            told = [await anext(events) for _ in range(4)]
        assert [event.event.chunk_id for event in told if event.job_id == job_id] == [2, None]  # type: ignore[union-attr]
        status = await manager.wait(job_id)
        assert (status.state, status.completed_chunks) == ("completed", 23)
        assert manager._farm.repository.check() == []


@pytest.mark.parametrize("folder", ["/proc/none", "file"])
async def test_a_folder_that_cannot_be_made_is_the_reason_of_the_failure(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    async with farm(tmp_path) as manager:
        status = await manager.wait(await manager.submit(job("true"), folder=tmp_path / folder))
        reason = f"its folder {tmp_path / folder} cannot be made: "
        assert (status.state, (status.error or "").startswith(reason)) == ("failed", True)
