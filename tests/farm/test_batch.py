"""Changes that are gathered into few statements come to the same as one by one."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.farm_rows import added, changed, chunk, event
from tailrace._farm.repository.changes import Change, JobDeleted
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.sql_repository import SqlRepository

Step: TypeAlias = tuple[str, int, Any, Any]
JOBS = st.integers(1, 3)
CHUNK_IDS = st.integers(10, 12)
CHUNK_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(["pending", "running", "completed"]),
        "attempts": st.integers(0, 3),
        "error": st.none() | st.text(max_size=3),
    },
)
JOB_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(["running", "failed"]),
        "priority": st.integers(-1, 1),
        "tags": st.tuples(st.text(max_size=2)),
        "after": st.lists(st.sampled_from(["job-1", "job-2"]), max_size=2).map(tuple),
    },
)
STEPS = st.one_of(
    st.tuples(st.just("add"), JOBS, st.none(), st.none()),
    st.tuples(st.just("delete"), JOBS, st.none(), st.none()),
    st.tuples(st.just("event"), JOBS, st.none(), st.none()),
    st.tuples(st.just("job"), JOBS, st.none(), JOB_FIELDS),
    st.tuples(st.just("chunk"), JOBS, CHUNK_IDS, CHUNK_FIELDS),
    st.tuples(st.just("chunk"), JOBS, CHUNK_IDS, CHUNK_FIELDS),
)


def changes_of(steps: list[Step]) -> list[Change]:
    """Return what can be written of the steps: a job is added only where it is not."""
    there: set[int] = set()
    changes: list[Change] = []
    for number, (what, job, chunk_id, fields) in enumerate(steps):
        if what == "add" and job not in there:
            there.add(job)
            changes.append(added(job))
        elif what == "delete":
            there.discard(job)
            changes.append(JobDeleted(f"job-{job}"))
        elif what == "event":
            changes.append(event(1 + number, job=job))
        elif what == "job":
            changes.append(changed(job, **fields))
        elif what == "chunk":
            changes.append(chunk(job, chunk_id, **fields))
    return changes


def contents(repository: SqlRepository, batches: list[list[Change]]) -> object:
    repository.write([JobDeleted(f"job-{number}") for number in range(1, 4)])
    repository.prune(events_up_to=1000)
    for batch in batches:
        repository.write(batch)
    jobs = repository.jobs()
    return jobs, [repository.chunks(job.id) for job in jobs], repository.events(0).events


@pytest.fixture(scope="module")
def repository() -> SqlRepository:
    repository = SqlRepository.in_memory()
    repository.open(this_process())
    return repository


@given(steps=st.lists(STEPS, max_size=30), size=st.integers(1, 10))
def test_a_batch_comes_to_the_same_as_its_changes_one_by_one(
    repository: SqlRepository, steps: list[Step], size: int
) -> None:
    changes = changes_of(steps)
    one_by_one = contents(repository, [[change] for change in changes])
    assert contents(repository, [changes]) == one_by_one
    assert contents(repository, [changes[begin : begin + size] for begin in range(0, len(changes), size)]) == one_by_one
