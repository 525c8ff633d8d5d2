"""All that the API has: what is asked where, with what, and what is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from pydantic import BaseModel
from starlette.responses import Response

from .._api.models import (
    ChunksAnswer,
    EditRequest,
    FramesAnswer,
    GridAnswer,
    IdAnswer,
    IdsAnswer,
    JobAnswer,
    JobsAnswer,
    LogPlacesAnswer,
    MarkDoneRequest,
    NodesAnswer,
    Nothing,
    PartAnswer,
    PauseRequest,
    PriorityRequest,
    RetryRequest,
    SessionAnswer,
    SessionRequest,
    SubmitRequest,
)
from .._api.sse import MEDIA_TYPE as EVENT_STREAM
from .._spec.model import JobSpec
from ._call import Call
from ._chunks import Chunks
from ._frames import Frames
from ._jobs import Jobs
from ._logs import Logs
from ._queries import (
    ChunksQuery,
    EventsQuery,
    FrameImageQuery,
    FramesQuery,
    IdsQuery,
    JobsQuery,
    LogQuery,
    LogSearchQuery,
    NextOutputQuery,
    NodeQuery,
    NoQuery,
    OutputQuery,
    PartQuery,
    ReportQuery,
    WaitQuery,
)
from ._reports import Reports
from ._sessions import Sessions
from ._streams import Streams


class Endpoint(NamedTuple):
    """One thing that can be asked for; what `answer` has no model for is told by its media type."""

    method: str
    path: str
    respond: Callable[[Call], Awaitable[BaseModel | Response]]
    answer: type[BaseModel] | str
    query: type[NoQuery] = NoQuery
    body: type[BaseModel] | None = None

    @property
    def summary(self) -> str:
        """What it does, in a sentence."""
        return (self.respond.__doc__ or "").strip().partition("\n")[0]


def endpoints(
    jobs: Jobs, chunks: Chunks, frames: Frames, logs: Logs, reports: Reports, streams: Streams, sessions: Sessions
) -> Sequence[Endpoint]:
    """Return all of them, by those that answer; paths are those below /api/v1."""
    job, chunk = "/jobs/{job_id}", "/jobs/{job_id}/chunks/{chunk_id}"
    return (
        Endpoint("GET", "/jobs", jobs.list, JobsAnswer, JobsQuery),
        Endpoint("POST", "/jobs", jobs.submit, IdAnswer, body=SubmitRequest),
        Endpoint("GET", "/ids", jobs.find, IdsAnswer, IdsQuery),
        Endpoint("GET", job, jobs.get, JobAnswer),
        Endpoint("PATCH", job, jobs.edit, Nothing, body=EditRequest),
        Endpoint("DELETE", job, jobs.delete, Nothing),
        Endpoint("GET", f"{job}/spec", jobs.spec, JobSpec),
        Endpoint("GET", f"{job}/wait", jobs.wait, JobAnswer, WaitQuery),
        Endpoint("POST", f"{job}/pause", jobs.pause, Nothing, body=PauseRequest),
        Endpoint("POST", f"{job}/resume", jobs.resume, Nothing),
        Endpoint("POST", f"{job}/cancel", jobs.cancel, Nothing),
        Endpoint("POST", f"{job}/retry", jobs.retry, Nothing, body=RetryRequest),
        Endpoint("POST", f"{job}/mark-done", jobs.mark_done, Nothing, body=MarkDoneRequest),
        Endpoint("POST", f"{job}/priority", jobs.set_priority, Nothing, body=PriorityRequest),
        Endpoint("GET", f"{job}/chunks", chunks.list, ChunksAnswer, ChunksQuery),
        Endpoint("GET", f"{job}/grid", chunks.grid, GridAnswer),
        Endpoint("GET", f"{job}/frames", frames.frames, FramesAnswer, FramesQuery),
        Endpoint("GET", f"{job}/frames/{{frame}}/image", frames.image, "image/jpeg", FrameImageQuery),
        Endpoint("GET", f"{chunk}/log", logs.log, "text/plain", LogQuery),
        Endpoint("GET", f"{chunk}/log/search", logs.search, LogPlacesAnswer, LogSearchQuery),
        Endpoint("GET", f"{chunk}/output", logs.output, EVENT_STREAM, OutputQuery),
        Endpoint("GET", f"{chunk}/output/next", logs.next_output, "application/octet-stream", NextOutputQuery),
        Endpoint("GET", f"{job}/report", reports.report, "text/html", ReportQuery),
        Endpoint("GET", f"{job}/parts/{{part}}", reports.part, PartAnswer, PartQuery),
        Endpoint("GET", "/events", streams.events, EVENT_STREAM, EventsQuery),
        Endpoint("GET", "/nodes", jobs.nodes, NodesAnswer),
        Endpoint("POST", "/nodes/drain", jobs.drain_node, Nothing, NodeQuery),
        Endpoint("POST", "/nodes/resume", jobs.resume_node, Nothing, NodeQuery),
        Endpoint("GET", "/session", sessions.get, SessionAnswer),
        Endpoint("POST", "/session", sessions.begin, SessionAnswer, body=SessionRequest),
        Endpoint("DELETE", "/session", sessions.end, Nothing),
    )
