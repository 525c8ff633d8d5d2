"""What the API tells of how a job went: its report, and the parts of it that a page shows while it runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread
from starlette.responses import Response, StreamingResponse

from .._api.models import PartAnswer
from .._farm.manager import JobManager
from .._farm.status import JobStatus
from ..report._page import PARTS
from ._call import Call
from ._queries import PartQuery, ReportQuery
from ._refusal import RefusedError
from ._report_process import ReportProcess

_MOST_WATCHED = 4
"""Of so many jobs what is known of their logs is kept, for who looks at them."""
_MOST_AT_ONCE = 2
"""How many whole reports are made at a time."""
_PIECE = 1 << 18
_MEDIA_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}


class Reports:
    """Answers requests for reports."""

    def __init__(self, manager: JobManager) -> None:
        """Take the farm."""
        self._farm = manager
        self._making = anyio.Semaphore(_MOST_AT_ONCE)
        self._asking = anyio.Semaphore(_MOST_WATCHED)
        self._watched: dict[str, ReportProcess] = {}
        """Last the one that was asked last."""

    async def part(self, call: Call) -> PartAnswer:
        """Return a part of the page of a job's report, as the job is now."""
        name = str(call.request.path_params["part"])
        if name not in PARTS:
            raise RefusedError(404, f"a report has no part {name!r}, but {', '.join(PARTS)}")
        asked = call.query(PartQuery)
        folder = await self._farm.log_folder(call.job_id)
        runs = await self._runs(await self._farm.get(call.job_id))
        async with self._asking:
            process = self._watched.pop(call.job_id, None) or ReportProcess(folder)
            self._watched[call.job_id] = process
            answer = PartAnswer.model_validate(await process.ask({"part": name, "known": asked.known, "runs": runs}))
            while len(self._watched) > _MOST_WATCHED:
                # There is one: no more are busy than are kept.
                idle = next(job_id for job_id, one in self._watched.items() if not one.is_busy)
                await self._watched.pop(idle).close()
        return answer

    async def report(self, call: Call) -> Response:
        """Return the report of a job as a file: one page, or all of it as JSON, or a line for each chunk as CSV."""
        asked = call.query(ReportQuery)
        folder = await self._farm.log_folder(call.job_id)
        if not await anyio.Path(folder).is_dir():
            raise RefusedError(404, f"job {call.job_id} has not begun: there is nothing to report")
        job = await self._farm.get(call.job_id)
        question = {"kind": asked.format, "sheet": asked.sheet, "job_id": job.id, "name": job.name}
        async with self._making, _made(folder, {**question, "runs": await self._runs(job)}) as path:
            # It is read from here, and needs no name.
            file = await anyio.to_thread.run_sync(path.open, "rb")
        name = f"report-{call.job_id}.{asked.format}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_pieces(file), headers=headers, media_type=_MEDIA_TYPES[asked.format])

    async def _runs(self, job: JobStatus) -> bool:
        """Return whether anything of the job runs: of one that is paused chunks may still."""
        if job.state == "paused":
            return bool(await self._farm.chunks(job.id, ["running"], limit=1))
        return job.state in ("running", "merging")

    async def close(self) -> None:
        """End all that is still made."""
        while self._watched:
            await self._watched.popitem()[1].close()


@asynccontextmanager
async def _made(folder: Path, question: Mapping[str, Any]) -> AsyncIterator[Path]:
    """Yield a report, which is there for the block."""
    place = await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="tailrace-report-"))
    path = Path(place, "report.html")
    process = ReportProcess(folder)
    try:
        await process.ask({**question, "to": str(path)})
        yield path
    finally:
        with anyio.CancelScope(shield=True):
            await process.close()
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(place, ignore_errors=True))


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while piece := await anyio.to_thread.run_sync(file.read, _PIECE):
            yield piece
