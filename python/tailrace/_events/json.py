"""Events as JSON."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING

from .._command.result import WorkerResult
from .._errors import ChunkFailedError, WorkerError

if TYPE_CHECKING:
    from .types import JobEvent

_WORD = re.compile("(?<!^)(?=[A-Z])")

_encode = json.JSONEncoder(separators=(",", ":")).encode
_PLAIN = bytes(set(range(ord(" "), 127)) - set(b'"\\'))
"""What stands for itself in JSON."""
_ESCAPES = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t"}
"""The backslash comes first: the others bring more of them."""


def event_to_json(event: JobEvent) -> str:
    """Return `event` as one line of JSON, without a line end."""
    return event_to_line(event)[:-1].decode()


def event_to_line(event: JobEvent) -> bytes:
    """Return the same with its line end."""
    record: dict[str, object] = {"event": _name_of(type(event).__name__)}
    text = None
    for field in fields(event):
        value = getattr(event, field.name)
        if not isinstance(value, memoryview):
            record[field.name] = _to_plain(value)
        elif (text := _escaped(value)) is None:
            record |= describe_bytes(field.name, value)
    # Lone surrogates, in file names for example, are only safe escaped.
    line = _encode(record).encode()
    # Output comes last in its events, and is nearly all there is to them.
    return line + b"\n" if text is None else b"".join((line[:-1], b',"data":"', text, b'"}\n'))


def _escaped(data: memoryview) -> bytes | None:
    """Return `data` as it stands between quotes in JSON, which is for text that needs few escapes, else None.

    The same as what `json` makes of it, several times as fast.
    """
    text = bytes(data)
    special = text.translate(None, _PLAIN)
    if special.strip(b"".join(_ESCAPES)):
        return None
    for character, escape in _ESCAPES.items():
        if character in special:
            text = text.replace(character, escape)
    return text


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
