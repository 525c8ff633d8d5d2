"""What all chunks of a planned job have in common, and what a template makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from .._errors import SpecError
from .._spec.frame_range import FrameRange
from .._spec.numbered_name import FRAME_NUMBER, number

Size = tuple[int, int]
"""Width and height in pixels."""
DEFAULT_SIZE: Size = (1920, 1080)


class Outline(NamedTuple):
    """What all chunks of a job have in common. File names are relative to the job's folder."""

    source: str | None
    output: str
    args: Sequence[str]
    fps: Fraction | None
    size: Size | None
    first_frame: int
    last_frame: int
    chunk_size: int
    retry_command: str | None


class Work(NamedTuple):
    """How the frames of a chunk are rendered.

    The command as its words, the output file as a job file has it, and the command that renders some of the frames
    alone, where there is one.
    """

    words: list[str]
    output_file: str
    retry_command: str | None


class Template(NamedTuple):
    """Makes the work of each chunk from its frames, which go up.

    `takes` says which frames that may be: "runs" without a gap, with "steps" between them, or any in "lists".
    """

    work: Callable[[FrameRange], Work]
    takes: Literal["runs", "steps", "lists"]


class FramePattern(NamedTuple):
    """The name of an output file, cut at the #### that stands for the number of a frame."""

    before: str
    width: int
    after: str

    @classmethod
    def find(cls, output: str) -> FramePattern | None:
        """Return the only one in the name, or None; raises `SpecError` for several, one in a folder, and %04d."""
        matches = list(FRAME_NUMBER.finditer(output))
        if not matches:
            return None
        match = matches[0]
        if match[0][0] == "%":
            raise SpecError(f"output: {match[0]} in {output!r} should be ####, one # for each digit")
        if len(matches) > 1 or "/" in output[match.end() :]:
            raise SpecError(f"output: {output!r} should have #### once, in the name of the file and not of its folder")
        return cls(output[: match.start()], len(match[0]), output[match.end() :])

    @classmethod
    def need(cls, output: str) -> FramePattern:
        """Return the one in the name; raises `SpecError` as well if there is none."""
        pattern = cls.find(output)
        if pattern is None:
            raise SpecError(f"output: {output!r} needs #### for the number of the frame, such as frame_####.png")
        return pattern

    def fill_in(self, frame: int) -> str:
        """Return the name of the frame's file."""
        return self.before + number("#" * self.width, frame) + self.after


def source_of(outline: Outline, what: str) -> str:
    """Return the source; raises `SpecError` if there is none, which says `what` it should be."""
    if not outline.source:
        raise SpecError(f"source: is missing: name {what}")
    return outline.source


def format_of(output: str, formats: Mapping[str, str], renderer: str) -> str:
    """Return what the renderer calls the format that the file's name ends in."""
    suffix = PurePosixPath(output).suffix
    if suffix not in formats:
        raise SpecError(f"output: {output!r} should end in what {renderer} writes: {', '.join(formats)}")
    return formats[suffix]


def refuse_retry_command(outline: Outline, renderer: str, reason: str) -> None:
    """Raise `SpecError` if the job was given a retry command, which this renderer has no use for."""
    if outline.retry_command is not None:
        raise SpecError(f"retry command: is for commands of your own: {renderer} {reason}")
