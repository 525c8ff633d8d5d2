"""How one of many jobs is to be run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from .._command.result import Capture
from .._errors import SpecError
from .._events.types import FrameLevel
from .._job.options import JobExecutionOptions
from .._spec.command import parse_command
from .._spec.validation import RaisesSpecError

ChunkOrder: TypeAlias = Literal["listed", "ends_first", "middle_first", "reverse"]
"""In which order the chunks of a job begin: as they are listed; the first and the last one, then the others; from the
middle on, ever finer; the last one first. The second and the third show early whether a shot is right."""

_KEPT = 64 * 1024
"""How much of the output of a chunk is kept in memory, in bytes: all of it is in the logs."""

MOST = (1 << 31) - 1
"""The largest number that every database takes."""

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=MOST)]


class JobSettings(BaseModel, metaclass=RaisesSpecError):
    """What of `JobExecutionOptions` can be stored, which says what each means, and what concerns a farm alone.

    Raises `SpecError` for values that cannot be used. Stands in the repository as JSON.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )

    max_running: _Count | None = None
    """How many chunks of this job may run at a time; None leaves it to the slots of the farm."""
    chunk_order: ChunkOrder = "listed"
    """In which order the chunks begin."""
    on_end: str | None = None
    """A command that is run when the job has ended, with `TAILRACE_JOB_ID`, `TAILRACE_JOB_NAME`, `TAILRACE_JOB_STATE`
    and `TAILRACE_JOB_ERROR` in its environment. What becomes of it changes nothing of the job. Where the end of a
    manager cut it short, it is run again."""
    job_def_url: str | None = None
    """Where workers elsewhere that read the specification themselves find it: a URL, or a path that they know."""

    enforce_memory: bool = False
    merge: bool = True
    output_file: str | None = None
    """Joined by ffmpeg into this file, in place of the merge command."""
    audio: str | None = None
    """The sound for `output_file`."""
    retries: Annotated[int, Field(ge=0)] = 0
    retry_delay: Annotated[float, Field(ge=0)] = 1.0
    timeout: _Seconds | None = None
    idle_timeout: _Seconds | None = None
    cpu_idle_timeout: _Seconds | None = None
    no_progress_timeout: _Seconds | None = None
    finish_timeout: _Seconds | None = None
    merge_timeout: _Seconds | None = None
    stop_on_error: bool = False
    fail_on_error: bool = False
    resource_delay: Annotated[float, Field(ge=0)] = 30.0
    fail_fast: bool | None = None
    fail_after: _Count | None = None
    verify_output: bool = False
    check_frames: FrameLevel | None = None
    progress: str | None = "auto"
    error_patterns: tuple[tuple[str, str], ...] = ()
    log_limit: int | None = None
    log_compress: bool = False
    mask_env: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _have_tuples(cls, fields: Any) -> Any:
        # A list will do, as in JSON, where strict validation would insist on a tuple.
        if isinstance(fields, Mapping):
            return {name: _to_tuple(value) for name, value in fields.items()}
        return fields

    @model_validator(mode="after")
    def _can_be_used(self) -> JobSettings:
        if self.audio is not None and self.output_file is None:
            raise ValueError("audio: is laid under what is joined into outputFile, which is missing")
        if self.on_end is not None:
            try:
                parse_command(self.on_end)
            except SpecError as error:
                raise ValueError(f"onEnd: {error}") from None
        # Whose values are secret is a matter of where the job will run, and so is where its logs are.
        self.to_options(mask_env=(), log_dir=".")
        return self

    def to_json(self) -> str:
        """Return what differs from the defaults, as it is stored."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    def to_options(self, **more: Any) -> JobExecutionOptions:
        """Return the options that say the same, with `more` of them; raises `ValueError` for what cannot be used."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in _OF_A_FARM}
        return JobExecutionOptions(**{"capture": Capture.tail(_KEPT), **given, **more})


_OF_A_FARM = frozenset({"max_running", "chunk_order", "on_end", "job_def_url", "output_file", "audio"})
"""What is none of `JobExecutionOptions`, or needs a stitcher beside it."""


def _to_tuple(value: object) -> object:
    return tuple(map(_to_tuple, value)) if isinstance(value, list) else value
