"""The log files of a job hold everything, whatever ends it."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import anyio
import pytest

from support import ROOT
from support.jobs import job
from support.loops import on_one_loop
from support.processes import wait_until_none_is_marked
from support.sick_machine import wait_until
from tailrace import (
    Capture,
    ChunkFailedError,
    ChunkFinished,
    ChunkOutput,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    JobLockedError,
    LocalWorkerAdapter,
    LogFailed,
    MergeOutput,
    TailraceError,
    WorkerJob,
    WorkerResult,
)
from tailrace._concurrency import disk_threads
from tailrace._output import job_logs, log_file
from tailrace._state.lock import JobLock

pytestmark = pytest.mark.anyio

executor = JobExecutor(LocalWorkerAdapter())


def log(folder: Path, chunk_id: int = 0, attempt: int = 1, stream: str = "stdout") -> Path:
    """Return the log of a stream."""
    return folder / f"chunk-{chunk_id}-attempt-{attempt}-{stream}.log"


def events_in(folder: Path) -> list[dict[str, Any]]:
    """Return the events that were logged."""
    return [json.loads(line) for line in (folder / "job.ndjson").read_text().splitlines()]


async def test_each_attempt_and_stream_that_was_written_to_has_a_log_and_the_events_have_one(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    script = "echo out; printf err >&2; if [ ! -e once ]; then touch once; exit 1; fi"
    options = JobExecutionOptions(job_dir=tmp_path, retries=1, retry_delay=0, log_dir=logs)
    await executor.execute(job(script, "true", merge="echo merged"), options)
    contents = {path.name: path.read_bytes() for path in logs.iterdir() if path.name not in ("job.ndjson", ".lock")}
    assert contents == {
        "chunk-0-attempt-1-stdout.log": b"out\n",
        "chunk-0-attempt-1-stderr.log": b"err",
        "chunk-0-attempt-2-stdout.log": b"out\n",
        "chunk-0-attempt-2-stderr.log": b"err",
        "merge-stdout.log": b"merged\n",
    }
    assert [event["event"] for event in events_in(logs)] == [
        "job_started",
        "chunk_started",
        "chunk_retrying",
        "chunk_started",
        "chunk_finished",
        "chunk_started",
        "chunk_finished",
        "merge_started",
        "merge_finished",
        "job_finished",
    ]


@pytest.mark.parametrize("stream", ["text", "lines", "bytes"])
async def test_logs_are_exact_and_the_callbacks_get_what_they_get_without_logs(tmp_path: Path, stream: Any) -> None:
    # Invalid bytes, a character in two pieces, all line ends, and no end at the end.
    script = r"printf 'a\303'; sleep 0.05; printf '\244b\r\nc\rd\377\n'; sleep 0.05; printf 'e'"
    exact = b"a\xc3\xa4b\r\nc\rd\xff\ne"

    async def pieces(**options: Any) -> list[Any]:
        received: list[Any] = []
        await executor.execute(
            job(script),
            JobExecutionOptions(stream=stream, on_chunk_stdout=lambda _, data: received.append(data), **options),
        )
        return received

    logged = await pieces(log_dir=tmp_path)
    assert log(tmp_path).read_bytes() == exact
    plain = await pieces()
    if stream == "lines":
        assert logged == plain == ["aäb", "c", "d\ufffd", "e"]
    elif stream == "text":
        assert "".join(logged) == "".join(plain) == exact.decode(errors="replace")
    else:
        assert all(isinstance(piece, memoryview) and piece.readonly for piece in logged)
        assert b"".join(logged) == b"".join(plain) == exact


async def test_events_of_output_join_to_the_logs(tmp_path: Path) -> None:
    joined: dict[tuple[str, str], bytearray] = defaultdict(bytearray)

    def listen(event: JobEvent) -> None:
        if isinstance(event, ChunkOutput):
            joined[f"chunk-{event.chunk_id}-attempt-{event.attempt}", event.stream] += bytes(event.data)  # type: ignore[arg-type]
        elif isinstance(event, MergeOutput):
            joined["merge", event.stream] += bytes(event.data)  # type: ignore[arg-type]

    script = "head -c 300000 /dev/urandom; head -c 70000 /dev/urandom >&2"
    options = JobExecutionOptions(concurrency=2, stream="bytes", on_event=listen, log_dir=tmp_path)
    await executor.execute(job(script, script, script, merge=script), options)
    assert sum(map(len, joined.values())) == 4 * 370000
    for (name, stream), data in joined.items():
        assert (tmp_path / f"{name}-{stream}.log").read_bytes() == data


async def test_logs_are_written_while_the_command_runs(tmp_path: Path) -> None:
    expected = b""

    def look(_: int, data: str) -> None:
        nonlocal expected
        expected += data.encode()
        # On its way when the callback is called.
        wait_until(lambda: log(tmp_path).exists() and log(tmp_path).read_bytes() == expected, "it is logged")

    options = JobExecutionOptions(log_dir=tmp_path, on_chunk_stdout=look)
    await executor.execute(job("echo a; sleep 0.2; echo b"), options)
    assert expected == b"a\nb\n"


async def test_logs_are_complete_after_a_limit_a_cancellation_and_a_callback_that_raises(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError):
        await executor.execute(job("echo a; sleep 60"), JobExecutionOptions(timeout=0.5, log_dir=tmp_path / "1"))
    assert log(tmp_path / "1").read_bytes() == b"a\n"

    with anyio.CancelScope() as scope:
        await executor.execute(
            job("echo a; sleep 60"),
            JobExecutionOptions(log_dir=tmp_path / "2", on_chunk_stdout=lambda *_: scope.cancel()),
        )
    assert log(tmp_path / "2").read_bytes() == b"a\n"
    # And not what the library says of its scopes.
    assert events_in(tmp_path / "2")[-1]["error"]["message"] == "cancelled"

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await executor.execute(
            job("echo a; sleep 60"), JobExecutionOptions(log_dir=tmp_path / "3", on_chunk_stdout=refuse)
        )
    assert log(tmp_path / "3").read_bytes() == b"a\n"


@pytest.mark.parametrize("backend", ["native", "python"])
@pytest.mark.parametrize("ending", ["cancelled", "raised", "cancelled in an async callback"])
async def test_what_a_command_writes_while_it_is_ended_is_logged_and_told_nobody(
    ending: str, backend: Literal["native", "python"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    script = (
        "trap 'echo saved $TOKEN, sec; echo gone >&2; printf %03000000d 0; printf sec; exit' TERM;"
        " echo begun; sleep 60 & wait"
    )
    told: list[bytes] = []

    def end(_: int, data: memoryview) -> object:
        told.append(bytes(data))
        if ending == "raised":
            raise ZeroDivisionError
        scope.cancel()
        return anyio.sleep(60) if ending != "cancelled" else None

    options = JobExecutionOptions(
        stream="bytes", log_dir=tmp_path, on_chunk_stdout=end, on_chunk_stderr=end, mask_env=["TOKEN"]
    )
    raises = pytest.raises(ZeroDivisionError) if ending == "raised" else nullcontext()
    with anyio.fail_after(30), anyio.CancelScope() as scope, raises:
        await JobExecutor(LocalWorkerAdapter(backend=backend)).execute(job(script), options)
    assert told == [b"begun\n"]
    assert log(tmp_path).read_bytes() == b"begun\nsaved ***, sec\n" + b"0" * 3_000_000 + b"sec"
    assert log(tmp_path, stream="stderr").read_bytes() == b"gone\n"


def test_logs_hold_what_had_arrived_when_tailrace_is_killed(tmp_path: Path, mark: str) -> None:
    (tmp_path / "job.json").write_text(job(f"echo a; sleep 60 # {mark}").model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "tailrace", "job", "run", "job.json", "--log-dir", "logs"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"a\n"
        time.sleep(0.5)
        running.kill()
    wait_until_none_is_marked(mark)
    assert log(tmp_path / "logs").read_bytes() == b"a\n"
    assert events_in(tmp_path / "logs")[0]["event"] == "job_started"


class Buffered:
    """Gives at the end what it did not give while it ran, whatever it says of itself."""

    remote = True

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams

    async def execute(self, job: WorkerJob) -> WorkerResult:
        assert job.args
        await anyio.sleep(0.6)
        return WorkerResult(0, b"all \xff", "of it")


@pytest.mark.parametrize("streams", [False, True], ids=["buffered", "streaming"])
async def test_what_an_adapter_gives_at_the_end_is_logged(streams: bool, tmp_path: Path) -> None:
    called: list[object] = []
    # It makes no progress that anybody could see.
    options = JobExecutionOptions(
        log_dir=tmp_path,
        on_chunk_stdout=lambda *args: called.append(args),
        on_chunk_stderr=lambda *args: called.append(args),
        no_progress_timeout=0.1,
    )
    await JobExecutor(Buffered(streams=streams)).execute(job("true"), options)
    assert log(tmp_path).read_bytes() == b"all \xff"
    assert log(tmp_path, stream="stderr").read_bytes() == b"of it"
    assert called == []


async def test_what_a_merge_adapter_gives_at_the_end_is_logged(tmp_path: Path) -> None:
    spec = job("true", merge="true")
    options = JobExecutionOptions(log_dir=tmp_path, merge_adapter=Buffered(streams=True))
    await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    written = [anyio.Path(tmp_path, f"merge-{stream}.log").read_bytes() for stream in ("stdout", "stderr")]
    assert [await data for data in written] == [b"all \xff", b"of it"]


async def test_an_earlier_run_s_logs_are_kept_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for word in ("first", "second", "third"):
        await executor.execute(job(f"echo {word}"), JobExecutionOptions(log_dir=tmp_path))
    assert log(tmp_path).read_bytes() == b"third\n"
    assert log(tmp_path / "run-1").read_bytes() == b"first\n"
    assert log(tmp_path / "run-2").read_bytes() == b"second\n"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert events_in(tmp_path / "run-2")[-1]["event"] == "job_finished"


async def test_a_folder_that_another_run_logs_to_is_refused(tmp_path: Path) -> None:
    inner: list[JobLockedError] = []

    async def run_again(*_: object) -> None:
        with pytest.raises(
            JobLockedError, match=f"logs are being written to {tmp_path} by process {os.getpid()}"
        ) as it:
            await executor.execute(job("true"), JobExecutionOptions(log_dir=tmp_path))
        inner.append(it.value)

    await executor.execute(job("true"), JobExecutionOptions(log_dir=tmp_path, on_progress=run_again))
    assert len(inner) == 1
    assert not (tmp_path / "run-1").exists()


async def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TailraceError, match=r"^logs cannot be written to .*/file/logs: Not a directory$"):
        await executor.execute(job("true"), JobExecutionOptions(log_dir=tmp_path / "file" / "logs"))


@pytest.mark.parametrize("size", [1000, 65536, 65537, 98304, 160_000, 800_000])
async def test_a_limited_log_keeps_the_beginning_and_the_end(tmp_path: Path, size: int) -> None:
    whole = b"".join(b"%07d\n" % number for number in range(size // 8 + 1))[:size]
    (tmp_path / "whole").write_bytes(whole)
    options = JobExecutionOptions(job_dir=tmp_path, log_dir=tmp_path / "logs", log_limit=65536)
    await executor.execute(job("cat whole"), options)
    kept = log(tmp_path / "logs").read_bytes()
    if size <= 65536:
        assert kept == whole
        return
    head, _, rest = kept.partition(b"\n[tailrace: ")
    if not rest:
        assert kept == whole
        return
    number, _, tail = rest.partition(b" bytes left out here, for the limit of this log]\n")
    assert head == whole[:32768]
    assert whole.endswith(tail)
    assert 16384 < len(tail) <= 32768
    assert len(head) + int(number) + len(tail) == size
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        ".lock",
        "chunk-0-attempt-1-stdout.log",
        "job.ndjson",
    ]


async def test_compressed_logs_unpack_to_the_output(tmp_path: Path) -> None:
    options = JobExecutionOptions(log_dir=tmp_path, log_compress=True)
    await executor.execute(job("seq 100000"), options)
    packed = log(tmp_path).with_name(log(tmp_path).name + ".gz")
    assert gzip.decompress(packed.read_bytes()) == b"".join(b"%d\n" % number for number in range(1, 100_001))
    assert not log(tmp_path).exists()


@pytest.fixture
def files_of_a_megabyte() -> Iterator[None]:
    """Let no file become larger than a megabyte: to whoever writes it, that is like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("files_of_a_megabyte")
