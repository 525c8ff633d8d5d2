"""Jobs of one folder that write the same files are kept apart, and whatever ends one lets the other in."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from support.jobs import FRAMES, job, names_in
from support.processes import wait_until_marked
from tailrace import (
    JobExecutionOptions,
    JobExecutor,
    JobLockedError,
    JobSpec,
    LocalWorkerAdapter,
    TailraceError,
    completed_chunk_ids,
)
from tailrace._cli.commands.run import run as run_command
from tailrace._state.job_outputs import JobOutputs
from tailrace._state.lock import JobLock, holder_of
from tailrace._state.running_job import RunningJob

TAILRACE = (sys.executable, "-m", "tailrace")
WAYS_OUT = "; state_dir (--state-dir) keeps it in another folder, record=False (--no-record) keeps none"


def run(spec: JobSpec, job_dir: Path | None, **options: Any) -> None:
    anyio.run(JobExecutor(LocalWorkerAdapter()).execute, spec, JobExecutionOptions(job_dir=job_dir, **options))


def renamed(spec: JobSpec, output_file: str, *, start: int = 0) -> JobSpec:
    chunk = spec.chunks[0].model_copy(update={"output_file": output_file, "start_frame": start})
    return spec.model_copy(update={"chunks": (chunk,)})


def running(job_dir: Path) -> list[Path]:
    return list((job_dir / ".tailrace" / ".running").iterdir())


def write(spec: JobSpec, path: Path) -> str:
    path.write_text(spec.model_dump_json(by_alias=True))
    return str(path)


def test_two_job_files_that_write_the_same_file_exclude_each_other(tmp_path: Path, mark: str) -> None:
    first = write(job(f"sleep 60; : {mark}", job_id="first/job"), tmp_path / "first.json")
    second = write(job("touch ran", job_id="second"), tmp_path / "second.json")
    with subprocess.Popen([*TAILRACE, "job", "run", first], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_marked(mark)
            refused = subprocess.run([*TAILRACE, "job", "run", second], capture_output=True, timeout=200)
        finally:
            process.terminate()
    assert refused.returncode == 1
    expected = f"tailrace: job first/job, which writes chunk_0 too, is being run by process {process.pid} already"
    assert refused.stderr.decode().startswith(expected)
    assert not (tmp_path / "ran").exists()
    assert subprocess.run([*TAILRACE, "job", "run", second], capture_output=True, timeout=200).returncode == 0


@pytest.mark.parametrize(
    ("output_file", "start", "is_shared"),
    [
        ("frame_####.png", 0, True),
        ("./frame_%04d.png", FRAMES - 1, True),
        ("frame_0003.png", 0, True),
        ("frame_####.png", FRAMES, False),
        ("frame_####.exr", 0, False),
        ("frame_0010.png", 0, False),
    ],
)
def test_only_the_same_frames_exclude_each_other(output_file: str, start: int, is_shared: bool, tmp_path: Path) -> None:
    second = renamed(job("true", job_id="second"), output_file, start=start)
    errors: list[JobLockedError] = []

    async def run_second(*_: object) -> None:
        try:
            await JobExecutor(LocalWorkerAdapter()).execute(second, JobExecutionOptions(job_dir=tmp_path))
        except JobLockedError as error:
            errors.append(error)

    run(renamed(job("true"), "frame_####.png"), tmp_path, on_progress=run_second)
    assert [error.pid for error in errors] == [os.getpid()] * is_shared
    assert running(tmp_path) == []


def test_two_jobs_that_stitch_to_the_same_file_exclude_each_other(tmp_path: Path) -> None:
    class Stitcher:
        async def stitch(self, inputs: object, output: Path) -> None:
            second = renamed(job("true", job_id="second"), "chunk_1")
            with pytest.raises(JobLockedError, match=r"job job-1, which writes film.mp4 too, is being run"):
                await JobExecutor(LocalWorkerAdapter()).execute(second, options)
            refused.append(output)

    refused: list[Path] = []
    options = JobExecutionOptions(job_dir=tmp_path, stitcher=Stitcher(), output_file="film.mp4")
    anyio.run(JobExecutor(LocalWorkerAdapter()).execute, job("true"), options)
    assert refused == [tmp_path / "film.mp4"]


def test_of_many_that_begin_at_the_same_time_one_runs_and_names_itself_to_all_others(tmp_path: Path) -> None:
    outputs = JobOutputs(["a"], {})
    jobs: list[RunningJob] = []
    refused: list[str] = []
    barrier = threading.Barrier(16)

    def begin(number: int) -> None:
        folder = tmp_path / f"job-{number}"
        folder.mkdir()
        barrier.wait()
        try:
            jobs.append(RunningJob(folder, folder.name, outputs))
        except JobLockedError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs) == 1
    assert len(refused) == 15
    assert len({message.split(" too, ")[0] for message in refused}) == 1
    jobs[0].release()


HOST = textwrap.dedent(r"""
    import os, sys, time
    from pathlib import Path
    from tailrace._state.job_outputs import JobOutputs
    from tailrace._state.running_job import RunningJob
    job = RunningJob(Path(sys.argv[1]), "first", JobOutputs(["a"], {}))
    if len(sys.argv) > 2 and os.fork() == 0:
        os.write(1, b'%d\n' % os.getpid())
        time.sleep(60)
    else:
        os.write(1, b'0\n')
        time.sleep(60)
