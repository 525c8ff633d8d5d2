"""Commands on the nodes of a Slurm cluster, by `srun`."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import anyio

from ..._checks import check_collection, check_limits, check_type
from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._errors import WorkerSpawnError
from ..._local.python_spawn import MARK_VARIABLE
from .abilities import CAPABILITIES
from .arguments import HERE, new_name, srun_arguments, time_option
from .execution import Execution
from .outcome import conclude
from .queue import QueuedJob
from .watchdog import watchdog

_GRACE = 2.0
"""How long srun may take to withdraw what it has asked for, in seconds."""
_MOMENT = 0.5
"""How long the news that it has ended may take on their way through Slurm, in seconds."""
_MOST_SAID = 2**20
"""How much of what srun itself says is read, in bytes."""


class SlurmAdapter:
    """Runs each command as a Slurm job of one task, or, inside an allocation (`SLURM_JOB_ID` is set), as a step of it.

    It keeps the contract of `LocalWorkerAdapter` for callbacks, captures, endings and results; limits count from when
    the command begins on its node. `WorkerJob.meta["needs"]` becomes what Slurm is asked for, and `WorkerResult.node`
    names the node, which has to have the folders of the jobs.
    """

    streams = True
    remote = True
    capabilities = CAPABILITIES

    def __init__(
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        time_limit: float | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Take what each job is submitted with: `time_limit` in seconds, and more `options` for `srun`.

        Slurm rounds the limit up to minutes. Raises `TypeError` or `ValueError` for what cannot be used.
        """
        for name, value in (("partition", partition), ("account", account)):
            if value is not None:
                check_type(name, value, str, "a str")
        check_limits(time_limit=time_limit)
        check_collection("options", options, str, "options for srun")
        self._partition = partition
        self._options = [
            *([] if partition is None else [f"--partition={partition}"]),
            *([] if account is None else [f"--account={account}"]),
            *([] if time_limit is None else [time_option(time_limit)]),
            *options,
        ]

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` on a node, to its end.

        Raises `WorkerSpawnError` if `srun` is not installed or has no configuration or the node has no such program or
        folder, `WorkerTimeoutError` if a limit of the job ended it, `WorkerLostError` if its node, Slurm, or its place
        there was lost, and `WorkerError` if Slurm refuses it or its time limit ended it. What a callback raises comes
        out unchanged.
        """
        srun = shutil.which("srun")
        if srun is None:
            raise WorkerSpawnError(
                errno.ENOENT, "cannot start srun: Slurm's commands are not in the PATH of this machine"
            )
        allocation = os.environ.get("SLURM_JOB_ID")
        queued = QueuedJob(new_name(job), allocation)
        mark = secrets.token_hex(8)
        arguments = partial(
            srun_arguments, job, queued.name, mark, in_allocation=allocation is not None, place=self._options
        )
        exclude = await self._to_avoid(job, queued)
        args = arguments(exclude=exclude)
        if exclude and allocation is None and not await queued.could_run(srun, args):
            # What the chunk needs is on no other node.
            args = arguments()
        execution = Execution(job, queued, mark)
        messages = os.memfd_create("tailrace-srun")
        try:
            watchdog.add(queued.name)
            await execution.run(
                _local_job(job, ["-c", HERE, "sh", MARK_VARIABLE, f"/proc/{os.getpid()}/fd/{messages}", srun, *args])
            )
            return await conclude(execution, _lines_of(messages))
        except GeneratorExit:
            # The event loop is gone, and nothing can be awaited any more.
            raise
        except BaseException as error:
            # Where srun itself could not begin, Slurm has nothing of it.
            if not isinstance(error, WorkerSpawnError) or queued.step is not None:
                with anyio.CancelScope(shield=True):
                    await queued.see_to_its_end(job, patience=_MOMENT)
            raise
        finally:
            watchdog.remove(queued.name)
            os.close(messages)

    async def _to_avoid(self, job: WorkerJob, queued: QueuedJob) -> Collection[str]:
        """Return which nodes to leave out: those that are to be avoided, unless no other is left."""
        avoided = job.meta.get("avoid_nodes") or ()
        check_collection("avoid_nodes", avoided, str, "names of nodes")
        if not isinstance(avoided, Collection) or not avoided:
            return ()
        nodes = await queued.nodes(self._partition)
        return () if nodes <= frozenset(avoided) else nodes & frozenset(avoided)


def _local_job(job: WorkerJob, args: Sequence[str]) -> WorkerJob:
    """Return the job that runs srun here: the limits are for what it runs elsewhere, and the callbacks too."""
    return replace(
        job,
        command="sh",
        args=args,
        cwd=None,
        timeout=None,
        idle_timeout=None,
        cpu_idle_timeout=None,
        kill_grace=_GRACE,
        ending=None,
        on_started=None,
        on_usage=None,
        on_warning=None,
    )


def _lines_of(messages: int) -> list[str]:
    return os.pread(messages, _MOST_SAID, 0).decode(errors="replace").splitlines()
