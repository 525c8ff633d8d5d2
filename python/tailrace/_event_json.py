"""Events as JSON."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING

from ._errors import ChunkFailedError, WorkerError
from ._worker_result import WorkerResult

if TYPE_CHECKING:
    from ._events import JobEvent

_WORD = re.compile("(?<!^)(?=[A-Z])")


def event_to_json(event: JobEvent) -> str:
    """Return `event` as one line of JSON, without a line end."""
    record: dict[str, object] = {"event": _name_of(type(event).__name__)}
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, memoryview):
            record |= describe_bytes(field.name, value)
        else:
            record[field.name] = _to_plain(value)
    # Lone surrogates, in file names for example, are only safe escaped.
    return json.dumps(record, separators=(",", ":"))


@cache
def _name_of(class_name: str) -> str:
    return _WORD.sub("_", class_name).lower()


def describe_bytes(name: str, data: bytes | memoryview) -> dict[str, object]:
    """Return `data` as text under `name`; where that is not all there is to it, the bytes stand beside it."""
    try:
        return {name: str(data, "utf-8")}
    except UnicodeDecodeError:
        return {name: str(data, "utf-8", "replace"), "base64": base64.b64encode(data).decode()}


def _to_plain(value: object) -> object:
    match value:
        case WorkerResult():
            return _describe_result(value)
        case BaseException():
            return _describe_error(value)
        case str():
            return value
        case Collection():
            return list(value)
    return value


def _describe_result(result: WorkerResult) -> dict[str, object]:
    """Return everything but the output, which has had events of its own."""
    usage = result.usage
    return {
        "exit_code": result.exit_code,
        "duration": result.duration,
        "cpu_user": None if usage is None else usage.cpu_user,
        "cpu_system": None if usage is None else usage.cpu_system,
        "max_rss": None if usage is None else usage.max_rss,
        "tree_max_rss": None if usage is None else usage.tree_max_rss,
        "truncated": result.truncated,
    }


def _describe_error(error: BaseException) -> dict[str, object]:
    description: dict[str, object] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, ChunkFailedError):
        description |= {"chunk_id": error.chunk_id, "attempts": error.attempts, "category": error.category}
    if isinstance(error, ChunkFailedError | WorkerError) and error.result is not None:
        description["result"] = _describe_result(error.result)
    return description
