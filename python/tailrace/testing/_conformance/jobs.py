"""What the executor makes of an adapter."""

from __future__ import annotations

import uuid

import anyio
import pytest

from ..._errors import ChunkFailedError, WorkerTimeoutError
from .command_runner import CommandRunner
from .hooks import ConformanceHooks
from .scripts import lasting


class JobConformance(ConformanceHooks):
    """`JobExecutor` can run jobs with the adapter."""

    async def test_each_chunk_of_a_job_has_its_own_result(self, runner: CommandRunner) -> None:
        report = await runner.run_job("echo zero", "echo one >&2", "printf two")
        outputs = [(report.results[number].stdout, report.results[number].stderr) for number in range(3)]
        assert outputs == [("zero\n", ""), ("", "one\n"), ("two", "")]

    async def test_chunks_that_run_at_the_same_time_are_not_mixed_up(self, runner: CommandRunner) -> None:
        scripts = [f"echo {number}; sleep 0.3; echo {number}" for number in range(self.places)]
        report = await runner.run_job(*scripts, concurrency=self.places)
        assert [report.results[number].stdout for number in range(self.places)] == [
            f"{number}\n{number}\n" for number in range(self.places)
        ]

    async def test_the_output_of_a_chunk_is_told_while_it_runs_or_with_its_result(self, runner: CommandRunner) -> None:
        told: list[tuple[int, str]] = []
        report = await runner.run_job(
            "echo begun; echo done",
            stream="lines",
            on_chunk_stdout=lambda chunk_id, line: told.append((chunk_id, line)),
        )
        assert report.results[0].stdout == "begun\ndone\n"
        assert told == ([(0, "begun"), (0, "done")] if runner.capabilities.streams else [])

    async def test_a_chunk_that_failed_is_tried_again(self, runner: CommandRunner) -> None:
        # The first attempt makes the folder, the second finds it.
        trace = f"/tmp/tailrace-conformance-{uuid.uuid4()}"  # noqa: S108
        script = f"if mkdir {trace} 2> /dev/null; then echo first; exit 3; fi; rmdir {trace}; echo second"
        report = await runner.run_job(script, retries=1, retry_delay=0.05)
        assert report.results[0].stdout == "second\n"

    async def test_a_chunk_that_fails_each_time_has_the_result_of_its_last_attempt(self, runner: CommandRunner) -> None:
        with pytest.raises(ChunkFailedError) as caught:
            await runner.run_job("echo tried; exit 3", retries=1, retry_delay=0.05)
        assert caught.value.attempts == 2
        assert caught.value.result is not None
        assert (caught.value.result.exit_code, caught.value.result.stdout) == (3, "tried\n")

    async def test_an_attempt_that_took_too_long_is_a_failure_or_the_limit_is_quietly_ignored(
        self, runner: CommandRunner, mark: str
    ) -> None:
        if not runner.capabilities.honours_limits:
            report = await runner.run_job("sleep 1; echo done", timeout=0.1)
            assert report.results[0].stdout == "done\n"
            return
        with pytest.raises(ChunkFailedError) as caught:
            script = lasting(mark, first="echo begun")
            await runner.run_job(script, timeout=self.startup + 0.5, retries=1, retry_delay=0.05)
        assert caught.value.attempts == 2
        assert isinstance(caught.value.__cause__, WorkerTimeoutError)
        await runner.wait_until_gone(mark)

    async def test_a_chunk_has_the_variables_of_its_slot_or_is_quietly_without(self, runner: CommandRunner) -> None:
        script = 'printf "%s" "$TAILRACE_CONFORMANCE"'
        report = await runner.run_job(script, slot_env={"TAILRACE_CONFORMANCE": ["of slot 0"]})
        assert report.results[0].stdout == ("of slot 0" if runner.capabilities.honours_slots else "")

    async def test_a_job_that_is_cancelled_leaves_nothing_that_runs(self, runner: CommandRunner, mark: str) -> None:
        limit = None if self.ends_abandoned_commands else self.startup + 2
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                await runner.run_job(lasting(mark), timeout=limit)

            tasks.start_soon(run)
            await runner.wait_until_running(mark)
            tasks.cancel_scope.cancel()
        await runner.wait_until_gone(mark)
