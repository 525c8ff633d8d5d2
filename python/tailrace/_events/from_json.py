"""Events from JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, Literal, TypeAlias, get_args, get_type_hints

from .._command.job import STREAMS
from .._command.result import WorkerResult
from .._errors import ChunkFailedError, ErrorCategory
from . import types
from .json import VERSION, name_of
from .json_fields import JsonFields
from .json_values import category_from, error_from, result_from
from .types import FrameLevel, JobEvent

_Reader: TypeAlias = Callable[[JsonFields, str], Any]


def event_from_json(line: str | bytes) -> JobEvent:
    """Return the event that `event_to_json` made the line of, or that is a line of `job.ndjson`.

    It is as much as the line tells. `data` is a memoryview of the bytes, also where it was text; a result has no
    output; an exception of tailrace's own is one of that class, with its message and figures, and any other a
    `LoggedError`. Keys that are not known are ignored.

    Raises `ValueError`, in one line that says what is wrong, for an event that is not known, for another version of the
    format, and for what is no event at all.
    """
    try:
        return _event_from(json.loads(line))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the line is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("the line is nested too deeply for an event") from error


def _event_from(record: object) -> JobEvent:
    fields = JsonFields(record, "the event")
    name, version = fields.get("event", str), fields.get("version", int)
    if version != VERSION:
        remedy = ": read it with a newer tailrace" if version > VERSION else ""
        raise ValueError(f"the event is of version {version} of the format, and version {VERSION} can be read{remedy}")
    found = _kinds().get(name)
    if found is None:
        raise ValueError(f"version {VERSION} of the format has no event {name!r}: read it with a newer tailrace")
    kind, readers = found
    fields = JsonFields(record, name)
    return kind(**{field: read(fields, field) for field, read in readers.items()})


@cache
def _kinds() -> dict[str, tuple[type[JobEvent], dict[str, _Reader]]]:
    """Return by name the classes of events, but for those that are bases of others, and what reads their fields."""
    kinds = {}
    # Not from their bases: those also remember the classes that they were before they had slots.
    for kind in vars(types).values():
        if isinstance(kind, type) and issubclass(kind, JobEvent) and not kind.__subclasses__():
            readers = {field: _READERS[hint] for field, hint in get_type_hints(kind).items()}
            kinds[name_of(kind)] = kind, readers
    return kinds


def _data_from(fields: JsonFields, key: str) -> memoryview:
    text = fields.get(key, str)
    if not fields.has("base64"):
        # Text may hold what is no character at all; it has come as text then.
        return memoryview(text.encode(errors="replace"))
    try:
        return memoryview(base64.b64decode(fields.get("base64", str), validate=True))
    except binascii.Error as error:
        raise fields.error("base64", "base64") from error


def _failure_from(fields: JsonFields, key: str) -> ChunkFailedError:
    error = error_from(fields.object(key))
    if not isinstance(error, ChunkFailedError):
        raise fields.error(key, "a ChunkFailedError")
    return error


_READERS: dict[object, _Reader] = {
    int: lambda fields, key: fields.get(key, int),
    float: lambda fields, key: fields.get(key, float),
    str: lambda fields, key: fields.get(key, str),
    bool: lambda fields, key: fields.get(key, bool),
    int | None: lambda fields, key: fields.optional(key, int),
    float | None: lambda fields, key: fields.optional(key, float),
    str | None: lambda fields, key: fields.optional(key, str),
    str | memoryview: _data_from,
    Literal["stdout", "stderr"]: lambda fields, key: fields.one_of(key, STREAMS),
    FrameLevel: lambda fields, key: fields.one_of(key, get_args(FrameLevel)),
    Collection[int]: lambda fields, key: fields.integers(key),
    ErrorCategory | None: lambda fields, _: category_from(fields),
    WorkerResult: lambda fields, key: result_from(fields.object(key)),
    WorkerResult | None: lambda fields, key: None if fields.value(key) is None else result_from(fields.object(key)),
    ChunkFailedError: _failure_from,
    BaseException | None: lambda fields, key: None if fields.value(key) is None else error_from(fields.object(key)),
}
"""What reads a field of an event, by the type that the class gives it."""
