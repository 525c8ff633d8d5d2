"""The command that renders only those frames of a chunk that are not whole."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from .._errors import SpecError
from .command import parse_command
from .placeholders import Part, fill_in, read_placeholders, step_of

RETRY_PLACEHOLDERS = ("frames", "ranges", "start", "end", "step")
_PLAIN = re.compile(r"[\w@%+=:,./{}-]+", re.ASCII)


def check_retry_command(text: str) -> None:
    """Raise `SpecError` for a command that cannot be filled in, or that is the same whatever the frames are."""
    parts = read_placeholders(text, RETRY_PLACEHOLDERS)
    check_names_frames(parts)
    parse_command(fill_in(parts, (1, 2, 4)))


def check_names_frames(parts: Iterable[Part]) -> None:
    """Raise `SpecError` for a command that is the same whatever frames it is to render."""
    names = {part.name for part in parts}
    if names.isdisjoint(("frames", "ranges", "start", "end")):
        raise SpecError(
            "should have {frames}, {ranges:..}, or {start} and {end}, for the frames that are to be rendered again"
        )
    if names.isdisjoint(("frames", "ranges")) and not names.issuperset(("start", "end")):
        raise SpecError("has only one of {start} and {end}")


def fill_in_frames(text: str, frames: Sequence[int]) -> str:
    """Return the command `text`, which was checked, for these frames: `{frames}` and the others are replaced."""
    return fill_in(read_placeholders(text, RETRY_PLACEHOLDERS), frames)


def frames_rendered(text: str, frames: Sequence[int], of: Sequence[int]) -> Sequence[int]:
    """Return those of the frames `of` that the command `text` renders for these, of which it may only get a run."""
    names = {part.name for part in read_placeholders(text, RETRY_PLACEHOLDERS)}
    if not names.isdisjoint(("frames", "ranges")):
        return frames
    step = step_of(frames) if "step" in names else 1
    run = range(min(frames), max(frames) + 1, step)
    return [frame for frame in of if frame in run]


def to_retry_command(words: Iterable[str]) -> str:
    """Return the command of these words, which may have placeholders, quoted where they need it."""
    return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in words)
