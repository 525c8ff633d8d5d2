"""The signals that ask this process to end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskStatus

from tailrace import kill_all_commands

_PATIENCE = 2.0
"""How long killed commands may take to be gone when there is no time left, in seconds."""


class Interruptible:
    """Runs something until it is done, or one of SIGINT, SIGTERM and SIGHUP comes.

    The first signal cancels it, a second one kills all commands and this process. What was ignored when the process
    started stays ignored: nohup and the background jobs of a shell rely on that. `announce` is told of the first, and
    `conclude` is called before this process is killed, and must not wait for anything.
    """

    def __init__(self, announce: Callable[[str], object], conclude: Callable[[], object] = lambda: None) -> None:
        self._announce = announce
        self._conclude = conclude
        self.signal: signal.Signals | None = None
        """The signal that came first."""

    async def run(self, function: Callable[[], Awaitable[None]]) -> None:
        """Await `function()`. Returns when it was cancelled by a signal; what it raises comes out unchanged."""
        error: Exception | None = None
        before = signal.getsignal(signal.SIGINT)
        try:
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as scope:
                    await tasks.start(self._watch, scope)
                    try:
                        await function()
                    except Exception as raised:  # noqa: BLE001
                        # Through the task group it would come out in an ExceptionGroup.
                        error = raised
                tasks.cancel_scope.cancel()
        finally:
            # Asyncio leaves one that raises KeyboardInterrupt, whatever there was.
            signal.signal(signal.SIGINT, before)
        if error is not None:
            raise error

    async def _watch(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        watched = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
        with anyio.open_signal_receiver(*watched) as signals:
            task_status.started()
            async for number in signals:
                if self.signal is not None:
                    kill_all_commands(_PATIENCE)
                    with contextlib.suppress(Exception):
                        self._conclude()
                    os._exit(128 + number)
                self.signal = number
                self._announce(f"{number.name}: ending the commands that run; once more kills them")
                scope.cancel()
