"""Which log has what a chunk wrote."""

from __future__ import annotations

from functools import partial

from .._command.job import StreamName
from .chunk_rows import no_such_chunk
from .farm_run import FarmRun
from .log_reader import LogName
from .repository.rows import FINAL_JOB_STATES


class ChunkLog:
    """That of an attempt at a chunk, or of the last one."""

    def __init__(
        self,
        run: FarmRun,
        job_id: str,
        chunk_id: int,
        stream: StreamName,
        *,
        attempt: int | None,
        follows: bool,
    ) -> None:
        """Take whose log it is; see `JobManager.output`."""
        self._run = run
        self._job_id = job_id
        self._chunk_id = chunk_id
        self._stream: StreamName = stream
        self._attempt = attempt
        self._follows = follows

    async def find(self) -> LogName:
        """Return its name; raises `JobNotFoundError`. One that is not begun is waited for, if it is to be followed."""
        run = self._run
        while True:
            row = await run.seen(self._job_id)
            chunk = await run.look(partial(run.repository.chunk, self._job_id, self._chunk_id))
            if chunk is None:
                raise no_such_chunk(row, self._chunk_id)
            wanted = self._attempt or 1
            if chunk.attempts >= wanted or not self._follows or row.state in FINAL_JOB_STATES:
                attempt = chunk.attempts if self._attempt is None else self._attempt
                return LogName(run.log_dir / self._job_id, self._chunk_id, attempt, self._stream)
            await run.until_begun(self._job_id, self._chunk_id, wanted)

    def is_written(self, log: LogName) -> bool:
        """Return whether there is more to come."""
        job = self._run.table.get(self._job_id)
        if not self._follows or job is None or job.active is None:
            return False
        return job.active.runs(self._chunk_id, log.attempt)
