"""A repository in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError as UrlError
from sqlalchemy.exc import ProgrammingError

from ..._errors import RepositoryError
from .database import Database, HeldError, Holder
from .tables import repository

_SCHEMA = "tailrace"
"""Of its own, so that other tables in the database do not matter."""
_LOCK = 0x7461696C72616365
"""The number of the advisory lock, which is one for each database: "tailrace" in ASCII."""
_PATIENCE = 1.0
"""How long the server may take to see that a connection was closed, in seconds."""
_PAUSE = 0.02
_IDLE = 30
"""After how many seconds without a word of the other end a connection is looked at, and given up soon after."""
_CONNECTION: Mapping[str, Any] = {
    "application_name": "tailrace",
    "connect_timeout": 10,
    "keepalives_idle": _IDLE,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # A connection that was cut off is noticed while something is being written too, in milliseconds.
    "tcp_user_timeout": 1000 * (_IDLE + 15),
}
_SESSION = f"""
    SET search_path = {_SCHEMA};
    SET tcp_keepalives_idle = {_IDLE};
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET idle_in_transaction_session_timeout = '{_IDLE}s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""
"""The server lets go of a host that is gone, and of a process that stands still in the middle of a transaction: both
hold what another owner needs. What is committed is durable, whatever the server's default."""


class Postgres(Database):
    """A schema of its own in a database; the lock is held by the session that writes, and goes with it."""

    def __init__(self, url: str) -> None:
        """Take a `postgresql://` URL. Raises `RepositoryError` if it is none."""
        super().__init__()
        try:
            parsed = make_url(url).set(drivername="postgresql+psycopg")
        except (UrlError, ValueError):
            # Not with the words of the error: a password may be among them.
            raise RepositoryError("the repository's URL cannot be read: postgresql://USER@HOST/DATABASE") from None
        self.label = _without_password(parsed)
        self._grant = f"GRANT CREATE ON DATABASE {parsed.database} TO {parsed.username or 'USER'}"
        self._connection: Connection | None = None
        options = {name: value for name, value in _CONNECTION.items() if name not in parsed.query}
        self._writer = _engine(parsed, options, isolation_level="READ COMMITTED")
        # Several questions see one state.
        self._readers = _engine(parsed, options, isolation_level="REPEATABLE READ", pool_pre_ping=True)
        event.listen(self._readers, "connect", _make_read_only)

    def connect(self) -> Connection:
        if self._connection is None:
            connection = self._writer.connect()
            try:
                self._take_lock(connection)
            except BaseException:
                connection.close()
                self._writer.dispose()
                raise
            self._connection = connection
        return self._connection

    def _take_lock(self, connection: Connection) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            with connection.begin():
                if connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": _LOCK}):
                    return
            if time.monotonic() > deadline:
                break
            time.sleep(_PAUSE)
        try:
            with connection.begin():
                row = connection.execute(repository.select()).one()
        except ProgrammingError:
            # It makes the tables now.
            raise HeldError(Holder(None, None)) from None
        raise HeldError(Holder(row.owner_host, row.owner_pid))

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        # The lock goes with the session, which the pool would keep.
        self._writer.dispose()

    def drop_broken(self) -> None:
        connection = self._connection
        # Left as it is, it would get another session by itself, and none of the lock.
        if connection is not None and (connection.invalidated or _raw(connection).closed):
            self.disconnect()

    def prepare(self, connection: Connection) -> None:
        with connection.begin():
            # Only if it is missing: to make one is more than every user may.
            if not connection.scalar(text("SELECT to_regnamespace(:name) IS NOT NULL"), {"name": _SCHEMA}):
                connection.execute(text(f"CREATE SCHEMA {_SCHEMA}"))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._readers.connect() as connection:
            yield connection

    def add_chunks(self, connection: Connection, job_id: str, chunk_ids: Sequence[int]) -> None:
        with (
            _raw(connection).cursor() as cursor,
            cursor.copy("COPY chunks (job_id, chunk_id, place) FROM STDIN") as copy,
        ):
            for place, chunk_id in enumerate(chunk_ids):
                copy.write_row((job_id, chunk_id, place))

    def is_unavailable(self, error: BaseException | None) -> bool:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError)

    def remedy(self, error: BaseException | None) -> str | None:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return f"its user needs a schema {_SCHEMA}, or the right to make one: {self._grant}"
        return None

    def backup(self, path: Path) -> None:
        raise RepositoryError(f"{self.label} is copied by PostgreSQL's own programs: pg_dump --schema={_SCHEMA}")

    def problems(self, connection: Connection) -> list[str]:
        # It offers no look at all pages to its users.
        return []

    def dispose(self) -> None:
        self._readers.dispose()


def _engine(url: URL, options: Mapping[str, Any], **more: Any) -> Engine:
    engine = create_engine(url, connect_args=dict(options), **more)

    @event.listens_for(engine, "connect")
    def prepare(raw: psycopg.Connection[Any], _: object) -> None:
        raw.execute(_SESSION)
        raw.commit()

    return engine


def _raw(connection: Connection) -> psycopg.Connection[Any]:
    raw: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return raw


def _make_read_only(raw: psycopg.Connection[Any], _: object) -> None:
    raw.execute("SET default_transaction_read_only = on")
    raw.commit()


def _without_password(url: URL) -> str:
    shown = url.set(drivername="postgresql").difference_update_query(["password", "sslpassword"])
    return shown.render_as_string(hide_password=True)