async def test_a_log_that_cannot_be_written_does_not_end_the_job_and_is_told_once(tmp_path: Path) -> None:
    events: list[JobEvent] = []
    received = 0

    def count(_: int, data: memoryview) -> None:
        nonlocal received
        received += len(data)

    options = JobExecutionOptions(
        stream="bytes", capture=Capture.none(), on_chunk_stdout=count, on_event=events.append, log_dir=tmp_path
    )
    report = await executor.execute(job("head -c 3000000 /dev/zero"), options)
    assert report.results[0].exit_code == 0
    assert received == 3_000_000
    assert log(tmp_path).stat().st_size == 1 << 20
    told = [event for event in events if isinstance(event, LogFailed)]
    assert [(event.path, event.reason) for event in told] == [(str(log(tmp_path)), "File too large")]
    assert "log_failed" in {event["event"] for event in events_in(tmp_path)}


async def test_a_log_that_cannot_be_closed_is_told_and_its_descriptor_is_given_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []

    def close(fd: int) -> None:
        closed.append(fd)
        os_close(fd)
        # As a file system across a network does that finds no room when the last of a file reaches it.
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    os_close = os.close
    events: list[JobEvent] = []
    options = JobExecutionOptions(on_event=events.append, log_dir=tmp_path)
    monkeypatch.setattr(log_file, "os", SimpleNamespace(**{**vars(os), "close": close}))
    await executor.execute(job("echo a"), options)
    assert [event.reason for event in events if isinstance(event, LogFailed)] == ["Disk quota exceeded"]
    assert len(closed) == len(set(closed)) == 2
    assert log(tmp_path).read_bytes() == b"a\n"


