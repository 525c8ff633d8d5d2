"""What a job is, and what is said where a specification is none."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel

from .._errors import SpecError
from .._scheduling.dependencies import find_circle
from .command import check_command
from .frame_range import LARGEST_FRAME, FrameRange
from .frame_rate import exact_frame_rate
from .needs import NOTHING_NEEDED, Needs, NeedsField
from .numbered_name import is_numbered
from .retry_command import check_retry_command, fill_in_frames
from .source import is_url, read_json, read_source, shown_source, stem_of
from .validation import RaisesSpecError, to_spec_error

_DEFAULT_ID = "job"

# Without any constraint pydantic would not look at the characters and let lone surrogates through.
_Text = Annotated[str, Field(min_length=1)]
_Frame = Annotated[int, Field(ge=0, lt=2**31)]
_ChunkFrame = Annotated[int, Field(gt=-(2**31), lt=2**31)]
_FrameCount = Annotated[int, Field(gt=0, lt=2**31)]
# Below 1 only where it follows from the frames.
_FrameStep = Annotated[
    int,
    Field(gt=-(2**31), lt=2**31),
    WithJsonSchema({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2**31}),
]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# What validators say below, as far as JSON Schema can say it.
_FileName = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": r"^[^\u0000]*$"})]
_COMMAND = r"^[^\u0000]*[^\u0000 \t\r\n][^\u0000]*$"
_LONGEST_CIRCLE = 6
"""Of how many chunks a circle is shown."""
_Command = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": _COMMAND})]
_OptionalCommand = Annotated[_Text | None, WithJsonSchema({"type": ["string", "null"], "pattern": f"^$|{_COMMAND}"})]
_OptionalText = Annotated[_Text | None, WithJsonSchema({"type": ["string", "null"]})]
# A file may have null for it, which stands for none.
_Id = Annotated[_Text, WithJsonSchema({"type": ["string", "null"], "minLength": 1})]


def _leave_out_the_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _to_frames(frames: object) -> FrameRange:
    try:
        found = FrameRange.of(frames)  # type: ignore[arg-type]
    except SpecError as error:
        raise ValueError(str(error).removeprefix("frames: ")) from None
    except TypeError:
        raise ValueError("should be a text such as 1-8,11,20-30x2") from None
    if any(abs(frame) > LARGEST_FRAME for run in found.ranges for frame in (run[0], run[-1])):
        raise ValueError(f"should be whole numbers up to {LARGEST_FRAME}")
    return found


_Frames = Annotated[
    Sequence[int],
    PlainValidator(_to_frames),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ["1-8,11,20-30x2"]}),
]


class _Part(BaseModel, metaclass=RaisesSpecError):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        frozen=True,
        strict=True,
        field_title_generator=lambda name, _: name.replace("_", " ").capitalize(),
    )

    @property
    def extra(self) -> Mapping[str, Any]:
        """The keys that tailrace does not know, with their values as they came."""
        return self.model_extra or {}


class JobMetadata(_Part):
    """What the whole video is: frames in all, frames a second, pixels, and seconds."""

    model_config = ConfigDict(title="Metadata")

    total_frames: _Frame = Field(description="How many frames the whole video has.")
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="Frames a second. 23.976 stands for 24000/1001, 29.97 for 30000/1001, 59.94 for 60000/1001."
    )
    width: _Frame = Field(description="The width of the pictures, in pixels.")
    height: _Frame = Field(description="The height of the pictures, in pixels.")
    duration: _Amount = Field(description="How long the video lasts, in seconds.")

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second, exactly: 24000/1001 for an `fps` of 23.976."""
        return exact_frame_rate(self.fps)


def _say_what_belongs_together(schema: dict[str, Any]) -> None:
    schema["description"] = "A part of the job, which one command renders."
    for key in ("startFrame", "frameCount", "outputFile", "frames", "outputFiles", "needs", "dependsOn"):
        schema["properties"][key].pop("default", None)
    schema["allOf"] = [
        {"anyOf": [{"required": ["startFrame", "frameCount"]}, {"required": ["frames"]}]},
        {"anyOf": [{"required": ["outputFile"]}, {"required": ["outputFiles"]}]},
    ]


