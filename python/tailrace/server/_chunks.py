"""What the API tells of a job's chunks, of which there may be a hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import anyio.to_thread

from .._api.models import ChunkAnswer, ChunksAnswer, GridAnswer
from .._farm.manager import JobManager
from .._farm.repository.rows import ChunkStateName, ChunkStates
from ._call import Call
from ._queries import ChunksQuery

_LETTERS: Mapping[ChunkStateName, str] = {
    "pending": "p",
    "running": "r",
    "completed": "c",
    "failed": "f",
    "cancelled": "x",
    "skipped": "s",
}


class Chunks:
    """Answers requests for chunks."""

    def __init__(self, manager: JobManager) -> None:
        """Take the farm."""
        self._farm = manager

    async def list(self, call: Call) -> ChunksAnswer:
        """Return chunks of a job, in its order."""
        asked = call.query(ChunksQuery)
        found = await self._farm.chunks(
            call.job_id, asked.states, chunk_ids=asked.ids, after=asked.after, limit=asked.limit
        )
        return await anyio.to_thread.run_sync(
            lambda: ChunksAnswer(chunks=tuple(map(ChunkAnswer.model_validate, found)))
        )

    async def grid(self, call: Call) -> GridAnswer:
        """Return the states of all chunks of a job, as of one event."""
        return await anyio.to_thread.run_sync(_grid, await self._farm.chunk_states(call.job_id))


def _grid(found: ChunkStates) -> GridAnswer:
    return GridAnswer(
        last_event=found.last_event,
        ids=tuple(_runs(found.ids)),
        states="".join(_LETTERS[state] for state in found.states),
    )


def _runs(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run that rises by one."""
    begin = 0
    for place, chunk_id in enumerate(ids, 1):
        if place == len(ids) or ids[place] != chunk_id + 1:
            yield ids[begin], chunk_id
            begin = place