class SickDisk:
    """Has calls of `log_file` wait that have to do with certain files, until it is well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.delays: dict[str, float] = {}
        """For files whose names have this in them."""
        self._is_well = threading.Event()
        self._waiting = 0
        self._names: dict[int, str] = {}
        patched = {name: self._delayed(getattr(os, name)) for name in ("open", "write", "writev", "close")}
        monkeypatch.setattr(log_file, "os", SimpleNamespace(**{**vars(os), **patched}))

    def recover(self) -> None:
        self._is_well.set()

    @property
    def is_waited_for(self) -> bool:
        # Once it is well, who waited for it is on its way.
        return self._waiting > 0 and not self._is_well.is_set()

    def wait(self, name: str) -> None:
        """Wait for as long as a call takes that has to do with the file `name`."""
        for part, delay in self.delays.items():
            if part in name:
                self._waiting += 1
                self._is_well.wait(delay)
                self._waiting -= 1

    def _delayed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def delayed(file: Any, *args: Any) -> Any:
            name = self._names.get(file, "") if isinstance(file, int) else str(file)
            self.wait(name)
            result = call(file, *args)
            if call is os.open:
                self._names[result] = name
            return result

        return delayed


NO_ANSWER = "it did not answer for N s"
HANGS = 60.0
"""A delay, in seconds, that no test waits for."""


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SickDisk]:
    """A disk that can be made slow, or hang."""
    disk = SickDisk(monkeypatch)
    yield disk
    disk.recover()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have less patience than the 30 seconds that users have."""
    monkeypatch.setattr(disk_threads, "_PATIENCE", 1.0)


