"""How much a farm keeps of what has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from .._checks import check_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a farm keeps of jobs that have ended; None is no limit. Raises `TypeError` or `ValueError` for none."""

    age: float | timedelta | None = None
    """How long jobs are kept that ended, with their logs, and events that happened, in seconds."""
    log_bytes: int | None = None
    """How much room the logs of jobs that ended may take: of more, the jobs that ended first go with theirs."""

    def __post_init__(self) -> None:
        if self.seconds is not None:
            check_times(retention=self.seconds)
        if self.log_bytes is not None and (isinstance(self.log_bytes, bool) or not isinstance(self.log_bytes, int)):
            raise TypeError(f"log_bytes must be a whole number of bytes, not {self.log_bytes!r}")
        if self.log_bytes is not None and self.log_bytes < 0:
            raise ValueError(f"log_bytes must be a number of bytes, 0 or more: {self.log_bytes}")

    @classmethod
    def of(cls, given: RetentionLike | None) -> Retention:
        """Return that which is meant; a time alone is an age."""
        return given if isinstance(given, Retention) else cls(age=given)

    @property
    def seconds(self) -> float | None:
        """The age."""
        return self.age.total_seconds() if isinstance(self.age, timedelta) else self.age


RetentionLike: TypeAlias = "Retention | float | timedelta"
