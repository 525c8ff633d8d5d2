"""Says what an argument of a manager's method has to be, before it is noted: what can never be written ends a farm."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from .._checks import check_collection, check_type
from .._errors import SpecError
from .._spec.model import JobSpec
from .settings import MOST, JobSettings

MOST_CHUNK_IDS = 1000
"""How many chunks can be asked for by their ids at once: databases take statements with some thousand values."""
_LONG_AGO = 1e9
"""In 2001, in seconds since the epoch: what is less was meant as a time from now on."""
_LATEST = 253_402_214_400
"""The last day of the year 9999, in the same: what is more cannot be shown as a date."""


def check_settings(settings: object) -> None:
    """Raise `TypeError` unless it is a `JobSettings`."""
    check_type("settings", settings, JobSettings, "a JobSettings")


def check_words(*, tags: object = (), after: object = (), **texts: object) -> None:
    """Raise `TypeError` unless `tags` and `after` are collections of texts, and all others texts; None is left out."""
    for name, value, described in (("tags", tags, "words"), ("after", after, "ids")):
        if value is not None:
            check_collection(name, value, str, described)
    for name, value in texts.items():
        if value is not None:
            check_type(name, value, str, "a text")


def check_priority(priority: object) -> None:
    """Raise `TypeError` or `ValueError` unless it is a whole number that every database takes."""
    # To Python, True is an int.
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise TypeError(f"priority must be a whole number, not {priority!r}")
    if abs(priority) > MOST:
        raise ValueError(f"priority must be from -{MOST} to {MOST}")


def check_moment(not_before: object) -> None:
    """Raise `TypeError` or `ValueError` unless it is a time, or None."""
    if not_before is None:
        return
    if not isinstance(not_before, int | float) or isinstance(not_before, bool):
        raise TypeError(f"not_before must be a time in seconds since the epoch, not {not_before!r}")
    if not math.isfinite(not_before):
        raise ValueError(f"not_before must be a time in seconds since the epoch, not {not_before!r}")
    if abs(not_before) > _LATEST:
        raise ValueError(f"not_before={not_before!r} is no time of the years until 9999")
    if 0 < not_before < _LONG_AGO:
        raise ValueError(f"not_before={not_before!r} is long ago: in so many seconds is time.time() + {not_before!r}")


def check_slots(slots: object) -> None:
    """Raise `TypeError` or `ValueError` unless it is a number of slots, or None."""
    if slots is None:
        return
    if not isinstance(slots, int) or isinstance(slots, bool):
        raise TypeError(f"slots must be a whole number, not {slots!r}")
    if slots < 1:
        raise ValueError(f"slots must be at least 1: {slots}")


def check_chunk_ids(chunk_ids: object) -> None:
    """Raise `TypeError` unless it is a collection of ids."""
    check_collection("chunk_ids", chunk_ids, int, "chunks' ids")


def check_part(chunk_ids: Collection[int] | None, after: int | None, limit: int | None) -> None:
    """Raise `TypeError` or `ValueError` unless these say which of many chunks are meant; None says nothing."""
    if chunk_ids is not None:
        check_chunk_ids(chunk_ids)
        if len(chunk_ids) > MOST_CHUNK_IDS:
            raise ValueError(f"chunk_ids must be at most {MOST_CHUNK_IDS} ids, not {len(chunk_ids)}")
    if after is not None:
        check_type("after", after, int, "the id of a chunk")
    if limit is not None:
        check_type("limit", limit, int, "a whole number")
        if limit < 1:
            raise ValueError(f"limit must be 1 or more: {limit}")


def check_states(states: Collection[str] | None, known: Sequence[str]) -> None:
    """Raise `TypeError` or `ValueError` unless they are states that there are, or None."""
    if states is None:
        return
    check_collection("states", states, str, "states")
    for state in states:
        if state not in known:
            raise ValueError(f"states: {state!r} is none of {', '.join(known)}")


def check_size(spec: JobSpec) -> None:
    """Raise `SpecError` where numbers in a job are larger than a database takes."""
    largest = max((chunk.id for chunk in spec.chunks), default=0)
    if largest > MOST:
        raise SpecError(f"job {spec.id}: chunk {largest}: a farm takes ids up to {MOST}")
    if (frames := sum(chunk.frame_count for chunk in spec.chunks)) > MOST:
        raise SpecError(f"job {spec.id}: it has {frames} frames, and a farm takes jobs of up to {MOST}")