def failures_in(events: list[JobEvent]) -> list[tuple[str, str]]:
    """Return the names of the logs that failed, and why."""
    failures = [event for event in events if isinstance(event, LogFailed)]
    return [(Path(event.path).name, re.sub(r"\d+ s$", "N s", event.reason)) for event in failures]


@on_one_loop
async def test_a_slow_log_disk_holds_up_neither_other_chunks_nor_the_event_loop(tmp_path: Path, disk: SickDisk) -> None:
    disk.delays["chunk-0"] = disk.delays["job.ndjson"] = 20.0
    completed: list[tuple[int, bool]] = []

    def note(chunk_id: int, _: WorkerResult) -> None:
        completed.append((chunk_id, disk.is_waited_for))
        disk.recover()

    script = "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"
    options = JobExecutionOptions(concurrency=2, log_dir=tmp_path, on_chunk_complete=note)
    await executor.execute(job(script, script), options)
    assert completed == [(1, True), (0, False)]
    assert log(tmp_path, 0).read_bytes() == log(tmp_path, 1).read_bytes() == b"1\n2\n3\n4\n5\n"
    assert events_in(tmp_path)[-1]["event"] == "job_finished"


@pytest.mark.usefixtures("impatient")
async def test_a_log_whose_disk_hangs_is_lost_and_its_chunk_goes_on(tmp_path: Path, disk: SickDisk) -> None:
    disk.delays["stdout"] = HANGS
    events: list[JobEvent] = []
    received = received_before = 0

    def listen(event: JobEvent) -> None:
        nonlocal received, received_before
        events.append(event)
        if isinstance(event, ChunkOutput):
            received += len(event.data)
        elif isinstance(event, LogFailed):
            received_before = received

    options = JobExecutionOptions(on_event=listen, stream="bytes", capture=Capture.none(), log_dir=tmp_path)
    report = await executor.execute(job("head -c 50000000 /dev/zero; echo err >&2"), options)
    assert report.results[0].exit_code == 0
    assert received == 50_000_000 + 4
    # The command waited, instead of its output in our memory.
    assert received_before < 15_000_000
    assert failures_in(events) == [(log(tmp_path).name, NO_ANSWER)]
    assert log(tmp_path, stream="stderr").read_bytes() == b"err\n"


