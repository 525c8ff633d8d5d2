"""What Slurm is asked and told about a job, or a step of an allocation, by its own programs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._errors import WorkerError
from ..._local.adapter import LocalWorkerAdapter

_PATIENCE = 20.0
"""How long one of Slurm's programs may take, in seconds."""
_LOOK_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class Known:
    """What Slurm says of a job that has ended, or of one that it cannot be asked about."""

    state: str
    """Empty where it is not known."""
    reason: str = ""


class QueuedJob:
    """A job, or a step, that this process has submitted under a name of its own."""

    def __init__(self, name: str, allocation: str | None) -> None:
        """Take the name, and the number of the allocation that it is a step of."""
        self.name = name
        self.step: str | None = None
        """Its number, once that is known: a step's, with that of its job before the dot."""
        self._allocation = allocation
        self._local = LocalWorkerAdapter()

    def __str__(self) -> str:
        if self.step is None:
            return f"Slurm job {self.name}"
        return f"Slurm step {self.step}" if self._allocation else f"Slurm job {self.step.partition('.')[0]}"

    async def signal(self, name: str) -> bool:
        """Send a signal to all processes of the step; False if that could not be asked for."""
        if self.step is None:
            return False
        done = await self._run("scancel", "--ctld", f"--signal={name}", self.step)
        return done is not None and done.exit_code == 0

    async def cancel(self) -> None:
        """Take it out of the queue, or have Slurm end what runs of it at once."""
        for step, _ in await self._steps() or []:
            await self._run("scancel", "--ctld", "--signal=KILL", step)
        if self._allocation is None:
            await self._run("scancel", "--user", _user(), "--name", self.name)

    async def is_gone(self, seconds: float) -> bool:
        """Whether nothing of it waits or runs any more; it may take so many seconds."""
        deadline = anyio.current_time() + seconds
        while True:
            left = await (self._steps() if self._allocation else self._jobs())
            if left is not None and not left:
                return True
            if anyio.current_time() >= deadline:
                return False
            await anyio.sleep(_LOOK_AGAIN)

    async def what_became_of_it(self) -> Known:
        """Return what Slurm knows; of a step that has ended, it knows nothing."""
        if self.step is None or self._allocation:
            return Known("")
        done = await self._run("scontrol", "--oneliner", "show", "job", self.step.partition(".")[0])
        if done is None or done.exit_code != 0:
            return Known("")
        found = dict(re.findall(r"(JobState|Reason)=(\S+)", done.stdout))
        return Known(found.get("JobState", ""), found.get("Reason", ""))

    async def nodes(self, partition: str | None) -> frozenset[str]:
        """Return the names of the nodes that it might run on; empty if Slurm does not say."""
        if self._allocation:
            done = await self._run("scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", ""))
        else:
            where = [] if partition is None else [f"--partition={partition}"]
            done = await self._run("sinfo", "--noheader", "--Node", "--format=%N", *where)
        return frozenset() if done is None or done.exit_code != 0 else frozenset(done.stdout.split())

    async def could_run(self, srun: str, args: Sequence[str]) -> bool:
        """Return whether Slurm would ever run srun with these arguments, as far as it can say without a job."""
        done = await self._run(srun, "--test-only", *args)
        return done is not None and done.exit_code == 0

    async def _jobs(self) -> list[tuple[str, str]] | None:
        return await self._listed("--name", self.name, "--format=%i %j")

    async def _steps(self) -> list[tuple[str, str]] | None:
        where = [] if self._allocation is None else ["--jobs", self._allocation]
        return await self._listed("--steps", *where, "--format=%i %j")

    async def _listed(self, *options: str) -> list[tuple[str, str]] | None:
        """Return the numbers and names of what is listed under our name; None if Slurm could not be asked."""
        done = await self._run("squeue", "--noheader", "--user", _user(), *options)
        if done is None or done.exit_code != 0:
            return None
        words = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip()]
        return [(each[0], each[1]) for each in words if len(each) == 2 and each[1].strip() == self.name]

    async def _run(self, program: str, *args: str) -> WorkerResult | None:
        try:
            return await self._local.execute(WorkerJob(program, args, timeout=_PATIENCE))
        except WorkerError:
            return None


def find_srun() -> str | None:
    """Return the path of `srun`, None if it is not installed."""
    return shutil.which("srun")


def _user() -> str:
    return str(os.getuid())
