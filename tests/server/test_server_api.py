"""The HTTP API of a farm, as clients of any kind see it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from support.farm_servers import BEARER, JSON, FarmServer, ended, serving, submit
from support.farms import held, open_gate
from support.jobs import job, spec_fields
from support.workers import wait_until
from tailrace import JobSpec
from tailrace._api.sse import Message, MessageReader
from tailrace.server import _hub


@contextmanager
def streaming(server: FarmServer, path: str, headers: dict[str, str] | None = None) -> Iterator[HTTPResponse]:
    """Ask for a stream, and yield the response when its head has come."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path, headers=BEARER | (headers or {}))
        with connection.getresponse() as response:
            assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
            yield response
    finally:
        connection.close()


def messages(response: HTTPResponse) -> Iterator[Message]:
    """Yield the messages of a stream as they come."""
    reader = MessageReader()
    while piece := response.read1(2**16):
        yield from reader.feed(piece)


def changes(response: HTTPResponse, count: int) -> list[tuple[int, str | None, str]]:
    """Return the id, the chunk and the state of the next changes."""
    found: list[tuple[int, str | None, str]] = []
    for message in messages(response):
        event = json.loads(message.data or "{}")
        if "change" in event:
            assert message.id == str(event["id"])
            found.append((event["id"], event["change"]["chunkId"], event["change"]["state"]))
        if len(found) == count:
            break
    return found


def test_each_route_and_each_model_is_described(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        described = server.send("GET", "/api/v1/openapi.json").json()
        endpoints = server.app.endpoints
    assert described["openapi"].startswith("3.1")
    told = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert told == {(one.method, f"/api/v1{one.path}") for one in endpoints}
    schemas = described["components"]["schemas"]
    for one in endpoints:
        operation = described["paths"][f"/api/v1{one.path}"][one.method.lower()]
        assert operation["summary"].endswith(".")
        named = {parameter["name"] for parameter in operation["parameters"]}
        queried = {field.alias for field in one.query.model_fields.values()}
        assert named == queried | set(re.findall(r"{(\w+)}", one.path))
        assert ("requestBody" in operation) == (one.body is not None)
        if one.body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            properties = schemas[schema["$ref"].rpartition("/")[2]]["properties"]
            assert set(properties) == {field.alias for field in one.body.model_fields.values()}
        (content,) = operation["responses"]["200"]["content"]
        assert content == (one.answer if isinstance(one.answer, str) else "application/json")
    # Whatever is referred to is there.
    assert set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described))) <= set(schemas)
    assert len(
        {operation["operationId"] for path in described["paths"].values() for operation in path.values()}
    ) == len(endpoints)


def test_a_job_is_added_followed_and_read_in_json(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "echo hello", name="shot", tags=["night"], settings={"retries": 1})
        found = ended(server, job_id)
        assert (found["name"], found["state"], found["tags"], found["completedChunks"]) == (
            "shot",
            "completed",
            ["night"],
            1,
        )
        assert found["settings"]["retries"] == 1
        (chunk,) = server.send("GET", f"/api/v1/jobs/{job_id}/chunks").json()["chunks"]
        assert (chunk["id"], chunk["state"], chunk["exitCode"]) == (0, "completed", 0)
        assert server.send("GET", "/api/v1/jobs?states=failed,running").json() == {"jobs": []}
        assert [one["id"] for one in server.send("GET", "/api/v1/jobs?states=completed").json()["jobs"]] == [job_id]
        spec = server.send("GET", f"/api/v1/jobs/{job_id}/spec").json()
        assert spec == json.loads(job("echo hello").model_dump_json(by_alias=True))


