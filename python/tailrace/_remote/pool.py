"""Several workers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from .._checks import check_collection, check_method
from .._command.adapter import Capabilities, WorkerAdapter, open_adapters
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._concurrency.kept_open import Enterable, KeptOpen
from .worker_queue import WorkerQueue


class WorkerPool(Enterable):
    """Has several workers run the chunks of a job: an adapter made of adapters.

    ```python
    pool = WorkerPool([HttpWorkerAdapter(url, job_def_url="job.json") for url in urls])
    await JobExecutor(pool).execute(spec, JobExecutionOptions(concurrency=16))
    ```

    Each worker gets as many jobs at a time as it has places, which it is asked for (`places` of its adapter); one that
    cannot say gets what it does not refuse (`WorkerBusyError`). The other jobs wait, in the order they came, and
    `timeout` only begins when they run. A worker that failed, or did not answer in time, is left for the others, at
    first for half a minute. A job that cannot have begun there goes on to another worker; else the error comes out, and
    it is up to the executor's `retries` to try another.

    `async with pool:` enters those of its adapters that can be entered.

    `streams` is True where all adapters' is, `remote` where any's is; its `capabilities` are what all have in common.
    """

    def __init__(self, adapters: Sequence[WorkerAdapter]) -> None:
        """Take an adapter for each worker. Raises `TypeError` for what is none, `ValueError` if there is none."""
        check_collection("adapters", adapters, object, "adapters")
        for place, adapter in enumerate(adapters):
            check_method(f"adapters[{place}]", adapter, "execute")
        if not adapters:
            raise ValueError("a pool needs at least one adapter")
        self.capabilities = _in_common([Capabilities.of(adapter) for adapter in adapters])
        self.streams = self.capabilities.streams
        self.remote = self.capabilities.remote
        self._kept_open = KeptOpen(lambda: open_adapters(adapters))
        self._queue = WorkerQueue(
            [
                (getattr(adapter, "try_execute", adapter.execute), getattr(adapter, "places", None))
                for adapter in adapters
            ]
        )

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Have one of the workers run `job`. Raises what its adapter raises."""
        return await self._queue.execute(job)


def _in_common(capabilities: Sequence[Capabilities]) -> Capabilities:
    """Return what holds wherever a job may come to run."""
    shared = {field.name: all(getattr(one, field.name) for one in capabilities) for field in fields(Capabilities)}
    return Capabilities(**{**shared, "remote": any(one.remote for one in capabilities)})
