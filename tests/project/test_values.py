"""The values users build and receive: jobs, captures, results and errors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import anyio
import pytest

import tailrace
from support.loops import on_one_loop
from tailrace import (
    Capture,
    ChunkFailedError,
    LocalWorkerAdapter,
    TailraceError,
    WorkerError,
    WorkerJob,
    WorkerResult,
    WorkerSpawnError,
)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"command": ""}, ValueError, "command must not be empty"),
        ({"command": "a\0b"}, ValueError, "command must not contain a NUL byte"),
        ({"args": "one"}, TypeError, "args must be a sequence of str"),
        ({"args": None}, TypeError, "args must be a sequence of str, not NoneType"),
        ({"args": ["a", "b\0"]}, ValueError, r"args\[1\] must not contain a NUL byte"),
        ({"args": ["a", 1]}, TypeError, r"args\[1\] must be a str, not int"),
        ({"env": {"A": "b\0"}}, ValueError, r"env\['A'\] must not contain a NUL byte"),
        ({"env": {"A\0": "b"}}, ValueError, "must not contain a NUL byte"),
        ({"env": {"A=B": "c"}}, ValueError, "must not be empty or contain '='"),
        ({"timeout": 0}, ValueError, "timeout must be a positive number of seconds"),
        ({"timeout": float("nan")}, ValueError, "timeout must be a positive number of seconds"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout must be a positive number of seconds"),
        ({"timeout": "5"}, TypeError, "timeout must be a number of seconds, not '5'"),
        ({"kill_grace": None}, TypeError, "kill_grace must be a number of seconds, not None"),
        ({"env": ["A=b"]}, TypeError, "env must be a mapping of names to values"),
        ({"cwd": b"/"}, TypeError, "cwd must be a path"),
        ({"cwd": "a\0"}, ValueError, "cwd must not contain a NUL byte"),
        ({"capture": 100}, TypeError, "capture must be a Capture"),
        ({"meta": None}, TypeError, "meta must be a mapping"),
        ({"kill_grace": -1}, ValueError, "kill_grace must be a number of seconds"),
        ({"merge_window": 1.5}, ValueError, "merge_window must be a number of seconds from 0 to 1"),
        ({"stream": "byte"}, ValueError, "stream must be 'text', 'lines' or 'bytes', not 'byte'"),
        ({"on_stdout": 3}, TypeError, "on_stdout must be callable"),
        ({"on_warning": anyio.sleep}, TypeError, "on_warning must be a plain function"),
        ({"on_usage": anyio.sleep}, TypeError, "on_usage must be a plain function"),
    ],
)
def test_a_job_that_cannot_be_run_is_refused_with_its_field(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        WorkerJob(**{"command": "true", **fields})


def test_a_limit_of_infinity_is_no_limit() -> None:
    assert tailrace.run(WorkerJob("true", timeout=float("inf"), idle_timeout=float("inf"))).exit_code == 0


@pytest.mark.anyio
@on_one_loop
@pytest.mark.parametrize("backend", ["native", "python"])
async def test_a_command_that_holds_its_arguments_too_says_where_they_go(backend: Any, tmp_path: Path) -> None:
    adapter = LocalWorkerAdapter(backend=backend)
    for command, told in (
        ("ls -l 'a b'", r"WorkerJob\('ls', \['-l', 'a b'\]\)$"),
        ("./render -x", r"WorkerJob\('./render', \['-x'\]\)$"),
    ):
        with pytest.raises(WorkerSpawnError, match=told):
            await adapter.execute(WorkerJob(command, cwd=tmp_path))
    # A file may be called so.
    (tmp_path / "ls -l").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "ls -l").chmod(0o755)
    assert (await adapter.execute(WorkerJob("./ls -l", cwd=tmp_path))).stdout == "mine\n"


@pytest.mark.parametrize(
    "build", [lambda: Capture.tail(-1), lambda: Capture.full(memory=-1), lambda: Capture.head_tail(1, -1)]
)
def test_a_capture_of_a_negative_size_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        build()


def test_reprs_are_short_and_hold_neither_output_nor_environment() -> None:
    job = WorkerJob("render", ["secret-argument"] * 1000, env={"TOKEN": "secret-value"})
    result = WorkerResult(0, b"secret-output" * 100_000)
    assert len(repr(job)) < 200
    assert len(repr(result)) < 200
    assert "secret" not in repr(job) + repr(result)


def test_the_repr_of_options_shows_no_variables_and_nothing_of_the_adapters() -> None:
    options = tailrace.JobExecutionOptions(
        concurrency=7, slot_env={"SEC": ["hunter2xx"] * 7}, mask_env=["SEC"], meta={"token": "hunter2xx"}
    )
    assert "concurrency=7" in repr(options)
    assert "hunter2xx" not in repr(options)
    with pytest.raises(TypeError, match=r"slot_env\['SEC'\] must be a sequence of str, one .*, not str$"):
        tailrace.JobExecutionOptions(slot_env={"SEC": "hunter2xx"})


def test_a_result_may_be_built_from_bytes_or_text() -> None:
    from_bytes = WorkerResult(1, "é".encode() + b"\xff", "ü")
    assert (from_bytes.stdout, from_bytes.stdout_bytes) == ("é�", "é".encode() + b"\xff")
    assert (from_bytes.stderr, from_bytes.stderr_bytes) == ("ü", "ü".encode())
    assert from_bytes.stdout is from_bytes.stdout


def test_results_and_errors_survive_pickling() -> None:
    result = tailrace.run(WorkerJob("sh", ["-c", "echo out; echo err >&2; exit 5"]))
    copy = pickle.loads(pickle.dumps(result))
    assert (copy.exit_code, copy.stdout, copy.stderr, copy.usage) == (5, "out\n", "err\n", result.usage)
    for error in (
        WorkerSpawnError(2, "cannot start"),
        WorkerError("failed", result),
        tailrace.WorkerTimeoutError("late", result, "idle"),
        ChunkFailedError("chunk 3 failed", chunk_id=3, attempts=2, result=result),
        tailrace.JobLockedError("locked", 17),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert getattr(again, "errno", None) == getattr(error, "errno", None)
        assert getattr(again, "kind", None) == getattr(error, "kind", None)
        assert getattr(again, "chunk_id", None) == getattr(error, "chunk_id", None)
        assert isinstance(again, ChunkFailedError) is (getattr(again, "failures", None) == (again,))


def test_errors_can_be_caught_as_what_they_also_are() -> None:
    assert issubclass(WorkerSpawnError, OSError)
    assert issubclass(tailrace.WorkerTimeoutError, TimeoutError)
    for name in tailrace.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(tailrace, name), TailraceError)