def test_what_a_job_is_is_told_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # That of 100,000 chunks takes seconds and a few hundred MB for each who asks.
    with serving(tmp_path) as server:
        job_id = submit(server, "true", notBefore=time.time() + 100)
        told = server.send("GET", f"/api/v1/jobs/{job_id}").json()
        monkeypatch.setattr(JobSpec, "parse", lambda *_: pytest.fail("it was read"))
        assert server.send("GET", f"/api/v1/jobs/{job_id}/spec").json()["id"] == told["name"]
        assert server.send("GET", "/api/v1/jobs/nix/spec").status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind", "message"),
    [
        ("GET", "/jobs/nix", None, 404, "JobNotFoundError", "there is no job nix"),
        ("GET", "/jobs/nix/chunks/3/log", None, 404, "JobNotFoundError", "there is no job nix"),
        ("GET", f"/jobs/nix/chunks/{'9' * 20}/log", None, 404, "JobNotFoundError", "there is no job nix"),
        ("GET", f"/jobs/nix/chunks/{'9' * 5000}/log", None, 422, "ValueError", "is not the number of a chunk"),
        ("GET", "/jobs/nix/chunks/-1/log", None, 422, "ValueError", "-1 is not the number of a chunk"),
        ("POST", "/jobs/nix/pause", "{}", 404, "JobNotFoundError", "there is no job nix"),
        ("POST", "/jobs", "{}", 422, "SpecError", "the request: spec: is missing"),
        ("POST", "/jobs", '{"spec": 1', 422, "SpecError", "the request: not JSON: EOF while parsing an object"),
        ("POST", "/session", '{"token": "a', 422, "ValueError", "the request: not JSON: EOF while parsing a string"),
        ("POST", "/jobs", json.dumps({"spec": spec_fields() | {"chunks": []}}), 422, "SpecError", "spec.chunks: "),
        (
            "POST",
            "/jobs",
            json.dumps({"spec": spec_fields(), "settings": {"retries": -1}}),
            422,
            "SpecError",
            "retries",
        ),
        ("POST", "/jobs/nix/retry", '{"chunkIds": ["a"]}', 422, "ValueError", "chunkIds[0]: "),
        ("POST", "/jobs/nix/pause", '{"nox": true}', 422, "ValueError", "nox: "),
        ("GET", "/jobs?states=odd", None, 422, "ValueError", "the address: states[0]: "),
        ("GET", "/jobs?limit=0", None, 422, "ValueError", "the address: limit: "),
        ("GET", "/jobs?limit=100&limits=3", None, 422, "ValueError", "limits: "),
        ("POST", "/nodes/drain?name=x", None, 404, "KeyError", "there is no node 'x', the only one has no name"),
        ("GET", "/nothing", None, 404, "FarmServerError", "there is no /api/v1/nothing"),
        ("PUT", "/jobs", "{}", 405, "FarmServerError", "Method Not Allowed"),
    ],
)
def test_what_cannot_be_done_is_told_as_what_a_client_raises(
    server: FarmServer, method: str, path: str, body: str | None, status: int, kind: str, message: str
) -> None:
    answer = server.send(method, f"/api/v1{path}", body, JSON)
    error = answer.json()["error"]
    assert (answer.status, error["type"]) == (status, kind), answer.body
    assert message in error["message"] and len(error["message"].splitlines()) == 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmServer]:
    """A farm of which nothing is changed."""
    with serving(tmp_path_factory.mktemp("farm")) as running:
        yield running


def test_a_job_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        (tmp_path / "shot").mkdir()
        first = submit(server, held(tmp_path, "go"), folder=str(tmp_path / "shot"))
        body = json.dumps(
            {"spec": json.loads(job("true").model_dump_json(by_alias=True)), "folder": f"{tmp_path}/shot"}
        )
        answer = server.send("POST", "/api/v1/jobs", body, JSON)
        assert (answer.status, answer.json()["error"]["jobId"]) == (409, first)
        open_gate(tmp_path, "go")


def test_a_folder_that_the_server_does_not_see_is_refused_with_that_reason(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        for folder, reason in (("shot", "should be an absolute path"), (str(tmp_path / "no"), "does not see")):
            body = json.dumps({"spec": spec_fields(), "folder": folder})
            answer = server.send("POST", "/api/v1/jobs", body, JSON)
            assert (answer.status, answer.json()["error"]["type"]) == (422, "SpecError")
            assert reason in answer.message
        assert server.send("GET", "/api/v1/jobs").json() == {"jobs": []}


def test_events_go_on_after_the_last_one_that_was_seen(tmp_path: Path) -> None:
    with serving(tmp_path, slots=1) as server:
        with streaming(server, "/api/v1/events") as response:
            submit(server, "true")
            told = changes(response, 5)
        assert [number for number, _, _ in told] == [1, 2, 3, 4, 5]
        assert told[0][1:] == (None, "pending") and told[-1][1:] == (None, "completed")
        for path, headers in (("?after=2", {}), ("", {"Last-Event-ID": "2"}), ("?after=0", {"Last-Event-ID": "2"})):
            with streaming(server, f"/api/v1/events{path}", headers) as response:
                assert changes(response, 3) == told[2:]


def test_an_event_of_another_repository_is_answered_with_a_gap(tmp_path: Path) -> None:
    with serving(tmp_path) as server, streaming(server, "/api/v1/events?after=1000") as response:
        stream = messages(response)
        assert next(stream).id == "0"
        assert json.loads(next(stream).data)["gap"] is True


def test_events_are_those_of_one_job_and_without_output_unless_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, slots=1) as server:
        other = submit(server, held(tmp_path, "go"))
        job_id = submit(server, "echo out")
        query = f"/api/v1/events?after=0&job={job_id}"
        with streaming(server, query) as quiet, streaming(server, f"{query}&output=true") as loud:
            open_gate(tmp_path, "go")
            ended(server, job_id)
            for response, with_output in ((quiet, False), (loud, True)):
                told = [json.loads(message.data) for message in until_completed(response)]
                assert {one["jobId"] for one in told} == {job_id}
                kinds = {one["event"]["event"] for one in told if "event" in one}
                assert ("chunk_output" in kinds) is with_output
                assert "chunk_finished" in kinds
        assert ended(server, other)["state"] == "completed"