@on_one_loop
async def test_a_disk_that_is_known_to_hang_is_not_waited_for_again_by_each_chunk(
    tmp_path: Path, disk: SickDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_threads, "_PATIENCE", 2.0)
    monkeypatch.setattr(disk_threads, "_SHORT_PATIENCE", 0.2)
    disk.delays["std"] = HANGS
    events: list[JobEvent] = []
    began = time.monotonic()
    await executor.execute(job(*["echo a"] * 9), JobExecutionOptions(on_event=events.append, log_dir=tmp_path))
    assert time.monotonic() - began < 9 * 2 / 2
    assert len(failures_in(events)) == 9


@pytest.mark.usefixtures("impatient")
@on_one_loop
async def test_a_log_that_waits_for_its_turn_is_not_taken_for_one_whose_disk_hangs(
    tmp_path: Path, disk: SickDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_threads, "_MOST", 1)
    disk.delays["std"] = 0.1
    events: list[JobEvent] = []
    script = "for i in $(seq 100); do echo $i; sleep 0.02; done"
    options = JobExecutionOptions(concurrency=3, on_event=events.append, log_dir=tmp_path)
    await executor.execute(job(script, script, script), options)
    assert failures_in(events) == []
    assert {log(tmp_path, chunk).read_bytes().count(b"\n") for chunk in range(3)} == {100}


@pytest.mark.usefixtures("impatient")
@on_one_loop
async def test_the_log_of_the_events_is_lost_when_its_disk_hangs_and_the_job_goes_on(
    tmp_path: Path, disk: SickDisk
) -> None:
    disk.delays["job.ndjson"] = HANGS
    events: list[JobEvent] = []
    await executor.execute(job("echo a", "echo b"), JobExecutionOptions(on_event=events.append, log_dir=tmp_path))
    assert failures_in(events) == [("job.ndjson", NO_ANSWER)]
    assert isinstance(events[-1], JobFinished)
    assert [event.sequence for event in events] == list(range(len(events)))
    assert log(tmp_path, 1).read_bytes() == b"b\n"


