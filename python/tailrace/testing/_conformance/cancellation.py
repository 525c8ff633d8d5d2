"""What a cancellation has to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from .command_runner import CommandRunner
from .hooks import ConformanceHooks
from .scripts import lasting

_AT_ONCE = 10.0
"""How long a cancellation may take to come out, in seconds: also with `kill_grace`, on a busy machine."""


class CancellationConformance(ConformanceHooks):
    """A cancelled `execute` ends soon, and nothing of its command is left."""

    async def test_a_cancellation_leaves_nothing_that_runs(self, runner: CommandRunner, mark: str) -> None:
        async with self._cancelled(runner, lasting(mark, first="echo begun")):
            await runner.wait_until_running(mark)
        await runner.wait_until_gone(mark)

    async def test_a_command_that_ignores_the_request_is_killed(self, runner: CommandRunner, mark: str) -> None:
        async with self._cancelled(runner, lasting(mark, first="echo begun", at_term="ignore"), kill_grace=0.5):
            await runner.wait_until_running(mark)
        await runner.wait_until_gone(mark)

    async def test_a_cancellation_comes_through_a_callback_that_waits(self, runner: CommandRunner, mark: str) -> None:
        is_called = anyio.Event()

        async def take(_: str) -> None:
            is_called.set()
            await anyio.sleep_forever()

        async with self._cancelled(runner, lasting(mark, first="echo begun"), on_stdout=take):
            await runner.wait_until_running(mark)
            if runner.capabilities.streams:
                await is_called.wait()
        await runner.wait_until_gone(mark)

    @pytest.mark.parametrize("delay", [0.0, 0.01, 0.1])
    async def test_a_cancellation_during_the_start_leaves_nothing(
        self, delay: float, runner: CommandRunner, mark: str
    ) -> None:
        async with self._cancelled(runner, lasting(mark)):
            await anyio.sleep(delay)
        # What had been asked for may still begin elsewhere, and end at once.
        await anyio.sleep(self.startup)
        await runner.wait_until_gone(mark)

    async def test_an_adapter_works_after_a_cancellation(self, runner: CommandRunner, mark: str) -> None:
        async with self._cancelled(runner, lasting(mark)):
            await runner.wait_until_running(mark)
        await runner.wait_until_gone(mark)
        assert (await runner.run_script("echo again")).stdout == "again\n"

    @asynccontextmanager
    async def _cancelled(self, runner: CommandRunner, script: str, **fields: object) -> AsyncIterator[None]:
        """Run a script beside the block, and cancel it at the end; fail if that does not come out at once."""
        # Where nothing else ends a command that nobody waits for.
        limit = None if self.ends_abandoned_commands else self.startup + 2
        with anyio.fail_after(runner.patience):
            async with anyio.create_task_group() as tasks:

                async def execute() -> None:
                    await runner.run_script(script, timeout=limit, **fields)

                tasks.start_soon(execute)
                yield
                began = anyio.current_time()
                tasks.cancel_scope.cancel()
        assert anyio.current_time() - began < _AT_ONCE, "the cancellation took too long to come out"