def until_completed(response: HTTPResponse) -> Iterator[Message]:
    """Yield messages with data until a job is completed."""
    for message in messages(response):
        if message.data:
            yield message
            change = json.loads(message.data).get("change", {})
            if change.get("chunkId", 0) is None and change["state"] == "completed":
                return


def test_a_client_that_is_slow_is_told_a_gap_and_misses_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_hub, "_ROOM", 1 << 16)
    loud = "for n in 1 2 3 4 5 6 7 8 9; do head -c 90000 /dev/zero | tr '\\0' x; echo; done"
    with serving(tmp_path, slots=2) as server, streaming(server, "/api/v1/events?output=true") as response:
        # More than the buffers of the connection take.
        began = time.monotonic()
        job_id = submit(server, *[loud] * 30)
        assert ended(server, job_id)["state"] == "completed"
        assert time.monotonic() - began < 20
        told = [json.loads(message.data) for message in until_completed(response)]
    assert any(one.get("gap") for one in told)
    assert [one["id"] for one in told if "change" in one] == list(range(1, 64))


def test_what_comes_together_is_written_together(tmp_path: Path) -> None:
    with serving(tmp_path, slots=4) as server, streaming(server, "/api/v1/events") as response:
        job_id = submit(server, *["true"] * 100)
        pieces = 0
        reader = MessageReader()
        told = 0
        while told < 203:
            found = list(reader.feed(response.read1(2**20)))
            pieces += 1
            told += sum("change" in json.loads(message.data or "{}") for message in found)
        assert pieces < 100
        ended(server, job_id)


def test_what_is_written_together_is_never_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where the server is busy. What a client does not take is in a queue of its own.
    monkeypatch.setattr(_hub, "_PAUSE", 0.5)
    sizes: list[int] = []
    select = _hub._Batch.select

    def selected(batch: _hub._Batch, job_id: str | None, *, output: bool) -> bytes:
        data = select(batch, job_id, output=output)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(_hub._Batch, "select", selected)
    with serving(tmp_path) as server, streaming(server, "/api/v1/events?output=true") as response:
        job_id = submit(server, "head -c 4000000 /dev/zero | tr '\\0' x")
        assert len(list(until_completed(response))) > 3
        assert ended(server, job_id)["state"] == "completed"
    # One message may have a megabyte.
    assert sum(sizes) > 2**21 > max(sizes)


def test_a_range_of_a_log_is_given(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "printf 0123456789 >&2; printf out")
        ended(server, job_id)
        path = f"/api/v1/jobs/{job_id}/chunks/0/log"

        def part(wanted: str) -> tuple[int, bytes, str | None]:
            answer = server.send("GET", path, headers=BEARER | {"Range": wanted})
            return answer.status, answer.body, answer.headers["Content-Range"]

        assert part("bytes=2-4") == (206, b"234", "bytes 2-4/10")
        assert part("bytes=7-") == (206, b"789", "bytes 7-9/10")
        assert part("bytes=-3") == (206, b"789", "bytes 7-9/10")
        assert part("bytes=8-99") == (206, b"89", "bytes 8-9/10")
        assert part("bytes=10-")[::2] == (416, "bytes */10")
        assert part("lines=1-2") == (200, b"0123456789", None)
        whole = server.send("GET", f"{path}?stream=stdout")
        assert (whole.body, whole.headers["Tailrace-Attempt"]) == (b"out", "1")
        assert server.send("HEAD", path).headers["Content-Length"] == "10"


