"""A job's secrets are nowhere to be seen."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.jobs import job
from tailrace import (
    ChunkFailedError,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    MergeFailedError,
    WorkerError,
    WorkerJob,
    WorkerResult,
    event_to_json,
)

pytestmark = pytest.mark.anyio

SECRET = "tr0ub4dor"


@pytest.fixture(autouse=True)
def _set_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDER_TOKEN", SECRET)


def texts_in(folder: Path) -> list[str]:
    """Return the contents of the files in `folder`."""
    return [path.read_text() for path in folder.iterdir()]


@pytest.mark.parametrize("stream", ["text", "lines", "bytes"])
async def test_a_secret_is_masked_in_output_events_logs_and_results(tmp_path: Path, stream: Any) -> None:
    seen: list[str] = []

    def note(*values: object) -> None:
        seen.extend(bytes(value).decode() if isinstance(value, memoryview) else str(value) for value in values)

    def listen(event: JobEvent) -> None:
        seen.append(event_to_json(event))

    # In one piece, in two, in the command itself, and at the very end.
    script = f"echo a $RENDER_TOKEN b; printf tr0ub; sleep 0.1; echo 4dor; echo {SECRET} >&2; printf %s {SECRET}"
    options = JobExecutionOptions(
        stream=stream,
        on_chunk_stdout=note,
        on_chunk_stderr=note,
        on_event=listen,
        log_dir=tmp_path,
        mask_env=["RENDER_TOKEN"],
    )
    report = await JobExecutor(LocalWorkerAdapter()).execute(job(script, merge=f"echo {SECRET}"), options)
    assert report.results[0].stdout == "a *** b\n***\n***"
    assert report.results[0].stderr == "***\n"
    assert report.merge_result is not None
    assert report.merge_result.stdout_bytes == b"***\n"
    assert (tmp_path / "chunk-0-attempt-1-stdout.log").read_text() == "a *** b\n***\n***"
    assert (tmp_path / "merge-stdout.log").read_text() == "***\n"
    seen += texts_in(tmp_path)
    assert [text for text in seen if SECRET in text] == []
    assert any("a *** b" in text for text in seen)


async def test_a_secret_is_masked_in_errors_and_in_their_results() -> None:
    script = f"echo 'Error: cannot use {SECRET}, MemoryError' >&2; exit 1"
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(job(script), JobExecutionOptions(mask_env=["RENDER_TOKEN"]))
    assert caught.value.result is not None
    assert caught.value.result.stderr == "Error: cannot use ***, MemoryError\n"
    assert SECRET not in str(caught.value)


def _grouped() -> Exception:
    return ExceptionGroup("errs", [OSError("harmless"), ExceptionGroup("more", [ValueError(f"no {SECRET}")])])


def _caused() -> Exception:
    error = RuntimeError("it went wrong")
    error.__cause__ = ValueError(f"no {SECRET}")
    return error


def _followed() -> Exception:
    error = RuntimeError()
    error.__context__ = ValueError(f"no {SECRET}")
    return error


def _noted() -> Exception:
    error = RuntimeError("it went wrong")
    error.add_note(f"with {SECRET}")
    return error


@pytest.mark.parametrize("make_error", [_grouped, _caused, _followed, _noted])
@pytest.mark.parametrize("fails", ["chunk", "merge"])
async def test_a_secret_is_not_in_the_traceback_of_what_somebodys_adapter_raised(
    make_error: Callable[[], Exception], fails: str
) -> None:
    class Failing(LocalWorkerAdapter):
        async def execute(self, job: WorkerJob) -> WorkerResult:
            if fails in job.args[-1]:
                raise make_error()
            return await super().execute(job)

    with pytest.raises((ChunkFailedError, MergeFailedError)) as caught:
        await JobExecutor(Failing()).execute(
            job(": chunk", merge=": merge"), JobExecutionOptions(mask_env=["RENDER_TOKEN"])
        )
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    said = str(make_error()) or "RuntimeError"
    assert said in str(caught.value)
    assert f"WorkerError: {said}" in shown


async def test_text_that_only_begins_like_a_secret_arrives_whole() -> None:
    received: list[str] = []
    options = JobExecutionOptions(mask_env=["RENDER_TOKEN"], on_chunk_stdout=lambda _, text: received.append(text))
    report = await JobExecutor(LocalWorkerAdapter()).execute(job("printf tr0; sleep 0.1; printf ub4do"), options)
    assert "".join(received) == "tr0ub4do" == report.results[0].stdout


@pytest.mark.parametrize("stream", ["text", "lines", "bytes"])
async def test_a_secret_is_masked_in_what_an_adapter_gives_at_the_end(tmp_path: Path, stream: Any) -> None:
    class Buffered:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            if "merging" in job.args[-1]:
                raise WorkerError(f"{SECRET} was too much", WorkerResult(1, f"merge {SECRET}"))
            return WorkerResult(0, f"token {SECRET}\nSaved: '/x/{SECRET}.png'\nError: {SECRET}\n")

    seen: list[str] = []
    options = JobExecutionOptions(
        stream=stream,
        progress="blender",
        on_event=lambda event: seen.append(event_to_json(event)),
        log_dir=tmp_path,
        mask_env=["RENDER_TOKEN"],
    )
    with pytest.raises(MergeFailedError) as caught:
        await JobExecutor(Buffered()).execute(job("true", merge="merging"), options)
    seen += [*texts_in(tmp_path), "".join(traceback.format_exception_only(caught.value))]
    cause = caught.value.__cause__
    assert isinstance(cause, WorkerError)
    assert caught.value.result is not None
    assert (str(cause), caught.value.result.stdout) == ("*** was too much", "merge ***")
    assert (tmp_path / "merge-stdout.log").read_text() == "merge ***"
    assert [text for text in seen if SECRET in text] == []
    assert any("/x/***.png" in text for text in seen)
