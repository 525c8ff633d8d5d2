"""The adapters for workers keep the contract, with workers of ours that really run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import anyio
import google.auth.compute_engine._metadata as metadata
import pytest

from support.jobs import job
from support.lambda_emulator import FUNCTION, lambda_emulator
from support.metadata_server import TokenSource, variables
from support.raw_server import serving
from support.workers import WorkerThread, running_worker
from tailrace import (
    AwsLambdaAdapter,
    CloudRunAdapter,
    HttpWorkerAdapter,
    JobSpec,
    WorkerJob,
    WorkerResult,
)
from tailrace.testing import AdapterConformance


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the workers' job files."""
    return tmp_path_factory.mktemp("specs")


@pytest.fixture(scope="module")
def worker(specs: Path) -> Iterator[WorkerThread]:
    """Run one worker for all tests."""
    with running_worker(specs, concurrency=8) as worker:
        yield worker


class WorkerConformance(AdapterConformance):
    """What is the same for all workers of ours: they read the command in a job file."""

    streaming: ClassVar[bool] = True

    @pytest.fixture
    def job_path(self, specs: Path) -> Path:
        return specs / "job.json"

    @pytest.fixture
    def publish(self, job_path: Path) -> Callable[[JobSpec], Mapping[str, object]]:
        def write(spec: JobSpec) -> Mapping[str, object]:
            job_path.write_text(spec.model_dump_json(by_alias=True))
            return {"job_def_url": str(job_path)}

        return write


class HttpWorkerConformance(WorkerConformance):
    """A worker of ours in a thread."""

    @pytest.fixture
    def adapter(self, worker: WorkerThread) -> HttpWorkerAdapter:
        return HttpWorkerAdapter(f"http://127.0.0.1:{worker.port}/", streaming=self.streaming)


class TestHttpWorkerThatSharesFiles(HttpWorkerConformance):
    """A worker and a client that see the same folder, in which job files and outputs are."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Iterator[HttpWorkerAdapter]:
        with running_worker(tmp_path, work_dir=tmp_path, concurrency=8) as worker:
            url = f"http://127.0.0.1:{worker.port}/"
            yield HttpWorkerAdapter(url, streaming=self.streaming, shares_files=True)

    @pytest.fixture
    def job_path(self, tmp_path: Path) -> Path:
        return tmp_path / "job.json"


class TestHttpWorkerThatStreams(HttpWorkerConformance):
    pass


class TestHttpWorkerThatDoesNotStream(HttpWorkerConformance):
    streaming = False


class TestCloudRun(HttpWorkerConformance):
    @pytest.fixture
    def adapter(self, worker: WorkerThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudRunAdapter]:
        with serving(TokenSource().respond) as server:
            monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
            for name, value in variables(server).items():
                monkeypatch.setenv(name, value)
            # It reads them when it is imported.
            importlib.reload(metadata)
            yield CloudRunAdapter(f"http://127.0.0.1:{worker.port}/", streaming=True)
            monkeypatch.undo()
            importlib.reload(metadata)


class PatientLambdaAdapter(AwsLambdaAdapter):
    """Invokes AWS's emulator when that has nothing to do: it may crash if it is invoked meanwhile."""

    def __init__(self, endpoint: str, log: Path) -> None:
        super().__init__(FUNCTION, endpoint_url=endpoint)
        self._log = log

    async def execute(self, job: WorkerJob) -> WorkerResult:
        while self._is_busy():  # noqa: ASYNC110
            await anyio.sleep(0.02)
        return await super().execute(job)

    def _is_busy(self) -> bool:
        said = self._log.read_text(errors="replace")
        return said.count("START RequestId:") > said.count("END RequestId:")


@pytest.fixture(scope="module")
def function(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PatientLambdaAdapter]:
    """Run one emulator for all tests, and return an adapter for its function."""
    log = tmp_path_factory.mktemp("emulator") / "log"
    with lambda_emulator(log, TAILRACE_ALLOW_SPEC=str(specs), AWS_LAMBDA_FUNCTION_TIMEOUT="60") as address:
        adapter = PatientLambdaAdapter(address, log)
        # The first invocation loads the function, which may take longer than the tests' limits.
        path = specs / "first.json"
        path.write_text(job("true").model_dump_json(by_alias=True))
        first = WorkerJob("true", meta={"chunk_id": 0, "job_def_url": str(path)})
        assert anyio.run(adapter.execute, first).exit_code == 0
        yield adapter


class TestLambda(WorkerConformance):
    streaming = False
    # The emulator's, which serves one invocation at a time.
    places = 1
    largest_output = 6_000_000
    # Nothing stops a function that has been invoked.
    ends_abandoned_commands = False

    @pytest.fixture
    def adapter(self, function: PatientLambdaAdapter) -> PatientLambdaAdapter:
        return function
