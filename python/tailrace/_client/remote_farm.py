"""The methods of a `JobManager`, on a farm whose server is elsewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import anyio
import anyio.to_thread

from .._api.models import (
    MOST_CHUNKS,
    ChunksAnswer,
    EditRequest,
    IdAnswer,
    IdsAnswer,
    JobAnswer,
    JobsAnswer,
    MarkDoneRequest,
    NodesAnswer,
    Nothing,
    PauseRequest,
    PriorityRequest,
    RetryRequest,
    SubmitRequest,
)
from .._checks import check_type
from .._command.job import StreamName
from .._concurrency.kept_open import Enterable
from .._errors import JobNotFoundError
from .._farm.arguments import (
    check_chunk_ids,
    check_moment,
    check_part,
    check_priority,
    check_settings,
    check_states,
    check_words,
)
from .._farm.nodes import NodeStatus
from .._farm.repository.rows import CHUNK_STATES, FINAL_JOB_STATES, JOB_STATES, ChunkStateName, JobStateName
from .._farm.settings import JobSettings
from .._farm.status import ChunkStatus, JobStatus
from .._spec.model import JobSpec
from .event_stream import EventStream
from .remote_output import RemoteOutput
from .server_calls import ServerCalls

_DEFAULTS = JobSettings()
_QUESTION = 20.0
"""How long one question for the end of a job waits, in seconds: less than proxies do."""


class RemoteFarm(Enterable):
    """A farm by its server: each method does what that of a `JobManager` says, and raises the same.

    All raise `FarmServerError` too: where the server does not answer, does not know the token, or allows it to look
    and not to change anything.
    """

    def __init__(self, server: ServerCalls) -> None:
        """Take what asks the server; see `connect`."""
        self._server = server
        self._kept_open = server.connections

    async def submit(
        self,
        spec: JobSpec,
        settings: JobSettings = _DEFAULTS,
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
        """Add a job and return its id, once it is durable; see `JobManager.submit`.

        `folder`, or that of the file that the specification came from, is one of this machine's, which the server has
        to see by the same name: it is made here if it is not there, and a `SpecError` says where it is not seen.
        """
        check_type("spec", spec, JobSpec, "a JobSpec, which JobSpec.load(...) reads")
        check_settings(settings)
        check_words(tags=tags, after=after, name=name, owner=owner, comment=comment)
        check_priority(priority)
        check_moment(not_before)
        place = None if spec.path is None else spec.path.parent
        if folder is not None:
            place = await anyio.to_thread.run_sync(_made, folder)
        request = SubmitRequest(
            spec=spec,
            settings=settings,
            folder=None if place is None else os.fspath(place),
            name=name,
            owner=owner,
            tags=tuple(tags),
            comment=comment,
            priority=priority,
            after=tuple(after),
            not_before=not_before,
        )
        return (await self._server.ask(IdAnswer, "POST", "/jobs", request)).id

    async def get(self, job_id: str) -> JobStatus:
        """Return the job as it is."""
        return self._status(await self._server.ask(JobAnswer, "GET", _job(job_id)))

    async def list(
        self, states: Collection[JobStateName] | None = None, limit: int = 100, before: str | None = None
    ) -> Sequence[JobStatus]:
        """Return jobs, the newest first: those in some of the states, those that are older than the job `before`."""
        check_states(states, JOB_STATES)
        params = {"limit": limit, **_states(states), **({} if before is None else {"before": before})}
        answer = await self._server.ask(JobsAnswer, "GET", "/jobs", params=params)
        return [self._status(job) for job in answer.jobs]

    async def find(self, beginning: str, limit: int = 10) -> Sequence[str]:
        """Return the ids of jobs that begin so, the first of them in their order as texts."""
        params = {"beginning": beginning, "limit": limit}
        return (await self._server.ask(IdsAnswer, "GET", "/ids", params=params)).ids

    async def chunks(
        self,
        job_id: str,
        states: Collection[ChunkStateName] | None = None,
        *,
        chunk_ids: Collection[int] | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> Sequence[ChunkStatus]:
        """Return the chunks of the job in their order, or those in some of the states, or with some of the ids.

        See `JobManager.chunks`. They are asked for in parts, each as it is at its moment.
        """
        check_states(states, CHUNK_STATES)
        check_part(chunk_ids, after, limit)
        ids = {} if chunk_ids is None else {"ids": ",".join(map(str, chunk_ids))}
        found: list[ChunkStatus] = []
        while True:
            wanted = MOST_CHUNKS if limit is None else min(MOST_CHUNKS, limit - len(found))
            params = {**_states(states), **ids, "limit": wanted, **({} if after is None else {"after": after})}
            answer = await self._server.ask(ChunksAnswer, "GET", f"{_job(job_id)}/chunks", params=params)
            found += [chunk.to_status() for chunk in answer.chunks]
            if len(answer.chunks) < wanted or len(found) == limit:
                return found
            after = found[-1].id

    async def pause(self, job_id: str, *, now: bool = False) -> None:
        """Start no more chunks of the job, and let those that run end; with `now` they are ended, and pending again."""
        await self._server.ask(Nothing, "POST", f"{_job(job_id)}/pause", PauseRequest(now=now))

    async def resume(self, job_id: str) -> None:
        """Have a paused job go on, or one that waits for other jobs or for a time begin without that."""
        await self._server.ask(Nothing, "POST", f"{_job(job_id)}/resume")

    async def cancel(self, job_id: str) -> None:
        """End the job, and return when nothing of it runs any more. What is finished of it stays."""
        await self._server.ask(Nothing, "POST", f"{_job(job_id)}/cancel")

    async def retry(self, job_id: str, chunk_ids: Collection[int] | None = None, *, done: bool = False) -> None:
        """Run chunks of a job that has ended again: those that failed, were skipped or cancelled, or some of them."""
        if chunk_ids is not None:
            check_chunk_ids(chunk_ids)
        request = RetryRequest(chunk_ids=None if chunk_ids is None else tuple(chunk_ids), done=done)
        await self._server.ask(Nothing, "POST", f"{_job(job_id)}/retry", request)

    async def mark_done(self, job_id: str, chunk_ids: Collection[int]) -> None:
        """Have chunks count as completed that are not, of a job of which nothing runs."""
        check_chunk_ids(chunk_ids)
        request = MarkDoneRequest(chunk_ids=tuple(chunk_ids))
        await self._server.ask(Nothing, "POST", f"{_job(job_id)}/mark-done", request)

    async def edit(
        self,
        job_id: str,
        *,
        settings: JobSettings | None = None,
        name: str | None = None,
        tags: Collection[str] | None = None,
        comment: str | None = None,
    ) -> None:
        """Change a job that has not begun, or is paused and of which nothing runs; None leaves what it is about."""
        check_words(tags=tags, name=name, comment=comment)
        if settings is not None:
            check_settings(settings)
        request = EditRequest(settings=settings, name=name, tags=None if tags is None else tuple(tags), comment=comment)
        await self._server.ask(Nothing, "PATCH", _job(job_id), request)

    async def set_priority(self, job_id: str, priority: int) -> None:
        """Change which chunks come first: those of the job with the higher priority."""
        check_priority(priority)
        await self._server.ask(Nothing, "POST", f"{_job(job_id)}/priority", PriorityRequest(priority=priority))

    async def delete(self, job_id: str) -> None:
        """Forget a job of which nothing runs: its rows, events and logs, never what it rendered."""
        await self._server.ask(Nothing, "DELETE", _job(job_id))

    async def wait(self, job_id: str) -> JobStatus:
        """Return the job once it has ended. A server that is gone meanwhile is waited for."""
        answer = await self._server.ask(JobAnswer, "GET", _job(job_id))
        params = {"seconds": _QUESTION}
        while answer.state not in FINAL_JOB_STATES:
            answer = await self._server.until_answered(
                partial(self._server.ask, JobAnswer, "GET", f"{_job(job_id)}/wait", params=params)
            )
        return self._status(answer)

    async def list_nodes(self) -> Sequence[NodeStatus]:
        """Return the nodes as they are; one without a name is the only one."""
        return [node.to_status() for node in (await self._server.ask(NodesAnswer, "GET", "/nodes")).nodes]

    async def drain_node(self, name: str) -> None:
        """Start nothing more on a node, and let what runs there end. Raises `KeyError` if there is none so called."""
        await self._server.ask(Nothing, "POST", "/nodes/drain", params={"name": name})

    async def resume_node(self, name: str) -> None:
        """Have a node take part again. Raises `KeyError` if there is none so called."""
        await self._server.ask(Nothing, "POST", "/nodes/resume", params={"name": name})

    @asynccontextmanager
    async def events(self, after: int | None = None, *, job_id: str | None = None) -> AsyncIterator[EventStream]:
        """Iterate over what happens, inside the block; with `after`, also over what has changed since that event.

        Of one job alone, if it is named. A connection that is lost is made anew, and no change of a state is left out
        then; a `gap` says where what is not durable was, or where changes are no longer kept.
        """
        stream = EventStream(self._server, after, job_id)
        await stream.open()
        try:
            yield stream
        finally:
            await stream.close()

    def output(
        self,
        job_id: str,
        chunk_id: int,
        stream: StreamName = "stderr",
        attempt: int | None = None,
        offset: int = 0,
        follow: bool = True,
    ) -> AsyncIterator[bytes]:
        """Iterate over what an attempt at a chunk, or the last one, wrote to a stream, from byte `offset` of it on."""
        return RemoteOutput(
            self._server, _job(job_id), chunk_id, stream, attempt=attempt, offset=offset, follows=follow
        )

    async def report(self, job_id: str, kind: Literal["html", "json", "csv"] = "html", *, sheet: bool = True) -> bytes:
        """Return the report of the job, which may run still: a page, an object of JSON, or a line for each chunk.

        It is made where the logs are; `sheet` says whether the page has pictures of the frames. Raises
        `FarmServerError` too where the job has not begun.
        """
        params = {"format": kind, "sheet": sheet}
        return (await self._server.send("GET", f"{_job(job_id)}/report", params=params)).content

    def _status(self, answer: JobAnswer) -> JobStatus:
        return answer.to_status(partial(self._spec, answer.id))

    def _spec(self, job_id: str) -> JobSpec:
        try:
            return JobSpec.parse(self._server.get_text_now(f"{_job(job_id)}/spec"))
        except JobNotFoundError:
            raise JobNotFoundError(f"job {job_id} was deleted meanwhile", job_id) from None


def _job(job_id: str) -> str:
    # An empty one would be all jobs.
    return f"/jobs/{quote(job_id, safe='') or '-'}"


def _made(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


def _states(states: Collection[str] | None) -> dict[str, str]:
    return {} if states is None else {"states": ",".join(states)}
