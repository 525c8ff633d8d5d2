"""Events come back from their lines of JSON, as far as the lines tell."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tailrace
from support.jobs import job
from tailrace import (
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkOutput,
    ChunkStarted,
    ErrorCategory,
    FrameLevel,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    JobLockedError,
    LocalWorkerAdapter,
    LoggedError,
    MemoryReport,
    MergeFailedError,
    ProcessMemory,
    ResourceUsage,
    SpecError,
    StitchError,
    TailraceError,
    WorkerBusyError,
    WorkerError,
    WorkerRemoteError,
    WorkerResult,
    WorkerSpawnError,
    WorkerTimeoutError,
    event_from_json,
    event_to_json,
)

KINDS = [
    kind
    for kind in (getattr(tailrace, name) for name in tailrace.__all__)
    if isinstance(kind, type) and issubclass(kind, JobEvent) and not kind.__subclasses__()
]

texts = st.text() | st.text(st.characters(codec=None), max_size=5)
integers = st.integers()
numbers = st.floats(allow_nan=False, allow_infinity=False)
optional_results: st.SearchStrategy[WorkerResult | None]
processes = st.lists(st.builds(ProcessMemory, integers, texts, integers), max_size=2).map(tuple)
reports = st.builds(
    MemoryReport,
    st.booleans(),
    st.none() | integers,
    st.none() | integers,
    processes,
    processes,
    st.none() | numbers,
)
results = st.builds(
    WorkerResult,
    integers,
    st.binary(max_size=5),
    duration=numbers,
    usage=st.none() | st.builds(ResourceUsage, numbers, numbers, st.none() | integers, st.none() | integers),
    truncated=st.booleans(),
    lingered=st.booleans(),
    killed_for_memory=st.none() | reports,
)
optional_results = st.none() | results
worker_errors = (
    st.builds(WorkerError, texts, optional_results)
    | st.builds(WorkerSpawnError, st.integers(0, 200), texts)
    | st.builds(
        WorkerTimeoutError,
        texts,
        results,
        st.sampled_from(["total", "idle", "cpu", "progress"]),
        no_answer=st.booleans(),
    )
    | st.builds(WorkerRemoteError, texts, optional_results, nothing_began=st.booleans())
    | st.builds(WorkerBusyError, texts, retry_after=st.none() | numbers)
)
other_errors = st.builds(ValueError, texts) | st.builds(KeyboardInterrupt)


@st.composite
def failures(draw: st.DrawFn) -> ChunkFailedError:
    error = ChunkFailedError(
        draw(texts),
        chunk_id=draw(integers),
        attempts=draw(integers),
        result=draw(optional_results),
        category=draw(st.none() | st.sampled_from(get_args(ErrorCategory))),
    )
    error.__cause__ = draw(st.none() | worker_errors | other_errors)
    return error


errors = (
    failures()
    | worker_errors
    | other_errors
    | st.builds(MergeFailedError, texts, optional_results)
    | st.builds(StitchError, texts, optional_results)
    | st.builds(JobLockedError, texts, st.none() | integers)
    | st.builds(SpecError, texts)
    | st.builds(TailraceError, texts)
)
BY_TYPE: dict[object, st.SearchStrategy[Any]] = {
    int: integers,
    float: numbers,
    str: texts,
    bool: st.booleans(),
    int | None: st.none() | integers,
    float | None: st.none() | numbers,
    str | None: st.none() | texts,
    str | memoryview: (st.binary() | st.text().map(str.encode)).map(lambda data: memoryview(data)),
    FrameLevel: st.sampled_from(get_args(FrameLevel)),
    Literal["stdout", "stderr"]: st.sampled_from(["stdout", "stderr"]),
    Collection[int]: st.lists(integers).map(tuple),
    ErrorCategory | None: st.none() | st.sampled_from(get_args(ErrorCategory)),
    WorkerResult: results,
    WorkerResult | None: optional_results,
    ChunkFailedError: failures(),
    BaseException | None: st.none() | errors,
}


def events_of(kind: type[JobEvent]) -> st.SearchStrategy[JobEvent]:
    return st.builds(kind, **{name: BY_TYPE[hint] for name, hint in get_type_hints(kind).items()})


def same(told: object, read: object) -> bool:
    """Return whether what was read is what was told, but for what a line leaves out."""
    match told:
        case WorkerResult():
            figures = ("exit_code", "duration", "usage", "truncated", "lingered", "killed_for_memory")
            return isinstance(read, WorkerResult) and all(
                getattr(told, name) == getattr(read, name) for name in figures
            )
        case TailraceError():
            attributes = {**told.__dict__, "__cause__": told.__cause__}
            for name in ("_failures", "report"):
                attributes.pop(name, None)
            return (
                type(read) is type(told)
                and str(read) == str(told)
                and all(same(value, getattr(read, name)) for name, value in attributes.items())
            )
        case BaseException():
            return isinstance(read, LoggedError) and (read.type_name, str(read)) == (type(told).__name__, str(told))
    if is_dataclass(told) and not isinstance(told, type | ResourceUsage):
        return type(read) is type(told) and all(
            same(getattr(told, field.name), getattr(read, field.name)) for field in fields(told)
        )
    return type(read) is type(told) and read == told


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_comes_back_as_far_as_its_line_tells(kind: type[JobEvent]) -> None:
    @given(events_of(kind))
    def come_back(event: JobEvent) -> None:
        line = event_to_json(event)
        assert line.isascii()
        assert line.splitlines() == [line]
        read = event_from_json(line)
        assert same(event, read)
        assert event_to_json(read) == line
        assert same(read, event_from_json(line.encode() + b"\n"))

    come_back()


def test_all_kinds_of_events_were_found() -> None:
    assert len(KINDS) >= 16
    assert {JobFinished, ChunkOutput} <= set(KINDS)


def chunk_started(**others: object) -> dict[str, object]:
    event = ChunkStarted(
        job_id="j", run_id="r", sequence=0, time=1.0, monotonic=2.0, chunk_id=3, attempt=1, slot=0, command="c"
    )
    record: dict[str, object] = json.loads(event_to_json(event))
    return record | others


def test_text_comes_back_as_its_bytes() -> None:
    output = ChunkOutput(
        job_id="j",
        run_id="r",
        sequence=0,
        time=1.0,
        monotonic=2.0,
        chunk_id=3,
        attempt=1,
        stream="stdout",
        data="Größe\n",
    )
    read = event_from_json(event_to_json(output))
    assert isinstance(read, ChunkOutput)
    assert read.data == memoryview("Größe\n".encode())


def test_keys_that_are_not_known_are_ignored() -> None:
    read = event_from_json(json.dumps(chunk_started(colour="red")))
    assert read == event_from_json(json.dumps(chunk_started()))


def test_a_number_may_stand_there_as_an_integer() -> None:
    read = event_from_json(json.dumps(chunk_started(time=7)))
    assert (type(read.time), read.time) == (float, 7.0)


NO_SLOT = {name: value for name, value in chunk_started().items() if name != "slot"}
NO_VERSION = {name: value for name, value in chunk_started().items() if name != "version"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the line is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"event":"chunk_st', "the line is not JSON: Unterminated string starting at: line 1 column 10 (char 9)"),
        (b"\xff", "the line is not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ("[" * 100_000, "the line is nested too deeply for an event"),
        ("[1]", "the event must be an object, not [1]"),
        ("{}", "the event has no 'event'"),
        (json.dumps(NO_VERSION), "the event has no 'version'"),
        (
            json.dumps(chunk_started(version=2)),
            "the event is of version 2 of the format, and version 1 can be read: read it with a newer tailrace",
        ),
        (json.dumps(chunk_started(version=0)), "the event is of version 0 of the format, and version 1 can be read"),
        (json.dumps(chunk_started(version="1")), "the event: version must be an integer, not '1'"),
        (
            json.dumps(chunk_started(event="chunk_exploded")),
            "version 1 of the format has no event 'chunk_exploded': read it with a newer tailrace",
        ),
        (json.dumps(NO_SLOT), "chunk_started has no 'slot'"),
        (json.dumps(chunk_started(slot=True)), "chunk_started: slot must be an integer, not True"),
        (json.dumps(chunk_started(time="now")), "chunk_started: time must be a number, not 'now'"),
        (
            json.dumps(chunk_started(time=10**400)),
            f"chunk_started: time must be a smaller number, not 1{'0' * 59}...",
        ),
        (
            json.dumps(chunk_started(event="chunk_finished", result={"exit_code": "0"})),
            "chunk_finished: result: exit_code must be an integer, not '0'",
        ),
        (
            json.dumps(chunk_started(event="chunk_finished", result=None)),
            "chunk_finished: result must be an object, not None",
        ),
        (
            json.dumps(chunk_started(event="chunk_failed", error={"type": "OSError", "message": "m"})),
            "chunk_failed: error must be a ChunkFailedError, not {'type': 'OSError', 'message': 'm'}",
        ),
        (
            json.dumps(chunk_started(event="chunk_output", stream="stdin", data="a")),
            "chunk_output: stream must be one of stdout, stderr, not 'stdin'",
        ),
        (
            json.dumps(chunk_started(event="chunk_output", stream="stdout", data="?", base64="?")),
            "chunk_output: base64 must be base64, not '?'",
        ),
        (
            json.dumps(chunk_started(event="job_started", total_chunks=1, completed_chunk_ids=["0"])),
            "job_started: completed_chunk_ids must be a list of integers, not ['0']",
        ),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_cannot_be_read_is_one_line_that_says_why(line: str | bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        event_from_json(line)
    assert str(caught.value) == message


@pytest.mark.anyio
async def test_a_log_comes_back_as_the_events_that_were_logged(tmp_path: Path) -> None:
    told: list[JobEvent] = []
    options = JobExecutionOptions(job_dir=tmp_path, log_dir=tmp_path, on_event=told.append, fail_fast=False)
    with pytest.raises(TailraceError):
        await JobExecutor(LocalWorkerAdapter()).execute(job("echo a", "exit 3", "sleep 0.6", merge="true"), options)
    lines = (tmp_path / "job.ndjson").read_text().splitlines()
    read = [event_from_json(line) for line in lines]
    logged = {event.sequence: event for event in told}
    assert len(read) >= 8
    assert all(same(logged[event.sequence], event) for event in read)
    assert [type(event) for event in read if isinstance(event, ChunkFailed | ChunkFinished)].count(ChunkFailed) == 1


@pytest.mark.anyio
async def test_each_run_of_a_job_has_an_id_of_its_own() -> None:
    run_ids = set()
    for _ in range(2):
        told: list[JobEvent] = []
        report = await JobExecutor(LocalWorkerAdapter()).execute(
            job("echo a", merge="true"), JobExecutionOptions(on_event=told.append)
        )
        assert {event.run_id for event in told} == {report.run_id}
        assert len(report.run_id) == 16
        assert int(report.run_id, 16) >= 0
        run_ids.add(report.run_id)
    assert len(run_ids) == 2
