"""Nothing that a job file or a request holds takes longer to be read than its size explains.

Nor does anything that a worker answers come out as other errors than those of workers.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.jobs import spec_fields
from tailrace import Chunk, JobSpec, SpecError, WorkerError, WorkerJob, parse_command
from tailrace._remote.lambda_answer import LambdaStream, receive_payload
from tailrace._spec.numbered_name import is_numbered
from tailrace._spec.outputs import OutputNames, chunks_sharing_outputs, is_output_of
from tailrace._wire.answer import RemoteAnswer
from tailrace._wire.frames import FrameError, FrameKind, FrameReader, FrameWriter
from tailrace.progress import _detection
from tailrace.worker import _app
from tailrace.worker._requests import RefusedError, read_request
from tailrace.worker._web_source import WebPrefix
from tailrace.worker._working_folder import check_output

LENGTH = 20_000
SECONDS = 1.0
"""Of processor time: a hundred times what the slowest of them takes for so much text."""

PIECES = st.text(st.sampled_from("ab01 .-_=:;/\\'\"#%d[]{}()<>|&!@?$\n\t\u00e9\u0663\ud800\0"), min_size=1, max_size=6)
LONG = st.builds(
    lambda start, piece, end: start + piece * (LENGTH // len(piece)) + end,
    st.one_of(st.just(""), PIECES),
    st.one_of(PIECES, st.sampled_from(["%d", "##", "1", "\\a", '"\\', "' ", "a=", "-", "[", '{"', "../", "%2e"])),
    st.one_of(st.just(""), st.just("!"), PIECES),
)


@contextmanager
def in_time() -> Iterator[None]:
    """Fail if the block takes long, on the processor."""
    started = time.thread_time()
    yield
    assert time.thread_time() - started < SECONDS


def chunk_fields(**fields: object) -> dict[str, object]:
    return {"id": 0, "startFrame": 0, "frameCount": 3, "outputFile": "a", "command": "true", **fields}


def _parse_job(text: str) -> None:
    JobSpec.parse(text)


def _parse_job_with_it(text: str) -> None:
    chunk = chunk_fields(outputFile=text, command=text)
    spec = JobSpec.parse(json.dumps({**spec_fields(), "id": text, "chunks": [chunk], "assetsUrl": text}))
    chunks_sharing_outputs(spec.chunks)


def _parse_job_of_another_shape(text: str) -> None:
    JobSpec.parse(json.dumps({"metadata": [text], "chunks": [text, {text: [text]}, chunk_fields(id=text)]}))


def _compare_output(text: str) -> None:
    is_numbered(text)
    chunk = Chunk(id=0, start_frame=0, frame_count=3, output_file=text, command="true")
    names = OutputNames([chunk])
    for name in (text, text[:4000], "1" * 4000, "0" * 4000 + "!"):
        assert isinstance(name in names, bool)
        is_output_of(chunk, name)
    check_output(chunk)


def _find_renderer(text: str) -> None:
    _detection.renderer_of_command(text)
    _detection.renderer_of_command(["env", text, "sh", "-c", text])


def _read_request_with_it(text: str) -> None:
    read_request(json.dumps({"jobPath": text, "chunkIndex": 0, "attemptId": text}).encode())
    read_request(json.dumps({"jobPath": "a", "chunkIndex": text, "timeout": text}).encode())


def _parse_url(text: str) -> None:
    WebPrefix.parse(f"http://h/{text}")
    WebPrefix.parse(text)


def _read_headers(text: str) -> None:
    raw = text.encode(errors="replace")
    headers = _app._Headers([(b"accept", raw), (b"Accept", raw), *[(b"x", raw[:20])] * 100])
    _app._choose_format(headers, read_request(b'{"jobPath": "a", "chunkIndex": 0}'))


def _refuse(text: str) -> None:
    assert len(RefusedError(403, f"not allowed: {text!r}").message) < 1_000


READERS: list[Callable[[str], None]] = [
    _parse_job,
    _parse_job_with_it,
    _parse_job_of_another_shape,
    _compare_output,
    _find_renderer,
    _read_request_with_it,
    _parse_url,
    _read_headers,
    _refuse,
]


@pytest.mark.parametrize("read", READERS)
@given(text=LONG)
@example(text="%d" * 8 + "x")
@example(text="1" * LENGTH + "!")
@example(text="[" * LENGTH)
@example(text="\\" * LENGTH)
@settings(deadline=None, max_examples=25)
def test_no_text_takes_long_to_be_read_or_refused(read: Callable[[str], None], text: str) -> None:
    with in_time(), suppress(SpecError, RefusedError, ValueError):
        read(text)


@given(st.binary(max_size=200), st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_no_frames_take_long_to_be_read_or_refused(tail: bytes, size: int) -> None:
    writer = FrameWriter()
    parts = [b"".join(bytes(part) for part in writer.write(FrameKind.HEARTBEAT, bytes(size))) for _ in range(500)]
    stream = b"".join(parts) + tail
    reader = FrameReader()
    with in_time(), suppress(FrameError):
        for at in range(0, len(stream), 3):
            list(reader.feed(stream[at : at + 3]))


WORDS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["spawn", "refused", "timeout-total", "ENOENT", "errorcode", "__spec__", "e30=", "\ud800", "[", "{}"]
    ),
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 600),
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**20)]),
    WORDS,
    st.lists(WORDS, max_size=2),
    st.dictionaries(WORDS, WORDS, max_size=2),
)
USAGE = st.fixed_dictionaries({}, optional=dict.fromkeys(("cpuUser", "cpuSystem", "maxRss", "treeMaxRss"), ODD))
ERROR = st.fixed_dictionaries({}, optional=dict.fromkeys(("kind", "errno", "message"), ODD))
OUTPUT_KEYS = ("stdout", "stderr", "output", "stdoutBase64", "stderrBase64", "message")
REPORT = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("exitCode", "duration", "durationMs", "truncated", *OUTPUT_KEYS), ODD),
        "usage": st.one_of(ODD, USAGE),
        "error": st.one_of(ODD, ERROR),
    },
)
BODY = st.one_of(REPORT.map(json.dumps), ODD.map(json.dumps), WORDS)
ENVELOPE = st.fixed_dictionaries(
    {"statusCode": st.one_of(st.sampled_from([200, 403, 429, 500, 503]), ODD)},
    optional={
        "body": st.one_of(BODY, REPORT, ODD),
        "isBase64Encoded": st.booleans(),
        "headers": st.one_of(ODD, st.fixed_dictionaries({"Retry-After": ODD, "Date": ODD})),
    },
)


async def _receive(receive: Callable[[RemoteAnswer], Any]) -> None:
    with suppress(WorkerError):
        received = receive(RemoteAnswer(WorkerJob("render"), "worker"))
        if hasattr(received, "__await__"):
            await received


@given(body=BODY, status=st.sampled_from([400, 403, 429, 500, 503]), wait=WORDS, trusts=st.booleans())
@example(body='{"error": {"kind": "spawn", "errno": "errorcode", "message": "m"}}', status=500, wait="", trusts=False)
def test_whatever_a_worker_answers_is_a_result_or_the_error_of_a_worker(
    body: str, status: int, wait: str, trusts: bool
) -> None:
    headers = {"retry-after": wait, "date": wait}
    for form in (body, body.encode(errors="surrogatepass")):
        anyio.run(_receive, lambda answer, form=form: answer.receive_json(form, is_success=trusts))
        anyio.run(_receive, lambda answer, form=form: answer.receive_failure(status, "", form, headers=headers))


@given(
    payload=st.one_of(ENVELOPE.map(json.dumps), BODY), error=st.sampled_from(["", "Unhandled"]), trusts=st.booleans()
)
@example(payload='{"statusCode": [], "body": {"error": {"kind": "refused"}}}', error="", trusts=False)
@example(payload='{"statusCode": 200, "body": "\\ud800"}', error="", trusts=True)
def test_whatever_a_function_answers_is_a_result_or_the_error_of_a_worker(
    payload: str, error: str, trusts: bool
) -> None:
    response = {"FunctionError": error, "LogResult": "e"}
    exact = payload.encode(errors="surrogatepass")
    anyio.run(_receive, lambda answer: receive_payload(answer, response, exact, trusts_2xx=trusts))


@given(
    head=st.one_of(st.none(), ENVELOPE),
    body=BODY,
    ends_well=st.booleans(),
    size=st.integers(1, 50),
    trusts=st.booleans(),
)
def test_whatever_is_streamed_is_a_result_or_the_error_of_a_worker(
    head: dict[str, object] | None, body: str, ends_well: bool, size: int, trusts: bool
) -> None:
    class Call:
        async def run(self, function: Callable[[], Any]) -> Any:
            return function()

        def end(self) -> None:
            pass

    exact = body.encode(errors="surrogatepass")
    frames = b"".join(map(bytes, FrameWriter().write(FrameKind.RESULT, exact)))
    for data in (exact, frames, frames[1:]):
        streamed = data if head is None else json.dumps(head).encode() + bytes(8) + data
        pieces = [streamed[at : at + size] for at in range(0, len(streamed), size)]
        events: list[dict[str, Any]] = [{"PayloadChunk": {"Payload": piece}} for piece in pieces]
        events += [{"InvokeComplete": {} if ends_well else {"ErrorCode": "Unhandled"}}]
        stream = LambdaStream(Call(), lambda events=events: {"EventStream": events}, trusts_2xx=trusts)  # type: ignore
        anyio.run(_receive, partial(stream.receive, silence=5))


def test_a_command_as_long_as_linux_takes_is_split_at_once() -> None:
    script = 'echo \'a b\' "c\\"d" \\; # and so on; ' * 3_000
    with in_time():
        assert parse_command(shlex.join(["sh", "-c", script])) == ("sh", ["-c", script])


@given(st.text(st.sampled_from("ab'\"\\ \t\r\n\x0b#$"), max_size=30))
@settings(deadline=None)
def test_words_are_those_of_shlex(text: str) -> None:
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    try:
        command, args = parse_command(text)
    except SpecError:
        assert not words or not words[0]
    else:
        assert [command, *args] == words


def test_a_message_quotes_little_of_a_large_value() -> None:
    with in_time(), pytest.raises(SpecError) as caught:
        JobSpec.parse(json.dumps({**spec_fields(), "chunks": "\0" * 2_000_000}))
    assert len(str(caught.value)) < 200
