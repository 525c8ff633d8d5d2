"""A manager runs jobs and says what became of them."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from support import farms
from support.any_farm import AnyFarm
from support.farms import begun, contradictions, held, open_gate, shown, states, until
from support.jobs import job
from tailrace import Chunk, Farm, JobSpec, LocalWorkerAdapter, SpecError
from tailrace._errors import JobNotFoundError, JobStateError
from tailrace._farm.manager import JobManager
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.settings import JobSettings

pytestmark = pytest.mark.anyio


async def test_a_job_is_run_to_its_end_and_merged(where: str, tmp_path: Path) -> None:
    spec = job("echo a > chunk_0", "echo b > chunk_1; echo loud >&2", merge="cat chunk_0 chunk_1 > all")
    before = time.time()
    async with JobManager(LocalWorkerAdapter(), repository=where, slots=2, log_dir=tmp_path / "logs") as manager:
        job_id = await manager.submit(spec, folder=tmp_path / "shot", owner="anna", tags=["night"], comment="first")
        status = await manager.wait(job_id)
        chunks = await manager.chunks(job_id)
    assert (status.id, status.name, status.state, status.error) == (job_id, "job-1", "completed", None)
    assert (status.total_chunks, status.completed_chunks, status.failed_chunks, status.progress) == (2, 2, 0, 1.0)
    assert (status.owner, status.tags, status.comment) == ("anna", ("night",), "first")
    assert status.started_at is not None and status.finished_at is not None
    assert before <= status.created_at <= status.started_at <= status.finished_at <= time.time()
    assert [(chunk.id, chunk.state, chunk.attempts, chunk.exit_code) for chunk in chunks] == [
        (0, "completed", 1, 0),
        (1, "completed", 1, 0),
    ]
    assert all(chunk.usage is not None and chunk.duration is not None for chunk in chunks)
    assert (tmp_path / "shot" / "all").read_text() == "a\nb\n"


async def test_what_a_job_is_can_be_read_and_is_what_was_submitted(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job("true", "true", merge="true")
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(spec, JobSettings(retries=3))
        status = await manager.get(job_id)
        assert (status.spec, status.settings) == (spec, JobSettings(retries=3))
        await manager.wait(job_id)
        assert (await manager.get(job_id)).spec == spec


async def test_what_a_job_is_can_be_read_inside_the_block_alone(tmp_path: Path) -> None:
    async with farms.farm(tmp_path) as manager:
        ended = await manager.wait(await manager.submit(job("true")))
    with pytest.raises(RuntimeError, match=f"read the spec of job {ended.id} inside its block"):
        _ = ended.spec


async def test_a_job_runs_in_the_folder_of_its_file_or_one_of_its_own(farm: AnyFarm, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "shot.json"
    path.write_text(job("pwd > chunk_0").model_dump_json(by_alias=True))
    async with farm(tmp_path) as manager:
        first = await manager.wait(await manager.submit(JobSpec.load(path)))
        second = await manager.wait(await manager.submit(job("pwd > chunk_0")))
    assert first.folder == str(path.parent)
    assert second.folder == str(tmp_path / "jobs" / second.id)
    assert (Path(second.folder) / "chunk_0").read_text().strip() == second.folder


async def test_a_failed_chunk_is_retried_and_then_fails_the_job(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job("echo x >> tries; exit 3", "true", "true")
    async with farm(tmp_path, slots=1) as manager:
        status = await manager.wait(await manager.submit(spec, JobSettings(retries=1, retry_delay=0)))
        chunks = await manager.chunks(status.id)
    assert (status.state, status.failed_chunks) == ("failed", 1)
    assert status.error is not None and "chunk 0 failed after 2 attempts" in status.error
    assert (chunks[0].state, chunks[0].attempts, chunks[0].exit_code) == ("failed", 2, 3)
    # Nothing of a job that has ended is pending.
    assert {chunk.state for chunk in chunks[1:]} <= {"completed", "cancelled"}
    assert (Path(status.folder) / "tries").read_text() == "x\nx\n"


async def test_what_depends_on_a_failed_chunk_is_skipped(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job("exit 1", "true", "true")
    spec = spec.model_copy(update={"chunks": (*spec.chunks[:2], _after(spec.chunks[2], 0))})
    async with farm(tmp_path) as manager:
        status = await manager.wait(await manager.submit(spec, JobSettings(fail_fast=False)))
        assert (status.state, await states(manager, status.id)) == ("failed", ["failed", "completed", "skipped"])
    assert contradictions(tmp_path) == []


async def test_jobs_are_listed_newest_first_page_by_page(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        ids = [await manager.submit(job("true"), not_before=time.time() + 999, name=f"n{n}") for n in range(5)]
        first = await manager.list(limit=2)
        second = await manager.list(limit=2, before=first[-1].id)
        await manager.cancel(ids[0])
        assert [status.id for status in (*first, *second)] == ids[:0:-1]
        assert [status.id for status in await manager.list(["cancelled"])] == ids[:1]
        assert [status.name for status in await manager.list(["pending"], limit=1)] == ["n4"]


async def test_some_of_the_chunks_are_told_of(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(job(*["true"] * 4, "exit 1"), JobSettings(fail_fast=False))
        await manager.wait(job_id)

        async def ids(**asked: Any) -> list[int]:
            return [chunk.id for chunk in await manager.chunks(job_id, **asked)]

        assert await ids() == [0, 1, 2, 3, 4]
        assert await ids(after=1) == [2, 3, 4]
        assert await ids(after=1, limit=2) == [2, 3]
        assert await ids(after=4) == []
        assert await ids(chunk_ids=[4, 0, 17]) == [0, 4]
        assert await ids(states=["failed"], chunk_ids=[0, 4], after=0, limit=9) == [4]
        assert await ids(chunk_ids=[]) == []


async def test_a_chunk_that_runs_tells_how_far_it_is(farm: AnyFarm, tmp_path: Path) -> None:
    frames = "for n in 0 1 2 3 4; do echo Fra:$n Mem:1M; echo Saved: \\'x$n.png\\'; done; "
    spec = job("blender_like() { :; }; " + frames + held(tmp_path, "go"), "true")
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(spec, JobSettings(progress="blender"))
        await until(lambda: _has_progress(manager, job_id, 0.7))
        status = await manager.get(job_id)
        first, _ = await manager.chunks(job_id)
        assert (status.state, first.state) == ("running", "running")
        assert 0.7 <= status.progress < 1 and 0.4 <= first.progress < 1
        open_gate(tmp_path, "go")
        assert (await manager.wait(job_id)).progress == 1


async def test_an_unknown_job_or_chunk_is_named(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        for call in (manager.get, manager.chunks, manager.pause, manager.cancel, manager.wait, manager.delete):
            with pytest.raises(JobNotFoundError, match="there is no job deadbeef") as raised:
                await call("deadbeef")
            assert raised.value.job_id == "deadbeef"
        with pytest.raises(JobNotFoundError, match="no job gone"):
            await manager.submit(job("true"), after=["gone"])
        job_id = (await manager.wait(await manager.submit(job("true")))).id
        with pytest.raises(JobNotFoundError, match=f"job {job_id}, which is completed, has no chunk 7"):
            await manager.retry(job_id, [7], done=True)
        for unknown in (7, 2**70):
            with pytest.raises(JobNotFoundError, match=f"job {job_id}, which is completed, has no chunk {unknown}"):
                await manager.chunks(job_id, after=unknown)


async def test_a_need_that_can_never_be_met_is_refused_at_once(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job("true")
    spec = spec.model_copy(update={"needs": {"nuke_i": 2.0}})
    async with farm(tmp_path, capacity={"nuke_i": 1}) as manager:
        with pytest.raises(SpecError, match="nuke_i: 2 can never be had"):
            await manager.submit(spec)
        assert await manager.list() == []


async def test_what_the_chunks_of_all_jobs_need_is_counted_together(tmp_path: Path) -> None:
    spec = shown(tmp_path, "a", tail=held(tmp_path, "go")).model_copy(update={"needs": {"nuke_i": 1}})
    async with farms.farm(tmp_path, slots=4, capacity={"nuke_i": 1}) as manager:
        ids = [await manager.submit(spec) for _ in range(3)]
        free = await manager.wait(await manager.submit(job("true")))
        assert free.state == "completed"
        assert begun(tmp_path) == ["a"]
        open_gate(tmp_path, "go")
        assert [(await manager.wait(job_id)).state for job_id in ids] == ["completed"] * 3


async def test_two_jobs_that_would_write_the_same_files_are_kept_apart(farm: AnyFarm, tmp_path: Path) -> None:
    spec = shown(tmp_path, "a", tail=held(tmp_path, "go"))
    async with farm(tmp_path) as manager:
        first = await manager.submit(spec, folder=tmp_path / "shot")
        refusal = rf"job {first} is \w+ and writes chunk_0 in \S+ too: submit this one to come after it"
        with pytest.raises(JobStateError, match=refusal):
            await manager.submit(spec, folder=tmp_path / "shot")
        second = await manager.submit(spec, folder=tmp_path / "shot", after=[first])
        third = await manager.submit(spec, folder=tmp_path / "shot", after=[second])
        open_gate(tmp_path, "go")
        assert [(await manager.wait(job_id)).state for job_id in (first, second, third)] == ["completed"] * 3
        # It has ended.
        await manager.submit(spec, folder=tmp_path / "shot")


async def test_a_manager_is_used_inside_its_block(tmp_path: Path) -> None:
    manager = farms.farm(tmp_path)
    with pytest.raises(RuntimeError, match="async with JobManager"):
        await manager.list()
    async with manager:
        await manager.list()
    with pytest.raises(RuntimeError, match="async with JobManager"):
        await manager.list()


async def test_a_manager_that_is_open_is_not_opened_again_and_none_the_worse(tmp_path: Path) -> None:
    manager = farms.farm(tmp_path)
    async with manager:
        with pytest.raises(RuntimeError, match="is open already"):
            async with manager:
                pass
        assert (await manager.wait(await manager.submit(job("true")))).state == "completed"
    async with manager:
        assert len(await manager.list()) == 1


async def test_what_leaves_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with farms.farm(tmp_path) as manager:
            await manager.submit(job("sleep 60"))
            raise LookupError("mine")
    # Some of them are over before it is open.
    for seconds in (0.01, 0.03, 0.05, 0.07, 0.3):
        with anyio.move_on_after(seconds) as scope:
            async with farms.farm(tmp_path):
                await anyio.sleep(60)
        assert scope.cancelled_caught
        # However it was left, nothing runs that the next one would have to wait for.
        repository = open_repository(tmp_path / "farm.db")
        assert repository.open(this_process()).previous is None, seconds
        repository.close()


async def test_a_repository_in_memory_will_do(tmp_path: Path) -> None:
    repository = SqlRepository.in_memory()
    async with JobManager(repository=repository, slots=1, log_dir=tmp_path) as manager:
        assert (await manager.wait(await manager.submit(job("true"), folder=tmp_path))).state == "completed"


async def test_a_command_is_run_when_a_job_has_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tells = "sh -c 'echo $TAILRACE_JOB_STATE $TAILRACE_JOB_NAME \"$TAILRACE_JOB_ERROR\" >> ../../told; exit 4'"
    async with farms.farm(tmp_path) as manager:
        with caplog.at_level(logging.WARNING, "tailrace"):
            done = await manager.submit(job("true"), JobSettings(on_end=tells), name="good")
            await manager.wait(done)
            failed = await manager.wait(await manager.submit(job("exit 1"), JobSettings(on_end=tells), name="bad"))
            await until(lambda: len(caplog.records) == 2)
    assert sorted((tmp_path / "told").read_text().splitlines()) == ["completed good ", f"failed bad {failed.error}"]
    assert f"the command for the end of job {done} failed" in caplog.text


async def _has_progress(manager: Farm, job_id: str, progress: float) -> bool:
    return (await manager.get(job_id)).progress >= progress


def _after(chunk: Chunk, other: int) -> Chunk:
    return chunk.model_copy(update={"depends_on": (other,)})
