"""An adapter that runs nothing and does what a script says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import anyio

from .._checks import check_type
from .._command.adapter import Capabilities
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from ._performance import Performance
from ._script import Script, ScriptReader

_HERE = Capabilities(streams=True, tells_start=True, honours_cpu_limit=False, ends_early=True)


@dataclass(slots=True)
class FakeRecord:
    """An execution that a `FakeAdapter` was asked for."""

    job: WorkerJob
    attempt: int
    """Which one at this chunk it is, counted from 1."""
    ending: Literal["running", "returned", "raised", "cancelled"] = "running"
    outcome: WorkerResult | BaseException | None = None
    """The result, or what came out instead of it: the script's error, a limit's, or what a callback raised."""


class FakeAdapter:
    """Does what a script says, without any process: for tests of what uses an adapter.

    It keeps the contract of `WorkerAdapter`: callbacks get the pieces that `WorkerJob.stream` asks for, async ones are
    awaited, the result keeps what `WorkerJob.capture` says, and limits end an execution. What a callback raises comes
    out unchanged, and nothing is delivered after it. Both streams are delivered by one task, in the script's order: a
    slow callback holds up all that follows. It waits by anyio alone: on trio, a mock clock makes it take no time.
    """

    def __init__(self, script: Script, *, capabilities: Capabilities = _HERE) -> None:
        """Take what happens, and what the adapter says that it can do.

        Without `tells_start` a job's `on_started` is not called; without `streams` nor are `on_stdout` and `on_stderr`,
        and `idle_timeout` is ignored; without `honours_limits` both limits are. `cpu_idle_timeout` always is: nothing
        uses a processor. With `ends_early` an execution ends with its result when the job's `ending` is asked to.


        Raises `TypeError` for what is no script, or no `Capabilities`.
        """
        check_type("capabilities", capabilities, Capabilities, "a Capabilities")
        self._script = ScriptReader(script)
        self.capabilities = capabilities
        self.streams = capabilities.streams
        self.executions: list[FakeRecord] = []
        """What it was asked for, in order."""

    @property
    def jobs(self) -> list[WorkerJob]:
        """The jobs that it was given, in order."""
        return [record.job for record in self.executions]

    @property
    def running(self) -> int:
        """How many executions have not ended."""
        return sum(record.ending == "running" for record in self.executions)

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Do what the script says for `job`.

        Returns the result with the script's exit code and output. Raises the script's error, `WorkerTimeoutError` if a
        limit of the job comes first, and `LookupError` if the script has nothing for the job. What a callback raises
        comes out unchanged.
        """
        execution, attempt = self._script.next(job)
        record = FakeRecord(job, attempt)
        self.executions.append(record)
        try:
            result = await Performance(job, execution, self.capabilities).run()
        except anyio.get_cancelled_exc_class():
            record.ending = "cancelled"
            raise
        except BaseException as error:
            record.ending, record.outcome = "raised", error
            raise
        record.ending, record.outcome = "returned", result
        return result
