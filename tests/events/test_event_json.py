"""Every event can be written as one line of JSON, and output comes back from it byte for byte."""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tailrace
from support import ROOT
from support.jobs import job
from tailrace import (
    ChunkFinished,
    ChunkOutput,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    ResourceUsage,
    TailraceError,
    WorkerResult,
    event_to_json,
)

DOCUMENTATION = ROOT / "docs" / "events.md"


def _output(data: str | memoryview) -> ChunkOutput:
    return ChunkOutput(
        job_id="j",
        run_id="0123456789abcdef",
        sequence=0,
        time=1.5,
        monotonic=2.5,
        chunk_id=3,
        attempt=1,
        stream="stdout",
        data=data,
    )


def _bytes(record: dict[str, Any]) -> bytes:
    return base64.b64decode(record["base64"]) if "base64" in record else record["data"].encode()


@given(st.binary(min_size=1) | st.text(min_size=1).map(lambda text: text.encode(errors="replace")))
def test_bytes_come_back_as_they_were(data: bytes) -> None:
    line = event_to_json(_output(memoryview(data)))
    assert line.splitlines() == [line]
    assert line.isascii()
    record = json.loads(line)
    assert _bytes(record) == data
    assert record["data"] == data.decode(errors="replace")


@given(st.text(st.characters(max_codepoint=127)) | st.text())
def test_output_is_written_as_the_json_module_writes_it(text: str) -> None:
    event = _output(memoryview(text.encode()))
    record = {field.name: getattr(event, field.name) for field in fields(event)} | {"data": text}
    expected = json.dumps({"event": "chunk_output", "version": 1, **record}, separators=(",", ":"))
    assert event_to_json(event) == expected


@given(st.text())
def test_text_comes_back_as_it_was(text: str) -> None:
    assert json.loads(event_to_json(_output(text)))["data"] == text


def test_an_event_is_written_with_the_names_of_its_attributes() -> None:
    assert json.loads(event_to_json(_output("a\n"))) == {
        "event": "chunk_output",
        "version": 1,
        "job_id": "j",
        "run_id": "0123456789abcdef",
        "sequence": 0,
        "time": 1.5,
        "monotonic": 2.5,
        "chunk_id": 3,
        "attempt": 1,
        "stream": "stdout",
        "data": "a\n",
    }


@pytest.mark.anyio
async def test_a_result_and_an_error_are_written_without_the_output(tmp_path: Path) -> None:
    events: list[JobEvent] = []
    options = JobExecutionOptions(
        job_dir=tmp_path, fail_fast=False, on_event=events.append, timeout=0.5, completed_chunk_ids=[2]
    )
    wanted = job("echo secret", "echo secret; sleep 60", "skipped")
    with pytest.raises(TailraceError):
        await JobExecutor(LocalWorkerAdapter()).execute(wanted, options)
    records = [json.loads(event_to_json(event)) for event in events]
    by_name = {record["event"]: record for record in records}
    assert by_name["job_started"]["completed_chunk_ids"] == [2]
    result = by_name["chunk_finished"]["result"]
    assert result["exit_code"] == 0
    assert result["truncated"] is False
    assert 0 < result["duration"] < 60
    failure = by_name["chunk_failed"]["error"]
    assert (failure["type"], failure["chunk_id"], failure["attempts"]) == ("ChunkFailedError", 1, 1)
    assert "0.5 s" in failure["message"]
    assert failure["result"]["exit_code"] == -15
    assert (failure["cause"]["type"], failure["cause"]["kind"]) == ("WorkerTimeoutError", "total")
    assert by_name["job_finished"]["error"] == failure
    assert all("secret\n" not in json.dumps(record) for record in records if record["event"] != "chunk_output")


def test_what_json_has_no_number_for_is_the_nearest_one() -> None:
    odd = WorkerResult(0, duration=float("inf"), usage=ResourceUsage(float("nan"), 1.0, None))
    head: Any = {"job_id": "job", "run_id": "run", "sequence": 0, "time": 0.0, "monotonic": 0.0}
    line = event_to_json(ChunkFinished(**head, chunk_id=1, attempt=1, result=odd))
    result = json.loads(line, parse_constant=pytest.fail)["result"]
    assert (result["duration"], result["cpu_user"], result["cpu_system"]) == (sys.float_info.max, 0.0, 1.0)


def test_the_documentation_lists_every_event_with_its_keys() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \|(.*?)\|$", DOCUMENTATION.read_text(), flags=re.MULTILINE))
    common = {field.name for field in fields(JobEvent)}
    public = [getattr(tailrace, name) for name in tailrace.__all__]
    kinds = [
        kind for kind in public if isinstance(kind, type) and issubclass(kind, JobEvent) and not kind.__subclasses__()
    ]
    assert len(kinds) >= 10
    for kind in kinds:
        name = re.sub("(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
        documented = set(re.findall(r"`(\w+)`", table.pop(name) + " "))
        assert documented == {field.name for field in fields(kind)} - common
    assert not table
