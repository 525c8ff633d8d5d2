"""What the name of a frame's file says."""

from __future__ import annotations

import os
import re

SET_ASIDE = ".damaged"
"""What the name of a damaged frame ends with, once it is out of the way of the next attempt."""
_NUMBER_IN_NAME = re.compile(r"-?\d+(?=\D*$)")


def suffix_of(path: str) -> str:
    """Return the ending of a name in small letters, without the dot; "" if there is none, or only a frame's number."""
    stem, dot, suffix = os.path.basename(path).rpartition(".")  # noqa: PTH119 - a name may end with a dot.
    return suffix.lower() if dot and stem and not re.fullmatch(r"-?\d*", suffix) else ""


def frame_in_name(path: str) -> int | None:
    """Return the number that stands last in a file's name, before its ending; None if there is none."""
    name = path.rpartition("/")[2]
    suffix = suffix_of(path)
    stem = name[: -len(suffix) - 1] if suffix else name
    found = _NUMBER_IN_NAME.search(stem)
    if found is None:
        return None
    text = found[0]
    # "shot-12" is frame 12 of shot: a minus is one after another separator.
    if text.startswith("-") and found.start() and stem[found.start() - 1] not in "._ ":
        text = text[1:]
    return int(text) if len(text) < 20 else None


def sequence_of(path: str) -> str | None:
    """Return what the paths of a sequence have in common; None for one without a number."""
    number = frame_in_name(path)
    if number is None:
        return None
    folder, slash, name = path.rpartition("/")
    suffix = suffix_of(path)
    stem = name[: -len(suffix) - 1] if suffix else name
    return folder + slash + _NUMBER_IN_NAME.sub("#", stem) + "." + suffix
