"""Changes as statements: as few as can be, each for many rows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Table, Update, bindparam, delete, insert, select, update

from .changes import Change, ChunkChanged, ChunkFields, ChunksChanged, EventAdded, JobAdded, JobChanged, JobDeleted
from .rows import JobRow
from .tables import chunks, events, jobs, predecessors, specs

AddChunks = Callable[[Connection, str, Sequence[int]], None]

_LEVEL = 1
"""How hard zlib tries: the specification of 100,000 chunks keeps the writing thread for 0.2 s, not for a second."""
_ADD_EVENTS = insert(events)
_JOB_COLUMNS = [name for name in JobRow._fields if name != "after"]


def apply(changes: Iterable[Change], connection: Connection, add_chunks: AddChunks) -> None:
    """Make the changes, in the transaction that the connection is in."""
    gathered = _Gathered(connection)
    for change in changes:
        match change:
            case ChunkChanged():
                gathered.chunks.setdefault((change.job_id, change.chunk_id), {}).update(change.fields)
            case JobChanged():
                gathered.jobs.setdefault((change.job_id,), {}).update(change.fields)
            case EventAdded():
                gathered.events.append(
                    {
                        "id": change.id,
                        "job_id": change.job_id,
                        "time": change.time,
                        "kind": change.kind,
                        "payload": _as_column(change.payload),
                    }
                )
            case ChunksChanged():
                gathered.make()
                of_job = update(chunks).where(chunks.c.job_id == change.job_id, chunks.c.state.in_(change.states))
                connection.execute(of_job.values(**_as_columns(change.fields)))
            case JobAdded():
                gathered.make()
                _add(connection, change, add_chunks)
            case JobDeleted():
                gathered.make()
                delete_jobs(connection, [change.job_id])
    gathered.make()


def delete_jobs(connection: Connection, job_ids: Collection[str]) -> None:
    """Delete the jobs with all that is theirs; who comes after them keeps their ids."""
    connection.execute(delete(events).where(events.c.job_id.in_(job_ids)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))


class _Gathered:
    """Changes that may be made in any order: of a row that is changed twice, what it comes to is kept."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._clear()

    def _clear(self) -> None:
        self.chunks: dict[tuple[object, ...], dict[str, Any]] = {}
        self.jobs: dict[tuple[object, ...], dict[str, Any]] = {}
        self.events: list[dict[str, object]] = []

    def make(self) -> None:
        if self.jobs:
            self._change_jobs()
        if self.chunks:
            self._update(chunks, ("job_id", "chunk_id"), self.chunks)
        if self.events:
            self._execute(_ADD_EVENTS, self.events)
        self._clear()

    def _change_jobs(self) -> None:
        successors = {key: row.pop("after") for key, row in self.jobs.items() if "after" in row}
        self._update(jobs, ("id",), self.jobs)
        for (job_id,), after in successors.items():
            self._connection.execute(delete(predecessors).where(predecessors.c.job_id == job_id))
            if self._connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id)) is not None:
                _add_predecessors(self._connection, str(job_id), after)

    def _update(
        self, table: Table, key_names: tuple[str, ...], rows: Mapping[tuple[object, ...], dict[str, Any]]
    ) -> None:
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        parameters = [f"key_{name}" for name in key_names]
        for key, row in rows.items():
            if row:
                values = _as_columns(row)
                values.update(zip(parameters, key, strict=True))
                alike.setdefault(tuple(sorted(row)), []).append(values)
        for names, same in alike.items():
            self._execute(_update_of(table, key_names, names), same)

    def _execute(self, statement: Insert | Update, rows: list[dict[str, Any]]) -> None:
        # What SQLAlchemy does to each row before the driver has it takes longer than the database.
        self._connection.exec_driver_sql(_sql(statement, self._connection.dialect), rows)


@lru_cache(maxsize=256)
def _sql(statement: Insert | Update, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))


@lru_cache(maxsize=256)
def _update_of(table: Table, key_names: tuple[str, ...], names: tuple[str, ...]) -> Update:
    statement = update(table).values({name: bindparam(name) for name in names})
    return statement.where(*[table.c[name] == bindparam(f"key_{name}") for name in key_names])


def _add(connection: Connection, added: JobAdded, add_chunks: AddChunks) -> None:
    job = added.job
    connection.execute(insert(jobs), _as_columns({name: getattr(job, name) for name in _JOB_COLUMNS}))
    connection.execute(
        insert(specs), {"job_id": job.id, "packed": zlib.compress(added.spec.encode("utf-8", "surrogatepass"), _LEVEL)}
    )
    _add_predecessors(connection, job.id, job.after)
    if added.chunk_ids:
        add_chunks(connection, job.id, added.chunk_ids)


def _add_predecessors(connection: Connection, job_id: str, after: Sequence[str]) -> None:
    if after:
        rows = [{"job_id": job_id, "place": place, "after_id": other} for place, other in enumerate(after)]
        connection.execute(insert(predecessors), rows)


def _as_columns(row: Mapping[str, Any] | ChunkFields) -> dict[str, Any]:
    return {name: _as_column(value) for name, value in row.items()}


def _as_column(value: object) -> object:
    if isinstance(value, tuple):
        return json.dumps(value)
    if isinstance(value, str) and (not value.isascii() or "\0" in value):
        # What a renderer says may hold what no database takes: half a character, and PostgreSQL no NUL either.
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return value
