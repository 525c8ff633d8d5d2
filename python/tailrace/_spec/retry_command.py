"""The command that renders only those frames of a chunk that are not whole."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .._errors import SpecError
from .command import parse_command

_NAMES = ("frames", "ranges", "start", "end", "step")
_SEPARATOR = re.compile(r"[^\s\d'\"\\{}]{1,8}")
_WIDTH = re.compile(r"(0\d{1,2})?", re.ASCII)


def check_retry_command(text: str) -> None:
    """Raise `SpecError` for a command that cannot be filled in, or that is the same whatever the frames are."""
    names = [name for _, name, _ in _parts(text) if name is not None]
    if not names:
        raise SpecError(
            "should have {frames}, {ranges:..}, or {start} and {end}, for the frames that are to be rendered again"
        )
    if {"start", "end"}.intersection(names) not in (set(), {"start", "end"}):
        raise SpecError("has only one of {start} and {end}")
    parse_command(fill_in_frames(text, (1, 2, 4)))


def fill_in_frames(text: str, frames: Sequence[int]) -> str:
    """Return the command `text`, which was checked, for these frames: `{frames}` and the others are replaced.

    `{frames}` is `7,8,11`, `{ranges:..}` is `7..8,11`; `{start}`, `{end}` and `{step}` are the smallest evenly spaced
    run that covers them, in numbers of at least so many digits as in `{start:04}`.
    """
    in_order = sorted(frames)
    values = {
        "start": in_order[0],
        "end": in_order[-1],
        "step": math.gcd(*(after - before for before, after in pairwise(in_order))) or 1,
    }
    filled = []
    for before, name, form in _parts(text):
        filled.append(before)
        if name == "frames":
            filled.append(",".join(map(str, in_order)))
        elif name == "ranges":
            filled.append(",".join(f"{a}" if a == b else f"{a}{form}{b}" for a, b in _runs(in_order)))
        elif name is not None:
            filled.append(format(values[name], form))
    return "".join(filled)


def _parts(text: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield what is between the placeholders, with the placeholder that follows and what is behind its colon."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise SpecError("a brace has no counterpart: write {{ and }} for braces") from error
    for before, name, form, conversion in parts:
        if name is not None:
            form = form or ""
            if name not in _NAMES or conversion is not None:
                known = ", ".join(f"{{{known}}}" for known in _NAMES)
                raise SpecError(f"{{{name}}} is not a placeholder: there are {known}; write {{{{ and }}}} for braces")
            if name == "ranges" and not _SEPARATOR.fullmatch(form):
                raise SpecError(
                    f"{{ranges:{form}}} should say what is between the first and the last frame of a run, such as"
                    " {ranges:..} or {ranges:-}"
                )
            if (name == "frames" and form) or (name not in ("frames", "ranges") and not _WIDTH.fullmatch(form)):
                raise SpecError(f"{{{name}:{form}}} should be {{{name}}}, or {{start:04}} for four digits")
        yield before, name, form or ""


def _runs(frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of frames without a gap."""
    first = frames[0]
    for before, after in pairwise((*frames, None)):
        if after is None or before is None or after != before + 1:
            if before is not None:
                yield first, before
            if after is not None:
                first = after
