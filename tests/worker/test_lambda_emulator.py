"""Our Lambda handler in AWS's own runtime and emulator, invoked through the real boto3."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.jobs import job
from support.lambda_emulator import FUNCTION, lambda_emulator
from support.processes import wait_until_marked, wait_until_none_is_marked
from tailrace import (
    AwsLambdaAdapter,
    JobExecutionOptions,
    JobExecutor,
    WorkerError,
    WorkerJob,
    WorkerRemoteError,
    WorkerResult,
    WorkerSpawnError,
    WorkerTimeoutError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the job files."""
    return tmp_path_factory.mktemp("specs")


@pytest.fixture(scope="module")
def endpoint(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one emulator for all tests, each of which is one invocation at a time."""
    log = tmp_path_factory.mktemp("emulator") / "log"
    with lambda_emulator(log, TAILRACE_ALLOW_SPEC=str(specs), AWS_LAMBDA_FUNCTION_TIMEOUT="60") as address:
        yield address


async def execute(endpoint: str, specs: Path, script: str, *, chunk_id: int = 0, **fields: Any) -> WorkerResult:
    """Have the function run a script."""
    path = specs / "job.json"
    path.write_text(job(script).model_dump_json(by_alias=True))
    adapter = AwsLambdaAdapter(FUNCTION, job_def_url=str(path), endpoint_url=endpoint)
    return await adapter.execute(WorkerJob("render", **{"meta": {"chunk_id": chunk_id}, **fields}))


def refuse_calls(data: object) -> None:
    """Be a callback that must not be called."""
    raise AssertionError(f"called with {data!r}")


async def test_the_exit_code_and_all_output_come_back(endpoint: str, specs: Path) -> None:
    script = r"printf 'é\377'; echo err >&2; exit 3"
    result = await execute(endpoint, specs, script, on_stdout=refuse_calls, on_stderr=refuse_calls)
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (3, "é".encode() + b"\xff", "err\n")
    assert result.duration > 0
    assert result.usage is not None


async def test_three_megabytes_come_whole_and_more_than_lambda_takes_is_marked(endpoint: str, specs: Path) -> None:
    result = await execute(endpoint, specs, "head -c 3000000 /dev/zero | tr '\\0' a")
    assert result.stdout_bytes == b"a" * 3_000_000
    assert not result.truncated
    result = await execute(endpoint, specs, "head -c 9000000 /dev/zero | tr '\\0' a")
    assert result.exit_code == 0
    assert result.truncated
    assert 4_000_000 < len(result.stdout_bytes) < 9_000_000


async def test_the_functions_word_for_a_limit_comes_with_the_output_so_far(endpoint: str, specs: Path) -> None:
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(endpoint, specs, "echo begun; sleep 60", timeout=0.5)
    assert caught.value.kind == "total"
    assert caught.value.result is not None
    assert caught.value.result.stdout == "begun\n"


async def test_what_the_function_refuses_or_cannot_start_is_told(endpoint: str, specs: Path) -> None:
    with pytest.raises(WorkerError, match="it answered 404: the job has no chunk 5") as refused:
        await execute(endpoint, specs, "true", chunk_id=5)
    assert not isinstance(refused.value, WorkerRemoteError)
    path = specs / "job.json"
    path.write_text(path.read_text().replace("sh -c true", "no-such-program"))
    adapter = AwsLambdaAdapter(FUNCTION, job_def_url=str(path), endpoint_url=endpoint)
    with pytest.raises(WorkerSpawnError, match="no-such-program"):
        await adapter.execute(WorkerJob("render", meta={"chunk_id": 0}))


async def test_a_cancellation_comes_out_at_once_while_the_function_goes_on_to_its_limit(
    endpoint: str, specs: Path
) -> None:
    mark = f"mark-{os.getpid()}-emulator"
    script = f"sh -c 'sleep 60; : {mark}'"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: execute(endpoint, specs, script, timeout=3))
        await anyio.to_thread.run_sync(wait_until_marked, mark)
        begin = time.monotonic()
        tasks.cancel_scope.cancel()
    assert time.monotonic() - begin < 5
    # Nothing stops a function: its own limit does.
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


async def test_a_job_runs_unchanged(endpoint: str, specs: Path) -> None:
    spec = job("echo zero", "echo one")
    path = specs / "two.json"
    path.write_text(spec.model_dump_json(by_alias=True))
    adapter = AwsLambdaAdapter(FUNCTION, job_def_url=str(path), endpoint_url=endpoint)
    options = JobExecutionOptions(on_chunk_stdout=lambda *_: refuse_calls("output"))
    report = await JobExecutor(adapter).execute(spec, options)
    assert [result.stdout for result in report.results.values()] == ["zero\n", "one\n"]
