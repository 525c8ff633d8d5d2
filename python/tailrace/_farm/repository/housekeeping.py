"""What is to be removed, and what is wrong."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, func, or_, select

from .batch import delete_jobs
from .rows import CHUNK_STATES, FINAL_JOB_STATES, JOB_STATES
from .tables import chunks, events, jobs, predecessors, repository

_SLICE = 5000
"""How many events are removed at once."""


def jobs_to_prune(connection: Connection, before: float) -> list[str]:
    """Return the ids of the jobs that were finished before a time and that no unfinished one comes after."""
    return list(connection.scalars(select(jobs.c.id).where(_may_go(before)).order_by(jobs.c.place)))


def prune_job(connection: Connection, job_id: str, before: float) -> bool:
    """Delete the job unless it has begun anew meanwhile; return whether it went."""
    if connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id, _may_go(before)).with_for_update()) is None:
        return False
    delete_jobs(connection, [job_id])
    return True


def _may_go(before: float) -> ColumnElement[bool]:
    later = jobs.alias("later")
    awaited = exists().where(
        predecessors.c.after_id == jobs.c.id,
        predecessors.c.job_id == later.c.id,
        later.c.state.not_in(FINAL_JOB_STATES),
    )
    return and_(jobs.c.state.in_(FINAL_JOB_STATES), jobs.c.finished_at < before, ~awaited)


def last_event_to_prune(connection: Connection, before: float | None, up_to: int | None) -> int:
    """Return the highest id of the events from before a time or up to an id, 0 if there is none."""
    last = connection.scalar(select(func.max(events.c.id)).where(events.c.id <= up_to)) if up_to is not None else None
    if before is not None:
        # By the first that stays: times that go back, as clocks do, leave no holes.
        first = select(events.c.id).where(events.c.time >= before).order_by(events.c.id).limit(1)
        kept = connection.scalar(first)
        older = select(func.max(events.c.id))
        if kept is not None:
            older = older.where(events.c.id < kept)
        last = max(last or 0, connection.scalar(older) or 0)
    return last or 0


def prune_events(connection: Connection, up_to: int) -> tuple[int, int]:
    """Delete some of the events up to an id; return how many, and the id of the last of them (0 if there was none)."""
    oldest = select(events.c.id).where(events.c.id <= up_to).order_by(events.c.id)
    ids = list(connection.scalars(oldest.limit(_SLICE)))
    if ids:
        connection.execute(delete(events).where(events.c.id <= ids[-1]))
        connection.execute(repository.update().values(pruned_events=ids[-1]))
    return len(ids), ids[-1] if ids else 0


def contradictions(connection: Connection) -> list[str]:
    """Return what in the tables contradicts itself, a line for each."""
    return [*_wrong_states(connection), *_wrong_counts(connection), *_wrong_numbers(connection)]


def _wrong_states(connection: Connection) -> list[str]:
    found = [
        f"job {job_id} is in an unknown state: {state}"
        for job_id, state in connection.execute(select(jobs.c.id, jobs.c.state).where(jobs.c.state.not_in(JOB_STATES)))
    ]
    unknown = select(chunks.c.job_id, chunks.c.chunk_id, chunks.c.state).where(chunks.c.state.not_in(CHUNK_STATES))
    found += [
        f"chunk {chunk_id} of job {job_id} is in an unknown state: {state}"
        for job_id, chunk_id, state in connection.execute(unknown)
    ]
    running = (
        select(jobs.c.id, jobs.c.state, func.count())
        .join(chunks, chunks.c.job_id == jobs.c.id)
        .where(jobs.c.state.in_(FINAL_JOB_STATES), chunks.c.state == "running")
        .group_by(jobs.c.id, jobs.c.state)
    )
    found += [
        f"job {job_id} is {state}, and {count} of its chunks are running"
        for job_id, state, count in connection.execute(running)
    ]
    return found


def _wrong_counts(connection: Connection) -> list[str]:
    counted = {
        "total_chunks": func.count(chunks.c.chunk_id),
        **{
            f"{state}_chunks": func.count(case((chunks.c.state == state, 1)))
            for state in ("completed", "failed", "skipped")
        },
    }
    query = (
        select(jobs.c.id, *[column for name, count in counted.items() for column in (jobs.c[name], count)])
        .outerjoin(chunks, chunks.c.job_id == jobs.c.id)
        .group_by(jobs.c.place, jobs.c.id, *[jobs.c[name] for name in counted])
        .having(or_(*[jobs.c[name] != count for name, count in counted.items()]))
    )
    return [
        f"job {row[0]}: {name} is {row[1 + 2 * number]}, and there are {row[2 + 2 * number]}"
        for row in connection.execute(query)
        for number, name in enumerate(counted)
        if row[1 + 2 * number] != row[2 + 2 * number]
    ]


def _wrong_numbers(connection: Connection) -> list[str]:
    kept = connection.execute(select(repository)).all()
    if len(kept) != 1:
        return [f"the table repository has {len(kept)} rows in place of one"]
    last_event = connection.scalar(select(func.max(events.c.id))) or 0
    last_place = connection.scalar(select(func.max(jobs.c.place))) or 0
    found = []
    if last_event > kept[0].last_event:
        found.append(f"there is an event {last_event} above the highest one, {kept[0].last_event}")
    if last_place > kept[0].last_place:
        found.append(f"there is a job in place {last_place} above the highest one, {kept[0].last_place}")
    return found
