"""What a look at a picture or a video tells."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from .._errors import TailraceError
from .._events.types import FrameLevel
from .names import frame_in_name, sequence_of

FrameKind: TypeAlias = Literal["picture", "video", "other"]


class NotLookedAtError(TailraceError):
    """A file could not be looked at, for a `reason` that says nothing of the file."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} was not looked at: {reason}")
        self.reason = reason


class FlatTile(NamedTuple):
    """Cells of a grid that hold one value, side by side, with content all around: as a tile that was not rendered."""

    x: int
    y: int
    width: int
    height: int
    is_empty: bool
    """Whether that value is black, or nothing at all."""
    is_inside: bool
    """Whether it leaves content on at least three of the picture's sides, as no bar across the picture does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStats:
    """What is kept of the pixels of a picture, to compare it with others of its sequence."""

    pixel_type: str
    """As OpenImageIO names it: "uint8", "half", "float"."""
    channel_names: tuple[str, ...]
    mean: float
    """Of the colours, without what is no finite number; integers count as 0 to 1."""
    minimum: float
    maximum: float
    pixel_hash: str
    """Is the same for the same pixels of the first image in the file."""
    nans: int
    infinities: int
    is_one_colour: bool
    flat_tiles: tuple[FlatTile, ...]
    frame_number: int | None
    """The number that the file itself says it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCheck:
    """What a look at a picture, a video or another file found."""

    path: str
    """As it was given."""
    level: FrameLevel
    """How closely it was looked at."""
    kind: FrameKind
    """What it is: by its content where that was looked at, else by its name. Of "other" files nothing else is known."""
    reason: str | None = None
    """Why it is damaged, to be read after its name: "is empty"; None if it is not."""
    warnings: tuple[str, ...] = ()
    """What is odd about it. A frame with warnings may be right: `ok` does not go by them."""
    format: str | None = None
    """The format of the content, by OpenImageIO's or ffmpeg's name for it; None where it is not known."""
    width: int | None = None
    """In pixels; None where it is not known, as are those below."""
    height: int | None = None
    channels: int | None = None
    """Of a picture."""
    frames: int | None = None
    """How many frames a video holds."""
    stats: FrameStats | None = field(default=None, repr=False)
    """What `check_frames` compares pictures by, at the level "looks". Its fields may change."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found that makes it unusable."""
        return self.reason is None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return os.path.basename(self.path)  # noqa: PTH119 - it may hold any bytes, and be called a thousand times.

    @property
    def frame(self) -> int | None:
        """The number that stands last in the file's name, before its ending; None if there is none."""
        return frame_in_name(self.path)

    @property
    def sequence(self) -> str | None:
        """The path with "#" in place of that number, which it shares with the others of its sequence."""
        return sequence_of(self.path)
