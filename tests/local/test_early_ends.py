"""A running command can be ended early, and its result comes."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest

from support.loops import on_every_loop
from support.processes import DAEMON, descendants_marked, python
from tailrace import CommandEnding, LocalWorkerAdapter, WorkerJob, WorkerResult, run

pytestmark = pytest.mark.anyio

backend: Literal["native", "python"]


@pytest.fixture(autouse=True, params=["native", "python"])
def _choose_backend(request: pytest.FixtureRequest) -> None:
    global backend
    backend = request.param


async def execute(command: tuple[str, list[str]], **options: Any) -> WorkerResult:
    return await LocalWorkerAdapter(backend=backend).execute(WorkerJob(*command, **options))


@asynccontextmanager
async def executing(command: tuple[str, list[str]], **options: Any) -> AsyncIterator[list[WorkerResult]]:
    """Run a command beside the block; its result is in the list after it."""
    results: list[WorkerResult] = []

    async def run_it() -> None:
        results.append(await execute(command, **options))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_it)
        yield results


@on_every_loop
async def test_a_command_that_is_ended_early_has_a_result(mark: str) -> None:
    ending, begun = CommandEnding(), anyio.Event()
    received: list[str] = []

    def take(piece: str) -> None:
        received.append(piece)
        begun.set()

    script = "trap 'echo last words; exit 3' TERM; echo begun; sleep 60 & wait"
    async with executing(("/bin/bash", ["-c", script, mark]), on_stdout=take, ending=ending) as results:
        await begun.wait()
        ending.end()
        ending.end()
    [result] = results
    assert (result.exit_code, result.stdout, "".join(received)) == (3, "begun\nlast words\n", "begun\nlast words\n")
    assert not result.truncated
    assert not descendants_marked(mark)


async def test_what_became_a_daemon_is_ended_too(mark: str) -> None:
    ending, begun = CommandEnding(), anyio.Event()
    async with executing(python(DAEMON, mark), on_stdout=lambda _: begun.set(), ending=ending) as results:
        await begun.wait()
        ending.end()
    assert results[0].exit_code == -signal.SIGTERM
    assert not descendants_marked(mark)


async def test_one_that_ignores_the_request_is_killed_after_the_grace_and_no_memory_is_blamed(mark: str) -> None:
    ending, begun = CommandEnding(), anyio.Event()
    script = "trap '' TERM; echo begun; while :; do sleep 1; done"
    options: dict[str, Any] = {"on_stdout": lambda _: begun.set(), "ending": ending, "kill_grace": 0.5}
    async with executing(("/bin/bash", ["-c", script, mark]), **options) as results:
        await begun.wait()
        ending.end()
    [result] = results
    assert (result.exit_code, result.stdout, result.killed_for_memory) == (-9, "begun\n", None)


async def test_callbacks_get_all_that_was_written_however_slow_they_are(mark: str) -> None:
    ending = CommandEnding()
    received: list[str] = []

    async def slow(line: str) -> None:
        ending.end()
        await anyio.sleep(0.2)
        received.append(line)

    # In one piece, which the shell itself would not write: what is not written by then never is.
    script = "/usr/bin/printf '1\\n2\\n3\\n4\\n5\\n'; sleep 60; :"
    result = await execute(
        ("/bin/bash", ["-c", script, mark]), stream="lines", on_stdout=slow, ending=ending, kill_grace=0.1
    )
    assert received == result.stdout.split() == ["1", "2", "3", "4", "5"]


async def test_what_is_to_end_before_it_has_begun_ends_as_soon_as_it_has(mark: str) -> None:
    ending = CommandEnding()
    ending.end()
    began = time.monotonic()
    result = await execute(("/bin/sleep", ["60"]), ending=ending)
    assert (result.exit_code, ending.is_asked) == (-signal.SIGTERM, True)
    assert time.monotonic() - began < 20


async def test_a_pipe_that_somebody_keeps_open_is_not_waited_for(mark: str) -> None:
    ending, begun = CommandEnding(), anyio.Event()
    # It has a session of its own, and the command itself exits.
    script = "echo begun; setsid sleep 60 & sleep 0.3; exit 5"
    options: dict[str, Any] = {"on_stdout": lambda _: begun.set(), "ending": ending}
    async with executing(("/bin/bash", ["-c", script, mark]), **options) as results:
        await begun.wait()
        await anyio.sleep(1)
        ending.end()
    assert (results[0].exit_code, results[0].stdout) == (5, "begun\n")


async def test_a_callback_that_raises_counts_though_the_end_was_asked_for(mark: str) -> None:
    ending = CommandEnding()

    def fail(_: str) -> None:
        ending.end()
        raise RuntimeError("of mine")

    with pytest.raises(RuntimeError, match="of mine"):
        await execute(("/bin/bash", ["-c", "echo begun; sleep 60; :", mark]), on_stdout=fail, ending=ending)
    assert not descendants_marked(mark)


async def test_an_end_after_the_exit_changes_nothing_and_holds_nothing() -> None:
    ending = CommandEnding()
    result = await execute(("/bin/sh", ["-c", "echo done; exit 4"]), ending=ending)
    ending.end()
    assert (result.exit_code, result.stdout) == (4, "done\n")


def test_a_callback_of_a_script_can_end_its_command() -> None:
    ending = CommandEnding()
    job = WorkerJob("sh", ["-c", "echo begun; sleep 60; :"], on_stdout=lambda _: ending.end(), ending=ending)
    assert run(job).exit_code == -signal.SIGTERM


def test_what_is_no_ending_is_refused() -> None:
    with pytest.raises(TypeError, match="ending must be a CommandEnding, not 'now'"):
        WorkerJob("true", ending="now")  # type: ignore[arg-type]
