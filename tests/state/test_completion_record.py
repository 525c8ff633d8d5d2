"""What is done is not done again, and what is not is never taken for done."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
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
from tailrace import (
    Chunk,
    ChunkFailedError,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    JobLockedError,
    JobSpec,
    LocalWorkerAdapter,
    TailraceError,
    WorkerJob,
    WorkerResult,
    completed_chunk_ids,
)
from tailrace._concurrency.slices import at_once
from tailrace._state.folder import job_folder
from tailrace._state.inspection import FileInspector, fingerprint_of
from tailrace._state.journal import CompletionRecord

pytestmark = pytest.mark.anyio

WRITES = [
    "echo a >> starts; echo a > chunk_0",
    "echo b >> starts; echo b > chunk_1",
    "echo c >> starts; echo c > chunk_2",
]


async def _run(spec: JobSpec, job_dir: Path | None, **options: Any) -> None:
    await JobExecutor(LocalWorkerAdapter()).execute(spec, JobExecutionOptions(job_dir=job_dir, **options))


def _journal(job_dir: Path) -> Path:
    return job_dir / ".tailrace" / "job-1" / "completed.jsonl"


async def test_every_success_is_recorded_before_its_callback_and_no_failure_is(tmp_path: Path) -> None:
    recorded: list[frozenset[int]] = []
    spec = job(WRITES[0], "echo half > chunk_1; exit 1", WRITES[2])
    with pytest.raises(ChunkFailedError):
        await _run(
            spec,
            tmp_path,
            fail_fast=False,
            on_chunk_complete=lambda *_: recorded.append(completed_chunk_ids(spec, tmp_path)),
        )
    assert recorded == [{0}, {0, 2}]
    entry = json.loads(_journal(tmp_path).read_text().splitlines()[0])
    status = os.stat(tmp_path / "chunk_0")  # noqa: PTH116
    assert entry["chunk"] == 0
    assert entry["command"] == spec.chunks[0].command
    assert entry["outputs"] == [[status.st_size, status.st_mtime_ns]]


async def test_a_spec_from_a_file_is_recorded_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shots" / "job.json"
    path.parent.mkdir()
    path.write_text(job(WRITES[0]).model_dump_json(by_alias=True))
    monkeypatch.chdir(tmp_path)
    spec = JobSpec.load("shots/job.json")
    await _run(spec, None)
    assert completed_chunk_ids(spec) == completed_chunk_ids(spec, "shots") == {0}
    assert completed_chunk_ids(spec, tmp_path) == frozenset()


async def test_a_job_without_a_folder_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await _run(job(WRITES[0]), None)
    assert completed_chunk_ids(job(WRITES[0])) == frozenset()
    assert {path.name for path in await anyio.to_thread.run_sync(lambda: list(tmp_path.iterdir()))} == {
        "chunk_0",
        "starts",
    }


async def test_a_given_folder_is_made_if_it_is_missing(tmp_path: Path) -> None:
    await _run(job(WRITES[0]), tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / "chunk_0").read_text() == "a\n"


def _change_nothing(job_dir: Path) -> None:
    pass


def _remove(job_dir: Path) -> None:
    (job_dir / "chunk_1").unlink()


def _grow(job_dir: Path) -> None:
    status = (job_dir / "chunk_1").stat()
    (job_dir / "chunk_1").write_text("longer")
    os.utime(job_dir / "chunk_1", ns=(status.st_atime_ns, status.st_mtime_ns))


def _touch(job_dir: Path) -> None:
    os.utime(job_dir / "chunk_1", ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "completed"),
    [(_change_nothing, {0, 1, 2}), (_remove, {0, 2}), (_grow, {0, 2}), (_touch, {0, 2})],
)
async def test_a_chunk_whose_output_is_missing_or_changed_is_not_complete(
    change: Any, completed: set[int], tmp_path: Path
) -> None:
    spec = job(*WRITES)
    await _run(spec, tmp_path)
    change(tmp_path)
    assert completed_chunk_ids(spec, tmp_path) == completed
    await _run(spec, tmp_path, completed_chunk_ids=completed_chunk_ids(spec, tmp_path))
    assert count_lines(tmp_path / "starts") == 3 + 3 - len(completed)
    assert completed_chunk_ids(spec, tmp_path) == {0, 1, 2}


async def test_a_chunk_with_another_command_or_output_is_not_complete(tmp_path: Path) -> None:
    spec = job(*WRITES)
    await _run(spec, tmp_path)
    chunks = list(spec.chunks)
    chunks[0] = chunks[0].model_copy(update={"command": chunks[0].command + " "})
    chunks[1] = chunks[1].model_copy(update={"output_file": "chunk_2"})
    assert completed_chunk_ids(spec.model_copy(update={"chunks": tuple(chunks)}), tmp_path) == {2}


async def test_a_chunk_that_wrote_no_output_is_not_complete(tmp_path: Path) -> None:
    await _run(job("true"), tmp_path)
    assert completed_chunk_ids(job("true"), tmp_path) == frozenset()


async def test_a_chunk_rendered_again_without_success_is_no_longer_complete(tmp_path: Path) -> None:
    script = "if [ -e fail ]; then exit 1; fi; echo > chunk_0"
    await _run(job(script), tmp_path)
    (tmp_path / "fail").touch()
    with pytest.raises(ChunkFailedError):
        await _run(job(script), tmp_path)
    assert completed_chunk_ids(job(script), tmp_path) == frozenset()


async def test_every_frame_of_a_pattern_counts(tmp_path: Path) -> None:
    chunk = Chunk(id=0, start_frame=1, frame_count=3, output_file="f_##", command="sh -c 'echo | tee f_01 f_02 f_03'")
    spec = job("true").model_copy(update={"chunks": (chunk,)})
    await _run(spec, tmp_path)
    assert completed_chunk_ids(spec, tmp_path) == {0}
    (tmp_path / "f_02").unlink()
    assert completed_chunk_ids(spec, tmp_path) == frozenset()


async def test_other_jobs_in_the_same_folder_have_records_of_their_own(tmp_path: Path) -> None:
    await _run(job(*WRITES, job_id="one"), tmp_path)
    assert completed_chunk_ids(job(*WRITES, job_id="two"), tmp_path) == frozenset()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_job_id_leads_out_of_the_folder(job_id: str) -> None:
    folder = job_folder(Path("/jobs"), job_id)
    assert folder.parent == Path("/jobs/.tailrace")
    assert os.path.normpath(folder) == str(folder)
    assert len(os.fsencode(folder.name)) <= 255
    assert "\0" not in folder.name
    assert not folder.name.startswith(".")


@given(
    st.lists(st.sampled_from([".", "..", "../x", "a/b", "/etc", "%2F", "a" * 300, "b" * 300, "é", "A"]), unique=True)
)
def test_different_ids_have_different_folders(ids: list[str]) -> None:
    assert len({job_folder(Path("/jobs"), job_id) for job_id in ids}) == len(ids)


@settings(max_examples=100)
@given(cut=st.integers(0, 600), garbage=st.binary(max_size=20))
def test_a_torn_record_costs_only_what_is_torn_and_can_be_continued(
    cut: int, garbage: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    job_dir = tmp_path_factory.mktemp("job")
    spec = job(*WRITES)
    for chunk in spec.chunks:
        (job_dir / chunk.output_file).write_text("x")
    record = CompletionRecord(spec, job_dir, run_id="r")
    record.open()
    for chunk in spec.chunks[:2]:
        record.add(chunk, fingerprint_of(at_once(FileInspector(job_dir).look(chunk))))
    record.close()
    content = _journal(job_dir).read_bytes()
    whole = content[:cut].count(b"\n")
    _journal(job_dir).write_bytes(content[:cut] + garbage.replace(b"\n", b""))
    left = completed_chunk_ids(spec, job_dir)
    assert left >= set(range(whole))
    assert left <= {0, 1}

    record = CompletionRecord(spec, job_dir, run_id="r")
    record.open()
    record.add(spec.chunks[2], fingerprint_of(at_once(FileInspector(job_dir).look(spec.chunks[2]))))
    record.close()
    assert completed_chunk_ids(spec, job_dir) >= left | {2}


async def test_the_record_reaches_the_disk_within_a_second_and_not_once_for_each_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[float, int]] = []
    written: dict[int, float] = {}
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        if os.path.realpath(f"/proc/self/fd/{fd}") == str(_journal(tmp_path)):
            synced.append((time.monotonic(), count_lines(_journal(tmp_path))))

    monkeypatch.setattr(os, "fsync", fsync)
    ends = iter(range(1, 1000))
    await _run(
        job(*["true"] * 60, "sleep 2; true"),
        tmp_path,
        concurrency=2,
        on_chunk_complete=lambda *_: written.setdefault(next(ends), time.monotonic()),
    )
    assert synced[-1][1] == 61
    assert len(synced) <= 10
    for line, moment in written.items():
        # Ten times the promise: the machine may be busy.
        assert min(when for when, lines in synced if lines >= line) - moment < 10
    # Not only at the end, which comes two seconds after the others.
    assert any(60 <= lines < 61 for _, lines in synced)


async def test_a_record_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".tailrace").write_text("in the way")
    with pytest.raises(TailraceError) as caught:
        await _run(job("touch ran"), tmp_path)
    folder = tmp_path / ".tailrace" / "job-1"
    assert str(caught.value).startswith(f"the record of the job cannot be kept in {folder}: Not a directory; ")
    assert count_lines(tmp_path / "ran") == 0


async def test_a_full_disk_is_told_and_not_taken_for_success(tmp_path: Path) -> None:
    _journal(tmp_path).parent.mkdir(parents=True)
    _journal(tmp_path).symlink_to("/dev/full")
    with pytest.raises(TailraceError, match=r"^the record .* cannot be written: No space left on device$"):
        await _run(job(WRITES[0]), tmp_path)


async def test_the_same_job_cannot_run_twice_at_a_time(tmp_path: Path) -> None:
    errors: list[JobLockedError] = []

    async def run_again(*_: object) -> None:
        with pytest.raises(JobLockedError) as caught:
            await _run(job("true"), tmp_path)
        errors.append(caught.value)
        another = job("true", job_id="another")
        chunk = another.chunks[0].model_copy(update={"output_file": "of another"})
        await _run(another.model_copy(update={"chunks": (chunk,)}), tmp_path)

    await _run(job("true"), tmp_path, on_progress=run_again)
    assert errors[0].pid == os.getpid()
    assert str(errors[0]).startswith(f"job job-1 is being run by process {os.getpid()} already")
    await _run(job("true"), tmp_path)


HOST = textwrap.dedent("""
    import sys, anyio
    from tailrace import *
    spec = JobSpec.load(sys.argv[1])
    done = completed_chunk_ids(spec)
    options = JobExecutionOptions(completed_chunk_ids=done, concurrency=int(sys.argv[2]))
    anyio.run(JobExecutor(LocalWorkerAdapter()).execute, spec, options)