def can_be_locked(path: Path) -> bool:
    try:
        JobLock(path, "tested").release()
    except JobLockedError:
        return False
    return True


@pytest.mark.usefixtures("impatient")
@on_one_loop
async def test_a_job_runs_without_logs_when_their_folder_cannot_be_opened_for_ever(
    tmp_path: Path, disk: SickDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = JobLock

    def hang(*args: Any) -> Any:
        disk.wait(".lock")
        return lock(*args)

    disk.delays[".lock"] = HANGS
    monkeypatch.setattr(job_logs, "JobLock", hang)
    events: list[JobEvent] = []
    logs = tmp_path / "logs"
    options = JobExecutionOptions(on_event=events.append, log_dir=logs)
    await executor.execute(job("echo a", merge="echo b"), options)
    assert failures_in(events) == [("logs", NO_ANSWER)]
    assert sum(isinstance(event, ChunkFinished) for event in events) == 1
    assert list(logs.iterdir()) == []
    disk.recover()
    # Whoever came too late keeps nobody out.
    wait_until(lambda: can_be_locked(logs / ".lock"), "the lock is free")


async def test_a_cancellation_does_not_wait_for_a_log_disk_that_hangs(tmp_path: Path, disk: SickDisk) -> None:
    disk.delays[""] = HANGS
    began = time.monotonic()
    with anyio.move_on_after(1) as scope:
        await executor.execute(job("yes", "echo a"), JobExecutionOptions(concurrency=2, log_dir=tmp_path))
    assert scope.cancelled_caught
    assert time.monotonic() - began < 10


@on_one_loop
async def test_what_a_callback_raises_and_the_end_of_the_job_are_told_at_once_though_the_log_disk_hangs(
    tmp_path: Path, disk: SickDisk
) -> None:
    disk.delays["job.ndjson"] = HANGS
    events: list[JobEvent] = []

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    began = time.monotonic()
    options = JobExecutionOptions(on_event=events.append, on_progress=refuse, log_dir=tmp_path)
    with pytest.raises(ZeroDivisionError):
        await executor.execute(job("true"), options)
    assert time.monotonic() - began < 15
    assert isinstance(events[-1], JobFinished)


@pytest.mark.usefixtures("impatient")
@on_one_loop
async def test_a_log_that_cannot_be_compressed_for_ever_stays_as_it_is(
    tmp_path: Path, disk: SickDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(path: Any, *args: Any, **options: Any) -> Any:
        disk.wait(str(path))
        return gzip.open(path, *args, **options)

    disk.delays[".gz"] = HANGS
    monkeypatch.setattr(log_file, "gzip", SimpleNamespace(**{**vars(gzip), "open": hang}))
    events: list[JobEvent] = []
    options = JobExecutionOptions(on_event=events.append, log_dir=tmp_path, log_compress=True)
    await executor.execute(job("echo a"), options)
    assert failures_in(events) == [(log(tmp_path).name, NO_ANSWER)]
    assert log(tmp_path).read_bytes() == b"a\n"


EXITS = """
import os, sys, threading, types, anyio
sys.path.insert(0, sys.argv[1])
from support.jobs import job
from tailrace import JobExecutionOptions, JobExecutor, LocalWorkerAdapter
from tailrace._output import log_file
from tailrace._concurrency import disk_threads
disk_threads._PATIENCE = 0.2
log_file.os = types.SimpleNamespace(**{**vars(os), "writev": lambda *_: threading.Event().wait()})
anyio.run(JobExecutor(LocalWorkerAdapter()).execute, job("echo a"), JobExecutionOptions(log_dir=sys.argv[2]))
"""


def test_the_interpreter_exits_though_a_log_disk_hangs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EXITS, str(ROOT / "tests"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=30)
