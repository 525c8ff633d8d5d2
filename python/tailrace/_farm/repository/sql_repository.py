"""A repository in a database that SQLAlchemy knows."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update

from ..._errors import RepositoryError, RepositoryLockedError, RepositoryLostError, RepositoryUnavailableError
from . import housekeeping, queries, schema
from .batch import apply
from .changes import Change, EventAdded, JobAdded
from .database import Database, HeldError, Holder
from .rows import ChunkRow, ChunkStateName, ChunkStates, EventPage, JobRow, JobStateName, Opened, Owner, Pruned
from .sqlite import SqliteMemory
from .tables import repository


class SqlRepository:
    """A `JobRepository` in SQLite or PostgreSQL."""

    def __init__(self, database: Database, *, migrations: Path = schema.MIGRATIONS) -> None:
        """Only say where it is; `open` does the work."""
        self._database = database
        self._migrations = migrations
        self._epoch = 0
        """0 while it is closed."""
        self._number = 0
        """Of the changes that were written last, or tried."""
        self._last_event = 0
        self._last_place = 0

    @classmethod
    def in_memory(cls) -> SqlRepository:
        """Return one that is gone with the process, for tests."""
        return cls(SqliteMemory())

    def open(self, owner: Owner | None) -> Opened:
        """Take it, and bring it up to date; None is for a look alone."""
        with self._database.mutex:
            if self._epoch:
                raise RepositoryError(f"{self._database.label} is open already")
            try:
                with self._database.told_plainly():
                    found = self._take(self._database.connect(), owner)
            except HeldError as error:
                raise _locked_error(self._database.label, error.holder) from None
            except BaseException:
                self._database.disconnect()
                raise
            self._epoch = found.epoch + 1
            self._number, self._last_event, self._last_place = 0, found.last_event, found.last_place
            previous = None
            if found.owner_host is not None:
                previous = Owner(found.owner_host, found.owner_pid, found.owner_start)
            return Opened(self._epoch, previous, self._last_event, self._last_place)

    def _take(self, connection: Connection, owner: Owner | None) -> Row[Any]:
        with connection.begin():
            schema.refuse_unknown(connection, self._database.label, self._migrations)
        self._database.prepare(connection)
        with connection.begin():
            schema.upgrade(connection, self._migrations)
        with connection.begin():
            found = connection.execute(select(repository).with_for_update()).one()
            values: dict[str, object] = {"epoch": found.epoch + 1, "number": 0}
            if owner is not None:
                values |= {"owner_host": owner.host, "owner_pid": owner.pid, "owner_start": owner.start}
            connection.execute(update(repository).values(**values))
        return found

    def close(self, *, clean: bool = True) -> None:
        """Let others in; `clean` says that nothing runs any more."""
        with self._database.mutex:
            try:
                if clean and self._epoch:
                    with self._writing() as connection:
                        self._fence(connection, owner_host=None, owner_pid=None, owner_start=None)
            except (RepositoryUnavailableError, RepositoryLostError):
                # The next owner looks for what may run, as after a crash, and finds nothing.
                pass
            finally:
                self._epoch = 0
                self._database.dispose()
                self._database.disconnect()

    def write(self, changes: Sequence[Change], *, again: bool = False) -> None:
        """Write all changes or none; when it returns they are durable."""
        # Before anything can fail: a try that failed has a number of its own.
        self._number += not again
        with self._database.mutex, self._writing() as connection:
            last_event, last_place = self._last_event, self._last_place
            for change in changes:
                if isinstance(change, EventAdded):
                    last_event = max(last_event, change.id)
                elif isinstance(change, JobAdded):
                    last_place = max(last_place, change.job.place)
            if self._fence(connection, number=self._number, last_event=last_event, last_place=last_place):
                apply(changes, connection, self._database.add_chunks)
            # What is not written after all is at worst a gap.
            self._last_event, self._last_place = last_event, last_place

    def job(self, job_id: str) -> JobRow | None:
        """Return the job, None if there is none."""
        with self._reading() as connection:
            return queries.read_job(connection, job_id)

    def jobs(
        self, states: Collection[JobStateName] | None = None, *, limit: int = 100, before: int | None = None
    ) -> list[JobRow]:
        """Return jobs, the newest first; `before` is the place of the last one that is known already."""
        with self._reading() as connection:
            return queries.read_jobs(connection, states, limit, before)

    def unfinished(self) -> list[str]:
        """Return the ids of the jobs in no final state, the oldest first."""
        with self._reading() as connection:
            return queries.read_unfinished(connection)

    def ends_due(self) -> list[JobRow]:
        """Return the jobs whose `end_is_due`, the oldest first."""
        with self._reading() as connection:
            return queries.read_ends_due(connection)

    def find(self, prefix: str, *, limit: int = 10) -> list[str]:
        """Return the first ids that begin so."""
        with self._reading() as connection:
            return queries.read_beginning(connection, prefix, limit)

    def spec(self, job_id: str) -> str:
        """Return the specification as JSON. Raises `KeyError` if there is no such job."""
        with self._reading() as connection:
            packed = queries.read_spec(connection, job_id)
        return queries.unpack_spec(packed)

    def chunks(
        self,
        job_id: str,
        states: Collection[ChunkStateName] | None = None,
        *,
        chunk_ids: Collection[int] | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> list[ChunkRow]:
        """Return chunks of the job by their place; `after` is the place of the last one that is known already."""
        with self._reading() as connection:
            return queries.read_chunks(connection, job_id, states, chunk_ids, after, limit)

    def chunk(self, job_id: str, chunk_id: int) -> ChunkRow | None:
        """Return a chunk of the job, None if there is none."""
        with self._reading() as connection:
            return queries.read_chunk(connection, job_id, chunk_id)

    def chunk_states(self, job_id: str) -> ChunkStates:
        """Return the states of all chunks of the job, and until which event they are those."""
        with self._reading() as connection:
            return queries.read_chunk_states(connection, job_id)

    def events(self, after: int, *, limit: int = 1000, job_id: str | None = None) -> EventPage:
        """Return the events with a higher id than `after`, those of one job if it is named."""
        with self._reading() as connection:
            return queries.read_events(connection, after, limit, job_id)

    def prune(
        self,
        *,
        jobs_before: float | None = None,
        events_before: float | None = None,
        events_up_to: int | None = None,
    ) -> Pruned:
        """Remove the jobs that were finished before a time, and events from before a time or up to an id."""
        job_ids: list[str] = []
        if jobs_before is not None:
            with self._reading() as connection:
                candidates = housekeeping.jobs_to_prune(connection, jobs_before)
            for job_id in candidates:
                with self._slice() as connection:
                    if housekeeping.prune_job(connection, job_id, jobs_before):
                        job_ids.append(job_id)
        with self._reading() as connection:
            last = housekeeping.last_event_to_prune(connection, events_before, events_up_to)
        events, reached = 0, 0
        while reached < last:
            with self._slice() as connection:
                count, reached = housekeeping.prune_events(connection, last)
            events += count
        return Pruned(job_ids, events)

    def backup(self, path: Path) -> None:
        """Write a copy of it as it is now; the writing goes on meanwhile."""
        self._must_be_open()
        with self._database.told_plainly():
            self._database.backup(path)

    def check(self) -> list[str]:
        """Return what is wrong with it, a line for each."""
        with self._reading() as connection:
            # Of what cannot be read whole, the rest would say nothing.
            return self._database.problems(connection) or housekeeping.contradictions(connection)

    def _must_be_open(self) -> None:
        if not self._epoch:
            raise RepositoryError(f"{self._database.label} is not open")

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._must_be_open()
        with self._database.told_plainly(), self._database.reading() as connection:
            yield connection

    @contextmanager
    def _slice(self) -> Iterator[Connection]:
        """Lend the connection that writes for a piece of the housekeeping, and leave it to others for as long."""
        began = time.monotonic()
        with self._database.mutex, self._writing() as connection:
            self._fence(connection)
            yield connection
        time.sleep(time.monotonic() - began)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Lend the connection that writes, in a transaction; take it anew if it was lost."""
        self._must_be_open()
        try:
            with self._database.told_plainly():
                # Kept open: it is no context manager here.
                connection = self._database.connect()
                with connection.begin():
                    yield connection
        except HeldError:
            raise self._held_error() from None
        except RepositoryUnavailableError:
            self._database.drop_broken()
            raise
        except RepositoryLostError:
            # Not to be held against whoever has it now.
            self._database.disconnect()
            raise

    def _fence(self, connection: Connection, *, number: int | None = None, **values: int | str | None) -> bool:
        """Set values of the repository while it is ours, and keep others from taking it until the transaction ends.

        Returns False if the number was reached before. Raises `RepositoryLostError` if it is not ours.
        """
        ours = update(repository).where(repository.c.epoch == self._epoch)
        if number is not None:
            ours = ours.where(repository.c.number < number)
            values["number"] = number
        if connection.execute(ours.values(epoch=self._epoch, **values)).rowcount:
            return True
        found = connection.execute(select(repository)).one()
        if found.epoch != self._epoch:
            raise self._lost_error(found)
        return False

    def _held_error(self) -> RepositoryLostError | RepositoryUnavailableError:
        """Return the error for a lock that somebody has when we want it back."""
        with self._reading() as connection:
            found = connection.execute(select(repository)).one()
        if found.epoch != self._epoch:
            return self._lost_error(found)
        return RepositoryUnavailableError(
            f"{self._database.label}: the server has not noticed yet that the connection was lost, and keeps its lock"
        )

    def _lost_error(self, found: Row[Any]) -> RepositoryLostError:
        who = "another process" if found.owner_pid is None else f"process {found.owner_pid} on {found.owner_host}"
        return RepositoryLostError(f"{self._database.label} was taken over by {who}; nothing more is written here")


def _locked_error(label: str, holder: Holder) -> RepositoryLockedError:
    who = "another process" if holder.pid is None else f"process {holder.pid}"
    where = "" if holder.host is None else f" on {holder.host}"
    return RepositoryLockedError(
        f"{label} is in use by {who}{where}; stop that, or name another repository", holder.host, holder.pid
    )
