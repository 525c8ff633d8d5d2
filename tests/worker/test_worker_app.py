"""The worker's application on every event loop, driven as an ASGI server drives it, and the log of output in it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.jobs import count_lines, job
from support.processes import descendants_marked, wait_until_marked
from support.workers import output_of, result_of
from tailrace._wire.frames import MEDIA_TYPE, Frame, FrameKind, FrameReader
from tailrace.worker import WorkerApp, WorkerSettings, _answers, _output_log, create_app
from tailrace.worker._answers import buffered_answer
from tailrace.worker._output_log import KeptOutput, OutputLog

pytestmark = pytest.mark.anyio


class Exchange:
    """One request to an application, and what has been answered."""

    def __init__(
        self,
        app: WorkerApp,
        fields: dict[str, Any],
        *,
        accept: str = MEDIA_TYPE,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self._app = app
        self._body: bytes | None = json.dumps(fields).encode()
        self._headers = [(b"accept", accept.encode()), *headers]
        self._has_left = anyio.Event()
        self._news = anyio.Event()
        self.status = 0
        self.body = b""
        self.is_whole = False

    async def run(self) -> None:
        """Have the request answered."""
        scope = {"type": "http", "method": "POST", "path": "/", "headers": self._headers}
        await self._app(scope, self._receive, self._send)

    def leave(self) -> None:
        """Be gone, for the application."""
        self._has_left.set()

    async def wait_for(self, output: bytes) -> None:
        """Return when `output` has come."""
        with anyio.fail_after(20):
            while output not in self.body:
                await self._news.wait()

    def frames(self) -> list[Frame]:
        """Return the frames of the answer, which has to be whole."""
        reader = FrameReader()
        frames = list(reader.feed(self.body))
        reader.finish()
        assert self.is_whole
        return frames

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        told, self._news = self._news, anyio.Event()
        told.set()


@pytest.fixture
def app(tmp_path: Path) -> WorkerApp:
    return create_app(WorkerSettings([str(tmp_path)], work_dir=tmp_path, concurrency=2))


@pytest.fixture
def mark() -> Iterator[str]:
    word = f"mark-{uuid.uuid4()}"
    yield word
    assert descendants_marked(word) == []


def write_job(folder: Path, script: str) -> dict[str, Any]:
    """Write a job of one chunk and return the request for it."""
    path = folder / "job.json"
    path.write_text(job(script).model_dump_json(by_alias=True))
    return {"jobPath": str(path), "chunkIndex": 0}


async def test_a_chunk_runs_and_its_output_comes_while_it_does(app: WorkerApp, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    script = f"echo begun; while [ ! -e '{go_on}' ]; do sleep 0.01; done; echo err >&2; echo x > chunk_0; exit 0"
    exchange = Exchange(app, write_job(tmp_path, script))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        await exchange.wait_for(b"begun\n")
        assert not (tmp_path / "chunk_0").exists()
        go_on.touch()
    frames = exchange.frames()
    assert (output_of(frames, FrameKind.STDOUT), output_of(frames, FrameKind.STDERR)) == (b"begun\n", b"err\n")
    assert result_of(frames)["exitCode"] == 0
    assert (tmp_path / "chunk_0").read_text() == "x\n"


@pytest.mark.parametrize("accept", [MEDIA_TYPE, "application/json"])
async def test_a_client_that_leaves_ends_what_it_asked_for(
    accept: str, app: WorkerApp, tmp_path: Path, mark: str
) -> None:
    exchange = Exchange(app, write_job(tmp_path, f"touch begun; sh -c 'sleep 60; : {mark}'"), accept=accept)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run)
            await anyio.to_thread.run_sync(wait_until_marked, mark)
            exchange.leave()
    assert descendants_marked(mark) == []
    assert not exchange.is_whole


async def test_the_first_client_may_leave_while_another_stays(app: WorkerApp, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    script = f"echo x >> '{tmp_path}/starts'; echo begun; while [ ! -e '{go_on}' ]; do sleep 0.01; done; echo end"
    request = {**write_job(tmp_path, script), "attemptId": "a"}
    first, second = Exchange(app, request), Exchange(app, request)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        await first.wait_for(b"begun\n")
        tasks.start_soon(second.run)
        await second.wait_for(b"begun\n")
        first.leave()
        await anyio.sleep(0.1)
        go_on.touch()
    frames = second.frames()
    assert output_of(frames, FrameKind.STDOUT) == b"begun\nend\n"
    assert result_of(frames)["error"] is None
    assert count_lines(tmp_path / "starts") == 1


@pytest.mark.parametrize("ending", ["cancelled", "failing"])
async def test_an_attempt_goes_on_for_others_whatever_becomes_of_its_first_request(
    ending: str, app: WorkerApp, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    script = f"echo begun; while [ ! -e '{go_on}' ]; do echo more; sleep 0.01; done; echo end"
    request = {**write_job(tmp_path, script), "attemptId": "a"}
    has_failed = anyio.Event()

    class FailingExchange(Exchange):
        async def _send(self, message: Any) -> None:
            if ending == "failing" and b"begun\n" in self.body:
                has_failed.set()
                raise RuntimeError("as servers raise in the middle of an answer")
            await super()._send(message)

    first, second = FailingExchange(app, request), Exchange(app, request)
    scope = anyio.CancelScope()

    async def run_first() -> None:
        with scope, suppress(BaseExceptionGroup):
            await first.run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_first)
        await first.wait_for(b"begun\n")
        tasks.start_soon(second.run)
        await second.wait_for(b"begun\n")
        if ending == "cancelled":
            scope.cancel()
        else:
            await has_failed.wait()
        await anyio.sleep(0.1)
        go_on.touch()
    result = result_of(second.frames())
    assert (result["exitCode"], result["error"]) == (0, None)


async def test_a_client_that_reads_slowly_but_steadily_gets_everything(
    app: WorkerApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_answers, "_FAREWELL", 0.5)

    class SlowExchange(Exchange):
        async def _send(self, message: Any) -> None:
            await anyio.sleep(len(message.get("body", b"")) / 2**20)
            await super()._send(message)

    exchange = SlowExchange(app, write_job(tmp_path, f"yes | head -c {2**20}"), accept="application/json")
    await exchange.run()
    assert exchange.is_whole
    assert len(json.loads(exchange.body)["stdout"]) == 2**20


async def test_cancelling_the_server_ends_the_renders(app: WorkerApp, tmp_path: Path, mark: str) -> None:
    exchange = Exchange(app, write_job(tmp_path, f"sh -c 'sleep 60; : {mark}'"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        await anyio.to_thread.run_sync(wait_until_marked, mark)
        tasks.cancel_scope.cancel()
    assert descendants_marked(mark) == []


@pytest.mark.parametrize("length", [b"9" * 5_000, b"9" * 20, b"0" * 5_000])
async def test_a_length_of_any_length_is_too_large(length: bytes, app: WorkerApp) -> None:
    # Many servers check it themselves; not all do.
    exchange = Exchange(app, {}, headers=[(b"content-length", length)])
    await exchange.run()
    assert exchange.status == 413


async def test_nothing_but_http_is_spoken(app: WorkerApp) -> None:
    with pytest.raises(NotImplementedError, match="speaks http, not websocket"):
        await app({"type": "websocket"}, None, None)  # type: ignore[arg-type]


PIECES = st.lists(
    st.tuples(st.sampled_from([FrameKind.STDOUT, FrameKind.STDERR]), st.binary(min_size=1, max_size=40)), max_size=40
)


@given(PIECES, st.integers(0, 600), st.integers(1, 60), st.integers(1, 100), st.integers(0, 40))
@settings(deadline=None, max_examples=60)
async def test_every_reader_of_a_log_gets_everything_or_knows_that_it_does_not(
    pieces: list[tuple[FrameKind, bytes]], limit: int, step: int, recent: int, second_begins: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_AHEAD": recent, "_RECENT": recent, "_SAVED_AT_ONCE": step, "_READ_AT_ONCE": 100}.items():
            patch.setattr(_output_log, name, value)
        log = OutputLog(KeptOutput(limit, lambda: False))
        read: list[list[tuple[FrameKind, bytes]]] = [[], []]
        readers = [log.reader()]

        async def follow(number: int) -> None:
            while batch := await readers[number].read():
                read[number] += [(kind, bytes(data)) for kind, data in batch]
            readers[number].close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, 0)
            for number, (kind, data) in enumerate(pieces):
                if number == second_begins:
                    readers.append(log.reader())
                    tasks.start_soon(follow, 1)
                waiting = log.append(kind, memoryview(data))
                if waiting is not None:
                    await waiting
            log.finish()
        if len(readers) == 1:
            # The command has waited for it.
            assert read[0] == pieces
        for reader, got in zip(readers, read, strict=False):
            assert reader.has_missed is (got != pieces)
        late = log.reader()
        again: list[tuple[FrameKind, bytes]] = []
        while batch := await late.read():
            again += [(kind, bytes(data)) for kind, data in batch]
        late.close()
        assert late.has_missed is (again != pieces) is not log.is_complete
        log.close()


@given(PIECES)
@settings(deadline=None, max_examples=60)
async def test_a_buffered_answer_holds_every_byte_of_a_log(pieces: list[tuple[FrameKind, bytes]]) -> None:
    log = OutputLog(KeptOutput(2**20, lambda: False))
    for kind, data in pieces:
        log.append(kind, memoryview(data))
    log.finish()
    answer = json.loads(b"".join([part async for part in buffered_answer({"truncated": False}, log)]))
    for name, kind in (("stdout", FrameKind.STDOUT), ("stderr", FrameKind.STDERR)):
        whole = b"".join(data for piece_kind, data in pieces if piece_kind is kind)
        assert answer[name] == whole.decode(errors="replace")
        assert (f"{name}Base64" in answer) is (answer[name].encode() != whole)
    log.close()
