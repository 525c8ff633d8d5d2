"""One job of the adapter, from before its start."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from dataclasses import replace
from typing import Literal, TypeAlias

import anyio

from ..._command.ending import NO_STATUS
from ..._command.job import WorkerJob
from ..._command.output_stream import OutputStream
from ..._command.result import Capture, WorkerResult
from ..._concurrency.loop_clock import LoopClock
from ..._local.adapter import LocalWorkerAdapter
from .delivery import Delivery
from .marked_stream import MarkedStream
from .on_node import REQUEST, duration, exit_code
from .queue import QueuedJob

Reason: TypeAlias = Literal["total", "idle", "early", "abandoned", "held"]
"""Why a command is ended before its time: a limit, its `ending`, nobody wants it any more, or it holds its output."""

DRAIN = 5.0
"""How long a job may last, and nothing come of its output, when the command has ended, in seconds."""
_PATIENCE = 10.0
"""How long Slurm may take to kill a step, in seconds."""


class Execution:
    """Runs `srun`, takes apart what it writes, and keeps the limits, which count from the command's beginning."""

    def __init__(self, job: WorkerJob, queued: QueuedJob, mark: str) -> None:
        self.job = job
        self.queued = queued
        self._clock = LoopClock()
        self.delivery = Delivery(job, self._clock, self._notify)
        self.marked = {"stdout": MarkedStream(mark, is_shared=True), "stderr": MarkedStream(mark, is_shared=False)}
        self.reason: Reason | None = None
        """Why it was ended before its time."""
        self.srun: WorkerResult | None = None
        """How srun ended; None if it had to be ended."""
        self.failure: BaseException | None = None
        """What went wrong about srun."""
        self._early = self._is_killed = False
        self._began: float | None = None
        self._ended: float | None = None
        """By the clock, as what counts from there is silence."""
        self._ahead: list[bytes] = []
        self._announced, self._over, self._changed = anyio.Event(), anyio.Event(), anyio.Event()
        self._scope = anyio.CancelScope()

    @property
    def is_complete(self) -> bool:
        """Whether both streams have come to their ends, and the command with them."""
        return all(marked.ended is not None for marked in self.marked.values())

    async def run(self, srun: WorkerJob) -> None:
        """Run srun to its end, whatever that is. A cancellation comes out when nothing runs any more."""
        interruption: BaseException | None = None
        if self.job.ending is not None:
            self.job.ending.connect(self._end_early)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._run_srun, srun)
                tasks.start_soon(self._watch)
                while not self._over.is_set():
                    try:
                        with anyio.CancelScope(shield=interruption is not None):
                            await self._over.wait()
                    except BaseException as raised:  # noqa: BLE001
                        interruption = interruption or raised
                        self._abandon()
        finally:
            if self.job.ending is not None:
                self.job.ending.disconnect()
        if interruption is not None:
            raise interruption

    def result(self) -> WorkerResult:
        """Return the result so far."""
        stdout, stderr = self.delivery.stdout.capture, self.delivery.stderr.capture
        told = self.marked["stdout"].ended
        # Slurm kills one process after another: the command may see an end of what it waits for, and come to its own.
        is_known = told is not None and not self._is_killed
        code = exit_code(told or "") if is_known else NO_STATUS if self.reason is None else -9
        if self._began is None:
            taken = 0.0
        elif told is None:
            taken = anyio.current_time() - self._began
        else:
            taken = duration(self.marked["stdout"].began or "", told)
        return WorkerResult(
            code,
            stdout,
            stderr,
            duration=taken,
            truncated=stdout.truncated or stderr.truncated or (self._began is not None and not self.is_complete),
            node=self.queued.node,
        )

    async def _run_srun(self, srun: WorkerJob) -> None:
        with anyio.CancelScope(shield=True):
            try:
                with self._scope:
                    self.srun = await LocalWorkerAdapter().execute(
                        replace(
                            srun,
                            stream="bytes",
                            capture=Capture.none(),
                            on_stdout=self._take_stdout,
                            on_stderr=self._take_stderr,
                        )
                    )
                    self.queued.srun_has_ended = self.srun.exit_code >= 0
                    await self._finish()
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001
                self.failure = error
            finally:
                self._over.set()
                self._notify()

    def _take_stdout(self, data: memoryview) -> Awaitable[None] | None:
        marked = self.marked["stdout"]
        output = marked.feed(data)
        if marked.began and self._began is None:
            return self._begin(marked.began, output)
        if marked.ended is not None:
            self._note_end()
        return self._deliver(self.delivery.stdout, output)

    def _take_stderr(self, data: memoryview) -> Awaitable[None] | None:
        output = self.marked["stderr"].feed(data)
        self._note_end()
        if self._began is None:
            # The streams come apart, and this one may be ahead of what tells the beginning; by little, since that is
            # written before the command is started.
            self._ahead.append(output)
            return None
        return self._deliver(self.delivery.stderr, output)

    def _deliver(self, stream: OutputStream, output: bytes) -> Awaitable[None] | None:
        if not output:
            return None
        return self.delivery.take(stream, output) if self._announced.is_set() else self._deliver_later(stream, output)

    async def _deliver_later(self, stream: OutputStream, output: bytes) -> None:
        await self._announced.wait()
        await self.delivery.take(stream, output)

    async def _begin(self, told: str, output: bytes) -> None:
        job_id, step_id, self.queued.node, _ = told.split(" ")
        self.queued.step = f"{job_id}.{step_id}"
        self._began = anyio.current_time()
        self._note_end()
        self._notify()
        await self.delivery.announce()
        for each in self._ahead:
            await self.delivery.take(self.delivery.stderr, each)
        self._announced.set()
        await self.delivery.take(self.delivery.stdout, output)

    def _note_end(self) -> None:
        if self.marked["stdout"].ended is not None and self._ended is None:
            self._ended = self._clock.now()
            self._notify()

    async def _finish(self) -> None:
        for name, stream in (("stdout", self.delivery.stdout), ("stderr", self.delivery.stderr)):
            await self.delivery.take(stream, self.marked[name].finish())
            await self.delivery.finish(stream)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _end_early(self) -> None:
        self._early = True
        self._notify()

    def _abandon(self) -> None:
        if self.reason is None or self.reason == "held":
            self.reason = "abandoned"
        self.delivery.stop()
        self._notify()

    async def _watch(self) -> None:
        with anyio.CancelScope(shield=True):
            while not self._over.is_set():
                changed = self._changed
                reason, left = self._due()
                if reason is not None:
                    self.reason = reason
                    await self._end(reason)
                    return
                await self._clock.wait(changed.wait, left)

    def _due(self) -> tuple[Reason | None, float]:
        """Return why it has to end now, or in how many seconds to look again."""
        if self.reason == "abandoned" or self.delivery.error is not None or self.delivery.fault is not None:
            return "abandoned", math.inf
        if self._ended is None and self._early:
            return "early", math.inf
        if self._began is None:
            return None, math.inf
        limits: list[tuple[Reason, float]] = []
        if self._ended is not None:
            if not self.delivery.is_busy:
                limits.append(("held", max(self._ended, self.delivery.last_active) + DRAIN - self._clock.now()))
        else:
            if self.job.timeout is not None:
                limits.append(("total", self._began + self.job.timeout - anyio.current_time()))
            if self.job.idle_timeout is not None and not self.delivery.is_busy:
                limits.append(("idle", self.delivery.last_active + self.job.idle_timeout - self._clock.now()))
        due = next((reason for reason, left in limits if left <= 0), None)
        return due, min((left for _, left in limits), default=math.inf)

    async def _end(self, reason: Reason) -> None:
        """Have the step end: asked to terminate, and killed when the grace is over."""
        grace_ends = anyio.current_time() + self.job.kill_grace
        if reason != "abandoned":
            self.delivery.limit(grace_ends)
        if self.queued.step is not None:
            if reason != "held" and await self.queued.signal(str(REQUEST)) and await self._is_over_by(grace_ends):
                return
            self._is_killed = self.marked["stdout"].ended is None
            can_kill = self.queued.answers and await self.queued.signal("KILL")
            if can_kill and await self._is_over_by(anyio.current_time() + _PATIENCE):
                return
            if not self.queued.answers:
                self.queued.leave_to_watchdog(self.job)
        # It waits, or is just being started, or cannot be killed: srun gives up what it has asked for.
        self._scope.cancel()
        await self._over.wait()

    async def _is_over_by(self, deadline: float) -> bool:
        with anyio.CancelScope(deadline=deadline):
            await self._over.wait()
        return self._over.is_set()