""")


def _start_host(spec_file: Path, concurrency: int = 1) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HOST, spec_file, str(concurrency)], stderr=subprocess.PIPE)


def _write_spec(folder: Path, *scripts: str) -> Path:
    path = folder / "job.json"
    path.write_text(job(*scripts).model_dump_json(by_alias=True))
    return path


def test_a_second_process_is_kept_out_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    path = _write_spec(tmp_path, f"sleep 60; : {mark}")
    with _start_host(path) as first:
        try:
            wait_until_marked(mark)
            with _start_host(path) as second:
                _, stderr = second.communicate(timeout=200)
            assert second.returncode == 1
            assert f"is being run by process {first.pid} already".encode() in stderr
        finally:
            first.kill()


def test_after_a_kill_only_what_was_not_done_is_rendered_and_half_a_file_is_not_done(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    slow = f"echo b >> starts; echo half > chunk_1; [ -e second_run ] || sleep 60; echo whole > chunk_1; : {mark}"
    path = _write_spec(tmp_path, WRITES[0], slow, WRITES[2])
    with _start_host(path) as host:
        wait_until_marked(mark)
        deadline = time.monotonic() + 30
        while not (tmp_path / "chunk_1").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        host.kill()
    spec = JobSpec.load(path)
    assert completed_chunk_ids(spec) == {0}
    (tmp_path / "second_run").touch()
    with _start_host(path) as host:
        assert host.wait(timeout=200) == 0
    assert (tmp_path / "starts").read_text().split() == ["a", "b", "b", "c"]
    assert (tmp_path / "chunk_1").read_text() == "whole\n"
    assert completed_chunk_ids(spec) == {0, 1, 2}


def test_kills_at_any_moment_never_leave_a_half_written_file_recorded(tmp_path: Path) -> None:
    script = "printf x > chunk_{0}; sleep 0.1; printf y >> chunk_{0}"
    path = _write_spec(tmp_path, *[script.replace("{0}", str(number)) for number in range(60)])
    spec = JobSpec.load(path)
    completed: frozenset[int] = frozenset()
    kills = 0
    while len(completed) < 60:
        with _start_host(path, concurrency=4) as host:
            try:
                assert host.wait(timeout=0.4 * 1.15**kills) == 0
            except subprocess.TimeoutExpired:
                host.kill()
                kills += 1
        # What the kill left running must not count as the work of the next run.
        deadline = time.monotonic() + 30
        while descendants_marked("printf y >> chunk_"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        now = completed_chunk_ids(spec)
        assert now >= completed
        for number in now:
            assert (tmp_path / f"chunk_{number}").read_text() == "xy"
        completed = now
    assert kills >= 2


def test_renders_that_outlive_a_killed_host_do_not_hold_the_lock(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    # In a session of its own with an empty environment: nothing finds it.
    path = _write_spec(tmp_path, f"env -i setsid sh -c 'sleep 60; : {mark}' & sleep 60")
    with _start_host(path) as host:
        wait_until_marked(mark)
        host.kill()
    try:
        record = CompletionRecord(JobSpec.load(path), tmp_path, run_id="r")
        record.open()
        record.close()
    finally:
        for pid in descendants_marked(mark):
            os.kill(pid, signal.SIGKILL)


async def test_a_chunk_that_ends_while_another_fails_is_recorded(tmp_path: Path) -> None:
    failing = anyio.Event()

    class Adapter:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            if job.meta["chunk_id"] == 1:
                await anyio.lowlevel.checkpoint()
                failing.set()
                return WorkerResult(1)
            # The command ends by itself, though the adapter has been told to end it.
            with anyio.CancelScope(shield=True):
                await failing.wait()
                await anyio.sleep(0.05)
            (tmp_path / "chunk_0").write_text("x")
            return WorkerResult(0)

    spec = job("true", "true")
    with pytest.raises(ChunkFailedError, match="chunk 1 failed"):
        await JobExecutor(Adapter()).execute(spec, JobExecutionOptions(concurrency=2, job_dir=tmp_path))
    assert completed_chunk_ids(spec, tmp_path) == {0}


async def test_a_record_that_cannot_be_closed_is_told_and_replaces_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.fsync

    def fail(fd: int) -> None:
        if os.path.realpath(f"/proc/self/fd/{fd}") == str(_journal(tmp_path)):
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fail)
    events: list[JobEvent] = []
    with pytest.raises(TailraceError, match=r"^the record .* cannot be written: Input/output error$") as caught:
        await _run(job(WRITES[0]), tmp_path, on_event=events.append)
    assert isinstance(events[-1], JobFinished)
    assert events[-1].error is caught.value
    assert not caplog.messages

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _run(job(WRITES[0]), tmp_path, on_chunk_complete=refuse)
    with anyio.move_on_after(60) as scope:
        await _run(job(WRITES[0], "sleep 60"), tmp_path, on_chunk_complete=lambda *_: scope.cancel())
    assert scope.cancelled_caught
    assert [message.partition(" cannot be ")[2] for message in caplog.messages] == ["written: Input/output error"] * 2
    # The lock is free again.
    monkeypatch.undo()
    await _run(job(WRITES[0]), tmp_path)
