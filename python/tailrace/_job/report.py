"""What a job leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._command.result import WorkerResult


@dataclass(frozen=True, slots=True)
class JobReport:
    """What became of a job's chunks, by id in the order of the specification; those done before are left out."""

    results: Mapping[int, WorkerResult]
    """The result of each chunk's last attempt."""
    attempts: Mapping[int, int]
    """How often each chunk was started."""
    merge_result: WorkerResult | None
    """The result of the merge command; None without a merge, and where a stitcher did it."""
    duration: float
    """Seconds from the start of the job to its end, the merge included."""
    run_id: str
    """That of the run's events; see `JobEvent.run_id`."""
    skipped: Mapping[int, int] = field(default_factory=dict)
    """The chunks that were not run since they depend on a failed one, each with that one."""
