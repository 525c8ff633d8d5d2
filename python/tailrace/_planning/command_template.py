"""A command with placeholders, such as `render {start} {end} {output}`."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from .._errors import SpecError

PLACEHOLDERS = ("start", "end", "step", "count", "frame", "output")
"""The chunk's first and last frame, its step, how many frames it has, its only frame, and its output file."""

_WIDTH = re.compile(r"(0\d{1,2})?", re.ASCII)


def placeholders_in(text: str, field: str) -> frozenset[str]:
    """Return the names of the placeholders in `text`.

    Raises `SpecError` for those that do not exist and for a lone brace; `field` is where the text comes from.
    """
    names: set[str] = set()
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise SpecError(f"{field}: a brace has no counterpart in {text!r}: write {{{{ and }}}} for braces") from error
    for _, name, width, conversion in parts:
        if name is None:
            continue
        if name not in PLACEHOLDERS or conversion is not None:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise SpecError(
                f"{field}: {{{name}}} is not a placeholder: there are {known}; write {{{{ and }}}} for braces"
            )
        if not _WIDTH.fullmatch(width or "") or (width and name == "output"):
            raise SpecError(f"{field}: {{{name}:{width}}} should be {{{name}}}, or {{start:04}} for four digits")
        names.add(name)
    return frozenset(names)


def fill_in(text: str, values: Mapping[str, int | str]) -> str:
    """Return `text` with the values in place of the placeholders, which `placeholders_in` has accepted."""
    # Values are not looked at again: a brace in a file name is no placeholder.
    return text.format_map(values)
