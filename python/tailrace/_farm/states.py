"""What states jobs and chunks are in, and what may be done in each; docs/farm.md draws it."""

from __future__ import annotations

from collections.abc import Mapping

from .._errors import JobStateError
from .repository.rows import JobRow, JobStateName

_ALLOWED: Mapping[str, frozenset[JobStateName]] = {
    "paused": frozenset({"pending", "running", "paused"}),
    "paused at once": frozenset({"pending", "running", "merging", "paused"}),
    "resumed": frozenset({"pending", "paused"}),
    "cancelled": frozenset({"pending", "running", "paused", "merging"}),
    "retried": frozenset({"completed", "failed", "cancelled"}),
    "marked as done": frozenset({"pending", "paused", "failed", "cancelled"}),
    "edited": frozenset({"pending", "paused"}),
    "changed in priority": frozenset({"pending", "running", "paused", "merging"}),
    "deleted": frozenset({"pending", "paused", "completed", "failed", "cancelled"}),
}
"""From which states."""


def check_allowed(row: JobRow, what: str) -> None:
    """Raise `JobStateError` if the job's state does not allow what is to be done with it."""
    if row.state not in _ALLOWED[what]:
        *first, last = sorted(_ALLOWED[what])
        message = f"job {row.id} is {row.state} and cannot be {what}: it would have to be {', '.join(first)} or {last}"
        raise JobStateError(message, row.id, row.state)


def check_idle(row: JobRow, what: str, *, is_active: bool) -> None:
    """Raise `JobStateError` if what is to be done with the job cannot be as long as chunks of it run."""
    check_allowed(row, what)
    if is_active:
        message = f"job {row.id} is {row.state} and cannot be {what} while it runs: pause(now=True) ends its chunks"
        raise JobStateError(message, row.id, row.state)
