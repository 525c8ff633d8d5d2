"""What `submit` returned is durable, whatever befalls the disk, and many share one way to it."""

from __future__ import annotations

import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy.exc import IntegrityError

from support.farm_rows import added, changed, chunk, count_states, event, ids, opened
from support.farms import until
from support.postgres import run_sql
from tailrace import TailraceError
from tailrace._errors import RepositoryError, RepositoryLostError, RepositoryUnavailableError
from tailrace._farm.repository import sqlite
from tailrace._farm.repository import writer as writer_module
from tailrace._farm.repository.changes import Change
from tailrace._farm.repository.job_repository import JobRepository
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.repository.writer import Writer


class _Gate:
    """Stands before a repository; counts what is written, and lets it through while it is open."""

    def __init__(self, repository: JobRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.opened = threading.Event()
        self.opened.set()
        self.reached = threading.Event()
        write = repository.write

        def written(changes: Sequence[Change], *, again: bool = False) -> None:
            self.reached.set()
            assert self.opened.wait(60)
            self.batches.append(len(changes))
            write(changes, again=again)

        monkeypatch.setattr(repository, "write", written)

    async def close_behind_one(self, writer: Writer, group: anyio.abc.TaskGroup, number: int) -> None:
        """Have the writer wait with one event, so that what follows is queued."""
        self.opened.clear()
        self.reached.clear()
        group.start_soon(writer.submit, [event(number)])
        await anyio.to_thread.run_sync(self.reached.wait)


@pytest.mark.anyio
async def test_many_that_wait_share_a_transaction(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(where) as repository:
        gate = _Gate(repository, monkeypatch)
        order: list[int] = []
        async with Writer(repository) as writer:

            async def submit(number: int) -> None:
                await writer.submit([event(number)])
                order.append(number)

            async with anyio.create_task_group() as group:
                await gate.close_behind_one(writer, group, 1)
                for number in range(2, 102):
                    group.start_soon(submit, number)
                    await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
                gate.opened.set()
        assert gate.batches == [1, 100]
        # Trio runs what is woken at once in any order.
        assert sorted(order) == list(range(2, 102))
        assert ids(repository.events(0).events) == list(range(1, 102))


@pytest.mark.anyio
async def test_what_was_submitted_is_seen_by_whoever_reads_next(where: str) -> None:
    with opened(where) as repository:
        async with Writer(repository) as writer:
            await writer.submit([added(1)])
            for number in range(10, 13):
                await writer.submit([chunk(1, number, state="completed")])
                assert count_states(repository, "job-1")["completed"] == number - 9


@pytest.mark.anyio
async def test_who_is_cancelled_leaves_what_it_submitted(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(where) as repository:
        gate = _Gate(repository, monkeypatch)
        async with Writer(repository) as writer, anyio.create_task_group() as group:
            await gate.close_behind_one(writer, group, 1)
            with anyio.move_on_after(0.05) as scope:
                await writer.submit([event(2)])
            gate.opened.set()
        assert scope.cancelled_caught
        assert ids(repository.events(0).events) == [1, 2]


@pytest.mark.anyio
async def test_a_full_queue_lets_in_what_there_is_room_for_in_order(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(where) as repository:
        gate = _Gate(repository, monkeypatch)
        async with Writer(repository, room=10) as writer, anyio.create_task_group() as group:
            await gate.close_behind_one(writer, group, 1)
            # More than there is room for, but nothing else waits.
            group.start_soon(writer.submit, [event(number) for number in range(2, 14)])
            await anyio.wait_all_tasks_blocked()
            for number in range(14, 40):
                group.start_soon(writer.submit, [event(number)])
                await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.05) as scope:
                await writer.submit([event(99)])
            gate.opened.set()
        assert scope.cancelled_caught
        assert ids(repository.events(0).events) == list(range(1, 40))
        assert max(gate.batches[2:]) == 10


@pytest.mark.anyio
async def test_changes_that_can_never_be_written_hold_up_nobody_else(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(where) as repository:
        gate = _Gate(repository, monkeypatch)
        errors: list[Exception] = []
        async with Writer(repository) as writer, anyio.create_task_group() as group:

            async def fail() -> None:
                with pytest.raises(IntegrityError) as caught:
                    await writer.submit([added(5), event(1)])
                errors.append(caught.value)

            await gate.close_behind_one(writer, group, 1)
            group.start_soon(writer.submit, [event(2)])
            group.start_soon(fail)
            group.start_soon(writer.submit, [event(3)])
            await anyio.wait_all_tasks_blocked()
            gate.opened.set()
        assert len(errors) == 1
        assert ids(repository.events(0).events) == [1, 2, 3]
        assert repository.jobs() == []


@contextmanager
def _full_file(repository: JobRepository, path: Path) -> Iterator[None]:
    """Have SQLite find the database full, as it does with a full disk."""
    assert isinstance(repository, SqlRepository)
    connection = repository._database.connect()
    raw = connection.connection.driver_connection
    assert raw is not None
    (most,) = raw.execute("PRAGMA max_page_count").fetchone()
    raw.execute("PRAGMA max_page_count = 1").close()
    yield
    raw.execute(f"PRAGMA max_page_count = {most}").close()


@contextmanager
def _small_files(repository: JobRepository, path: Path) -> Iterator[None]:
    """Have the kernel refuse to let a file grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _locked_file(repository: JobRepository, path: Path) -> Iterator[None]:
    """Have another program write to the file."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("befall", "reason"),
    [
        (_full_file, "database or disk is full"),
        (_small_files, "disk"),
        (_locked_file, "database is locked"),
    ],
    ids=["full", "no-space-for-the-log", "locked"],
)
async def test_what_cannot_be_written_waits_and_goes_through_when_it_can(
    befall: Callable[[JobRepository, Path], AbstractContextManager[None]],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.1)
    path = tmp_path / "farm.db"
    told: list[str | None] = []
    begun, over = anyio.Event(), anyio.Event()

    def tell(reason: str | None) -> None:
        told.append(reason)
        (over if reason is None else begun).set()

    with opened(str(path)) as repository:
        async with Writer(repository, on_trouble=tell) as writer, anyio.create_task_group() as group:
            await writer.submit([added(1, chunks=1000)])
            with befall(repository, path):
                for number in range(1, 4):
                    changes: list[Change] = [event(number), added(1 + number, chunks=1000)]
                    group.start_soon(writer.submit, changes)
                with anyio.fail_after(60):
                    await begun.wait()
                assert ids(repository.jobs()) == ["job-1"]
            with anyio.fail_after(60):
                await over.wait()
        assert [text for text in told if text is not None and reason in text and str(path) in text]
        assert told.index(None) == len(told) - 1
        assert ids(repository.events(0).events) == [1, 2, 3]
        assert repository.check() == []


@pytest.mark.anyio
async def test_a_server_that_ends_the_connection_is_connected_to_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []
    with opened(postgres_url) as repository:
        async with Writer(repository, on_trouble=told.append) as writer:
            await writer.submit([added(1), event(1)])
            ended = run_sql(
                postgres_url,
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name = 'tailrace' AND datname = current_database()",
            )
            assert ended
            await writer.submit([chunk(1, 10, state="running"), event(2)])
        assert told[-1] is None
        assert "terminating connection" in str(told[0]) or "closed" in str(told[0])
        assert ids(repository.events(0).events) == [1, 2]
        # The lock was taken again.
        with pytest.raises(TailraceError, match="in use"), opened(postgres_url):
            pass


@pytest.mark.anyio
async def test_a_commit_whose_answer_was_lost_is_not_made_twice(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(where) as repository:
        write = repository.write
        lost = iter([True, False])

        def written(changes: Sequence[Change], *, again: bool = False) -> None:
            write(changes, again=again)
            if next(lost):
                raise RepositoryUnavailableError("the server closed the connection")

        monkeypatch.setattr(repository, "write", written)
        async with Writer(repository) as writer:
            await writer.submit([added(1), event(1)])
        assert ids(repository.jobs()) == ["job-1"]


@pytest.mark.anyio
async def test_a_repository_that_another_took_over_ends_the_writer_for_good(postgres_url: str) -> None:
    with opened(postgres_url) as repository:
        lost = 0
        async with Writer(repository) as writer:
            await writer.submit([added(1)])
            run_sql(postgres_url, "UPDATE repository SET epoch = epoch + 1")

            async def submit(number: int) -> None:
                nonlocal lost
                with pytest.raises(RepositoryLostError, match="taken over"):
                    await writer.submit([event(number)])
                lost += 1

            async with anyio.create_task_group() as group:
                for number in range(1, 20):
                    group.start_soon(submit, number)
            await submit(20)
        assert lost == 20
        assert repository.events(0).events == []


@pytest.mark.anyio
async def test_the_end_waits_for_what_is_queued_and_gives_up_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    with opened(str(path)) as repository:
        assert isinstance(repository, SqlRepository)
        raised: list[BaseException] = []
        async with anyio.create_task_group() as group:
            async with Writer(repository, patience=0.3) as writer:

                async def submit() -> None:
                    with pytest.raises(RepositoryUnavailableError, match="full") as caught:
                        await writer.submit([added(1, chunks=1000)])
                    raised.append(caught.value)

                with anyio.fail_after(60):
                    with _full_file(repository, path):
                        group.start_soon(submit)
                        await anyio.wait_all_tasks_blocked()
                        await writer.__aexit__(None, None, None)
            with pytest.raises(RepositoryError, match="full"):
                await writer.submit([changed(1, name="x")])
        assert len(raised) == 1
        assert repository.jobs() == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it noticed soon that a transaction does not return."""
    monkeypatch.setattr(writer_module, "_SILENCE", 0.1)
    monkeypatch.setattr(writer_module, "_GLANCE", 0.01)


@pytest.mark.anyio
@pytest.mark.usefixtures("impatient")
async def test_what_hangs_is_told_and_goes_through_when_it_answers(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str | None] = []
    with opened(where) as repository:
        gate = _Gate(repository, monkeypatch)
        async with Writer(repository, on_trouble=told.append) as writer, anyio.create_task_group() as group:
            await gate.close_behind_one(writer, group, 1)
            group.start_soon(writer.submit, [event(2)])
            await until(lambda: bool(told))
            gate.opened.set()
        assert told == ["the repository does not answer", None]
        assert not writer.hangs
        assert ids(repository.events(0).events) == [1, 2]


@pytest.mark.anyio
@pytest.mark.usefixtures("impatient")
async def test_the_end_gives_up_what_hangs_and_nothing_is_written_after_it(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[int] = []
    with opened(where) as repository:
        gate = _Gate(repository, monkeypatch)

        async def submit(number: int) -> None:
            with pytest.raises(RepositoryUnavailableError, match="does not answer"):
                await writer.submit([event(number)])
            refused.append(number)

        async with anyio.create_task_group() as group:
            with anyio.fail_after(20):
                async with Writer(repository, patience=0.2) as writer:
                    gate.opened.clear()
                    group.start_soon(submit, 1)
                    await anyio.to_thread.run_sync(gate.reached.wait)
                    group.start_soon(submit, 2)
                    await anyio.wait_all_tasks_blocked()
        assert writer.hangs
        await submit(3)
        assert sorted(refused) == [1, 2, 3]
        gate.opened.set()
        # What hung may go through yet, and nothing else.
        await until(lambda: all(thread.name != "tailrace-writer" for thread in threading.enumerate()))
        assert ids(repository.events(0).events) == [1]
