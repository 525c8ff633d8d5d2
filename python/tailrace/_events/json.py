"""Events to JSON."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Collection
from dataclasses import fields

from .._command.result import WorkerResult
from .json_values import plain_error, plain_result
from .types import JobEvent

VERSION = 1
"""The version of the format of events. It grows when earlier readers would misunderstand a line, not with new keys."""

_WORD = re.compile("(?<!^)(?=[A-Z])")

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_PLAIN = bytes(set(range(ord(" "), 127)) - set(b'"\\'))
"""What stands for itself in JSON."""
_ESCAPES = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t"}
"""The backslash comes first: the others bring more of them."""
_SCALARS = frozenset({int, float, str, bool, type(None)})
_keys: dict[type[JobEvent], tuple[str, ...]] = {}
"""Of each class its name in JSON and those of its fields, once they have been looked for: that takes long."""


def event_to_json(event: JobEvent) -> str:
    """Return `event` as one line of JSON, without a line end, in ASCII; docs/events.md tells its keys.

    Of a result the output is left out, and of an exception all but its message and figures.
    """
    return event_to_line(event)[:-1].decode()


def event_to_line(event: JobEvent) -> bytes:
    """Return `event_to_json` with its line end, as bytes."""
    kind = type(event)
    keys = _keys.get(kind)
    if keys is None:
        keys = _keys[kind] = (name_of(kind), *(field.name for field in fields(kind)))
    record: dict[str, object] = {"event": keys[0], "version": VERSION}
    text = None
    for name in keys[1:]:
        value = getattr(event, name)
        if type(value) in _SCALARS:
            record[name] = value
        elif not isinstance(value, memoryview):
            record[name] = _to_plain(value)
        elif (text := _escaped(value)) is None:
            record |= describe_bytes(name, value)
    # Lone surrogates, in file names for example, are only safe escaped.
    try:
        line = _encode(record).encode()
    except ValueError:
        # What an adapter says of itself may be anything, and JSON has neither infinity nor NaN.
        line = _encode(_without_odd_numbers(record)).encode()
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


def name_of(kind: type[JobEvent]) -> str:
    """Return what the events of a class are called in JSON."""
    return _WORD.sub("_", kind.__name__).lower()


def describe_bytes(name: str, data: bytes | memoryview) -> dict[str, object]:
    """Return `data` as text under `name`; where that is not all there is to it, the bytes stand beside it."""
    try:
        return {name: str(data, "utf-8")}
    except UnicodeDecodeError:
        return {name: str(data, "utf-8", "replace"), "base64": base64.b64encode(data).decode()}


def _without_odd_numbers(value: object) -> object:
    """Return it with the largest number in the place of infinity, and 0 in that of NaN."""
    match value:
        case float():
            return max(-sys.float_info.max, min(value, sys.float_info.max)) if value == value else 0.0
        case dict():
            return {key: _without_odd_numbers(part) for key, part in value.items()}
        case list():
            return [_without_odd_numbers(part) for part in value]
    return value


def _to_plain(value: object) -> object:
    match value:
        case WorkerResult():
            return plain_result(value)
        case BaseException():
            return plain_error(value)
        case Collection():
            return list(value)
    return value