class Chunk(_Part):
    """One part of the job: some frames, and the command that renders them.

    The frames are `frames`, a `FrameRange` or other whole numbers in the order in which they are rendered, or
    `frame_count` of them from `start_frame` on, each `frame_step` after the one before it. Whichever was given, the
    others follow: `frame_step` is 0 where the frames are not evenly spaced.

    `output_file` is what the command writes, relative to the job's folder; `####` or `%04d` in it stands for the
    number of each frame. Where it writes more, `output_files` names all of them, `output_file` first. `command` is
    split by `parse_command`. `retry_command` is run in its place when some of the frames are whole already.
    """

    model_config = ConfigDict(json_schema_extra=_say_what_belongs_together)

    id: Annotated[int, Field(ge=0)] = Field(description="A number of its own among the chunks of the job, 0 or more.")
    start_frame: _ChunkFrame = Field(default=0, description="The first frame that it renders.")
    frame_count: _FrameCount = Field(default=0, description="How many frames it renders, from startFrame on.")
    output_file: _FileName = Field(
        default="",
        description="What the command writes, relative to the job's folder. #### or %04d stands for the number of each"
        " frame.",
    )
    command: _Command = Field(
        description="What renders the frames. Words are split by the quoting rules of a shell, but there is no shell:"
        " pipes, redirections and variables need sh -c '...'. It runs in the job's folder, and exits with 0 when it is"
        " done."
    )
    frame_step: _FrameStep = Field(
        default=1, description="How far each frame is from the one before it: with 2, every second one."
    )
    frames: _Frames = Field(
        default=(),
        description="The frames that it renders, such as 1-8,11,20-30x2, in place of startFrame, frameCount and"
        " frameStep.",
    )
    output_files: Annotated[tuple[_FileName, ...], Field(strict=False)] = Field(
        default=(),
        description="All that the command writes, beside or in place of outputFile, where that is more than one file"
        " for each frame.",
    )
    retry_command: _OptionalCommand = Field(
        default=None,
        description="Run in place of the command when some of the frames are whole already. {frames} is a list of the"
        " others, such as 7,8,11, {ranges:..} joins runs of them, 7..8,11, {start}, {end} and {step} are the smallest"
        " run that covers them.",
    )

    needs: NeedsField = Field(
        # One for all: of a hundred thousand, each would be looked at whenever Python looks for what is unused.
        default_factory=lambda: NOTHING_NEEDED,
        description="What it needs of what there is: memory, gpus, cpus and anything else with a name, such as"
        " licences. Over the job's, key by key.",
    )
    depends_on: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] = Field(
        default=(), description="The ids of the chunks that have to be done before it starts."
    )

    @field_validator("output_file", "output_files")
    @classmethod
    def _has_no_nul(cls, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if "\0" in "".join(names):
            raise ValueError("a file name must not contain a NUL byte")
        return names

    @field_validator("command")
    @classmethod
    def _can_be_parsed(cls, text: str) -> str:
        return _checked_command(text)

    @field_validator("retry_command")
    @classmethod
    def _can_be_filled_in(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                check_retry_command(text)
            except SpecError as error:
                raise ValueError(str(error)) from None
        return text

    @model_validator(mode="after")
    def _complete(self) -> Chunk:
        given = self.model_fields_set
        values = self.__dict__
        if "frames" in given:
            _complete_from_frames(values, self.frames, given)
        else:
            for name, key in (("start_frame", "startFrame"), ("frame_count", "frameCount")):
                if name not in given:
                    raise ValueError(f"{key} is missing, or frames in its place")
            start, step = self.start_frame, self.frame_step
            if step < 1:
                raise ValueError(f"frameStep: {step} should be greater than 0")
            values["frames"] = FrameRange(range(start, start + self.frame_count * step, step))
        files = dict.fromkeys((self.output_file, *self.output_files) if self.output_file else self.output_files)
        if not files:
            raise ValueError("outputFile is missing")
        values["output_file"], *_ = values["output_files"] = tuple(files)
        return self

    @property
    def has_parts(self) -> bool:
        """Whether some of its frames can be rendered alone: there is a retry command, and a file for each frame."""
        return self.retry_command is not None and any(map(is_numbered, self.output_files))

    def part(self, frames: Iterable[int]) -> Self:
        """Return a chunk of some of its frames, whose command is the retry command filled in for them.

        Raises `ValueError` if it has no retry command, or no file for each frame.
        """
        if self.retry_command is None:
            raise ValueError(f"chunk {self.id} has no retryCommand for some of its frames")
        if not self.has_parts:
            raise ValueError(f"chunk {self.id} writes all of its frames into {self.output_file}: it has no parts")
        asked = FrameRange(frames)
        given = {name: getattr(self, name) for name in _KEPT_BY_PARTS}
        return type(self)(**given, **self.extra, frames=asked, command=fill_in_frames(self.retry_command, asked))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, for which what follows from the changed fields is worked out anew.

        Raises `SpecError` if they cannot be used.
        """
        if not update:
            return super().model_copy(deep=deep)
        given = {name: getattr(self, name) for name in self.model_fields_set if name in type(self).model_fields}
        spaced = {"start_frame": self.start_frame, "frame_count": self.frame_count, "frame_step": self.frame_step or 1}
        if "frames" not in update and not spaced.keys().isdisjoint(update):
            given = {name: value for name, value in given.items() if name != "frames"} | spaced
        elif "frames" in update:
            given = {name: value for name, value in given.items() if name not in spaced}
        return type(self)(**{**given, **self.extra, **update})

    @model_serializer(mode="wrap")
    def _leave_out_what_follows(self, to_fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = to_fields(self)
        is_even = self.frame_step > 0
        unneeded = ["frames"] if is_even else ["start_frame", "frame_count", "frame_step"]
        if self.frame_step == 1:
            unneeded.append("frame_step")
        if len(self.output_files) == 1:
            unneeded.append("output_files")
        unneeded += [name for name in ("retry_command", "needs", "depends_on") if not getattr(self, name)]
        for name in unneeded:
            fields.pop(name, None)
            fields.pop(to_camel(name), None)
        return fields


_KEPT_BY_PARTS = ("id", "output_files", "retry_command", "needs", "depends_on")


def _complete_from_frames(values: dict[str, Any], frames: Sequence[int], given: Collection[str]) -> None:
    """Set what follows from a chunk's frames, unless it was given and says something else."""
    if not frames:
        raise ValueError("frames should name one frame at least")
    runs = FrameRange(frames).ranges
    follows = {
        "start_frame": frames[0],
        "frame_count": len(frames),
        "frame_step": runs[0].step if len(runs) == 1 else 0,
    }
    for name, value in follows.items():
        if name in given and values[name] != value:
            raise ValueError(f"{to_camel(name)} should be left out where frames are given: it is not {values[name]}")
    values.update(follows)


class JobSpec(_Part):
    """A job: chunks that are rendered one by one or side by side, and the command that puts them together.

    Built in Python by keyword, or read with `load` or `parse`; the JSON has camelCase keys. Unknown keys are kept in
    `extra`, here and in the parts. Raises `SpecError` for values that cannot be used.
    `model_dump_json(by_alias=True)` gives the JSON back.
    """

    model_config = ConfigDict(
        title="Job",
        json_schema_extra={"description": "A render job of tailrace: chunks, and the command that puts them together."},
    )

    id: _Id = Field(
        default=_DEFAULT_ID,
        description="The name of the job; without it, that of the file. What is done is recorded under this name.",
        # Only what came from no file gets it.
        json_schema_extra=_leave_out_the_default,
    )
    metadata: JobMetadata = Field(description="What the whole video is.")
    # A list will do in Python too, where strict validation would insist on a tuple.
    chunks: Annotated[tuple[Chunk, ...], Field(strict=False)] = Field(
        description="The parts of the job. Each is rendered by a command of its own, several at a time if asked for.",
        json_schema_extra={"minItems": 1},
    )
    merge_command: _OptionalCommand = Field(
        default=None,
        description="Puts the chunks' files together when all are done; split as the chunks' commands are. Without it"
        " they are left as they are.",
    )
    needs: NeedsField = Field(default_factory=Needs, description="What each chunk needs that does not say otherwise.")
    assets_url: _OptionalText = Field(
        default=None,
        description="Where workers on other machines fetch the job's assets. tailrace's own worker fetches none, and"
        " refuses such a job unless it is told to ignore this.",
    )

    _path: Path | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """The file the specification was loaded from, as an absolute path; None if it did not come from a file."""
        return self._path

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, whose parts have to go together as those of any other.

        Raises `SpecError` if they do not.
        """
        if not update:
            return super().model_copy(deep=deep)
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if "needs" in update and "chunks" not in update:
            given["chunks"] = tuple(
                BaseModel.model_copy(chunk, update={"needs": self._own_needs(chunk.needs)}) for chunk in self.chunks
            )
        copy = type(self)(**{**given, **self.extra, **update})
        copy._path = self._path
        return copy

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> JobSpec:
        """Read a specification from a file or an http(s) URL; one without an id takes the file's name for it.

        Blocks, for a URL up to 30 seconds. Raises `SpecError` if it cannot be read or used.
        """
        source = os.fspath(source)
        content = read_source(source)
        spec = cls._validate(content, shown_source(source), stem_of(source) or _DEFAULT_ID)
        # A pipe (`job run <(...)`) lies in a folder of the system's, where no job may run or leave a record.
        if not is_url(source) and Path(source).is_file():
            spec._path = Path(source).absolute()
        return spec

    @classmethod
    def parse(cls, json_text: str | bytes) -> JobSpec:
        """Read a specification from JSON text; raises `SpecError` if it cannot be used."""
        return cls._validate(json_text, "job specification", _DEFAULT_ID)

    @classmethod
    def _validate(cls, content: str | bytes, where: str, default_id: str) -> JobSpec:
        fields = read_json(content, where)
        if isinstance(fields, dict) and fields.get("id") is None:
            fields["id"] = default_id
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise to_spec_error(where, error) from None

    @field_validator("merge_command", "assets_url", mode="before")
    @classmethod
    def _may_be_empty(cls, text: object) -> object:
        # Some job files say so that there is none.
        return None if text == "" else text

    @field_validator("merge_command")
    @classmethod
    def _can_be_parsed(cls, text: str | None) -> str | None:
        return None if text is None else _checked_command(text)

    @field_validator("chunks")
    @classmethod
    def _are_some(cls, chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
        # `Field(min_length=1)` would also count a list whose elements are wrong as empty.
        if not chunks:
            raise ValueError("should hold at least one chunk")
        return chunks

    @model_validator(mode="after")
    def _ids_differ(self) -> JobSpec:
        places: dict[int, int] = {}
        for place, chunk in enumerate(self.chunks):
            first = places.setdefault(chunk.id, place)
            if first != place:
                raise ValueError(f"chunks[{place}].id: {chunk.id} is the id of chunks[{first}] too")
        return self

    @model_validator(mode="after")
    def _can_begin(self) -> JobSpec:
        depends_on = {chunk.id: chunk.depends_on for chunk in self.chunks}
        if not any(depends_on.values()):
            return self
        for place, chunk in enumerate(self.chunks):
            for other in chunk.depends_on:
                if other not in depends_on:
                    raise ValueError(f"chunks[{place}].dependsOn: there is no chunk {other}")
        circle = find_circle(depends_on)
        if circle is not None:
            place = list(depends_on).index(circle[0])
            raise ValueError(f"chunks[{place}].dependsOn: {_described_circle(circle)}, so that none of them can start")
        return self

    @model_validator(mode="after")
    def _share_needs(self) -> JobSpec:
        if self.needs:
            self.__dict__["chunks"] = tuple(
                BaseModel.model_copy(chunk, update={"needs": Needs({**self.needs, **chunk.needs})})
                for chunk in self.chunks
            )
        return self

    @model_serializer(mode="wrap")
    def _leave_out_no_needs(self, to_fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = to_fields(self)
        if not self.needs:
            fields.pop("needs", None)
            return fields
        for chunk in fields.get("chunks", ()):
            own = self._own_needs(chunk.pop("needs", {}))
            if own:
                chunk["needs"] = own
        return fields

    def _own_needs(self, needs: Mapping[str, float]) -> dict[str, float]:
        """Return those of a chunk's needs that are not the job's."""
        return {name: needed for name, needed in needs.items() if self.needs.get(name) != needed}


def _described_circle(circle: Sequence[int]) -> str:
    shown = [f"chunk {item}" for item in circle[:_LONGEST_CIRCLE]]
    if len(circle) > _LONGEST_CIRCLE:
        shown.append(f"{len(circle) - _LONGEST_CIRCLE} more")
    first = "itself" if len(circle) == 1 else f"chunk {circle[0]}"
    return f"{' depends on '.join(shown)} depends on {first}"


def _checked_command(text: str) -> str:
    try:
        check_command(text)
    except SpecError as error:
        # pydantic passes on what is not a ValueError, without the place.
        raise ValueError(str(error)) from None
    return text
