"""Old jobs and events go, a copy can be made at any time, and what is wrong is found."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from support.farm_rows import added, changed, chunk, count_states, event, ids, opened
from support.postgres import run_sql
from tailrace._errors import RepositoryError
from tailrace._farm.repository import housekeeping


def sql(where: str, statement: str) -> None:
    if "://" in where:
        run_sql(where, statement)
        return
    with closing(sqlite3.connect(where)) as connection, connection:
        connection.execute(statement)


def test_jobs_that_were_finished_before_a_time_go_with_all_that_is_theirs(where: str) -> None:
    with opened(where) as repository:
        repository.write(
            [
                added(1, state="completed", finished_at=10.0),
                added(2, state="failed", finished_at=20.0),
                added(3, state="cancelled", finished_at=19.5),
                added(4, state="running"),
                event(1, job=1),
                event(2, job=2),
            ]
        )
        pruned = repository.prune(jobs_before=20.0)
        assert pruned == (["job-1", "job-3"], 0)
        assert ids(repository.jobs()) == ["job-4", "job-2"]
        assert repository.chunks("job-1") == []
        assert count_states(repository, "job-2") == {"pending": 3}
        assert ids(repository.events(0).events) == [2]
        with pytest.raises(KeyError):
            repository.spec("job-1")
        # They are in nobody's page, but nothing that was to be kept is missing.
        assert repository.events(0).pruned == 0


def test_a_job_stays_as_long_as_an_unfinished_one_comes_after_it(where: str) -> None:
    with opened(where) as repository:
        repository.write(
            [
                added(1, state="completed", finished_at=1.0),
                added(2, state="completed", finished_at=1.0),
                added(3, state="pending", after=("job-1",)),
                added(4, state="completed", finished_at=30.0, after=("job-2",)),
            ]
        )
        assert repository.prune(jobs_before=20.0).job_ids == ["job-2"]
        repository.write([changed(3, state="cancelled", finished_at=40.0)])
        assert repository.prune(jobs_before=20.0).job_ids == ["job-1"]


def test_events_go_by_id_or_time_and_a_gap_can_be_told(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_SLICE", 3)
    with opened(where) as repository:
        repository.write([event(number) for number in range(1, 31)])
        assert repository.prune(events_up_to=10).events == 10
        page = repository.events(0, limit=2)
        assert (ids(page.events), page.pruned) == ([11, 12], 10)
        # Event 21 was at 21 s.
        assert repository.prune(events_before=21.0, events_up_to=12).events == 10
        assert ids(repository.events(0, limit=1).events) == [21]
        assert repository.prune(events_before=21.0) == ([], 0)
        assert repository.prune(events_before=1000.0).events == 10
        assert repository.events(0) == ([], 30)
        assert repository.prune() == ([], 0)
        assert repository.check() == []


def test_writing_goes_on_while_much_is_removed(where: str) -> None:
    with opened(where) as repository:
        repository.write([event(number) for number in range(1, 50_001)])
        repository.write([added(number, state="failed", finished_at=1.0) for number in range(1, 51)])
        pruned = []
        thread = threading.Thread(target=lambda: pruned.append(repository.prune(jobs_before=2.0, events_up_to=50_000)))
        thread.start()
        number = 2
        while thread.is_alive():
            number += 1
            repository.write([event(50_000 + number, job=None)])
        thread.join()
        assert [len(jobs) for jobs, _ in pruned] == [50]
        # Several slices, and something between them.
        assert number > 5
        assert ids(repository.events(0, limit=100_000).events) == list(range(50_003, 50_001 + number))
        assert repository.check() == []


def test_a_copy_made_while_it_is_written_is_one_state_of_it(tmp_path: Path) -> None:
    copies = [tmp_path / f"copy-{number}.db" for number in range(5)]
    with opened(str(tmp_path / "farm.db")) as repository:
        repository.write([added(1, chunks=5000)])

        def copy() -> None:
            for path in copies:
                repository.backup(path)

        thread = threading.Thread(target=copy)
        thread.start()
        number = 1
        while thread.is_alive():
            number += 1
            # What belongs together is in a copy together.
            repository.write([changed(1, priority=number), event(number)])
        thread.join()
        assert number > 2
    assert list(tmp_path.glob("*.partial*")) == []
    for path in copies:
        with opened(str(path)) as repository:
            assert repository.check() == []
            (job,) = repository.jobs()
            events = repository.events(0, limit=100_000).events
            assert job.priority == (events[-1].id if events else 0)
            assert count_states(repository, "job-1") == {"pending": 5000}


def test_a_copy_takes_the_place_of_an_older_one_but_never_of_the_repository(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    with opened(str(path)) as repository:
        repository.write([added(1)])
        (tmp_path / "copy.db").write_text("an older one")
        repository.backup(tmp_path / "copy.db")
        with pytest.raises(RepositoryError, match="the repository itself"):
            repository.backup(path)
        with pytest.raises(RepositoryError, match="cannot be copied to"):
            repository.backup(tmp_path / "missing" / "copy.db")
        assert ids(repository.jobs()) == ["job-1"]


def test_a_copy_of_a_server_s_database_is_left_to_its_own_program(postgres_url: str, tmp_path: Path) -> None:
    with opened(postgres_url) as repository, pytest.raises(RepositoryError, match="pg_dump --schema=tailrace"):
        repository.backup(tmp_path / "copy.db")


def test_what_contradicts_itself_is_found(where: str) -> None:
    with opened(where) as repository:
        repository.write([added(1), added(2, state="completed"), event(1)])
        repository.write([chunk(1, 10, state="completed"), changed(1, completed_chunks=1)])
        assert repository.check() == []
        repository.write([chunk(1, 11, state="completed"), chunk(2, 10, state="running")])
        assert repository.check() == [
            "job job-2 is completed, and 1 of its chunks are running",
            "job job-1: completed_chunks is 1, and there are 2",
        ]
        repository.write([changed(1, completed_chunks=2), chunk(2, 10, state="pending")])
        sql(where, "UPDATE jobs SET state = 'asleep', total_chunks = 4 WHERE id = 'job-1'")
        sql(where, "UPDATE chunks SET state = 'lost' WHERE job_id = 'job-2' AND chunk_id = 12")
        sql(where, "UPDATE repository SET last_event = 0, last_place = 1")
        assert repository.check() == [
            "job job-1 is in an unknown state: asleep",
            "chunk 12 of job job-2 is in an unknown state: lost",
            "job job-1: total_chunks is 4, and there are 3",
            "there is an event 1 above the highest one, 0",
            "there is a job in place 2 above the highest one, 1",
        ]


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    with opened(str(path)) as repository:
        repository.write([added(1, chunks=5000)])
    with closing(sqlite3.connect(path)) as connection, connection:
        # No foreign keys here, unless they are asked for.
        connection.execute("DELETE FROM jobs")
    with opened(str(path)) as repository:
        assert "chunks: a row that belongs to one of jobs that is not there" in repository.check()
    data = bytearray(path.read_bytes())
    data[40 * 4096 : 41 * 4096] = bytes(4096)
    path.write_bytes(data)
    with opened(str(path)) as repository:
        (told, *_) = repository.check()
        assert "malformed" in told or "page" in told
