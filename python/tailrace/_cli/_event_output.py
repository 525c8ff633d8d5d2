"""Writes what happens in a job as a stream of JSON."""

from __future__ import annotations

from tailrace import ChunkFailed, JobEvent, LogFailed

from ._descriptor_writer import settle, standard_writers
from ._tell import describe_log_failure, tell_event


class EventOutput:
    """Writes each event to standard output, as one line of JSON (NDJSON), and failures to standard error too."""

    def __init__(self) -> None:
        self._stdout = standard_writers().stdout

    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job. Raises `OSError`."""
        await settle(self._stdout.write(event.to_json().encode() + b"\n"))
        if isinstance(event, ChunkFailed):
            await tell_event(str(event.error))
        elif isinstance(event, LogFailed):
            await tell_event(describe_log_failure(event))

    async def close(self) -> None:
        """Nothing is left to write: an event is written whole."""
