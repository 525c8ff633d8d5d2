"""Placeholders in the text of a command, for the frames that it renders: `{frames}`, `{ranges:..}`, `{start:04}`."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from .._errors import SpecError

_OF_FRAMES = ("frames", "ranges", "start", "end", "step")
"""What `fill_in` knows a value for by itself."""
_OF_TEXT = ("frames", "output")
"""Those that have nothing behind a colon."""
# A comma is what the runs themselves are joined by.
_SEPARATOR = re.compile(r"[^\s\d,'\"\\{}]{1,8}")
_LONGEST_QUOTE = 80
_WIDTH = re.compile(r"(0\d{1,2})?", re.ASCII)


class Part(NamedTuple):
    """What is before a placeholder, its name (None behind the last one), and what is behind the colon in it."""

    before: str
    name: str | None
    form: str


def read_placeholders(text: str, names: Sequence[str]) -> tuple[Part, ...]:
    """Return the parts of a text; `names` are the placeholders that it may have.

    Raises `SpecError` for others, for those that are not written as they should be, and for a lone brace.
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        quoted = repr(text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…")
        raise SpecError(f"a brace has no counterpart in {quoted}: write {{{{ and }}}} for braces") from error
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if name not in names or conversion is not None:
            known = ", ".join("{ranges:..}" if known == "ranges" else f"{{{known}}}" for known in names)
            raise SpecError(f"{{{name}}} is not a placeholder: there are {known}; write {{{{ and }}}} for braces")
        _check_form(name, form or "")
    return tuple(Part(before, name, form or "") for before, name, form, _ in parts)


def _check_form(name: str, form: str) -> None:
    if name == "ranges":
        if not _SEPARATOR.fullmatch(form):
            raise SpecError(
                f"{{ranges{form and ':'}{form}}} should say what is between the first and the last frame of a run, such"
                " as {ranges:..} or {ranges:-}"
            )
    elif form if name in _OF_TEXT else not _WIDTH.fullmatch(form):
        raise SpecError(f"{{{name}:{form}}} should be {{{name}}}, or {{start:04}} for four digits")


def fill_in(parts: Sequence[Part], frames: Sequence[int], values: Mapping[str, int | str] | None = None) -> str:
    """Return the text for these frames, in their order, with `values` in place of the other placeholders.

    `{frames}` is `7,8,11`, `{ranges:..}` is `7..8,11`; `{start}`, `{end}` and `{step}` are the smallest evenly spaced
    run that covers them, in numbers of at least so many digits as in `{start:04}`.
    """
    # Values are not looked at again: a brace in a file name is no placeholder.
    return "".join(
        before + ("" if name is None else _value(name, form, frames, values)) for before, name, form in parts
    )


def _value(name: str, form: str, frames: Sequence[int], values: Mapping[str, int | str] | None) -> str:
    if values is not None and name in values:
        return format(values[name], form)
    match name:
        case "frames":
            return ",".join(map(str, frames))
        case "ranges":
            return ",".join(f"{a}" if a == b else f"{a}{form}{b}" for a, b in _rising(frames))
        case "start":
            return format(min(frames), form)
        case "end":
            return format(max(frames), form)
    return format(step_of(frames), form)


def step_of(frames: Sequence[int]) -> int:
    """Return the step of the smallest evenly spaced run that covers the frames."""
    return math.gcd(*(after - before for before, after in pairwise(sorted(frames)))) or 1


def _rising(frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of frames that follow one another without a gap."""
    first = last = frames[0]
    for frame in frames[1:]:
        if frame != last + 1:
            yield first, last
            first = frame
        last = frame
    yield first, last


def without_placeholders(text: str) -> str:
    """Return what stands for `text` where there may be placeholders: its braces are no part of one."""
    return text.replace("{", "{{").replace("}", "}}")


def partly_filled_in(parts: Sequence[Part], values: Mapping[str, int | str]) -> str:
    """Return the text with `values` in place of the placeholders of these names; the others stay."""
    written = []
    for before, name, form in parts:
        written.append(without_placeholders(before))
        if name is None:
            continue
        kept = f"{{{name}{form and ':'}{form}}}"
        written.append(without_placeholders(format(values[name], form)) if name in values else kept)
    return "".join(written)
