"""What the API does with jobs and nodes: each of these is one method of the farm."""

from __future__ import annotations

import socket
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.responses import Response

from .._api.models import (
    EditRequest,
    IdAnswer,
    IdsAnswer,
    JobAnswer,
    JobsAnswer,
    MarkDoneRequest,
    NodeAnswer,
    NodesAnswer,
    Nothing,
    PauseRequest,
    PriorityRequest,
    RetryRequest,
    SubmitRequest,
)
from .._errors import SpecError
from .._farm.manager import JobManager
from .._farm.repository.rows import FINAL_JOB_STATES, JOB_STATES
from ._call import Call
from ._metrics import MEDIA_TYPE, Metrics
from ._queries import IdsQuery, JobsQuery, NodeQuery, WaitQuery
from ._waits import Waits

_UNFINISHED = [state for state in JOB_STATES if state not in FINAL_JOB_STATES]
_MOST_JOBS = 10_000
"""Of which Prometheus is told."""


class Jobs:
    """Answers requests for jobs and nodes."""

    def __init__(self, manager: JobManager, metrics: Metrics, waits: Waits) -> None:
        """Take the farm, what counts, and what ends waiting."""
        self._farm = manager
        self._metrics = metrics
        self._waits = waits

    async def submit(self, call: Call) -> IdAnswer:
        """Add a job."""
        asked = await call.body(SubmitRequest)
        if asked.folder is not None:
            await anyio.to_thread.run_sync(_check_folder, asked.folder)
        return IdAnswer(id=await self._farm.submit(asked.spec, asked.settings, folder=asked.folder, **asked.arguments))

    async def list(self, call: Call) -> JobsAnswer:
        """Return jobs, the newest first."""
        asked = call.query(JobsQuery)
        jobs = await self._farm.list(asked.states, asked.limit, asked.before)
        return JobsAnswer(jobs=tuple(map(JobAnswer.model_validate, jobs)))

    async def find(self, call: Call) -> IdsAnswer:
        """Return ids of jobs that begin so."""
        asked = call.query(IdsQuery)
        return IdsAnswer(ids=tuple(await self._farm.find(asked.beginning, asked.limit)))

    async def get(self, call: Call) -> JobAnswer:
        """Return a job."""
        return JobAnswer.model_validate(await self._farm.get(call.job_id))

    async def spec(self, call: Call) -> Response:
        """Return what a job is, as a job file."""
        return Response(await self._farm.spec_text(call.job_id), media_type="application/json")

    async def wait(self, call: Call) -> JobAnswer:
        """Return a job when it has ended, or after some time as it is then."""
        with self._waits.move_on_after(call.query(WaitQuery).seconds):
            return JobAnswer.model_validate(await self._farm.wait(call.job_id))
        return JobAnswer.model_validate(await self._farm.get(call.job_id))

    async def edit(self, call: Call) -> Nothing:
        """Change what a job is called, and how it is run."""
        asked = await call.body(EditRequest)
        await self._farm.edit(
            call.job_id, settings=asked.settings, name=asked.name, tags=asked.tags, comment=asked.comment
        )
        return Nothing()

    async def pause(self, call: Call) -> Nothing:
        """Start no more chunks of a job."""
        await self._farm.pause(call.job_id, now=(await call.body(PauseRequest)).now)
        return Nothing()

    async def resume(self, call: Call) -> Nothing:
        """Have a job go on."""
        await self._farm.resume(call.job_id)
        return Nothing()

    async def cancel(self, call: Call) -> Nothing:
        """End a job."""
        await self._farm.cancel(call.job_id)
        return Nothing()

    async def retry(self, call: Call) -> Nothing:
        """Run chunks of a job that has ended again."""
        asked = await call.body(RetryRequest)
        await self._farm.retry(call.job_id, asked.chunk_ids, done=asked.done)
        return Nothing()

    async def mark_done(self, call: Call) -> Nothing:
        """Have chunks count as completed."""
        await self._farm.mark_done(call.job_id, (await call.body(MarkDoneRequest)).chunk_ids)
        return Nothing()

    async def set_priority(self, call: Call) -> Nothing:
        """Change which chunks come first."""
        await self._farm.set_priority(call.job_id, (await call.body(PriorityRequest)).priority)
        return Nothing()

    async def delete(self, call: Call) -> Nothing:
        """Forget a job of which nothing runs."""
        await self._farm.delete(call.job_id)
        return Nothing()

    async def nodes(self, call: Call) -> NodesAnswer:
        """Return the nodes."""
        del call
        return NodesAnswer(nodes=tuple(map(NodeAnswer.model_validate, await self._farm.list_nodes())))

    async def drain_node(self, call: Call) -> Nothing:
        """Start nothing more on a node."""
        await self._farm.drain_node(call.query(NodeQuery).name)
        return Nothing()

    async def resume_node(self, call: Call) -> Nothing:
        """Have a node take part again."""
        await self._farm.resume_node(call.query(NodeQuery).name)
        return Nothing()

    async def metrics(self, call: Call) -> Response:
        """Return what Prometheus reads."""
        del call
        jobs = await self._farm.list(_UNFINISHED, _MOST_JOBS)
        nodes = await self._farm.list_nodes()
        chunks: dict[str, int] = {
            "running": sum(node.running for node in nodes),
            "completed": sum(job.completed_chunks for job in jobs),
            "failed": sum(job.failed_chunks for job in jobs),
            "skipped": sum(job.skipped_chunks for job in jobs),
        }
        chunks["pending"] = max(0, sum(job.total_chunks for job in jobs) - sum(chunks.values()))
        return Response(self._metrics.text(jobs, chunks, nodes), media_type=MEDIA_TYPE)


def _check_folder(folder: str) -> None:
    path = Path(folder)
    if "\0" in folder or not path.is_absolute():
        raise SpecError(f"folder: {folder!r} should be an absolute path")
    if not path.is_dir():
        raise SpecError(
            f"folder: the farm's server on {socket.gethostname()} does not see {folder}: a job's folder has to be on a"
            " disk that both share, under the same name"
        )
