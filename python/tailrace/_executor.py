"""The executor as users get it: with what runs a merge on this machine."""

from __future__ import annotations

from ._command.adapter import WorkerAdapter
from ._job.executor import Executor
from ._local.adapter import LocalWorkerAdapter


class JobExecutor(Executor):
    """Runs the chunks of jobs through a worker adapter.

    The merge runs through it too, or through a `LocalWorkerAdapter` if it works on another machine.
    """

    def __init__(self, adapter: WorkerAdapter) -> None:
        """Run all commands through `adapter`; raises `TypeError` for what is none."""
        super().__init__(adapter, make_local=LocalWorkerAdapter)
