"""What a manager keeps of a job that has not ended."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._scheduling.packer import Lane
from .repository.changes import JobFields
from .repository.rows import JobRow
from .settings import JobSettings

if TYPE_CHECKING:
    from .active_job import ActiveJob


@dataclass(slots=True, eq=False)
class FarmJob:
    """A job that waits, runs or is paused."""

    row: JobRow
    settings: JobSettings
    folder_key: str
    """Its folder by the name that has no links in it."""
    lane: Lane = field(default_factory=Lane)
    active: ActiveJob | None = None
    """What runs it, from when its first chunk may start until its last has ended."""
    turn: int = 0
    """Rises each time one of its chunks gets a slot."""
    is_put_off: bool = False
    """Whether it waits a while before it takes part again, since another run has its files."""
    delay: float = 0.0
    """How long it was put off last, in seconds."""

    @classmethod
    def of(cls, row: JobRow) -> FarmJob:
        """Return the job of a row. Blocks as long as its folder cannot be looked at."""
        return cls(row, JobSettings.model_validate_json(row.settings), os.path.realpath(row.folder or "."))

    def __post_init__(self) -> None:
        self._rank()

    @property
    def has_begun(self) -> bool:
        """Whether it has run since it was submitted or retried: what it comes after is behind it then."""
        return self.row.started_at is not None

    @property
    def demand(self) -> int:
        """How many of its chunks may run at a time."""
        row = self.row
        left = row.total_chunks - row.completed_chunks - row.failed_chunks - row.skipped_chunks
        return left if row.max_running is None else min(left, row.max_running)

    @property
    def wants_more(self) -> bool:
        """Whether it has chunks that would begin if there were slots for them, as far as can be told."""
        return self.demand > self.lane.out

    def change(self, fields: JobFields) -> None:
        """Take other values for fields of its row."""
        self.row = self.row._replace(**fields)
        self._rank()

    def take_turn(self, turn: int) -> None:
        """Have it come after those of the same priority that had theirs longer ago."""
        self.turn = turn
        self._rank()

    def _rank(self) -> None:
        # By priority, then whose last chunk began the longest ago, the oldest first.
        self.lane.rank = (-self.row.priority, self.turn, self.row.place)
