"""Farms for tests, whose jobs are small shell scripts that wait for one another by files."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio

from support.jobs import job
from tailrace import Farm, JobSpec
from tailrace._farm.manager import JobManager
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.owner import this_process


def farm(folder: Path, *, slots: int = 2, **options: Any) -> JobManager:
    """Return a manager whose repository is in the folder."""
    return JobManager(repository=folder / "farm.db", slots=slots, **options)


def shown(folder: Path, *names: str, job_id: str = "shot", tail: str = "", merge: str | None = None) -> JobSpec:
    """Return a job each chunk of which writes its name to the list of what has begun, and then its output file."""
    begun = shlex.quote(str(folder / "begun"))
    scripts = [f"echo {name} >> {begun}; {tail or ':'}; echo {name} > chunk_{n}" for n, name in enumerate(names)]
    return job(*scripts, job_id=job_id, merge=merge)


def held(folder: Path, gate: str) -> str:
    """Return a script that goes on once `open_gate` is called."""
    return f"while [ ! -e {shlex.quote(str(folder / gate))} ]; do sleep 0.02; done"


def open_gate(folder: Path, gate: str) -> None:
    (folder / gate).touch()


def begun(folder: Path) -> list[str]:
    """Return the names of the chunks that have begun, in that order."""
    path = folder / "begun"
    return path.read_text().split() if path.exists() else []


async def until(is_so: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20) -> None:
    """Return once it is so; fail if that takes too long."""
    with anyio.fail_after(seconds):
        while True:
            answer = is_so()
            if answer if isinstance(answer, bool) else await answer:
                return
            await anyio.sleep(0.01)


async def until_states(manager: Farm, job_id: str, wanted: list[str]) -> None:
    """Return once the job's chunks are in these states."""

    async def are_so() -> bool:
        return await states(manager, job_id) == wanted

    await until(are_so)


async def until_state(manager: Farm, job_id: str, wanted: str) -> None:
    """Return once the job is in this state."""

    async def is_so() -> bool:
        return (await manager.get(job_id)).state == wanted

    await until(is_so)


async def states(manager: Farm, job_id: str) -> list[str]:
    """Return the states of the job's chunks."""
    return [chunk.state for chunk in await manager.chunks(job_id)]


async def begins_nothing_and_loses_nothing(
    manager: JobManager, folder: Path, sick: AbstractContextManager[None], is_told: Callable[[], bool]
) -> None:
    """Fail unless a farm with one slot waits while its database is sick, and then completes a job with what was asked.

    `is_told` says whether the farm has told of it.
    """
    job_id = await manager.submit(shown(folder, "a", "b", "c", tail=held(folder, "go")), folder=folder / "shot")
    await until(lambda: begun(folder) == ["a"])
    async with anyio.create_task_group() as tasks:
        with sick:
            tasks.start_soon(manager.set_priority, job_id, 3)
            await until(is_told, seconds=40)
            open_gate(folder, "go")
            await anyio.sleep(0.5)
            assert begun(folder) == ["a"]
    status = await manager.wait(job_id)
    assert (status.state, status.priority, status.completed_chunks) == ("completed", 3, 3)
    assert [chunk.attempts for chunk in await manager.chunks(job_id)] == [1, 1, 1]
    assert begun(folder) == ["a", "b", "c"]


def contradictions(folder: Path) -> list[str]:
    """Return what is wrong with the repository of a farm that was closed."""
    repository = open_repository(folder / "farm.db")
    repository.open(this_process())
    try:
        return repository.check()
    finally:
        repository.close()
