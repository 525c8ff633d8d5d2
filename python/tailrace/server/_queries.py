"""What may stand behind the question mark of an address."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from .._api.models import MOST_CHUNKS
from .._command.job import StreamName
from .._farm.repository.rows import ChunkStateName, JobStateName

LISTS = ("states", "ids")
"""What is written with commas."""


class NoQuery(BaseModel):
    """Nothing."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class JobsQuery(NoQuery):
    """Which jobs."""

    states: tuple[JobStateName, ...] | None = Field(default=None, description="With commas between them.")
    limit: int = Field(default=100, ge=1, le=1000)
    before: str | None = Field(default=None, description="Those that are older than this job.")


class IdsQuery(NoQuery):
    """What ids begin with."""

    beginning: str = ""
    limit: int = Field(default=10, ge=1, le=1000)


class ChunksQuery(NoQuery):
    """Which chunks."""

    states: tuple[ChunkStateName, ...] | None = Field(default=None, description="With commas between them.")
    ids: tuple[int, ...] | None = Field(default=None, description="Those with these ids, with commas between them.")
    after: int | None = Field(default=None, description="Those that come after this chunk.")
    limit: int = Field(default=1000, ge=1, le=MOST_CHUNKS)


class PartQuery(NoQuery):
    """Which version of it is known already."""

    known: int | None = Field(default=None, description="The version that needs not be told again.")


class ReportQuery(NoQuery):
    """As what."""

    format: Literal["html", "json", "csv"] = "html"
    sheet: bool = Field(default=True, description="Whether the page has pictures of the frames.")


class FramesQuery(NoQuery):
    """Which frames."""

    after: str = Field(default="", description="What an earlier answer told as `next`: only what has changed since.")
    limit: int = Field(default=1000, ge=1, le=10_000)


class FrameImageQuery(NoQuery):
    """Which picture of a frame."""

    chunk: int = Field(description="That which the frame is of: a number may be that of several.")
    size: Literal["thumb", "full"] = "thumb"
    version: int | None = Field(default=None, description="Is ignored: with another one, a page has it loaded anew.")


class WaitQuery(NoQuery):
    """How long the answer may be waited for."""

    seconds: float = Field(default=20.0, ge=0, le=60)


class NodeQuery(NoQuery):
    """Which node; the only one of a farm has no name."""

    name: str = ""


class EventsQuery(NoQuery):
    """Which events."""

    after: int | None = Field(default=None, ge=0, description="Also those since this one; the header Last-Event-ID.")
    job: str | None = Field(default=None, description="Those of this job alone.")
    output: bool = Field(default=False, description="Also what commands write.")


class LogQuery(NoQuery):
    """Which log of a chunk."""

    stream: StreamName = "stderr"
    attempt: int | None = Field(default=None, ge=1, description="Default: the last one.")


class LogSearchQuery(LogQuery):
    """What is looked for, and from where on, in bytes."""

    text: str = Field(min_length=1, max_length=200, description="Large and small letters are the same.")
    offset: int = Field(default=0, ge=0, le=2**62)


class OutputQuery(LogQuery):
    """From where on, in bytes."""

    offset: int = Field(default=0, ge=0, le=2**62)
    follow: bool = Field(default=True, description="Also what is written from now on.")


class NextOutputQuery(LogQuery):
    """From where on, in bytes, and how many seconds more is waited for; 0: what there is."""

    offset: int = Field(default=0, ge=0, le=2**62)
    wait: float = Field(default=0.0, ge=0, le=60)
