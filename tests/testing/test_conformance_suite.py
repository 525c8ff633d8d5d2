"""The suite finds what an adapter does wrong, and says what whoever uses it has forgotten."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Each is wrong in one way, which the tests of the same line find.
BROKEN_ADAPTERS = {
    "loses_stderr": (
        "result = await self.local.execute(job); return WorkerResult(result.exit_code, result.stdout_bytes)",
        {"both_streams_come_apart", "every_byte_comes_back"},
    ),
    "says_success": (
        "result = await self.local.execute(job); return WorkerResult(0, result.stdout_bytes, result.stderr_bytes)",
        {"the_exit_code_is_that_of_the_command", "a_signal_is_told"},
    ),
    "wraps_what_callbacks_raise": (
        "try: return await self.local.execute(job)\nexcept Exception as error: raise RuntimeError('failed') from error",
        {"what_a_callback_raises_comes_out_unchanged", "does_not_exist_cannot_be_started", "idle_timeout_ends"},
    ),
    "splits_characters": (
        "decode = lambda view: job.on_stdout and job.on_stdout(bytes(view).decode(errors='replace'))\n"
        "return await self.local.execute(replace(job, stream='bytes', on_stdout=decode))",
        {"text_never_splits_a_character", "lines_are_whole"},
    ),
    "does_not_await": (
        "def call(piece):\n"
        "    awaitable = job.on_stdout(piece)\n"
        "    if awaitable is not None: awaitable.close()\n"
        "return await self.local.execute(replace(job, on_stdout=job.on_stdout and call))",
        {"a_slow_async_callback_is_awaited", "an_awaitable_that_a_plain_function_returns"},
    ),
    "tells_all_at_the_end": (
        "result = await self.local.execute(replace(job, stream='bytes', on_stdout=None, on_stderr=None))\n"
        "if job.on_stdout and job.stream == 'text': job.on_stdout(result.stdout)\n"
        "if job.on_stderr and job.stream == 'text': job.on_stderr(result.stderr)\n"
        "return result",
        {"output_comes_while_the_command_runs"},
    ),
    "keeps_everything": (
        "return await self.local.execute(replace(job, capture=Capture.full()))",
        {"the_capture_says_what_is_kept"},
    ),
    "has_no_limits": (
        "return await self.local.execute(replace(job, timeout=None, idle_timeout=None))",
        {"timeout_ends_the_whole_command", "idle_timeout_ends"},
    ),
    "forgets_variables_and_folder": (
        "return await self.local.execute(replace(job, env=None, cwd=None))",
        {"the_variables_of_the_job", "files_are_written", "a_chunk_has_the_variables_of_its_slot"},
    ),
    "leaves_commands_behind": (
        "await anyio.lowlevel.checkpoint()\n"
        "process = subprocess.Popen([job.command, *job.args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "while process.poll() is None: await anyio.sleep(0.01)\n"
        "return WorkerResult(process.returncode)",
        {"a_cancellation_leaves_nothing", "a_job_that_is_cancelled_leaves_nothing"},
    ),
}

HEAD = """
import subprocess
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from tailrace import Capabilities, Capture, LocalWorkerAdapter, WorkerResult
from tailrace.testing import AdapterConformance


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Quick(AdapterConformance):
    startup = 0.5
    patience = 3.0
"""


def run_suite(folder: Path, source: str, *options: str) -> str:
    """Run pytest on `source`, and return what it says."""
    file = folder / "test_adapter.py"
    file.write_text(HEAD + textwrap.dedent(source))
    command = [sys.executable, "-m", "pytest", "-rfE", "--tb=short", "-p", "no:cacheprovider", *options, str(file)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=250)
        finally:
            # What a broken adapter left behind has its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return said


@pytest.mark.parametrize("name", BROKEN_ADAPTERS)
def test_an_adapter_that_breaks_the_contract_fails_the_tests_of_that(name: str, tmp_path: Path) -> None:
    body, expected = BROKEN_ADAPTERS[name]
    source = f"""
class Broken:
    streams = True
    local = LocalWorkerAdapter()

    async def execute(self, job):
{textwrap.indent(body, " " * 8)}

class TestBroken(Quick):
    @pytest.fixture
    def adapter(self):
        return Broken()
"""
    said = run_suite(tmp_path, source, "-k", " or ".join(expected))
    failed = set(re.findall(r"^FAILED .*::test_(\w+)", said, flags=re.MULTILINE))
    assert {part for part in expected if any(part in test for test in failed)} == expected, said


def test_an_adapter_that_does_more_than_it_says_fails(tmp_path: Path) -> None:
    source = """
    class Overdone(LocalWorkerAdapter):
        streams = False
        capabilities = Capabilities(
            streams=False, shares_files=False, honours_env=False, honours_limits=False, honours_slots=False
        )

    class TestOverdone(Quick):
        @pytest.fixture
        def adapter(self):
            return Overdone()
    """
    told = {"bytes_arrive", "timeout_ends", "the_variables_of_the_job", "files_are_written", "variables_of_its_slot"}
    said = run_suite(tmp_path, source, "-k", " or ".join(told))
    failed = set(re.findall(r"^FAILED .*::test_(\w+)", said, flags=re.MULTILINE))
    assert {part for part in told if any(part in test for test in failed)} == told, said


def test_who_forgets_a_fixture_is_told_which(tmp_path: Path) -> None:
    source = """
    class TestNothing(Quick):
        pass

    class TestUnpublished(Quick):
        @pytest.fixture
        def adapter(self):
            return LocalWorkerAdapter()

        @pytest.fixture
        def capabilities(self):
            return Capabilities(streams=True, runs_any_command=False)
    """
    said = run_suite(tmp_path, source, "-k", "both_streams_come_apart")
    assert "TestNothing needs a fixture `adapter` that returns the adapter to test" in said
    assert "TestUnpublished tests an adapter with runs_any_command=False: it needs a fixture `publish`" in said


def test_without_pytest_the_fake_works_and_the_suite_says_what_to_install() -> None:
    program = """
    import sys
    sys.modules["pytest"] = None
    import tailrace.testing
    print(tailrace.testing.FakeAdapter.__name__)
    try:
        tailrace.testing.AdapterConformance
    except ImportError as error:
        print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
        "FakeAdapter\nAdapterConformance needs pytest: pip install 'tailrace[testing]'\n"
    )
