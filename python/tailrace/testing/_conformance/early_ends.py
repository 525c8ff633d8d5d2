"""What has to come of a command that is ended with its result."""

from __future__ import annotations

import anyio

from ..._command.early_end import CommandEnding
from ..._command.result import WorkerResult
from .command_runner import CommandRunner
from .hooks import ConformanceHooks
from .scripts import lasting


class EarlyEndConformance(ConformanceHooks):
    """`WorkerJob.ending` ends a command with its result where `ends_early` is True; others ignore it."""

    async def test_a_command_that_is_ended_early_has_a_result_or_goes_on_quietly(
        self, runner: CommandRunner, mark: str
    ) -> None:
        if not runner.capabilities.ends_early:
            result = await _end_after(0.2, runner, "echo begun; sleep 1; echo done")
            assert (result.exit_code, result.stdout) == (0, "begun\ndone\n")
            return
        result = await _end_after(
            self.startup + 0.5, runner, lasting(mark, first="echo begun", at_term="echo last words")
        )
        assert (result.exit_code, result.stdout) == (7, "begun\nlast words\n")
        await runner.wait_until_gone(mark)

    async def test_a_command_that_ignores_its_early_end_is_killed_after_the_grace(
        self, runner: CommandRunner, mark: str
    ) -> None:
        if not runner.capabilities.ends_early:
            assert (await _end_after(0.0, runner, "trap '' TERM; echo done", kill_grace=0.1)).stdout == "done\n"
            return
        script = lasting(mark, first="echo begun", at_term="ignore")
        result = await _end_after(self.startup + 0.5, runner, script, kill_grace=0.5)
        assert (result.exit_code, result.stdout) == (-9, "begun\n")
        await runner.wait_until_gone(mark)

    async def test_an_early_end_after_the_exit_changes_nothing(self, runner: CommandRunner) -> None:
        ending = CommandEnding()
        result = await runner.run_script("echo done; exit 4", ending=ending)
        ending.end()
        assert (result.exit_code, result.stdout) == (4, "done\n")


async def _end_after(seconds: float, runner: CommandRunner, script: str, **fields: object) -> WorkerResult:
    """Run a script, end it early after so many seconds, and return the result."""
    ending = CommandEnding()
    results: list[WorkerResult] = []
    async with anyio.create_task_group() as tasks:

        async def execute() -> None:
            results.append(await runner.run_script(script, ending=ending, **fields))

        tasks.start_soon(execute)
        await anyio.sleep(seconds)
        ending.end()
    return results[0]
