"""Running ffmpeg, and what it means when that fails."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from .._command.adapter import WorkerAdapter
from .._command.ending import describe_exit
from .._command.job import Callback, StreamMode, WorkerJob
from .._command.result import WorkerResult
from .._errors import StitchError, WorkerError, WorkerSpawnError
from .._frames.ffmpeg_report import first_error


class FfmpegCommand:
    """Runs an ffmpeg, which `name` or path says, by an adapter."""

    def __init__(self, name: str, adapter: WorkerAdapter) -> None:
        self._name = name
        self._adapter = adapter

    async def run(
        self,
        arguments: Sequence[str],
        *,
        level: str = "warning",
        limit: float | None = None,
        stream: StreamMode = "text",
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> WorkerResult:
        """Return what came of ffmpeg with `arguments`; it writes messages from `level` on, each with its own.

        `limit` is the longest that it may take, in seconds.

        Raises `StitchError` if it is missing, and `WorkerError` for what else the adapter cannot do.
        """
        job = WorkerJob(
            self._name,
            ["-hide_banner", "-nostdin", "-v", f"level+{level}", "-stats", *arguments],
            env={"AV_LOG_FORCE_NOCOLOR": "1"},
            timeout=limit,
            stream=stream,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )
        try:
            return await self._adapter.execute(job)
        except WorkerError as error:
            if isinstance(error, WorkerSpawnError) and error.errno == errno.ENOENT:
                raise StitchError(
                    f"{self._name} was not found: install ffmpeg, for example with `apt install ffmpeg`,"
                    " or put it into the PATH"
                ) from error
            raise

    async def converts_times(self) -> bool:
        """Return whether its `setts` converts times to the time base that it is given; ffmpeg 5's only names that.

        Raises what `run` does.
        """
        # The option came after the conversion.
        return "prescale" in (await self.run(["-h", "bsf=setts"], level="info")).stdout

    def fault_of(self, result: WorkerResult) -> str | None:
        """Return why it failed, or None if it did not."""
        # It exits with 0 though it could not read an input to its end, or could not open one but the first.
        error = first_error(result.stderr)
        if error is not None:
            return error
        if result.exit_code == 0:
            return None
        return describe_exit(self._name, result.exit_code, result.killed_for_memory)