def test_a_log_is_searched(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "printf 'One\\377 two\\none' >&2; printf out")
        ended(server, job_id)
        path = f"/api/v1/jobs/{job_id}/chunks/0/log/search"
        assert server.send("GET", f"{path}?text=oNE").json() == {"places": [0, 9], "next": 12, "isEnd": True}
        assert server.send("GET", f"{path}?text=one&offset=1").json()["places"] == [9]
        assert server.send("GET", f"{path}?text=out&stream=stdout").json()["places"] == [0]
        assert server.send("GET", f"{path}?text=").status == 422
        assert server.send("GET", f"{path}?text={'x' * 201}").status == 422
        assert server.send("GET", f"/api/v1/jobs/{job_id}/chunks/7/log/search?text=a").status == 404


def test_output_is_streamed_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, f"printf 'one \\303' >&2; {held(tmp_path, 'go')}; printf '\\244 two\\377' >&2")
        path = f"/api/v1/jobs/{job_id}/chunks/0/output"
        with streaming(server, path) as response:
            stream = messages(response)
            first = next(stream)
            # What is the beginning of a character waits for its end.
            assert (first.id, json.loads(first.data)) == ("4", {"data": "one "})
            open_gate(tmp_path, "go")
            second, last = next(stream), next(stream)
        assert (second.id, last.name) == ("11", "end")
        assert json.loads(second.data) == {"data": "ä two�", "base64": "w6QgdHdv/w=="}
        with streaming(server, f"{path}?follow=false", {"Last-Event-ID": "6"}) as response:
            assert [message.name for message in messages(response)] == ["", "end"]


def test_prometheus_is_told_how_the_farm_is(tmp_path: Path) -> None:
    lines = (
        'tailrace_slots{node=""} 3.0',
        'tailrace_slots_used{node=""} 1.0',
        "tailrace_output_bytes_total 7.0",
        'tailrace_jobs{state="running"} 1.0',
        'tailrace_chunks{state="pending"} 1.0',
        'tailrace_chunks{state="running"} 1.0',
        'tailrace_chunk_changes_total{state="failed"} 1.0',
        'tailrace_chunk_duration_seconds_count{state="completed"} 1.0',
        "tailrace_chunk_memory_bytes_count 2.0",
    )
    with serving(tmp_path, slots=3) as server:
        ended(server, submit(server, "printf 12345", "printf 67; exit 1", settings={"failFast": False}))
        submit(server, held(tmp_path, "go"), "true", settings={"maxRunning": 1})
        text = ""

        def has_counted() -> bool:
            nonlocal text
            text = server.send("GET", "/metrics").body.decode()
            return all(f"\n{line}\n" in text for line in lines)

        wait_until(has_counted)
        open_gate(tmp_path, "go")
        assert float(re.findall(r"tailrace_event_lag_seconds_count (\S+)", text)[0]) > 8
        assert "process_resident_memory_bytes" in text


def test_chunks_that_are_skipped_are_not_told_as_waiting(tmp_path: Path) -> None:
    spec = job("exit 1", "true", held(tmp_path, "go"))
    skipped = spec.chunks[1].model_copy(update={"depends_on": (0,)})
    spec = spec.model_copy(update={"chunks": (spec.chunks[0], skipped, spec.chunks[2])})
    body = json.dumps({"spec": json.loads(spec.model_dump_json(by_alias=True)), "settings": {"failFast": False}})
    with serving(tmp_path) as server:
        job_id = server.send("POST", "/api/v1/jobs", body, JSON).json()["id"]
        wait_until(lambda: server.send("GET", f"/api/v1/jobs/{job_id}").json()["skippedChunks"] == 1)
        text = server.send("GET", "/metrics").body.decode()
        open_gate(tmp_path, "go")
    counts = dict(re.findall(r'^tailrace_chunks{state="(\w+)"} (\S+)$', text, flags=re.MULTILINE))
    assert counts == {"running": "1.0", "completed": "0.0", "failed": "1.0", "skipped": "1.0", "pending": "0.0"}


def test_health_is_told_to_anybody(server: FarmServer) -> None:
    answer = server.send("GET", "/healthz", headers={})
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


def test_a_stream_ends_with_its_server(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/api/v1/events", headers=BEARER)
        response = connection.getresponse()
        began = time.monotonic()
    # Without waiting for a client that would never leave.
    assert time.monotonic() - began < 4
    assert response.read() == b"id: 0\n\n"
    connection.close()
