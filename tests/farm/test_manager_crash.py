"""What a manager has returned outlives it, and what it had begun is begun anew."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from support.farm_process import manager_process, printed_ids
from support.farms import begun, farm, held, open_gate, shown, states, until
from support.jobs import count_lines, job
from support.loops import on_one_loop
from support.processes import descendants_marked
from tailrace import JobSpec
from tailrace._errors import RepositoryLockedError
from tailrace._farm.manager import JobManager
from tailrace._farm.settings import JobSettings
from tailrace._farm.status import StateChange

pytestmark = pytest.mark.anyio


def written(spec: JobSpec, folder: Path) -> Path:
    """Write the job's file into a folder of its own and return its path."""
    folder.mkdir()
    path = folder / "job.json"
    path.write_text(spec.model_dump_json(by_alias=True))
    return path


async def test_after_a_kill_what_was_finished_is_finished_and_the_rest_is_run(
    where: str, tmp_path: Path, mark: str
) -> None:
    waits = f"{held(tmp_path, 'go')}; : {mark}"
    spec = job("echo 0 >> ran", "echo 1 >> ran", f"echo 2 >> ran; {waits}", f"echo 3 >> ran; {waits}")
    folder = tmp_path / "shot"
    path = written(spec, folder)
    with manager_process(where, tmp_path, path) as process:
        (job_id,) = await anyio.to_thread.run_sync(printed_ids, process)
        await until(lambda: count_lines(folder / "ran") == 4)
        # That they are finished may not be written down yet.
        await anyio.sleep(0.3)
        before = set(descendants_marked(mark))
        assert before
        process.kill()
        process.wait()
        async with JobManager(repository=where, slots=2, log_dir=tmp_path / "logs") as manager:
            # Nothing of the one before runs beside what is started now.
            assert not before.intersection(descendants_marked(mark))
            await until(lambda: count_lines(folder / "ran") == 6)
            open_gate(tmp_path, "go")
            status = await manager.wait(job_id)
            chunks = await manager.chunks(job_id)
            assert manager._farm.repository.check() == []
    assert (status.state, status.completed_chunks, status.progress) == ("completed", 4, 1.0)
    # Those that had to be run again had no retry for it.
    assert [(chunk.state, chunk.attempts) for chunk in chunks] == [("completed", n) for n in (1, 1, 2, 2)]
    assert sorted((folder / "ran").read_text().split()) == ["0", "1", "2", "2", "3", "3"]


async def test_killed_at_random_moments_it_loses_nothing_and_finishes_all(tmp_path: Path) -> None:
    await kill_often(str(tmp_path / "farm.db"), tmp_path, times=6, jobs=5, chunks=8)


@pytest.mark.stress
@pytest.mark.timeout(7200)
@on_one_loop
async def test_killed_two_hundred_times_it_loses_nothing(where: str, tmp_path: Path) -> None:
    for round_ in range(20):
        folder = tmp_path / f"round-{round_}"
        folder.mkdir()
        await kill_often(where, folder, times=10, jobs=20, chunks=50)


async def kill_often(where: str, folder: Path, *, times: int, jobs: int, chunks: int) -> None:
    """Kill a manager of some jobs at random moments, and see what the next one makes of them."""
    scripts = [f"echo {n} >> ended; echo {n} > chunk_{n}" for n in range(chunks)]
    paths = [written(job(*scripts, job_id=f"j{place}"), folder / f"j{place}") for place in range(jobs)]
    ids: list[str] = []
    finished: dict[tuple[str, int], int] = {}
    for _ in range(times):
        with manager_process(where, folder, *(() if ids else paths), slots=4) as process:
            ids = await anyio.to_thread.run_sync(printed_ids, process) or ids
            await anyio.sleep(random.uniform(0, 0.25))
            process.kill()
            process.wait()
        folders = {job_id: path.parent for job_id, path in zip(ids, paths, strict=True)}
        for job_id, chunk_id in completed_in(where):
            # What is known to be finished is never run again.
            if job_id in folders:
                finished.setdefault((job_id, chunk_id), times_run(folders[job_id], chunk_id))
    async with JobManager(repository=where, slots=4, log_dir=folder / "logs") as manager:
        with anyio.fail_after(120):
            assert [(await manager.wait(job_id)).state for job_id in ids] == ["completed"] * jobs
        assert [one.id for one in await manager.list(limit=jobs)] == ids[::-1]
        assert manager._farm.repository.check() == []
    assert finished
    assert {key: times_run(folders[key[0]], key[1]) for key in finished} == finished
    assert all(times_run(place, chunk_id) >= 1 for place in folders.values() for chunk_id in range(chunks))


