"""What Slurm is asked and told about a job, or a step of an allocation, by its own programs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import anyio

from ..._command.ending import warn_beside_an_error
from ..._command.job import WorkerJob
from ..._errors import WorkerError
from ..._local.adapter import LocalWorkerAdapter
from .watchdog import watchdog

_PATIENCE = 5.0
"""How long one of Slurm's programs may take, and then the end of what it was asked to end, in seconds.

Without slurmctld they try for much longer, `MessageTimeout` of slurm.conf.
"""
_LOOK_AGAIN = 0.2
_SUBMITTED_LATE = 2.0
"""When an srun that was killed while it submitted something has done so, at the latest, in seconds."""

UNREACHABLE = re.compile(
    r"unable to contact slurm controller|socket timed out|connect failure|communication connection failure"
    r"|zero bytes were transmitted|controller.* not responding",
    re.IGNORECASE,
)
"""How Slurm's programs say that slurmctld does not answer them."""


class QueuedJob:
    """A job, or a step, that this process has submitted under a name of its own."""

    def __init__(self, name: str, allocation: str | None) -> None:
        """Take the name, and the number of the allocation that it is a step of."""
        self.name = name
        self.step: str | None = None
        """Its number, once that is known: a step's, with that of its job before the dot."""
        self.node: str | None = None
        """Where it runs, or did, once that is known."""
        self.answers = True
        """Whether Slurm did what it was asked last."""
        self.srun_has_ended = False
        """Whether srun came to its own end: it submits nothing any more."""
        self.is_over: bool | None = None
        """Whether nothing of it waits or runs any more; None: nobody has looked."""
        self._allocation = allocation
        self._local = LocalWorkerAdapter()

    def __str__(self) -> str:
        if self.step is None:
            return f"Slurm job {self.name}"
        number = f"step {self.step}" if self._allocation else f"job {self.step.partition('.')[0]}"
        return f"Slurm {number} on node {self.node}"

    async def signal(self, name: str) -> bool:
        """Send a signal to all processes of the step; False if that could not be asked for."""
        return self.step is not None and await self._done("scancel", "--ctld", f"--signal={name}", self.step)

    async def see_to_its_end(self, job: WorkerJob, *, patience: float = _PATIENCE) -> bool:
        """Have nothing of it wait or run any more, and return whether Slurm says so; it may take so long by itself.

        If Slurm does not say so, `job` is warned, and the watchdog goes on with it.
        """
        if self.is_over is None:
            if await self._ends(patience) or (self.answers and await self._ends_cancelled()):
                self.is_over = True
            else:
                self.leave_to_watchdog(job)
        return bool(self.is_over)

    def leave_to_watchdog(self, job: WorkerJob) -> None:
        """Have it ended when that can be done, and warn `job` of it."""
        self.is_over = False
        why = "" if self.answers else ", since Slurm does not answer: it is cancelled as soon as that does"
        try:
            watchdog.end(self.name)
        except OSError as error:
            remedy = f"cancel it with scancel --name={self.name}"
            why = f", nor can a process be started that goes on to try ({error}): {remedy}"
        warn_beside_an_error(job, [f"could not be ended: {self}{why}"])

    async def _ends_cancelled(self) -> bool:
        for step in await self._steps() or []:
            await self._done("scancel", "--ctld", "--signal=KILL", step)
        if self._allocation is None:
            await self._done("scancel", "--user", _user(), "--name", self.name)
        return await self._ends(_PATIENCE)

    async def _ends(self, seconds: float) -> bool:
        """Whether nothing of it waits or runs any more; it may take so many seconds.

        Where srun was killed before anything began, its job may come into the queue after it: a second look has to
        find none either.
        """
        deadline = anyio.current_time() + seconds
        clear = 0
        while True:
            clear = clear + 1 if await (self._steps() if self._allocation else self._jobs()) == [] else 0
            if clear == (1 if self.step is not None or self.srun_has_ended else 2):
                return True
            if clear == 0 and (not self.answers or anyio.current_time() >= deadline):
                return False
            await anyio.sleep(_LOOK_AGAIN if clear == 0 else _SUBMITTED_LATE)

    async def state(self) -> str:
        """Return what Slurm calls the state of the job; empty if it does not say, as of a step that has ended.

        While what is left of a job is tidied away it does not say how that ended: this is waited for a little.
        """
        if self.step is None or self._allocation:
            return ""
        deadline = anyio.current_time() + _PATIENCE
        while True:
            shown = await self._asked("scontrol", "--oneliner", "show", "job", self.step.partition(".")[0])
            found = re.search(r"JobState=(\S+)", shown or "")
            if found is None:
                return ""
            if found[1] != "COMPLETING" or anyio.current_time() >= deadline:
                return found[1]
            await anyio.sleep(_LOOK_AGAIN)

    async def nodes(self, partition: str | None) -> frozenset[str]:
        """Return the names of the nodes that it might run on; empty if Slurm does not say."""
        if self._allocation:
            shown = await self._asked("scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", ""))
        else:
            where = [] if partition is None else [f"--partition={partition}"]
            shown = await self._asked("sinfo", "--noheader", "--Node", "--format=%N", *where)
        return frozenset((shown or "").split())

    async def could_run(self, srun: str, args: Sequence[str]) -> bool:
        """Return whether Slurm would ever run srun with these arguments, as far as it can say without a job."""
        return await self._done(srun, "--test-only", *args)

    async def _jobs(self) -> list[str] | None:
        return await self._listed("--name", self.name, "--format=%i %j")

    async def _steps(self) -> list[str] | None:
        where = [] if self._allocation is None else ["--jobs", self._allocation]
        return await self._listed("--steps", *where, "--format=%i %j")

    async def _listed(self, *options: str) -> list[str] | None:
        """Return the numbers of what is listed under our name; None if Slurm could not be asked."""
        shown = await self._asked("squeue", "--noheader", "--user", _user(), *options)
        if shown is None:
            return None
        lines = [line.split(maxsplit=1) for line in shown.splitlines()]
        return [line[0] for line in lines if len(line) == 2 and line[1].strip() == self.name]

    async def _done(self, program: str, *args: str) -> bool:
        return await self._asked(program, *args) is not None

    async def _asked(self, program: str, *args: str) -> str | None:
        """Return what one of Slurm's programs prints; None if it fails, or takes too long."""
        try:
            done = await self._local.execute(WorkerJob(program, args, timeout=_PATIENCE, kill_grace=1.0))
        except WorkerError:
            self.answers = False
            return None
        self.answers = not UNREACHABLE.search(done.stderr)
        return done.stdout if done.exit_code == 0 else None


def _user() -> str:
    return str(os.getuid())
