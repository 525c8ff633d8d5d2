"""What SQLite and PostgreSQL do in different ways."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ..._errors import RepositoryError, RepositoryUnavailableError


class Holder(NamedTuple):
    """Who has a database; None for what cannot be told."""

    host: str | None
    pid: int | None


class HeldError(Exception):
    """Somebody else has the database."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder)
        self.holder = holder


class Database(ABC):
    """One connection that writes, which goes with a lock, and others that read."""

    label: str
    """Its name in messages, without a password."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        """Who writes holds it."""

    @abstractmethod
    def connect(self) -> Connection:
        """Take the lock and return the connection that writes, in no transaction. Raises `HeldError`."""

    @abstractmethod
    def disconnect(self) -> None:
        """Close that connection, if it is there, then let go of the lock."""

    @abstractmethod
    def drop_broken(self) -> None:
        """Do the same if the connection was lost."""

    @abstractmethod
    def prepare(self, connection: Connection) -> None:
        """Do what has to be done once the database is known to be ours and before it is written."""

    @abstractmethod
    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a connection that reads, in a transaction that sees one state of the database."""

    @abstractmethod
    def add_chunks(self, connection: Connection, job_id: str, chunk_ids: Sequence[int]) -> None:
        """Insert the pending chunks of a new job."""

    @abstractmethod
    def is_unavailable(self, error: BaseException | None) -> bool:
        """Return whether it is an error of the driver after which the same may go through later."""

    @abstractmethod
    def remedy(self, error: BaseException | None) -> str | None:
        """Return what to do about an error of the driver that will come again each time; None for any other."""

    @abstractmethod
    def backup(self, path: Path) -> None:
        """Write a copy. Raises `RepositoryError` if that is not done here."""

    @abstractmethod
    def problems(self, connection: Connection) -> list[str]:
        """Return what the database finds wrong with itself."""

    @abstractmethod
    def dispose(self) -> None:
        """Close all connections that read."""

    @contextmanager
    def told_plainly(self) -> Iterator[None]:
        """Raise `RepositoryUnavailableError` for an error after which the same may go through later.

        Raises `RepositoryError` for one that somebody has to do something about.
        """
        try:
            yield
        except Exception as error:
            # Some of the driver's come out as they are.
            cause = error.orig if isinstance(error, DBAPIError) else error
            if (remedy := self.remedy(cause)) is not None:
                raise RepositoryError(f"{self.label}: {_in_one_line(cause)}; {remedy}") from error
            # All of the pool's connections are in use, as they are where the network hangs.
            if self.is_unavailable(cause) or isinstance(error, PoolTimeoutError):
                raise RepositoryUnavailableError(f"{self.label}: {_in_one_line(cause)}") from error
            raise


def _in_one_line(error: BaseException | None) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line) or type(error).__name__
