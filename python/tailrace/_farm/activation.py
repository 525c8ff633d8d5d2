"""Which of the jobs that wait take part in the slots."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .farm_job import FarmJob

_MOST_BESIDE = 16
"""So many more jobs than there are slots are active where those cannot fill them: they wait for a licence, say."""


def to_activate(waiting: Iterable[FarmJob], jobs: Iterable[FarmJob], *, slots: int, spare: int) -> list[FarmJob]:
    """Return those of the jobs that wait, and could begin, that are to take part now.

    `jobs` are all; `spare` is how many of the `slots` are free that no chunk of the active ones can have now.

    Those of equal priority take turns, as many as there are slots, the oldest first. Those of a lower one only come in
    where slots would be left idle, and so do more of them than there are slots. Those of which only the merge is left
    need no slot.
    """
    active = [job for job in jobs if job.active is not None and job.row.state != "paused"]
    merging = [job for job in active if not job.demand]
    active = [job for job in active if job.demand]
    # What is just beginning will take some of what is free.
    room = spare - sum(job.demand for job in active if job.active is not None and not job.active.has_begun)
    lowest = min((job.row.priority for job in active), default=math.inf)
    in_turn = sorted(waiting, key=_turn)
    chosen = [job for job in in_turn if not job.demand][: max(0, slots + _MOST_BESIDE - len(merging))]
    for job in [job for job in in_turn if job.demand]:
        before = [other for other in active if other.row.priority >= job.row.priority]
        takes_turns = sum(other.wants_more for other in before) < slots and job.row.priority >= lowest
        fills_slots = room > 0 and len(before) < slots + _MOST_BESIDE
        if not takes_turns and not fills_slots:
            break
        chosen.append(job)
        active.append(job)
        room -= job.demand
        lowest = min(lowest, job.row.priority)
    return chosen


def next_time(jobs: Iterable[FarmJob], now: float) -> float:
    """Return when the next job may begin that is not to begin before some time; infinity if there is none."""
    times = (job.row.not_before for job in jobs if job.row.state == "pending" and job.row.not_before is not None)
    return min((time for time in times if time > now), default=math.inf)


def _turn(job: FarmJob) -> tuple[int, int]:
    return -job.row.priority, job.row.place
