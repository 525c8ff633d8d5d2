"""What is read of the tables."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from .rows import (
    FINAL_JOB_STATES,
    ChunkRow,
    ChunkStateName,
    ChunkStates,
    EventPage,
    EventRow,
    JobRow,
    JobStateName,
)
from .tables import chunks, events, jobs, predecessors, repository, specs

_LAST_CHARACTER = chr(0x10FFFF)
_LARGEST_NUMBER = 2**63 - 1
_PART = 100
"""How many rows are in memory at a time where there are many."""
_CHUNKS = select(*(chunks.c[name] for name in ChunkRow._fields))


def read_job(connection: Connection, job_id: str) -> JobRow | None:
    """Do what `JobRepository.job` says; so does each of the others."""
    found = _jobs(connection, select(jobs).where(jobs.c.id == job_id))
    return found[0] if found else None


def read_jobs(
    connection: Connection, states: Collection[JobStateName] | None, limit: int, before: int | None
) -> list[JobRow]:
    query = select(jobs).order_by(jobs.c.place.desc()).limit(limit)
    if states is not None:
        query = query.where(jobs.c.state.in_(states))
    if before is not None:
        query = query.where(jobs.c.place < before)
    return _jobs(connection, query)


def _jobs(connection: Connection, query: Select[Any]) -> list[JobRow]:
    rows = connection.execute(query).all()
    after: dict[str, list[str]] = {row.id: [] for row in rows}
    links = select(predecessors.c.job_id, predecessors.c.after_id).order_by(predecessors.c.place)
    if after:
        for job_id, after_id in connection.execute(links.where(predecessors.c.job_id.in_(after))):
            after[job_id].append(after_id)
    return [_as_job(row, after[row.id]) for row in rows]


def _as_job(row: Row[Any], after: Sequence[str]) -> JobRow:
    values = dict(row._mapping)
    values["tags"] = tuple(json.loads(values["tags"]))
    return JobRow(**values, after=tuple(after))


def read_unfinished(connection: Connection) -> list[str]:
    query = select(jobs.c.id).where(jobs.c.state.not_in(FINAL_JOB_STATES)).order_by(jobs.c.place)
    return list(connection.scalars(query))


def read_ends_due(connection: Connection) -> list[JobRow]:
    return _jobs(connection, select(jobs).where(jobs.c.end_is_due).order_by(jobs.c.place))


def read_beginning(connection: Connection, prefix: str, limit: int) -> list[str]:
    query = select(jobs.c.id).where(jobs.c.id >= prefix, jobs.c.id < prefix + _LAST_CHARACTER)
    return list(connection.scalars(query.order_by(jobs.c.id).limit(limit)))


def read_spec(connection: Connection, job_id: str) -> bytes:
    packed: bytes | None = connection.scalar(select(specs.c.packed).where(specs.c.job_id == job_id))
    if packed is None:
        raise KeyError(job_id)
    return packed


def unpack_spec(packed: bytes) -> str:
    """Return what `read_spec` read; apart, so that nobody waits for it with a connection in hand."""
    return zlib.decompress(packed).decode("utf-8", "surrogatepass")


def read_chunks(
    connection: Connection,
    job_id: str,
    states: Collection[ChunkStateName] | None,
    chunk_ids: Collection[int] | None,
    after: int | None,
    limit: int | None,
) -> list[ChunkRow]:
    query = _CHUNKS.where(chunks.c.job_id == job_id).order_by(chunks.c.place).limit(limit)
    if states is not None:
        query = query.where(chunks.c.state.in_(states))
    if chunk_ids is not None:
        # SQLite's driver takes no larger ones, which no chunk has.
        query = query.where(chunks.c.chunk_id.in_([one for one in chunk_ids if abs(one) <= _LARGEST_NUMBER]))
    if after is not None:
        query = query.where(chunks.c.place > after)
    return [ChunkRow._make(row) for row in connection.execute(query)]


def read_chunk(connection: Connection, job_id: str, chunk_id: int) -> ChunkRow | None:
    found = read_chunks(connection, job_id, None, [chunk_id], None, None)
    return found[0] if found else None


def read_chunk_states(connection: Connection, job_id: str) -> ChunkStates:
    query = select(chunks.c.chunk_id, chunks.c.state).where(chunks.c.job_id == job_id).order_by(chunks.c.place)
    ids, states = [], []
    # All rows at once would have the garbage collector go through everything, for a third of a second.
    for part in connection.execute(query).partitions(_PART):
        for chunk_id, state in part:
            ids.append(chunk_id)
            states.append(state)
    last_event = connection.scalar(select(repository.c.last_event)) or 0
    return ChunkStates(last_event, ids, states)


def read_events(connection: Connection, after: int, limit: int, job_id: str | None) -> EventPage:
    query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
    if job_id is not None:
        query = query.where(events.c.job_id == job_id)
    rows = [EventRow(**row._mapping) for row in connection.execute(query)]
    return EventPage(rows, connection.scalar(select(repository.c.pruned_events)) or 0)
