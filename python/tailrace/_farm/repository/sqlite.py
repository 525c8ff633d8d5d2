"""A repository in a file, or in memory for tests."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, QueuePool, StaticPool, create_engine, event, insert, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from ..._errors import JobLockedError, RepositoryError
from ..._state.lock import JobLock, holder_of
from .database import Database, HeldError, Holder
from .file_system import network_file_system
from .tables import chunks

_PATIENCE = 5.0
"""How long another program may keep the file locked before that is told, in seconds."""


class SqliteFile(Database):
    """A file, with a lock in another one beside it."""

    def __init__(self, path: Path) -> None:
        """Take the path; a link is followed, so that two names of one file have one lock."""
        super().__init__()
        self.path = path.resolve()
        self.label = str(path)
        self._lock_path = self.path.with_name(f"{self.path.name}.lock")
        self._lock: JobLock | None = None
        self._connection: Connection | None = None
        self._writer = _engine(self.path, "BEGIN IMMEDIATE", timeout=_PATIENCE)
        self._readers = _engine(self.path, "BEGIN", timeout=_PATIENCE)
        event.listen(self._readers, "connect", lambda raw, _: raw.execute("PRAGMA query_only = ON").close())

    def connect(self) -> Connection:
        if self._lock is None:
            self._take_lock()
        if self._connection is None:
            self._connection = self._writer.connect()
        return self._connection

    def _take_lock(self) -> None:
        try:
            if self.path.is_dir():
                raise RepositoryError(f"{self.label} is a folder; name a file in it")
            if not self.path.parent.is_dir():
                raise RepositoryError(f"{self.label} cannot be made: there is no folder {self.path.parent}")
            networked = network_file_system(self.path.parent)
            if networked is not None:
                raise RepositoryError(
                    f"{self.label} is on a network file system ({networked}), where SQLite is not safe; name a file on"
                    " a local disk, or a postgresql:// URL"
                )
            self._lock = JobLock(self._lock_path, self.label)
        except JobLockedError as error:
            holder = holder_of(self._lock_path)
            # It may be gone by now.
            raise HeldError(Holder(holder.host, holder.pid) if holder else Holder(None, error.pid)) from None
        except OSError as error:
            raise RepositoryError(f"{self.label} cannot be opened: {error.strerror}") from error

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        # The last connection to be closed takes the log of changes into the file.
        self._readers.dispose()
        self._writer.dispose()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def drop_broken(self) -> None:
        """None is ever lost."""

    def prepare(self, connection: Connection) -> None:
        # Outside of a transaction, which the driver would not be told of here.
        raw = _raw(connection)
        mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise RepositoryError(f"{self.label} is on a file system without shared memory; name a file on another one")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._readers.connect() as connection:
            yield connection

    def add_chunks(self, connection: Connection, job_id: str, chunk_ids: Sequence[int]) -> None:
        rows = [{"job_id": job_id, "chunk_id": chunk_id, "place": place} for place, chunk_id in enumerate(chunk_ids)]
        connection.execute(insert(chunks), rows)

    def is_unavailable(self, error: BaseException | None) -> bool:
        # Among the others are constraints that are broken and parameters that cannot be stored.
        return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError

    def remedy(self, error: BaseException | None) -> str | None:
        # https://www.sqlite.org/rescode.html: the lowest byte is the kind, the others say more.
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_NOTADB:
                return "name another file"
            case sqlite3.SQLITE_CORRUPT:
                return "it is damaged: go on with a backup of it"
        return None

    def backup(self, path: Path) -> None:
        target = path.resolve()
        if target == self.path:
            raise RepositoryError(f"{path} is the repository itself; name another file for the backup")
        partial = target.with_name(f"{target.name}.partial")
        try:
            partial.unlink(missing_ok=True)
            with closing(sqlite3.connect(partial)) as copy, self.reading() as connection:
                # In one step, which sees one state: each change would have it begin anew.
                _raw(connection).backup(copy)
                # Nothing runs for the copy: a manager of it leaves alone what this one runs.
                copy.execute("UPDATE repository SET owner_host = NULL, owner_pid = NULL, owner_start = NULL")
                copy.commit()
            partial.replace(target)
            _sync(target)
            _sync(target.parent)
        except (OSError, sqlite3.Error) as error:
            partial.unlink(missing_ok=True)
            raise RepositoryError(f"{self.label} cannot be copied to {path}: {error}") from error

    def problems(self, connection: Connection) -> list[str]:
        try:
            found = [str(line) for (line,) in connection.execute(text("PRAGMA integrity_check")) if line != "ok"]
            return found or [
                f"{table}: a row that belongs to one of {parent} that is not there"
                for table, _, parent, _ in connection.execute(text("PRAGMA foreign_key_check"))
            ]
        except DBAPIError as error:
            if type(error.orig) is not sqlite3.DatabaseError:
                raise
            return [str(error.orig)]

    def dispose(self) -> None:
        self._readers.dispose()


class SqliteMemory(SqliteFile):
    """Nothing but memory, over one connection that all take in turn."""

    def __init__(self) -> None:
        self.path = Path(":memory:")
        self.label = "the repository in memory"
        Database.__init__(self)
        self._lock = None
        self._connection = None
        self._writer = self._readers = _engine(None, "BEGIN", timeout=_PATIENCE)

    def _take_lock(self) -> None:
        """There is nobody else."""

    def disconnect(self) -> None:
        """Keep it: what closed it may open it again."""

    def prepare(self, connection: Connection) -> None:
        """There is no file to prepare."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self.mutex, self._readers.connect() as connection:
            yield connection

    def dispose(self) -> None:
        """Keep it."""


def _engine(path: Path | None, begin: str, *, timeout: float) -> Engine:
    options: dict[str, Any] = {"check_same_thread": False, "timeout": timeout}
    if path is None:
        engine = create_engine("sqlite://", connect_args=options, poolclass=StaticPool, paramstyle="named")
    else:
        # Not as a URL: a path may hold anything.
        engine = create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(path, **options), poolclass=QueuePool, paramstyle="named"
        )

    @event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, _: object) -> None:
        # The driver would begin transactions by itself, and not for all statements.
        raw.isolation_level = None
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin_explicitly(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _raw(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
