"""What is written comes back, whole or not at all, on both databases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from support.farm_rows import added, changed, chunk, count_states, event, ids, opened
from tailrace._farm.repository import queries
from tailrace._farm.repository.changes import Change, ChunksChanged, JobDeleted
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.rows import EventRow, JobRow
from tailrace._farm.repository.sql_repository import SqlRepository


def test_a_job_comes_back_as_it_was_written(where: str) -> None:
    job = JobRow(
        id="job-1",
        place=1,
        name="shot ä 'quoted'",
        created_at=1_700_000_000.123456,
        settings='{"retries": 2}',
        owner="anna",
        tags=("night", "ü"),
        comment="two\nlines",
        folder="/shots/1",
        priority=-5,
        state="paused",
        started_at=1_700_000_001.5,
        finished_at=1_700_000_002.25,
        not_before=1_800_000_000.0,
        error="no licence",
        after=("gone", "also gone"),
        total_chunks=3,
        total_frames=12,
        max_running=2,
    )
    spec = json.dumps({"chunks": ["\ud800 half a character", "ä" * 1000]}, ensure_ascii=False)
    with opened(where) as repository:
        repository.write([replace(added(1), job=job, spec=spec)])
        assert repository.job("job-1") == job
        assert repository.spec("job-1") == spec
        assert repository.job("job-2") is None
        with pytest.raises(KeyError, match="job-2"):
            repository.spec("job-2")
    with opened(where) as repository:
        assert repository.job("job-1") == job
        assert repository.check() == []


def test_chunks_are_pending_at_first_and_keep_what_is_changed(where: str) -> None:
    with opened(where) as repository:
        repository.write([added(1)])
        first, second, third = repository.chunks("job-1")
        assert (first.chunk_id, first.place, first.state, first.attempts, first.node) == (10, 0, "pending", 0, None)
        assert (third.chunk_id, third.place) == (12, 2)
        values: dict[str, Any] = {
            "state": "failed",
            "attempts": 2,
            "lost": 1,
            "exit_code": 2**31,
            "started_at": 1_700_000_000.25,
            "duration": 1.5,
            "node": "a",
            "slot": 3,
            "error": "it broke",
            "category": "scene",
            "usage": '{"cpu":1}',
            "outputs": "{}",
            "skipped_because": 10,
        }
        repository.write([chunk(1, 11, **values), changed(1, failed_chunks=1)])
        after = repository.chunks("job-1")
        assert after[1] == second._replace(**values)
        assert [after[0], after[2]] == [first, third]
        assert count_states(repository, "job-1") == {"pending": 2, "failed": 1}
        assert repository.chunks("job-1", ["failed"]) == [after[1]]
        assert repository.chunks("job-1", after=0, limit=1) == [after[1]]
        assert repository.chunks("job-1", chunk_ids=[12, 10, 7, 2**70]) == [first, third]
        assert repository.chunks("job-1", ["failed"], chunk_ids=[12, 10]) == []
        assert repository.chunks("job-1", ["pending"], after=0) == [third]
        assert repository.check() == []


def test_the_states_of_all_chunks_are_those_after_one_event(where: str) -> None:
    with opened(where) as repository:
        repository.write([replace(added(1), chunk_ids=[7, 3, 5]), added(2), event(1)])
        assert repository.chunk_states("job-1") == (1, [7, 3, 5], ["pending"] * 3)
        repository.write([chunk(1, 3, state="running"), event(2), chunk(1, 5, state="failed"), event(3)])
        assert repository.chunk_states("job-1") == (3, [7, 3, 5], ["pending", "running", "failed"])
        assert repository.chunk_states("job-3") == (3, [], [])


def test_text_that_no_database_takes_is_kept_as_its_escapes(where: str) -> None:
    text, kept = "a\0b \udc80 ä \U0001f600", "a\\x00b \\udc80 ä \U0001f600"
    with opened(where) as repository:
        repository.write([added(1, comment=text), chunk(1, 10, error=text), replace(event(1), payload=text)])
        job = repository.job("job-1")
        assert job is not None
        assert job.comment == kept
        assert repository.chunks("job-1")[0].error == kept
        assert repository.events(0).events[0].payload == kept
        repository.write([changed(1, error=text, tags=(text,))])
        job = repository.job("job-1")
        assert job is not None
        assert (job.error, job.tags) == (kept, (text,))


def test_chunks_keep_the_order_of_the_job_file_whatever_their_ids(where: str) -> None:
    with opened(where) as repository:
        repository.write([replace(added(1), chunk_ids=[7, 3, 5])])
        assert [row.chunk_id for row in repository.chunks("job-1")] == [7, 3, 5]
        row = repository.chunk("job-1", 3)
        assert row == repository.chunks("job-1")[1]
        assert (repository.chunk("job-1", 4), repository.chunk("job-2", 3)) == (None, None)


def test_the_last_of_several_changes_of_a_row_holds_whatever_else_is_in_the_batch(where: str) -> None:
    with opened(where) as repository:
        repository.write(
            [
                added(1),
                chunk(1, 10, state="running", attempts=1),
                chunk(1, 11, state="running", attempts=1),
                chunk(1, 10, state="completed"),
                chunk(1, 11, state="pending", node="a"),
                chunk(1, 11, state="running"),
                changed(1, state="running", priority=1),
                changed(1, priority=2, completed_chunks=1),
            ]
        )
        first, second, _ = repository.chunks("job-1")
        assert (first.state, first.attempts) == ("completed", 1)
        assert (second.state, second.attempts, second.node) == ("running", 1, "a")
        job = repository.job("job-1")
        assert job is not None
        assert (job.state, job.priority, job.completed_chunks) == ("running", 2, 1)


def test_a_job_that_is_deleted_and_made_again_in_one_batch_is_the_new_one(where: str) -> None:
    again = added(1, chunks=1)
    with opened(where) as repository:
        repository.write(
            [
                added(1),
                chunk(1, 10, state="running"),
                event(1),
                JobDeleted("job-1"),
                event(2),
                replace(again, job=again.job._replace(place=2)),
                changed(1, name="new"),
            ]
        )
        (job,) = repository.jobs()
        assert (job.name, job.place) == ("new", 2)
        assert [row.state for row in repository.chunks("job-1")] == ["pending"]
        # That it was deleted is told.
        assert ids(repository.events(0).events) == [2]


def test_a_predecessor_is_known_after_it_was_deleted_and_can_be_waived(where: str) -> None:
    with opened(where) as repository:
        repository.write([added(1), added(2, after=("job-1",)), JobDeleted("job-1")])
        assert [job.after for job in repository.jobs()] == [("job-1",)]
        repository.write([changed(2, after=())])
        assert [job.after for job in repository.jobs()] == [()]
        repository.write([changed(2, after=("x", "y"), priority=1), JobDeleted("job-2")])
        assert repository.jobs() == []
        assert repository.check() == []


def test_a_batch_is_written_whole_or_not_at_all(where: str) -> None:
    bad: list[list[Change]] = [
        [added(2), event(2), chunk(1, 10, state="running"), event(1)],
        [chunk(1, 10, state="running"), added(1)],
        [JobDeleted("job-1"), added(3), added(3)],
    ]
    with opened(where) as repository:
        repository.write([added(1), event(1)])
        for changes in bad:
            with pytest.raises(IntegrityError):
                repository.write(changes)
            assert ids(repository.jobs()) == ["job-1"]
            assert ids(repository.events(0).events) == [1]
            assert count_states(repository, "job-1") == {"pending": 3}
        repository.write([event(2)])
        assert ids(repository.events(0).events) == [1, 2]


def test_what_is_tried_again_is_not_written_twice(where: str) -> None:
    with opened(where) as repository:
        for _ in range(2):
            repository.write([added(1), event(1)])
            repository.write([added(1), event(1)], again=True)
            repository.write([JobDeleted("job-1")])
        with pytest.raises(IntegrityError):
            repository.write([added(1), event(2), event(2)])
        repository.write([added(1), event(2)], again=True)
        assert ids(repository.events(0).events) == [2]
    with opened(where) as repository:
        repository.write([event(3)])
        assert ids(repository.events(0).events) == [2, 3]


def test_changes_of_what_is_not_there_change_nothing(where: str) -> None:
    with opened(where) as repository:
        repository.write([changed(1, name="x", after=("a",)), chunk(1, 10, state="failed"), JobDeleted("job-1")])
        repository.write([])
        repository.write([changed(1), chunk(1, 10)])
        assert repository.jobs() == []


def test_jobs_are_listed_page_by_page_the_newest_first(where: str) -> None:
    states = ["pending", "running", "completed"]
    with opened(where) as repository:
        repository.write([added(number, chunks=0, state=states[number % 3]) for number in range(1, 10)])
        page = repository.jobs(limit=4)
        assert [job.place for job in page] == [9, 8, 7, 6]
        assert [job.place for job in repository.jobs(limit=4, before=6)] == [5, 4, 3, 2]
        assert [job.place for job in repository.jobs(["running", "completed"], limit=3, before=8)] == [7, 5, 4]
        assert repository.jobs([]) == []
        assert repository.unfinished() == [f"job-{number}" for number in (1, 3, 4, 6, 7, 9)]


def test_the_beginning_of_an_id_finds_those_that_begin_so(where: str) -> None:
    names = ["ab", "ab%", "abC", "abc", "abd", "b", "Ab"]
    with opened(where) as repository:
        for number, name in enumerate(names):
            job = added(number, chunks=0)
            repository.write([replace(job, job=job.job._replace(id=name))])
        assert repository.find("ab") == ["ab", "ab%", "abC", "abc", "abd"]
        assert repository.find("abc") == ["abc"]
        assert repository.find("ab%") == ["ab%"]
        assert repository.find("x") == []
        assert repository.find("", limit=2) == ["Ab", "ab"]


def test_events_are_read_from_where_one_stopped(where: str) -> None:
    with opened(where) as repository:
        repository.write([event(number, job=1 + number % 2) for number in range(1, 6)])
        repository.write([event(9, job=None)])
        page = repository.events(0, limit=2)
        assert page.events == [
            EventRow(1, "job-2", 1.0, "state", '{"n":1}'),
            EventRow(2, "job-1", 2.0, "state", '{"n":2}'),
        ]
        assert page.pruned == 0
        assert ids(repository.events(4).events) == [5, 9]
        assert ids(repository.events(1, job_id="job-2").events) == [3, 5]
        assert repository.events(9).events == []


def test_who_reads_several_things_sees_one_state(where: str) -> None:
    with opened(where) as repository:
        assert isinstance(repository, SqlRepository)
        repository.write([added(1)])
        with repository._database.reading() as connection:
            assert queries.read_unfinished(connection) == ["job-1"]
            repository.write([added(2)])
            assert queries.read_unfinished(connection) == ["job-1"]
        assert repository.unfinished() == ["job-1", "job-2"]


def test_ids_of_events_and_places_of_jobs_go_on_after_all_were_removed(where: str) -> None:
    with opened(where) as repository:
        repository.write([added(4), event(17, job=4)])
        repository.write([JobDeleted("job-4")])
        assert repository.events(0).events == []
        found = repository
    reopened = found.open(this_process())
    assert (reopened.last_event, reopened.last_place) == (17, 4)
    found.close()


def test_a_repository_in_memory_does_the_same(tmp_path: Path) -> None:
    repository = SqlRepository.in_memory()
    assert repository.open(this_process()).epoch == 1
    repository.write([added(1), event(1)])
    repository.write([chunk(1, 10, state="completed"), changed(1, completed_chunks=1)])
    assert count_states(repository, "job-1") == {"completed": 1, "pending": 2}
    assert repository.check() == []
    repository.backup(tmp_path / "copy.db")
    repository.close()
    with opened(str(tmp_path / "copy.db")) as copy:
        assert ids(copy.jobs()) == ["job-1"]


def test_all_chunks_in_some_states_are_changed_at_once_and_in_order(where: str) -> None:
    changes: list[Change] = [
        added(1),
        added(2),
        chunk(1, 10, state="completed"),
        chunk(1, 11, state="running"),
        ChunksChanged("job-1", ["pending", "running"], {"state": "cancelled"}),
        chunk(1, 12, error="late"),
    ]
    with opened(where) as repository:
        repository.write(changes)
        found = [(row.state, row.error) for row in repository.chunks("job-1")]
        assert found == [("completed", None), ("cancelled", None), ("cancelled", "late")]
        assert count_states(repository, "job-2") == {"pending": 3}
