"""The adapters of the documentation keep the contract that it explains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from support import ROOT
from support.jobs import job
from support.loops import on_one_loop
from tailrace import ChunkFailedError, JobExecutionOptions, JobExecutor, WorkerAdapter, WorkerJob
from tailrace.testing import AdapterConformance
from tailrace.testing._conformance.command_runner import CommandRunner

ADAPTERS = {
    "write-an-adapter.md": ("LicensedAdapter", "27000@licences"),
    "adapters.md": ("Niced", 10),
}


def documented_adapter(page: str) -> WorkerAdapter:
    """Return the adapter of the first program of a page."""
    text = (ROOT / "docs" / page).read_text()
    program = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {"__name__": "documented"}
    exec(program, names)
    name, argument = ADAPTERS[page]
    adapter: WorkerAdapter = names[name](argument)
    return adapter


@on_one_loop
class TestDocumentedAdapter(AdapterConformance):
    @pytest.fixture
    def adapter(self) -> WorkerAdapter:
        return documented_adapter("write-an-adapter.md")


@on_one_loop
class TestDocumentedPlugin(AdapterConformance):
    @pytest.fixture
    def adapter(self) -> WorkerAdapter:
        return documented_adapter("adapters.md")

    async def test_a_program_that_does_not_exist_cannot_be_started(self, runner: CommandRunner) -> None:
        # It is started by another program, as the page says.
        result = await runner.run(["tailrace-no-such-program", "--frame", "1"])
        assert result.exit_code == 127
        assert "tailrace-no-such-program" in result.stderr


@pytest.mark.anyio
async def test_the_documented_adapter_sets_its_variable() -> None:
    result = await documented_adapter("write-an-adapter.md").execute(WorkerJob("sh", ["-c", "echo $LICENCE_SERVER"]))
    assert result.stdout == "27000@licences\n"


@pytest.mark.anyio
async def test_the_documented_plugin_s_adapter_keeps_limits_and_logs_of_a_job(tmp_path: Path) -> None:
    adapter = documented_adapter("adapters.md")
    options = JobExecutionOptions(job_dir=tmp_path, log_dir=tmp_path / "logs", timeout=1.0)
    with pytest.raises(ChunkFailedError, match="longer than 1 s"):
        await JobExecutor(adapter).execute(job("nice; echo err >&2; sleep 60"), options)
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").glob("chunk-*")}
    assert logs == {"chunk-0-attempt-1-stdout.log": "10\n", "chunk-0-attempt-1-stderr.log": "err\n"}
