"""What runs a command somewhere, and what it can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from .job import WorkerJob
from .result import WorkerResult


class WorkerAdapter(Protocol):
    """Executes one command somewhere and returns its exit code and output.

    An adapter may also have `capabilities`, a `Capabilities` that says more than `streams`, or just `remote: bool`,
    True where the command runs on another machine; without either the command is taken to run here. For a `WorkerPool`
    it may have `try_execute`, which does what `execute` does but raises `WorkerBusyError` rather than wait for a place,
    and `async places() -> int | None`: how many commands may run at a time, None if nobody can say.

    One that holds connections or the like may be an async context manager: the command line enters it for a job, and a
    `WorkerPool` those that it is made of when it is entered itself. `JobExecutor` does not: its user may.
    """

    streams: bool
    """True where `on_stdout` and `on_stderr` are called while the command runs."""

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` to its end.

        Returns its result whatever the exit code. Raises `WorkerError` when the command could not be carried
        through, and whatever a callback of the job raised, unchanged.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an adapter can do; the defaults are a command's that is run on this machine."""

    streams: bool
    """Whether `on_stdout` and `on_stderr` are called while the command runs."""
    tells_start: bool = False
    """Whether `on_started` is called; else nobody knows how long a command waits before it begins."""
    remote: bool = False
    """Whether the command runs on another machine."""
    runs_any_command: bool = True
    """Whether it runs the command that a `WorkerJob` holds; else the worker looks the chunk up in a specification."""
    shares_files: bool = True
    """Whether the files that a command writes are seen here, in the job's folder.

    Where they are not, nothing that lies here is looked at or renamed: a chunk is done when its worker says so.
    """
    honours_env: bool = True
    """Whether the command gets `WorkerJob.env`."""
    honours_limits: bool = True
    """Whether `timeout` ends the command, and `idle_timeout` does where its output streams."""
    honours_cpu_limit: bool = True
    """Whether `cpu_idle_timeout` ends the command; else it is ignored."""
    ends_early: bool = False
    """Whether `WorkerJob.ending` ends a running command with its result; else it is ignored."""
    honours_slots: bool = True
    """Whether commands of one slot see the variables of that slot."""
    own_programs: bool = False
    """Whether the command finds other programs and folders than this process, such as those of an image.

    Then nobody looks for them here before the first chunk.
    """

    @property
    def may_wait(self) -> bool:
        """Whether a command may wait elsewhere before it begins, and it is told when that is."""
        return self.remote and self.tells_start

    @property
    def sees_parts(self) -> bool:
        """Whether it can be seen which frames of a chunk are whole, and the others be rendered alone."""
        return self.shares_files and self.runs_any_command

    @classmethod
    def of(cls, adapter: WorkerAdapter) -> Capabilities:
        """Return what the adapter says of itself.

        One that says only `streams` and `remote` is taken at that. Of files it says nothing: they are looked for here.
        """
        own: object = getattr(adapter, "capabilities", None)
        if isinstance(own, cls):
            return own
        return cls(streams=bool(adapter.streams), remote=bool(getattr(adapter, "remote", False)))


@asynccontextmanager
async def open_adapters(adapters: Iterable[WorkerAdapter]) -> AsyncIterator[None]:
    """Enter those of the adapters that are async context managers, for as long as the block runs.

    What the block raises comes out, whatever an adapter makes of it, with a note of what an adapter raises then. Raises
    what an adapter raises otherwise.
    """
    raised: BaseException | None = None
    try:
        async with AsyncExitStack() as stack:
            for adapter in adapters:
                if isinstance(adapter, AbstractAsyncContextManager):
                    await stack.enter_async_context(adapter)
            try:
                yield
            except BaseException as error:
                raised = error
                raise
    except BaseException as error:
        if raised is None or error is raised:
            raise
        raised.add_note(f"closing the adapter raised {error!r}")
    if raised is not None:
        raise raised
