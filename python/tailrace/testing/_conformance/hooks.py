"""What whoever tests an adapter may tell the suite."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from ..._command.adapter import Capabilities, WorkerAdapter
from ..._spec.model import JobSpec
from .command_runner import CommandRunner
from .processes import is_running_here


class ConformanceHooks:
    """The fixtures and attributes that a subclass may override; `adapter` it has to."""

    startup: ClassVar[float] = 1.0
    """The longest from `execute` to the command's first output, in seconds; the limits in the tests are set by it."""
    patience: ClassVar[float] = 60.0
    """How long anything may take before a test fails, in seconds."""
    places: ClassVar[int] = 4
    """How many commands can run at a time."""
    largest_output: ClassVar[int | None] = None
    """The most output that a result can hold, in bytes; None if all. More has to be marked as `truncated`."""
    ends_abandoned_commands: ClassVar[bool] = True
    """Whether a command ends when nobody waits for it any more. If not, its `timeout` has to end it."""

    @pytest.fixture
    def adapter(self) -> WorkerAdapter:
        """Return the adapter that is tested; a plain or async fixture."""
        pytest.fail(f"{type(self).__name__} needs a fixture `adapter` that returns the adapter to test")

    @pytest.fixture
    def capabilities(self, adapter: WorkerAdapter) -> Capabilities:
        """Return what the adapter can do: what it says itself."""
        return Capabilities.of(adapter)

    @pytest.fixture
    def job_folder(self, tmp_path: Path) -> Path:
        """Return the folder of the jobs, `WorkerJob.cwd`: where files are shared, commands run in it."""
        return tmp_path

    @pytest.fixture
    def publish(self) -> Callable[[JobSpec], Mapping[str, object]]:
        """Return a function that puts a specification where the worker finds it.

        It returns what else has to be in the `meta` of a job, {} if nothing. It is called for adapters that do not run
        any command, before each command.
        """

        def refuse(_: JobSpec) -> Mapping[str, object]:
            pytest.fail(
                f"{type(self).__name__} tests an adapter with runs_any_command=False:"
                " it needs a fixture `publish` that returns a function which puts a JobSpec where the worker finds it"
            )

        return refuse

    def is_running(self, mark: str) -> bool:
        """Return whether a process with `mark` in its command line runs where the commands do.

        The default looks at this machine. It is called in a thread, and may block.
        """
        return is_running_here(mark)

    @pytest.fixture
    def runner(
        self,
        adapter: WorkerAdapter,
        capabilities: Capabilities,
        job_folder: Path,
        publish: Callable[[JobSpec], Mapping[str, object]],
    ) -> CommandRunner:
        """Return what runs the suite's commands; not to be overridden."""
        return CommandRunner(
            adapter, capabilities, job_folder, publish, self.is_running, startup=self.startup, patience=self.patience
        )

    @pytest.fixture
    def mark(self) -> str:
        """Return a word to put into a command line, to find it by."""
        return f"conformance-{uuid.uuid4()}"
