"""Jobs, chunks and nodes as they go over the wire, and what is asked for; docs/server.md describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from .._command.result import ResourceUsage
from .._farm.nodes import NodeStatus
from .._farm.repository.rows import ChunkStateName, JobStateName
from .._farm.settings import JobSettings
from .._farm.status import ChunkStatus, JobStatus
from .._spec.model import JobSpec

MOST_CHUNKS = 5000
"""In one answer."""


class _Answer(BaseModel):
    # Keys that a newer server adds are ignored.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, from_attributes=True)


class _Request(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )


class JobAnswer(_Answer):
    """A job as it was when it was asked for. Times are seconds since the epoch, `progress` is 0 to 1."""

    id: str
    name: str
    state: JobStateName
    priority: int
    after: tuple[str, ...]
    settings: JobSettings
    total_chunks: int
    completed_chunks: int
    failed_chunks: int
    skipped_chunks: int
    progress: float
    error: str | None
    owner: str | None
    tags: tuple[str, ...]
    comment: str
    folder: str
    created_at: float
    not_before: float | None
    started_at: float | None
    finished_at: float | None
    eta: float | None

    def to_status(self, load_spec: Callable[[], JobSpec]) -> JobStatus:
        """Return what was told; `load_spec` asks for the specification."""
        return JobStatus(**{name: getattr(self, name) for name in type(self).model_fields}, _load_spec=load_spec)


class UsageAnswer(_Answer):
    """What a chunk used: seconds of processor time, and the most memory, in bytes."""

    cpu_user: float
    cpu_system: float
    max_rss: int | None
    tree_max_rss: int | None


class ChunkAnswer(_Answer):
    """A chunk as it was when it was asked for."""

    id: int
    state: ChunkStateName
    attempts: int
    exit_code: int | None
    started_at: float | None
    duration: float | None
    usage: UsageAnswer | None
    node: str | None
    error: str | None
    progress: float

    def to_status(self) -> ChunkStatus:
        """Return what was told."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        usage = None if self.usage is None else ResourceUsage(**self.usage.model_dump())
        return ChunkStatus(**{**fields, "usage": usage})


class NodeAnswer(_Answer):
    """A node as it was when it was asked for; the only one has no name."""

    name: str
    slots: int
    running: int
    is_open: bool
    is_left_out: bool
    capacity: dict[str, float]
    tags: tuple[str, ...]

    def to_status(self) -> NodeStatus:
        """Return what was told."""
        return NodeStatus(**{name: getattr(self, name) for name in type(self).model_fields})


class JobsAnswer(_Answer):
    """Jobs, the newest first."""

    jobs: tuple[JobAnswer, ...]


class ChunksAnswer(_Answer):
    """Chunks in the order of their job."""

    chunks: tuple[ChunkAnswer, ...]


class GridAnswer(_Answer):
    """The states of all chunks of a job at one moment, in as few words as can be."""

    last_event: int = Field(description="The id of the last event by then: later ones change what is here.")
    ids: tuple[tuple[int, int], ...] = Field(
        description="The ids in the order of the job: the first and the last of each run that rises by one."
    )
    states: str = Field(
        description="A letter for each of them: p pending, r running, c completed, f failed, x cancelled, s skipped."
    )


class LogPlacesAnswer(_Answer):
    """Where text stands in a log, in bytes; the search goes on from `next`, unless that is the end of what there is."""

    places: tuple[int, ...]
    next: int
    is_end: bool


class PartAnswer(_Answer):
    """A part of the page of a job's report."""

    version: int = Field(description="Another one where something else is in it; 0: the job has not begun.")
    again: float = Field(description="In how many seconds there may be another one; 0: it is as new as can be.")
    html: str | None = Field(default=None, description="null: it is that of the version that is known.")


class FrameAnswer(_Answer):
    """A frame that is rendered, as it was when it was asked for; `version` rises with each change."""

    frame: int
    chunk_id: int
    span: str | None = Field(description="Of a video: the frames that it shows, of which `frame` is the last one.")
    file: str = Field(description="Relative to the folder of the job.")
    state: Literal["finished", "odd", "damaged"]
    reasons: tuple[str, ...] = Field(description="Why it is odd or damaged.")
    version: int


class FramesAnswer(_Answer):
    """Frames in the order in which something became known of them."""

    frames: tuple[FrameAnswer, ...]
    next: str = Field(description="What to ask for `after` the next time.")
    goes_on: bool = Field(description="False: these are the first ones, and what was told before is out of date.")
    has_more: bool = Field(description="Whether there may be more already.")
    lacks: tuple[str, ...] = Field(description="What is not installed that shows them, with how to install it.")


class NodesAnswer(_Answer):
    """The nodes in their order."""

    nodes: tuple[NodeAnswer, ...]


class IdAnswer(_Answer):
    """The id of a new job."""

    id: str


class IdsAnswer(_Answer):
    """Ids of jobs that begin with what was asked for."""

    ids: tuple[str, ...]


class SessionAnswer(_Answer):
    """Who asks: whether the token allows to change anything."""

    can_change: bool


class Nothing(_Answer):
    """It was done."""


class SubmitRequest(_Request):
    """A new job; what each key means says `JobManager.submit`."""

    spec: JobSpec
    settings: JobSettings = JobSettings()
    folder: str | None = Field(default=None, description="An absolute path that the server sees too.")
    name: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    comment: str = ""
    priority: int = 0
    after: tuple[str, ...] = ()
    not_before: float | None = None

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What goes to `submit` as it is."""
        return {name: getattr(self, name) for name in _PASSED_ON}


_PASSED_ON = ("name", "owner", "tags", "comment", "priority", "after", "not_before")


class PauseRequest(_Request):
    """Whether what runs is ended."""

    now: bool = False


class RetryRequest(_Request):
    """Which chunks, all that are not completed by default; `done` allows to name completed ones."""

    chunk_ids: tuple[int, ...] | None = None
    done: bool = False


class MarkDoneRequest(_Request):
    """Which chunks."""

    chunk_ids: tuple[int, ...]


class EditRequest(_Request):
    """What is to be changed; what is left out stays."""

    settings: JobSettings | None = None
    name: str | None = None
    tags: tuple[str, ...] | None = None
    comment: str | None = None


class PriorityRequest(_Request):
    """The new priority."""

    priority: int


class SessionRequest(_Request):
    """The token, for which there is a cookie."""

    token: str
