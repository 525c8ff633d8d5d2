"""What goes over the wire has all that a farm tells."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import BaseModel

from tailrace import (
    ChunkOutput,
    ChunkStatus,
    FarmEvent,
    JobNotFoundError,
    JobStateError,
    JobStatus,
    NodeStatus,
    RepositoryError,
    RepositoryLostError,
    RepositoryUnavailableError,
    ResourceUsage,
    SpecError,
    StateChange,
)
from tailrace._api import errors
from tailrace._api.events import event_from_bytes, event_to_bytes
from tailrace._api.models import ChunkAnswer, JobAnswer, NodeAnswer, UsageAnswer
from tailrace._api.sse import Message, MessageReader, write_message


@pytest.mark.parametrize(
    ("model", "told"),
    [(JobAnswer, JobStatus), (ChunkAnswer, ChunkStatus), (NodeAnswer, NodeStatus), (UsageAnswer, ResourceUsage)],
)
def test_a_model_has_the_fields_of_what_it_tells(model: type[BaseModel], told: type) -> None:
    fields = {field.name for field in dataclasses.fields(told) if not field.name.startswith("_")}
    assert set(model.model_fields) == fields


@pytest.mark.parametrize(
    "error",
    [
        JobNotFoundError("there is no job x", "x"),
        JobStateError("job x is failed", "x", "failed"),
        SpecError("a: b", ["a: b", "a: c"]),
        RepositoryUnavailableError("full"),
        RepositoryLostError("gone"),
        RepositoryError("broken"),
        KeyError("there is no node 'x'"),
        ValueError("odd"),
        TypeError("odder"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_out_as_it_went_in(error: Exception) -> None:
    status = errors.status_of(error)
    assert status is not None
    back = errors.to_exception(status, errors.describe(error).model_dump_json(by_alias=True).encode(), "here")
    assert (type(back), str(back)) == (type(error), str(error))
    assert list(getattr(back, "problems", ())) == list(getattr(error, "problems", ()))
    told = {name: value for name, value in vars(error).items() if name != "problems"}
    assert {name: value for name, value in vars(back).items() if name != "problems"} == told


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": 1}', b'{"error": {"type": "X", "message": "m"}}'])
def test_what_is_no_answer_of_a_farm_is_told_as_that(body: bytes) -> None:
    assert type(errors.to_exception(502, body, "here")).__name__ == "FarmServerError"


EVENTS = [
    FarmEvent(id=3, job_id="ä", time=1.5, event=StateChange(chunk_id=7, state="failed", details={"error": "a\nb"})),
    FarmEvent(id=4, job_id="a", time=2.0, event=StateChange(chunk_id=None, state="deleted")),
    FarmEvent(id=5, job_id="", time=0.0, event=None, gap=True),
    FarmEvent(
        id=5,
        job_id="a",
        time=1.0,
        event=ChunkOutput(
            job_id="n",
            run_id="r",
            sequence=0,
            time=1.0,
            monotonic=2.0,
            chunk_id=1,
            attempt=1,
            stream="stdout",
            data='a"\u2028\n',
        ),
    ),
]


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_an_event_comes_out_as_it_went_in(event: FarmEvent) -> None:
    line = event_to_bytes(event)
    assert b"\n" not in line and b"\r" not in line
    assert event_from_bytes(line) == event


@pytest.mark.parametrize("line", ["{}", '{"id": 1, "jobId": "", "time": 0, "change": {}}', "[]", "x"])
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        event_from_bytes(line)


def test_messages_are_read_however_they_are_cut() -> None:
    sent = write_message(b"a", id=1) + b":\n\n" + write_message(id=2) + write_message(b"b", name="end") + b"data: half"
    wanted = [Message("1", "", "a"), Message("2", "", ""), Message("2", "end", "b")]
    for size in range(1, len(sent)):
        reader = MessageReader()
        pieces = (sent[start : start + size] for start in range(0, len(sent), size))
        assert [message for piece in pieces for message in reader.feed(piece)] == wanted
