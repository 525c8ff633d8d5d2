"""Writes what happens in a job as a stream of JSON."""

from __future__ import annotations

from tailrace import JobEvent

from ._descriptor_writer import settle, standard_writers
from ._display import Display
from ._job_tally import JobTally
from ._remark import remark_on
from ._tell import tell_event


class EventOutput(Display):
    """Writes each event to standard output, as one line of JSON (NDJSON), and trouble to standard error too."""

    def __init__(self, tally: JobTally) -> None:
        self._tally = tally
        self._stdout = standard_writers().stdout

    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job, after the tally. Raises `OSError`."""
        await settle(self._stdout.write(event.to_json().encode() + b"\n"))
        remark = remark_on(event, self._tally)
        if remark is not None and remark.is_trouble:
            await tell_event(remark.text)

    async def close(self) -> None:
        """Nothing is left to write: an event is written whole."""
