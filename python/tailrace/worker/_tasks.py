"""What a request asks for, found and checked without blocking the event loop."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from .._command.job import SLOT_VARIABLE, Callback, WorkerJob
from .._command.result import Capture
from .._spec.command import parse_command
from .._spec.model import Chunk
from ._kept_mirrors import KeptMirrors
from ._requests import ChunkRequest, RefusedError
from ._settings import WorkerSettings
from ._specs import AllowedSpecs, ParsedSpec
from ._working_folder import WorkingFolder, check_output

_KILL_GRACE = 1.0
"""What a command that has to end gets for its last words, in seconds: a client that went away ends it in two."""
_MERGE_WINDOW = 0.005
"""How long output may be gathered into one piece, in seconds."""


class Task(NamedTuple):
    """A chunk that may be run, with what is needed to run it. The folders' names have no links in them."""

    parsed: ParsedSpec
    chunk: Chunk
    path: Path | None
    root: Path | None
    job_dir: Path | None
    is_shared: bool
    mirrors: KeptMirrors

    def make_folder(self) -> WorkingFolder:
        """Return a folder for one attempt; raises `RefusedError` or `OSError`."""
        try:
            return WorkingFolder(
                self.chunk,
                self.parsed.outputs,
                self.mirrors,
                spec_path=self.path,
                root=self.root,
                job_dir=self.job_dir,
                is_shared=self.is_shared,
            )
        except (OSError, UnicodeEncodeError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
                raise
            name = self.chunk.output_file
            raise RefusedError(422, f"outputFile of chunk {self.chunk.id} cannot be a file's name: {name!r}") from None

    def to_job(
        self,
        folder: WorkingFolder,
        *,
        timeout: float | None,
        cpu_idle_timeout: float | None,
        slot: int,
        capture: Capture,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> WorkerJob:
        """Return what an adapter is to execute in `folder`."""
        command, args = parse_command(self.chunk.command)
        return WorkerJob(
            command,
            args,
            env={SLOT_VARIABLE: str(slot)},
            cwd=folder.path,
            timeout=timeout,
            cpu_idle_timeout=cpu_idle_timeout,
            kill_grace=_KILL_GRACE,
            stream="bytes",
            merge_window=_MERGE_WINDOW,
            capture=capture,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )


class TaskFinder:
    """Finds what requests ask for, as far as the settings allow it."""

    def __init__(self, settings: WorkerSettings, *, keeps_folders: bool = True) -> None:
        self._specs = AllowedSpecs(settings.allow_specs)
        self._ignores_assets = settings.ignore_assets
        self._commands = None if settings.allow_commands is None else frozenset(settings.allow_commands)
        self._work_dir = None if settings.work_dir is None else Path(os.path.realpath(settings.work_dir))
        self._mirrors = KeptMirrors(settings.concurrency if keeps_folders else 0)

    def find(self, request: ChunkRequest) -> Task:
        """Return the chunk that `request` asks for. Blocks. Raises `RefusedError` if it may not be run."""
        work_dir = self._work_dir
        parsed, path = self._specs.load(request.job_path, work_dir)
        folder = None if path is None else path.parent
        chunk = parsed.chunks.get(request.chunk_index)
        if chunk is None:
            raise RefusedError(404, f"the job has no chunk {request.chunk_index}")
        if parsed.spec.assets_url is not None and not self._ignores_assets:
            raise RefusedError(422, "the job has an assetsUrl, and this worker fetches no assets (--ignore-assets)")
        command, _ = parse_command(chunk.command)
        if self._commands is not None and command not in self._commands:
            raise RefusedError(403, f"the command of chunk {chunk.id} is none that this worker runs: {command!r}")
        check_output(chunk)
        if work_dir is None:
            return Task(parsed, chunk, path, folder, folder, is_shared=False, mirrors=self._mirrors)
        job_dir = folder if folder is not None and folder.is_relative_to(work_dir) else work_dir
        return Task(parsed, chunk, path, work_dir, job_dir, is_shared=True, mirrors=self._mirrors)


class Search:
    """Has a thread find a task; nobody has to wait for it, but it goes on until the web and the disk have answered."""

    def __init__(self, finder: TaskFinder) -> None:
        self.is_running = False
        """Whether the thread is at work, perhaps for nobody any more."""
        self._finder = finder

    async def run(self, request: ChunkRequest, *, within: float) -> Task:
        """Return the task. Raises `RefusedError` if it may not be run, or is not found `within` so many seconds."""
        with anyio.move_on_after(within):
            return await anyio.to_thread.run_sync(self._find, request, abandon_on_cancel=True)
        raise RefusedError(504, "the job specification could not be had in time")

    def _find(self, request: ChunkRequest) -> Task:
        self.is_running = True
        try:
            return self._finder.find(request)
        finally:
            self.is_running = False