def completed_in(where: str) -> list[tuple[str, int]]:
    query = "SELECT job_id, chunk_id FROM chunks WHERE state = 'completed'"
    if "://" in where:
        from support.postgres import run_sql

        return [(str(job_id), int(str(chunk_id))) for job_id, chunk_id in run_sql(where, query)]
    with contextlib.closing(sqlite3.connect(where)) as connection:
        return list(connection.execute(query))


def times_run(folder: Path, chunk_id: int) -> int:
    path = folder / "ended"
    return path.read_text().split().count(str(chunk_id)) if path.exists() else 0


async def test_jobs_keep_their_states_and_places(tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        runs = await manager.submit(shown(tmp_path, "r1", "r2", tail=held(tmp_path, "go")), priority=9)
        await until(lambda: begun(tmp_path) == ["r1"])
        paused = await manager.submit(shown(tmp_path, "p"))
        await manager.pause(paused)
        later = await manager.submit(shown(tmp_path, "l"), not_before=time.time() + 999)
        second = await manager.submit(shown(tmp_path, "b"), JobSettings(retries=4), tags=["t"])
        first = await manager.submit(shown(tmp_path, "a"), priority=1)
        follows = await manager.submit(shown(tmp_path, "f"), after=[second])
    open_gate(tmp_path, "go")
    async with farm(tmp_path, slots=1) as manager:
        assert (await manager.get(paused)).state == "paused"
        for job_id in (runs, first, second, follows):
            assert (await manager.wait(job_id)).state == "completed"
        assert begun(tmp_path) == ["r1", "r1", "r2", "a", "b", "f"]
        assert [chunk.attempts for chunk in await manager.chunks(runs)] == [2, 1]
        status = await manager.get(second)
        assert (status.settings.retries, status.tags) == (4, ("t",))
        await manager.resume(paused)
        await manager.resume(later)
        assert [(await manager.wait(job_id)).state for job_id in (paused, later)] == ["completed"] * 2


async def test_a_finished_chunk_whose_file_is_gone_or_changed_is_run_again_and_told(tmp_path: Path) -> None:
    spec = job("echo 0 >> ran; echo a > chunk_0", "echo 1 >> ran; echo b > chunk_1", "echo 2 >> ran", "exit 1")
    async with farm(tmp_path, slots=1) as manager:
        status = await manager.wait(await manager.submit(spec, JobSettings(fail_fast=False)))
        folder = Path(status.folder)
        (folder / "chunk_1").write_text("something else\n")
        last = manager._farm.ledger.last_durable
        await manager.retry(status.id)
        await manager.wait(status.id)
        # What writes no file stays finished.
        assert (folder / "ran").read_text().split() == ["0", "1", "2", "1"]
        async with manager.events(after=last) as events:
            async for event in events:
                change = event.event
                if isinstance(change, StateChange) and change.chunk_id == 1:
                    assert "chunk_1 has 15 bytes, and had 2 when it was done" in change.details["error"]
                    break
        (folder / "chunk_0").unlink()
        await manager.retry(status.id)
        assert (await manager.wait(status.id)).completed_chunks == 3
        assert (folder / "ran").read_text().split() == ["0", "1", "2", "1", "0"]
        assert manager._farm.repository.check() == []


async def test_a_second_manager_is_told_who_has_the_repository(where: str, tmp_path: Path) -> None:
    with manager_process(where, tmp_path) as process:
        await anyio.to_thread.run_sync(printed_ids, process)
        with pytest.raises(RepositoryLockedError) as raised:
            async with JobManager(repository=where):
                pass
        assert raised.value.pid == process.pid


async def test_leaving_the_block_ends_what_runs_and_that_is_no_attempt(tmp_path: Path, mark: str) -> None:
    spec = shown(tmp_path, "a", tail=f"[ -e {tmp_path}/good ] || {{ sleep 60; : {mark}; }}")
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(spec)
        await until(lambda: begun(tmp_path) == ["a"])
    assert descendants_marked(mark) == []
    open_gate(tmp_path, "good")
    async with farm(tmp_path) as manager:
        status = await manager.wait(job_id)
        assert (status.state, await states(manager, job_id)) == ("completed", ["completed"])
