"""What a parser reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .._errors import ErrorCategory


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a command is, after what was read so far. What the renderer did not tell is None."""

    frame: int | None = None
    """The frame being worked on, as the renderer numbers it."""
    frame_fraction: float | None = None
    """How much of that frame is done, 0 to 1."""
    fraction: float | None = None
    """How much of the whole command is done, 0 to 1."""
    frames_done: int | None = None
    """How many of the command's frames are finished; None while none is known to be."""
    remaining: float | None = None
    """Seconds until the command is done, or the frame where the renderer speaks of that."""
    memory: int | None = None
    """Bytes in use; the peak where only that is printed."""
    status: str | None = None
    """What the renderer is busy with, in its own words."""


@dataclass(frozen=True, slots=True)
class FileSaved:
    """A file was written."""

    path: str
    """As the renderer names it."""


@dataclass(frozen=True, slots=True)
class FrameRendered:
    """A frame is finished, as far as the output tells. It comes once for each."""

    frame: int | None
    """Its number; None for a file that was saved while nothing told which frame it is."""
    path: str | None
    """The file whose being saved told it, as the renderer names it. None where something else did.

    A frame of several files is told with the first of them.
    """


@dataclass(frozen=True, slots=True)
class RenderError:
    """A line that tells of an error."""

    message: str
    """The line, without spaces around it and cut to 300 characters."""
    category: ErrorCategory | None
    """None for an error of another kind."""
    fatal: bool
    """Whether the render cannot have succeeded, whatever its exit code."""


Report: TypeAlias = Progress | FileSaved | FrameRendered | RenderError
