"""Jobs are paused, ended, run again and changed, and never lose what is finished."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest

from support import farms
from support.any_farm import AnyFarm
from support.farms import begun, contradictions, held, open_gate, shown, states, until, until_state, until_states
from support.jobs import count_lines, job
from tailrace import WorkerLostError
from tailrace._errors import JobNotFoundError, JobStateError
from tailrace._farm.settings import JobSettings
from tailrace._state.journal import CompletionRecord
from tailrace.testing import FakeAdapter, FakeExecution

pytestmark = pytest.mark.anyio


async def test_a_paused_job_lets_its_chunks_finish_and_starts_no_more(farm: AnyFarm, tmp_path: Path) -> None:
    spec = shown(tmp_path, "a", "b", "c", tail=held(tmp_path, "go"))
    async with farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(spec)
        await until(lambda: begun(tmp_path) == ["a"])
        await manager.pause(job_id)
        assert (await manager.get(job_id)).state == "paused"
        assert await states(manager, job_id) == ["running", "pending", "pending"]
        open_gate(tmp_path, "go")
        await until_states(manager, job_id, ["completed", "pending", "pending"])
        # Its slot is another's now.
        assert (await manager.wait(await manager.submit(job("true")))).state == "completed"
        assert begun(tmp_path) == ["a"]
        await manager.resume(job_id)
        assert (await manager.wait(job_id)).state == "completed"
        assert begun(tmp_path) == ["a", "b", "c"]
        assert [chunk.attempts for chunk in await manager.chunks(job_id)] == [1, 1, 1]


async def test_a_job_that_is_resumed_before_its_chunks_have_ended_goes_on(farm: AnyFarm, tmp_path: Path) -> None:
    spec = shown(tmp_path, "a", "b", tail=held(tmp_path, "go"))
    async with farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(spec)
        await until(lambda: begun(tmp_path) == ["a"])
        await manager.pause(job_id)
        await manager.resume(job_id)
        assert (await manager.get(job_id)).state == "running"
        open_gate(tmp_path, "go")
        assert (await manager.wait(job_id)).state == "completed"
        assert begun(tmp_path) == ["a", "b"]


async def test_chunks_that_are_ended_by_a_pause_are_pending_and_lose_no_attempt(
    farm: AnyFarm, tmp_path: Path, mark: str
) -> None:
    # With no retries, one attempt that counted would fail it.
    spec = shown(tmp_path, "a", "b", tail=f"{held(tmp_path, 'go')}; : {mark}")
    async with farms.farm(tmp_path, slots=2) as manager:
        job_id = await manager.submit(spec)
        await until(lambda: sorted(begun(tmp_path)) == ["a", "b"])
        await manager.pause(job_id, now=True)
        assert (await manager.get(job_id)).state == "paused"
        assert await states(manager, job_id) == ["pending", "pending"]
        open_gate(tmp_path, "go")
        await manager.resume(job_id)
        assert (await manager.wait(job_id)).state == "completed"
        assert [chunk.attempts for chunk in await manager.chunks(job_id)] == [2, 2]


async def test_nobody_guesses_when_a_paused_job_ends(
    farm: AnyFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace._events.pace.LEAST_TIME", 0.0)
    async with farm(tmp_path, slots=1) as manager:
        # So it may take as long again for each of the others.
        job_id = await manager.submit(job("sleep 1", held(tmp_path, "go"), *["true"] * 8))
        await until_states(manager, job_id, ["completed", "running", *["pending"] * 8])
        assert (await manager.get(job_id)).eta is not None
        await manager.pause(job_id)
        assert (await manager.get(job_id)).eta is None
        open_gate(tmp_path, "go")


async def test_a_failure_counts_after_a_pause_as_before(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job(f"echo x >> tries; {held(tmp_path, 'go')}; exit 1")
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(spec, JobSettings(retries=1, retry_delay=0))
        folder = Path((await manager.get(job_id)).folder)
        await until(lambda: count_lines(folder / "tries") == 1)
        await manager.pause(job_id, now=True)
        open_gate(tmp_path, "go")
        await manager.resume(job_id)
        assert (await manager.wait(job_id)).state == "failed"
        # One was ended, one is the first that counts, one is the retry.
        assert count_lines(folder / "tries") == 3


async def test_a_paused_job_that_has_not_begun_does_not_begin(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(shown(tmp_path, "a"), not_before=time.time() + 0.2)
        await manager.pause(job_id)
        await manager.pause(job_id)
        await anyio.sleep(0.4)
        assert (begun(tmp_path), (await manager.get(job_id)).state) == ([], "paused")
        await manager.resume(job_id)
        assert (await manager.wait(job_id)).state == "completed"


async def test_cancelling_ends_what_runs_and_keeps_what_is_finished(farm: AnyFarm, tmp_path: Path, mark: str) -> None:
    spec = job("echo a > chunk_0", f"sleep 60; : {mark}", "true")
    async with farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(spec)
        await until_states(manager, job_id, ["completed", "running", "pending"])
        await manager.cancel(job_id)
        status = await manager.get(job_id)
        assert (status.state, status.completed_chunks) == ("cancelled", 1)
        assert await states(manager, job_id) == ["completed", "cancelled", "cancelled"]
        assert (Path(status.folder) / "chunk_0").read_text() == "a\n"
        assert await manager.wait(job_id) == status


async def test_a_job_that_waits_or_is_paused_can_be_cancelled(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        waits = await manager.submit(shown(tmp_path, "a"), not_before=time.time() + 999)
        await manager.cancel(waits)
        paused = await manager.submit(shown(tmp_path, "b", tail=held(tmp_path, "go")))
        await until(lambda: begun(tmp_path) == ["b"])
        await manager.pause(paused)
        await manager.cancel(paused)
        for job_id in (waits, paused):
            assert ((await manager.get(job_id)).state, await states(manager, job_id)) == ("cancelled", ["cancelled"])


async def test_what_failed_is_retried_and_nothing_else(farm: AnyFarm, tmp_path: Path) -> None:
    fails = f"echo 1 >> ran; [ -e {tmp_path}/good ]"
    spec = job("echo 0 >> ran", fails, "echo 2 >> ran", merge="cp ran merged")
    async with farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(spec, JobSettings(fail_fast=False))
        folder = Path((await manager.wait(job_id)).folder)
        assert await states(manager, job_id) == ["completed", "failed", "completed"]
        open_gate(tmp_path, "good")
        await manager.retry(job_id)
        status = await manager.wait(job_id)
        assert (status.state, status.error, status.completed_chunks, status.failed_chunks) == ("completed", None, 3, 0)
    assert (folder / "merged").read_text().split() == ["0", "1", "2", "1"]


async def test_what_was_tried_before_a_retry_is_not_told_to_be_lost(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(job("exit 3"), JobSettings(retries=1, retry_delay=0))
        await manager.wait(job_id)
        await manager.retry(job_id)
        status = await manager.wait(job_id)
        assert status.error == "chunk 0 failed after 4 attempts: sh exited with status 3"


async def test_one_chunk_is_retried_and_the_job_is_not_merged_before_the_others_are_done(
    farm: AnyFarm, tmp_path: Path
) -> None:
    fails = f"[ -e {tmp_path}/good ]"
    spec = job(f"echo 0 >> ran; {fails}", f"echo 1 >> ran; {fails}", merge="touch merged")
    async with farms.farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(spec, JobSettings(fail_fast=False))
        folder = Path((await manager.wait(job_id)).folder)
        open_gate(tmp_path, "good")
        await manager.retry(job_id, [1])
        status = await manager.wait(job_id)
        assert (status.state, await states(manager, job_id)) == ("failed", ["failed", "completed"])
        assert status.error is not None and "chunk 0 failed" in status.error
        assert not (folder / "merged").exists()
        await manager.retry(job_id)
        assert (await manager.wait(job_id)).state == "completed"
        assert (folder / "merged").exists()


async def test_a_completed_chunk_is_run_again_only_when_asked_for(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job("echo 0 >> ran", "echo 1 >> ran", merge="cp ran merged")
    async with farm(tmp_path, slots=1) as manager:
        status = await manager.wait(await manager.submit(spec))
        with pytest.raises(JobStateError, match="is completed: to run chunks again, name them, with `done`"):
            await manager.retry(status.id)
        with pytest.raises(JobStateError, match="its chunk 1 is completed: `done` runs it again"):
            await manager.retry(status.id, [1])
        await manager.retry(status.id, [1], done=True)
        again = await manager.wait(status.id)
        assert (again.state, again.completed_chunks) == ("completed", 2)
        assert (Path(status.folder) / "merged").read_text().split() == ["0", "1", "1"]
    assert contradictions(tmp_path) == []


async def test_a_chunk_that_is_rendered_again_is_rendered_in_whole(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job("for n in 0 1 2 3 4 5 6 7 8 9; do echo x > f.$n; done; echo whole >> ran")
    chunk = spec.chunks[0].model_copy(update={"output_file": "f.#", "retry_command": "sh -c 'echo {frames} >> ran'"})
    async with farm(tmp_path) as manager:
        status = await manager.wait(await manager.submit(spec.model_copy(update={"chunks": (chunk,)})))
        await manager.retry(status.id, [0], done=True)
        assert (await manager.wait(status.id)).state == "completed"
        assert (Path(status.folder) / "ran").read_text().split() == ["whole", "whole"]


async def test_it_is_rendered_in_whole_by_the_next_manager_too(tmp_path: Path) -> None:
    spec = job("for n in 0 1 2 3 4 5 6 7 8 9; do echo x > f.$n; done; echo whole >> ran")
    chunk = spec.chunks[0].model_copy(update={"output_file": "f.#", "retry_command": "sh -c 'echo {frames} >> ran'"})
    async with farms.farm(tmp_path, slots=1) as manager:
        status = await manager.wait(await manager.submit(spec.model_copy(update={"chunks": (chunk,)})))
        await manager.submit(job(held(tmp_path, "go")), priority=1)
        await manager.retry(status.id, [0], done=True)
    open_gate(tmp_path, "go")
    async with farms.farm(tmp_path, slots=1) as manager:
        assert (await manager.wait(status.id)).state == "completed"
        assert (Path(status.folder) / "ran").read_text().split() == ["whole", "whole"]
        # What was asked for is done.
        assert manager._farm.repository.chunks(status.id)[0].frames_again is None


async def test_a_skipped_chunk_is_not_retried_without_what_it_depends_on(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job(f"[ -e {tmp_path}/good ]", "true")
    second = spec.chunks[1].model_copy(update={"depends_on": (0,)})
    spec = spec.model_copy(update={"chunks": (spec.chunks[0], second)})
    async with farm(tmp_path) as manager:
        status = await manager.wait(await manager.submit(spec))
        with pytest.raises(JobStateError, match="its chunk 1 depends on chunk 0, which is failed: retry that too"):
            await manager.retry(status.id, [1])
        open_gate(tmp_path, "good")
        await manager.retry(status.id, [1, 0])
        assert (await manager.wait(status.id)).state == "completed"


async def test_a_chunk_that_is_marked_as_done_is_not_run(farm: AnyFarm, tmp_path: Path) -> None:
    spec = job("echo 0 >> ran", "exit 1", merge="cp ran merged")
    async with farm(tmp_path, slots=1) as manager:
        waits = await manager.submit(spec, not_before=time.time() + 999)
        await manager.mark_done(waits, [1])
        assert await states(manager, waits) == ["pending", "completed"]
        await manager.resume(waits)
        assert (await manager.wait(waits)).state == "completed"
        failed = await manager.wait(await manager.submit(spec))
        assert failed.state == "failed"
        await manager.mark_done(failed.id, [1])
        await manager.retry(failed.id)
        status = await manager.wait(failed.id)
        assert (status.state, status.completed_chunks, status.failed_chunks) == ("completed", 2, 0)
        with pytest.raises(JobStateError, match="is completed and cannot be marked as done"):
            await manager.mark_done(failed.id, [1])
    assert contradictions(tmp_path) == []


async def test_a_job_that_has_not_begun_or_is_paused_is_edited(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(shown(tmp_path, "a", "b", "c"), not_before=time.time() + 999)
        settings = JobSettings(chunk_order="reverse", max_running=1)
        await manager.edit(job_id, settings=settings, name="new", tags=["x"], comment="why")
        await manager.resume(job_id)
        status = await manager.wait(job_id)
        assert (status.name, status.tags, status.comment, status.settings) == ("new", ("x",), "why", settings)
        assert begun(tmp_path) == ["c", "b", "a"]
        with pytest.raises(JobStateError, match=f"job {job_id} is completed and cannot be edited"):
            await manager.edit(job_id, name="late")
        runs = await manager.submit(shown(tmp_path, "d", tail=held(tmp_path, "go")))
        await until(lambda: begun(tmp_path)[-1] == "d")
        with pytest.raises(
            JobStateError, match="is running and cannot be edited: it would have to be paused or pending"
        ):
            await manager.edit(runs, name="late")
        await manager.pause(runs)
        with pytest.raises(JobStateError, match=r"cannot be edited while it runs: pause\(now=True\) ends its chunks"):
            await manager.edit(runs, name="late")


@pytest.mark.parametrize("change", ["edit", "mark_done", "delete"])
async def test_what_a_paused_job_allows_is_waited_for_while_its_run_is_still_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    close = CompletionRecord.close

    def close_slowly(record: CompletionRecord) -> None:
        time.sleep(0.5)
        close(record)

    monkeypatch.setattr(CompletionRecord, "close", close_slowly)
    async with farms.farm(tmp_path, slots=1) as manager:
        job_id = await manager.submit(shown(tmp_path, "a", "b", tail=held(tmp_path, "go")))
        await until(lambda: begun(tmp_path) == ["a"])
        await manager.pause(job_id)
        open_gate(tmp_path, "go")
        await until_states(manager, job_id, ["completed", "pending"])
        match change:
            case "edit":
                await manager.edit(job_id, name="new")
            case "mark_done":
                await manager.mark_done(job_id, [1])
            case _:
                await manager.delete(job_id)
        assert [status.name for status in await manager.list()] == {"edit": ["new"], "delete": []}.get(change, ["shot"])
        assert manager._farm.repository.check() == []


async def test_a_deleted_job_is_gone_but_for_what_it_rendered(farm: AnyFarm, tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        status = await manager.wait(await manager.submit(job("echo a > chunk_0; echo log")))
        assert (tmp_path / "logs" / status.id).exists()
        await manager.delete(status.id)
        with pytest.raises(JobNotFoundError):
            await manager.get(status.id)
        with pytest.raises(JobNotFoundError, match="deleted meanwhile"):
            status.spec  # noqa: B018
        assert await manager.list() == []
        assert not (tmp_path / "logs" / status.id).exists()
        assert (Path(status.folder) / "chunk_0").read_text() == "a\n"
        runs = await manager.submit(job("sleep 60"))
        await until_state(manager, runs, "running")
        with pytest.raises(JobStateError, match=f"job {runs} is running and cannot be deleted"):
            await manager.delete(runs)
        waits = await manager.submit(job("true"), not_before=time.time() + 999)
        await manager.delete(waits)
        assert [one.id for one in await manager.list()] == [runs]


@pytest.mark.parametrize("change", ["pause", "resume", "cancel"])
async def test_what_has_ended_is_not_changed(farm: AnyFarm, tmp_path: Path, change: str) -> None:
    words = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}
    async with farm(tmp_path) as manager:
        job_id = (await manager.wait(await manager.submit(job("true")))).id
        with pytest.raises(JobStateError, match=f"job {job_id} is completed and cannot be {words[change]}") as raised:
            await getattr(manager, change)(job_id)
        assert (raised.value.job_id, raised.value.state) == (job_id, "completed")
        with pytest.raises(JobStateError, match="cannot be changed in priority"):
            await manager.set_priority(job_id, 3)


async def test_a_change_that_was_accepted_is_made_though_its_caller_is_cancelled(tmp_path: Path) -> None:
    async with farms.farm(tmp_path) as manager:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.submit(job("true"), not_before=time.time() + 999)
        job_id = await manager.submit(job("true"), not_before=time.time() + 999)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.cancel(job_id)
        assert (await manager.wait(job_id)).state == "cancelled"


async def test_a_paused_merge_begins_anew(farm: AnyFarm, tmp_path: Path) -> None:
    merge = f"echo x >> merges; {held(tmp_path, 'go')}"
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(job("echo 0 >> ran", merge=merge))
        folder = Path((await manager.get(job_id)).folder)
        await until(lambda: count_lines(folder / "merges") == 1)
        assert (await manager.get(job_id)).state == "merging"
        with pytest.raises(JobStateError, match="is merging and cannot be paused"):
            await manager.pause(job_id)
        await manager.pause(job_id, now=True)
        assert (await manager.get(job_id)).state == "paused"
        open_gate(tmp_path, "go")
        await manager.resume(job_id)
        assert (await manager.wait(job_id)).state == "completed"
        assert (count_lines(folder / "merges"), count_lines(folder / "ran")) == (2, 1)


async def test_what_was_lost_before_a_pause_takes_no_retry_after_it(tmp_path: Path) -> None:
    lost = FakeExecution(error=WorkerLostError("node a was lost", node="a"))
    adapter = FakeAdapter([lost, lost, FakeExecution(duration=60), FakeExecution(exit_code=1), FakeExecution()])
    async with farms.farm(tmp_path, adapter=adapter) as manager:
        job_id = await manager.submit(job("true"), JobSettings(retries=1, retry_delay=0))

        async def is_at_the_third() -> bool:
            return [(one.state, one.attempts) for one in await manager.chunks(job_id)] == [("running", 3)]

        await until(is_at_the_third)
        await manager.pause(job_id, now=True)
        await manager.resume(job_id)
        assert (await manager.wait(job_id)).state == "completed"
        (chunk,) = manager._farm.repository.chunks(job_id)
        assert (chunk.attempts, chunk.lost) == (5, 3)
