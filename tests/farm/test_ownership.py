"""A repository has one owner, and one that was taken over writes nothing more."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import psycopg
import pytest

from support.farm_owner import owner_process
from support.farm_rows import added, event, ids, opened
from support.postgres import run_sql
from tailrace._errors import RepositoryError, RepositoryLockedError, RepositoryLostError
from tailrace._farm.repository import postgres
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.owner import process_start, this_process
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.repository.sqlite import SqliteFile

DROP_LOCK = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks"
    " WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def test_a_second_owner_is_told_who_the_first_is(where: str) -> None:
    with owner_process(where) as owner:
        with pytest.raises(RepositoryLockedError, match="in use by process") as caught, opened(where):
            pass
        assert (caught.value.host, caught.value.pid) == (socket.gethostname(), owner.pid)
        assert "\n" not in str(caught.value)
        # It has not been disturbed.
        assert owner.add(2) == "ready"


def test_a_second_owner_in_the_same_process_is_refused_too(where: str) -> None:
    with opened(where) as first:
        with pytest.raises(RepositoryLockedError) as caught, opened(where):
            pass
        assert caught.value.pid == os.getpid()
        with pytest.raises(RepositoryError, match="open already"):
            first.open(this_process())
        first.write([added(1)])


def test_who_comes_after_a_crash_is_told_whose_chunks_may_run(where: str) -> None:
    with owner_process(where) as owner:
        start = process_start(owner.pid)
        owner.process.kill()
        owner.process.wait()
        repository = open_repository(where)
        found = repository.open(this_process())
    assert found.epoch == 2
    assert found.previous == (socket.gethostname(), owner.pid, start)
    assert found.last_place == 1
    assert ids(repository.jobs()) == ["job-1"]
    repository.close()
    found = repository.open(this_process())
    assert (found.epoch, found.previous) == (3, None)
    repository.close(clean=False)
    assert repository.open(this_process()).previous == this_process()
    repository.close()
    repository.close()


def test_what_is_closed_can_neither_be_read_nor_written(where: str) -> None:
    with opened(where) as repository:
        pass
    with pytest.raises(RepositoryError, match="is not open"):
        repository.jobs()
    with pytest.raises(RepositoryError, match="is not open"):
        repository.write([added(1)])


def test_a_later_epoch_keeps_out_who_wrote_before(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    with opened(str(path)) as first:
        first.write([added(1), event(1)])
        # As somebody may who sees a lock that seems to be left over.
        path.with_name("farm.db.lock").unlink()
        with opened(str(path)) as second:
            second.write([event(2)])
            for _ in range(2):
                with pytest.raises(RepositoryLostError, match=f"taken over by process {os.getpid()} on"):
                    first.write([added(2), event(3)])
            with pytest.raises(RepositoryLostError):
                first.prune(events_up_to=1)
            assert ids(second.jobs()) == ["job-1"]
            assert ids(second.events(0).events) == [1, 2]


def test_an_owner_that_stood_still_while_it_lost_its_lock_writes_nothing_more(postgres_url: str) -> None:
    with owner_process(postgres_url) as owner:
        os.kill(owner.pid, signal.SIGSTOP)
        with pytest.raises(RepositoryLockedError), opened(postgres_url):
            pass
        assert run_sql(postgres_url, DROP_LOCK)
        with opened(postgres_url) as repository:
            owner.tell(2)
            os.kill(owner.pid, signal.SIGCONT)
            # The first try meets the connection that is gone, the second the new owner.
            told = owner.answer()
            assert told.startswith("RepositoryUnavailableError"), told
            told = owner.add(3)
            assert told.startswith("RepositoryLostError"), told
            assert f"process {os.getpid()} on" in told
            assert ids(repository.jobs()) == ["job-1"]
            repository.write([event(1)])
        # Nor does it hold the lock that it could have had since.
        assert owner.add(4).startswith("RepositoryLostError")
        with opened(postgres_url) as repository:
            assert ids(repository.jobs()) == ["job-1"]


def test_an_owner_that_only_lost_its_connection_goes_on_with_its_lock(postgres_url: str) -> None:
    with owner_process(postgres_url) as owner:
        assert run_sql(postgres_url, DROP_LOCK)
        assert owner.add(2).startswith("RepositoryUnavailableError")
        assert owner.add(2) == "ready"
        with pytest.raises(RepositoryLockedError), opened(postgres_url):
            pass


def test_a_lock_that_the_server_still_keeps_for_the_lost_connection_is_waited_for(postgres_url: str) -> None:
    with owner_process(postgres_url) as owner, psycopg.connect(postgres_url, autocommit=True) as other:
        assert run_sql(postgres_url, DROP_LOCK)
        other.execute("SELECT pg_advisory_lock(%s)", [postgres._LOCK])
        assert owner.add(2).startswith("RepositoryUnavailableError")
        for _ in range(2):
            told = owner.add(2)
            assert told.startswith("RepositoryUnavailableError"), told
            assert "has not noticed yet that the connection was lost" in told
        other.execute("SELECT pg_advisory_unlock(%s)", [postgres._LOCK])
        assert owner.add(2) == "ready"


def test_a_link_to_a_repository_is_the_same_repository(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "farm.db")
    with opened(str(tmp_path / "farm.db")), pytest.raises(RepositoryLockedError), opened(str(tmp_path / "link.db")):
        pass


def test_a_network_file_system_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    for kind, is_networked in [("nfs4", True), ("fuse.sshfs", True), ("ext4", False), ("fuse.ntfs-3g", False)]:
        mounts.write_text(
            f"1 0 0:1 / / rw - tmpfs none rw\n9 1 {os.major(number)}:{os.minor(number)} / /x rw a:1 - {kind} h:/x rw\n"
        )
        monkeypatch.setattr("tailrace._farm.repository.file_system.network_file_system.__defaults__", (mounts,))
        repository = SqlRepository(SqliteFile(tmp_path / f"{kind}.db"))
        if is_networked:
            with pytest.raises(RepositoryError, match=rf"network file system \({kind}\).*postgresql://"):
                repository.open(this_process())
            assert not (tmp_path / f"{kind}.db").exists()
        else:
            repository.open(this_process())
            repository.close()
