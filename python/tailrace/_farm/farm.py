"""What can be asked of a farm, wherever it runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .._command.job import StreamName
from .._spec.model import JobSpec
from .nodes import NodeStatus
from .repository.rows import ChunkStateName, JobStateName
from .settings import JobSettings
from .status import ChunkStatus, FarmEvent, JobStatus


class Farm(Protocol):
    """A `JobManager`, or what stands for one elsewhere; each method does what that of a `JobManager` says."""

    async def submit(
        self,
        spec: JobSpec,
        settings: JobSettings = ...,
        *,
        folder: str | os.PathLike[str] | None = None,
        name: str | None = None,
        owner: str | None = None,
        tags: Collection[str] = (),
        comment: str = "",
        priority: int = 0,
        after: Collection[str] = (),
        not_before: float | None = None,
    ) -> str:
        """Add a job and return its id."""
        ...

    async def get(self, job_id: str) -> JobStatus:
        """Return the job as it is."""
        ...

    async def list(
        self, states: Collection[JobStateName] | None = None, limit: int = 100, before: str | None = None
    ) -> Sequence[JobStatus]:
        """Return jobs, the newest first."""
        ...

    async def chunks(
        self,
        job_id: str,
        states: Collection[ChunkStateName] | None = None,
        *,
        chunk_ids: Collection[int] | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> Sequence[ChunkStatus]:
        """Return the chunks of the job."""
        ...

    async def pause(self, job_id: str, *, now: bool = False) -> None:
        """Start no more chunks of the job."""
        ...

    async def resume(self, job_id: str) -> None:
        """Have the job go on."""
        ...

    async def cancel(self, job_id: str) -> None:
        """End the job."""
        ...

    async def retry(self, job_id: str, chunk_ids: Collection[int] | None = None, *, done: bool = False) -> None:
        """Run chunks of a job that has ended again."""
        ...

    async def mark_done(self, job_id: str, chunk_ids: Collection[int]) -> None:
        """Have chunks count as completed."""
        ...

    async def edit(
        self,
        job_id: str,
        *,
        settings: JobSettings | None = None,
        name: str | None = None,
        tags: Collection[str] | None = None,
        comment: str | None = None,
    ) -> None:
        """Change a job that has not begun, or is paused."""
        ...

    async def set_priority(self, job_id: str, priority: int) -> None:
        """Change which chunks come first."""
        ...

    async def delete(self, job_id: str) -> None:
        """Forget a job of which nothing runs."""
        ...

    async def wait(self, job_id: str) -> JobStatus:
        """Return the job once it has ended."""
        ...

    async def find(self, beginning: str, limit: int = 10) -> Sequence[str]:
        """Return the ids of jobs that begin so."""
        ...

    async def list_nodes(self) -> Sequence[NodeStatus]:
        """Return the nodes as they are."""
        ...

    async def drain_node(self, name: str) -> None:
        """Start nothing more on a node."""
        ...

    async def resume_node(self, name: str) -> None:
        """Have a node take part again."""
        ...

    def events(self, after: int | None = None) -> AbstractAsyncContextManager[AsyncIterator[FarmEvent]]:
        """Iterate over what happens, inside the block."""
        ...

    def output(
        self,
        job_id: str,
        chunk_id: int,
        stream: StreamName = "stderr",
        attempt: int | None = None,
        offset: int = 0,
        follow: bool = True,
    ) -> AsyncIterator[bytes]:
        """Iterate over what an attempt at a chunk wrote."""
        ...
