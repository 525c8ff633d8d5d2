"""Jobs that wait for a place on a worker."""

from __future__ import annotations

import itertools
import math
from bisect import insort
from collections.abc import Sequence

import anyio

from .._command.ending import warn
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._concurrency.per_loop import PerLoop
from .._errors import WorkerBusyError, WorkerRemoteError, WorkerTimeoutError
from .worker_places import Execute, FindPlaces, WorkerPlaces

_TELL_EVERY = 60.0
"""How often it is told that workers are busy, in seconds."""


class WorkerQueue:
    """Has workers run jobs, each as many at a time as it has places, and the others wait in the order they came.

    What is known of the places belongs to an event loop: every loop finds out for itself.
    """

    def __init__(self, workers: Sequence[tuple[Execute, FindPlaces | None]]) -> None:
        """Take for each worker what has it run a job, and what asks for its places where it can be asked."""
        self._lines = PerLoop(lambda: _Line([WorkerPlaces(*worker) for worker in workers]))

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Have a worker run `job` when one has a place, and say through its `on_warning` when they refuse.

        A worker that failed is left for the others, to which a job goes on if it is certain that it did not begin.
        Raises what a worker raised, but no `WorkerBusyError`, and what `on_warning` raises.
        """
        return await self._lines.get().execute(job)


class _Line:
    """The jobs of one event loop that wait."""

    def __init__(self, workers: Sequence[WorkerPlaces]) -> None:
        self._workers = workers
        self._tickets = itertools.count()
        self._waiting: list[_Waiter] = []
        self._tell_again = -math.inf

    async def execute(self, job: WorkerJob) -> WorkerResult:
        ticket = next(self._tickets)
        failed: set[WorkerPlaces] = set()
        while True:
            worker = await self._take_place(ticket, failed)
            try:
                await worker.find_places()
                self._wake_first()
                result = await worker.execute(job)
            except WorkerBusyError as busy:
                worker.note_refusal(busy.retry_after)
                self._tell(job, busy)
            except WorkerRemoteError as error:
                worker.note_failure()
                failed.add(worker)
                if not error.nothing_began or len(failed) == len(self._workers):
                    raise
                warn(job, [f"{error}; another worker is asked"])
            except WorkerTimeoutError as error:
                # One that says itself what its limit ended works.
                if error.no_answer:
                    worker.note_failure()
                raise
            else:
                worker.note_success()
                return result
            finally:
                worker.end()
                self._wake_first()

    async def _take_place(self, ticket: int, failed: set[WorkerPlaces]) -> WorkerPlaces:
        """Wait for a place; the `failed` workers are those that could not even be asked to run this job."""
        waiter = _Waiter(ticket)
        # Who was refused is where it was before: it came first.
        insort(self._waiting, waiter, key=lambda waiter: waiter.ticket)
        try:
            while True:
                delay = math.inf
                if self._waiting[0] is waiter:
                    worker = self._choose(failed)
                    if worker is not None:
                        worker.begin()
                        return worker
                    now = anyio.current_time()
                    opening = (max(worker.opens_at(), worker.rests_until) for worker in self._workers)
                    delay = min(time for time in opening) - now
                with anyio.move_on_after(delay):
                    await waiter.is_woken.wait()
                waiter.is_woken = anyio.Event()
        finally:
            self._waiting.remove(waiter)
            self._wake_first()

    def _choose(self, failed: set[WorkerPlaces]) -> WorkerPlaces | None:
        now = anyio.current_time()
        has_place = [worker for worker in self._workers if worker.opens_at() <= now]
        if all(worker.rests_until > now for worker in self._workers):
            # There is no other to leave it to.
            left = (worker for worker in has_place if worker not in failed)
            return min(left, key=lambda worker: worker.rests_until, default=None)
        fit = (worker for worker in has_place if worker.rests_until <= now)
        return min(fit, key=lambda worker: worker.running, default=None)

    def _wake_first(self) -> None:
        if self._waiting:
            self._waiting[0].is_woken.set()

    def _tell(self, job: WorkerJob, busy: WorkerBusyError) -> None:
        now = anyio.current_time()
        if now >= self._tell_again:
            self._tell_again = now + _TELL_EVERY
            warn(job, [f"{busy}; waiting for a place"])


class _Waiter:
    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.is_woken = anyio.Event()