""")


@pytest.mark.parametrize("forks", [False, True])
def test_a_killed_host_keeps_nobody_out_though_a_process_forked_from_it_lives_on(tmp_path: Path, forks: bool) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    command = [sys.executable, "-c", HOST, str(first), *(["fork"] * forks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        child = sum(int(host.stdout.readline()) for _ in range(1 + forks))
        try:
            with pytest.raises(JobLockedError, match=f"by process {host.pid} already"):
                RunningJob(second, "second", JobOutputs(["a"], {}))
            host.kill()
            host.wait()
            RunningJob(second, "second", JobOutputs(["a"], {})).release()
        finally:
            if child:
                os.kill(child, signal.SIGKILL)
    # What the killed one had left is gone too.
    assert list((tmp_path / ".running").iterdir()) == []


def test_what_was_deleted_by_hand_keeps_nobody_out(tmp_path: Path) -> None:
    lists = tmp_path / ".running"
    lists.mkdir()
    (lists / "gone").write_text(JobOutputs(["a"], {}).to_json())
    (lists / "torn").write_text("{")
    for name in ("own", "torn"):
        (tmp_path / name).mkdir()
    torn = JobLock(tmp_path / "torn" / "lock", "torn")
    RunningJob(tmp_path / "own", "own", JobOutputs(["a"], {})).release()
    torn.release()
    assert names_in(lists) == {"gone", "torn"}


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_is_emulated_by_one_of_ranges_says_in_two_ways_that_it_is_held(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = JobLock(tmp_path / "lock", "first")

    def refuse(fd: int, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(JobLockedError, match=rf"^second by process {os.getpid()} already"):
        JobLock(tmp_path / "lock", "second")
    holder = holder_of(tmp_path / "lock")
    assert holder is not None
    assert holder.pid == os.getpid()
    monkeypatch.undo()
    lock.release()
    assert holder_of(tmp_path / "lock") is None


def test_a_lock_may_be_waited_for(tmp_path: Path) -> None:
    lock = JobLock(tmp_path / "lock", "first")
    threading.Timer(0.2, lock.release).start()
    JobLock(tmp_path / "lock", "second", patience=60).release()
    lock = JobLock(tmp_path / "lock", "third")
    began = time.monotonic()
    with pytest.raises(JobLockedError):
        JobLock(tmp_path / "lock", "fourth", patience=0.2)
    assert time.monotonic() - began >= 0.2
    lock.release()


def test_where_locks_are_refused_the_ways_out_are_named_and_lead_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, state = tmp_path / "shared", tmp_path / "state"
    shared.mkdir()
    real = fcntl.flock

    def refuse(fd: int, kind: int) -> None:
        if shared in Path(f"/proc/self/fd/{fd}").readlink().parents:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        real(fd, kind)

    monkeypatch.setattr(fcntl, "flock", refuse)
    spec = job("echo > chunk_0")
    with pytest.raises(TailraceError) as caught:
        run(spec, shared)
    assert str(caught.value) == (
        f"the record of the job cannot be kept in {shared}/.tailrace/job-1: No locks available{WAYS_OUT}"
    )
    assert not (shared / "chunk_0").exists()
    run(spec, shared, record=False)
    assert completed_chunk_ids(spec, shared) == frozenset()
    run(spec, shared, state_dir=state)
    assert completed_chunk_ids(spec, shared, state_dir=state) == {0}
    assert completed_chunk_ids(spec, shared) == frozenset()


def test_a_job_in_a_folder_that_can_only_be_read_is_recorded_elsewhere(tmp_path: Path) -> None:
    assert os.getuid() == 0, "needs root, for a mount"
    folder, out = tmp_path / "job", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    spec = write(renamed(job(f"echo run >> {out}/runs; echo > {out}/chunk_0"), f"{out}/chunk_0"), folder / "job.json")

    def tailrace(*options: str) -> subprocess.CompletedProcess[str]:
        command = shlex.join([*TAILRACE, "job", "run", spec, *options])
        script = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec {command}"
        unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        return subprocess.run(unshare, capture_output=True, text=True, timeout=200)

    refused = tailrace()
    assert refused.returncode == 1
    assert refused.stderr == (
        f"tailrace: the record of the job cannot be kept in {folder}/.tailrace/job-1: Read-only file system{WAYS_OUT}\n"
    )
    state = str(tmp_path / "state")
    assert tailrace("--state-dir", state).returncode == 0
    assert "1 done before" in tailrace("--state-dir", state, "--resume").stderr
    assert (out / "runs").read_text() == "run\n"
    assert names_in(folder) == {"job.json"}


def test_a_folder_for_the_record_of_several_jobs_keeps_apart_what_lies_in_different_folders(tmp_path: Path) -> None:
    state, here, there = tmp_path / "state", tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (tmp_path / "link").symlink_to(here)
    spec = job("echo > chunk_0")

    async def run_others(*_: object) -> None:
        await JobExecutor(LocalWorkerAdapter()).execute(spec, JobExecutionOptions(job_dir=there, state_dir=state))
        with pytest.raises(JobLockedError):
            await JobExecutor(LocalWorkerAdapter()).execute(
                spec, JobExecutionOptions(job_dir=tmp_path / "link", state_dir=state)
            )

    run(spec, here, state_dir=state, on_progress=run_others)
    assert completed_chunk_ids(spec, tmp_path / "link", state_dir=state) == {0}
    (there / "chunk_0").unlink()
    assert completed_chunk_ids(spec, there, state_dir=state) == frozenset()
    assert names_in(here) == {"chunk_0"}


def test_a_job_without_a_folder_is_recorded_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = job("echo > chunk_0")
    run(spec, None, state_dir="state")
    assert completed_chunk_ids(spec, state_dir="state") == {0}


def test_a_job_that_is_not_recorded_leaves_nothing_behind_and_keeps_nobody_out(tmp_path: Path) -> None:
    async def run_again(*_: object) -> None:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("true"), JobExecutionOptions(job_dir=tmp_path, record=False)
        )

    run(job("echo > chunk_0"), tmp_path, record=False, on_progress=run_again)
    assert {path.name for path in tmp_path.iterdir()} == {"chunk_0"}


def test_a_place_for_a_record_that_is_not_to_be_kept_is_refused(tmp_path: Path) -> None:
    spec = write(job("touch ran"), tmp_path / "job.json")
    refused = CliRunner().invoke(run_command, [spec, "--state-dir", "s", "--no-record"])
    assert refused.exit_code == 2
    assert "--state-dir says where the record is, --no-record keeps none: use one of them" in refused.output
    assert names_in(tmp_path) == {"job.json"}
    with pytest.raises(ValueError, match=r"^state_dir is for the record, and record=False keeps none"):
        JobExecutionOptions(record=False, state_dir="state")


def test_after_a_failure_of_a_job_that_is_not_recorded_what_is_missing_is_told(tmp_path: Path) -> None:
    spec = write(job("true", "exit 3", "exit 4", "true"), tmp_path / "job.json")
    result = subprocess.run(
        [*TAILRACE, "job", "run", spec, "--no-record", "--keep-going"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    expected = "chunks 1 to 2 are missing; nothing was recorded (--no-record), so another run starts anew"
    assert result.stderr.splitlines()[-1] == f"tailrace: {expected}"
