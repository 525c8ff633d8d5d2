"""Two jobs that would write the same files never run beside each other, and none is refused that would wait."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.farms import begun, farm, held, open_gate, shown, until
from support.jobs import job
from tailrace._errors import JobStateError
from tailrace._farm.settings import JobSettings

pytestmark = pytest.mark.anyio


async def test_of_jobs_that_are_submitted_at_once_all_but_one_are_refused(tmp_path: Path) -> None:
    spec = job(held(tmp_path, "go"))
    outcomes: list[str] = []

    async def submit() -> None:
        try:
            await manager.submit(spec, folder=tmp_path / "shot")
        except JobStateError as error:
            outcomes.append(str(error))
        else:
            outcomes.append("taken")

    async with farm(tmp_path) as manager:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(submit)
        assert outcomes.count("taken") == 1
        assert sum("writes chunk_0 in" in outcome for outcome in outcomes) == 4


async def test_a_job_is_retried_though_another_comes_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    async with farm(tmp_path) as manager:
        first = await manager.submit(job(f"echo 1 >> ran; [ -e {tmp_path}/good ]"), folder=folder)
        second = await manager.submit(job("echo 2 >> ran"), folder=folder, after=[first])
        third = await manager.submit(job("echo 3 >> ran"), folder=folder, after=[second])
        assert (await manager.wait(first)).state == "failed"
        open_gate(tmp_path, "good")
        await manager.retry(first)
        assert (await manager.wait(third)).state == "completed"
        assert (folder / "ran").read_text().split() == ["1", "1", "2", "3"]


async def test_a_job_is_not_retried_while_one_that_came_after_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    async with farm(tmp_path) as manager:
        first = await manager.submit(job("true"), folder=folder)
        second = await manager.submit(shown(tmp_path, "b", tail=held(tmp_path, "go")), folder=folder, after=[first])
        await until(lambda: begun(tmp_path) == ["b"])
        refusal = f"job {second} is running and writes chunk_0 in .* too: that one has to end before"
        with pytest.raises(JobStateError, match=refusal):
            await manager.retry(first, [0], done=True)
        await manager.pause(second, now=True)
        with pytest.raises(JobStateError, match=f"job {second} is paused and writes chunk_0 in"):
            await manager.retry(first, [0], done=True)
        await manager.resume(second)
        open_gate(tmp_path, "go")
        await manager.wait(second)
        await manager.retry(first, [0], done=True)
        assert (await manager.wait(first)).state == "completed"


async def test_a_job_is_not_released_beside_the_one_whose_files_it_writes(tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    async with farm(tmp_path) as manager:
        first = await manager.submit(shown(tmp_path, "a", tail=held(tmp_path, "go")), folder=folder)
        second = await manager.submit(shown(tmp_path, "b"), folder=folder, after=[first])
        await until(lambda: begun(tmp_path) == ["a"])
        with pytest.raises(JobStateError, match=f"job {first} is running and writes chunk_0 in"):
            await manager.resume(second)
        assert (await manager.get(second)).after == (first,)
        await manager.cancel(first)
        await manager.resume(second)
        assert (await manager.wait(second)).state == "completed"


async def test_settings_are_not_changed_to_the_file_of_another_job(tmp_path: Path) -> None:
    later = time.time() + 999
    async with farm(tmp_path) as manager:
        spec = job("true")
        chunk = spec.chunks[0].model_copy(update={"output_file": "other"})
        folder = tmp_path / "shot"
        await manager.submit(spec, JobSettings(output_file="film.mp4"), folder=folder, not_before=later)
        second = await manager.submit(spec.model_copy(update={"chunks": (chunk,)}), folder=folder, not_before=later)
        with pytest.raises(JobStateError, match=r"is pending and writes film.mp4 in"):
            await manager.edit(second, settings=JobSettings(output_file="film.mp4"))
        assert (await manager.get(second)).settings == JobSettings()
        await manager.edit(second, settings=JobSettings(output_file="film2.mp4"))
        assert (await manager.get(second)).settings.output_file == "film2.mp4"


async def test_a_folder_that_does_not_answer_holds_up_no_job_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    realpath = os.path.realpath

    def look(path: Any, **options: Any) -> Any:
        if "gone-away" in str(path):
            answers.wait(30)
        return realpath(path, **options)

    async with farm(tmp_path) as manager, anyio.create_task_group() as tasks:
        first = await manager.submit(job(held(tmp_path, "go")), folder=tmp_path / "shot")
        with monkeypatch.context() as patch:
            patch.setattr("os.path.realpath", look)
            tasks.start_soon(partial(manager.submit, job("true"), folder=tmp_path / "gone-away"))
            try:
                with anyio.fail_after(10):
                    await anyio.sleep(0.2)
                    open_gate(tmp_path, "go")
                    assert (await manager.wait(first)).state == "completed"
                    assert len(await manager.list()) == 1
            finally:
                answers.set()
