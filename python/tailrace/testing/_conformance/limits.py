"""What limits have to do."""

from __future__ import annotations

import math

import anyio
import pytest

from ..._errors import WorkerTimeoutError
from .command_runner import CommandRunner
from .hooks import ConformanceHooks
from .scripts import lasting

_SOME_WORK = "BEGIN { for (i = 0; i < 300000; i++) sum += i }"
"""A few hundredths of a second of a processor."""


class LimitConformance(ConformanceHooks):
    """A limit ends the command and all that it started, and its error has the output so far.

    `timeout` is for adapters with `honours_limits`, `idle_timeout` for those of them that stream, `cpu_idle_timeout`
    for those with `honours_cpu_limit` too; others ignore them.
    """

    async def test_timeout_ends_the_whole_command_or_is_quietly_ignored(self, runner: CommandRunner, mark: str) -> None:
        if not runner.capabilities.honours_limits:
            result = await runner.run_script("echo begun; sleep 1; echo done", timeout=0.1)
            assert (result.exit_code, result.stdout) == (0, "begun\ndone\n")
            return
        with pytest.raises(WorkerTimeoutError) as caught:
            await runner.run_script(lasting(mark, first="echo begun; echo err >&2"), timeout=self.startup + 0.5)
        assert caught.value.kind == "total"
        assert caught.value.result is not None
        assert caught.value.result.stdout == "begun\n"
        # A shell may say that what it waited for was terminated.
        assert caught.value.result.stderr.startswith("err\n")
        await runner.wait_until_gone(mark)

    async def test_idle_timeout_ends_a_silent_command_or_is_quietly_ignored(
        self, runner: CommandRunner, mark: str
    ) -> None:
        if not (runner.capabilities.honours_limits and runner.capabilities.streams):
            result = await runner.run_script("echo begun; sleep 1; echo done", idle_timeout=0.1)
            assert (result.exit_code, result.stdout) == (0, "begun\ndone\n")
            return
        with pytest.raises(WorkerTimeoutError) as caught:
            await runner.run_script(lasting(mark, first="echo begun"), idle_timeout=self.startup + 0.5)
        assert caught.value.kind == "idle"
        assert caught.value.result is not None
        assert caught.value.result.stdout == "begun\n"
        await runner.wait_until_gone(mark)

    async def test_a_command_that_uses_no_processor_is_ended_or_the_limit_is_quietly_ignored(
        self, runner: CommandRunner, mark: str
    ) -> None:
        if not (runner.capabilities.honours_limits and runner.capabilities.honours_cpu_limit):
            result = await runner.run_script("echo begun; sleep 3; echo done", cpu_idle_timeout=0.1)
            assert (result.exit_code, result.stdout) == (0, "begun\ndone\n")
            return
        with pytest.raises(WorkerTimeoutError) as caught:
            # Not `lasting`, which starts a program each second: for a short limit that is work.
            await runner.run_script(f"echo begun; sleep 100; : {mark}", cpu_idle_timeout=self.startup + 1)
        assert caught.value.kind == "cpu"
        assert caught.value.result is not None
        assert caught.value.result.stdout == "begun\n"
        await runner.wait_until_gone(mark)

    async def test_a_command_that_works_is_not_taken_for_one_that_does_nothing(self, runner: CommandRunner) -> None:
        limit = self.startup + 0.5
        script = (
            f"i=0; while [ $i -lt {math.ceil(3 * limit / 0.2)} ]; do awk '{_SOME_WORK}'; sleep 0.2; i=$((i+1)); done"
        )
        assert (await runner.run_script(script, cpu_idle_timeout=limit)).exit_code == 0

    async def test_output_of_either_stream_holds_idle_timeout_off(self, runner: CommandRunner) -> None:
        idle_timeout = self.startup + 0.2
        count = int(idle_timeout / 0.2) + 3
        script = f"for i in $(seq {count}); do echo out; sleep 0.2; echo err >&2; done"
        result = await runner.run_script(script, idle_timeout=idle_timeout)
        assert (result.exit_code, result.stdout) == (0, "out\n" * count)

    async def test_a_slow_callback_is_not_taken_for_a_silent_command(self, runner: CommandRunner) -> None:
        idle_timeout = self.startup + 0.2

        async def take(_: str) -> None:
            await anyio.sleep(idle_timeout + 0.3)

        result = await runner.run_script("echo done", idle_timeout=idle_timeout, on_stdout=take)
        assert (result.exit_code, result.stdout) == (0, "done\n")

    async def test_a_command_that_ends_in_time_is_left_alone(self, runner: CommandRunner) -> None:
        limits = {"timeout": runner.patience, "idle_timeout": runner.patience}
        assert (await runner.run_script("echo done; exit 4", **limits)).exit_code == 4

    async def test_a_command_may_say_its_last_words_within_the_grace(self, runner: CommandRunner, mark: str) -> None:
        script = lasting(mark, first="echo begun", at_term="echo last words")
        if not runner.capabilities.honours_limits:
            result = await runner.run_script("echo begun; sleep 0.5; echo last words", timeout=0.1)
            assert result.stdout == "begun\nlast words\n"
            return
        with pytest.raises(WorkerTimeoutError) as caught:
            await runner.run_script(script, timeout=self.startup + 0.5)
        assert caught.value.result is not None
        assert caught.value.result.stdout == "begun\nlast words\n"
        await runner.wait_until_gone(mark)

    async def test_a_command_that_ignores_the_request_is_killed_after_the_grace(
        self, runner: CommandRunner, mark: str
    ) -> None:
        if not runner.capabilities.honours_limits:
            result = await runner.run_script("trap '' TERM; sleep 0.5; echo done", timeout=0.1, kill_grace=0.1)
            assert result.stdout == "done\n"
            return
        with pytest.raises(WorkerTimeoutError) as caught:
            script = lasting(mark, first="echo begun", at_term="ignore")
            await runner.run_script(script, timeout=self.startup + 0.5, kill_grace=0.5)
        assert caught.value.kind == "total"
        if runner.capabilities.streams:
            # Else the answer may be given up before the command is killed.
            assert caught.value.result is not None
            assert caught.value.result.stdout == "begun\n"
        await runner.wait_until_gone(mark)
