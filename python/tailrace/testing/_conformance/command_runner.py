"""How the tests have commands run by the adapter, whatever it takes to tell it one."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from ..._command.adapter import Capabilities, WorkerAdapter
from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._executor import JobExecutor
from ..._job.options import JobExecutionOptions
from ..._job.report import JobReport
from ..._spec.model import Chunk, JobMetadata, JobSpec

_FRAMES = 10
"""How many frames each chunk has."""
_GLANCE = 0.05
"""How often to look whether a command runs, in seconds."""

OUTPUT_FILE = "tailrace-frames"
"""The output file of the chunk that a single command is."""


@dataclass(frozen=True, slots=True)
class CommandRunner:
    """Has the adapter run commands; times are seconds."""

    adapter: WorkerAdapter
    capabilities: Capabilities
    folder: Path
    publish: Callable[[JobSpec], Mapping[str, object]]
    is_running: Callable[[str], bool]
    startup: float
    patience: float

    async def run_script(self, script: str, *args: str, **fields: Any) -> WorkerResult:
        """Have `sh` run a script with arguments; `fields` are the job's."""
        return await self.run(["sh", "-c", script, *(["sh", *args] if args else [])], **fields)

    async def run(self, words: Sequence[str], **fields: Any) -> WorkerResult:
        """Run a command, and return or raise what the adapter does; fail if it takes longer than `patience`."""
        job = self.job(words, **fields)
        with anyio.fail_after(self.patience):
            return await self.adapter.execute(job)

    def job(self, words: Sequence[str], **fields: Any) -> WorkerJob:
        """Return what the executor would give to the adapter for a chunk with this command."""
        spec = self._specification([shlex.join(words)], OUTPUT_FILE)
        chunk = spec.chunks[0]
        meta = {
            "chunk_id": chunk.id,
            "start_frame": chunk.start_frame,
            "frame_count": chunk.frame_count,
            "frame_step": chunk.frame_step,
            "output_file": chunk.output_file,
            "command": chunk.command,
            "slot": 0,
            **self._publish(spec),
        }
        return WorkerJob(words[0], words[1:], **{"cwd": self.folder, "meta": meta, **fields})

    async def run_job(self, *scripts: str, **options: Any) -> JobReport:
        """Have the executor run a job with a chunk for each script; `options` are those of `JobExecutionOptions`."""
        spec = self._specification([shlex.join(["sh", "-c", script]) for script in scripts], "chunk")
        meta = self._publish(spec)
        chosen = JobExecutionOptions(**{"job_dir": self.folder, "record": False, "meta": meta, **options})
        with anyio.fail_after(self.patience):
            return await JobExecutor(self.adapter).execute(spec, chosen)

    async def wait_until_running(self, mark: str) -> None:
        """Return when a command with `mark` in its command line runs."""
        await self._wait(mark, is_running=True, failure="the command did not start")

    async def wait_until_gone(self, mark: str) -> None:
        """Return when none is left."""
        await self._wait(mark, is_running=False, failure="the command, or a process that it started, still runs")

    async def _wait(self, mark: str, *, is_running: bool, failure: str) -> None:
        with anyio.move_on_after(self.patience):
            # Nothing tells of a process of somebody else.
            while await anyio.to_thread.run_sync(self.is_running, mark) is not is_running:  # noqa: ASYNC110
                await anyio.sleep(_GLANCE)
            return
        raise AssertionError(f"{failure} after {self.patience:g} s")

    def _publish(self, spec: JobSpec) -> Mapping[str, object]:
        return {} if self.capabilities.runs_any_command else self.publish(spec)

    def _specification(self, commands: Sequence[str], output_file: str) -> JobSpec:
        count = len(commands)
        return JobSpec(
            id=f"conformance-{uuid.uuid4()}",
            metadata=JobMetadata(total_frames=_FRAMES * count, fps=24, width=64, height=36, duration=count),
            chunks=tuple(
                Chunk(
                    id=number,
                    start_frame=number * _FRAMES,
                    frame_count=_FRAMES,
                    output_file=output_file if count == 1 else f"{output_file}-{number}",
                    command=command,
                )
                for number, command in enumerate(commands)
            ),
        )
