"""Events of a farm as JSON, one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from .._events.from_json import event_from_json
from .._events.json import event_to_line
from .._events.types import ChunkOutput, JobEvent, MergeOutput
from .._farm.status import FarmEvent, StateChange

_encode = json.JSONEncoder(separators=(",", ":")).encode


def event_to_bytes(event: FarmEvent) -> bytes:
    """Return the event as one line of JSON, without its end, in ASCII."""
    head = f'{{"id":{event.id},"jobId":{_encode(event.job_id)},"time":{event.time!r}'.encode()
    match event.event:
        case JobEvent():
            return b"".join((head, b',"event":', event_to_line(event.event)[:-1], b"}"))
        case StateChange(chunk_id=chunk_id, state=state, details=details):
            change = {"chunkId": chunk_id, "state": state, "details": dict(details)}
            return b"".join((head, b',"change":', _encode(change).encode(), b"}"))
    return head + b',"gap":true}'


def event_from_bytes(line: str | bytes) -> FarmEvent:
    """Return the event that `event_to_bytes` made the line of. Raises `ValueError` for anything else."""
    fields = json.loads(line)
    try:
        event: JobEvent | StateChange | None = None
        if "event" in fields:
            event = _as_told(event_from_json(_encode(fields["event"])))
        elif "change" in fields:
            event = _change_of(fields["change"])
        return FarmEvent(
            id=fields["id"],
            job_id=fields["jobId"],
            time=fields["time"],
            event=event,
            gap=fields.get("gap", False),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"that is no event of a farm: {error!r}") from error


def _as_told(event: JobEvent) -> JobEvent:
    """Return the event with its output as text, which is how a farm tells it."""
    match event:
        case ChunkOutput(data=memoryview() as data) | MergeOutput(data=memoryview() as data):
            return replace(event, data=bytes(data).decode(errors="replace"))
    return event


def _change_of(fields: dict[str, Any]) -> StateChange:
    return StateChange(chunk_id=fields["chunkId"], state=fields["state"], details=fields["details"])
