"""What Ray raises, and what that says of the command."""

from __future__ import annotations

from ..._command.ending import describe_error
from .words import Lost

_LONGEST = 300
"""How much of what Ray says gets into a message, in characters."""

_REASONS = {
    "OutOfMemoryError": "Ray ended its worker, since the node's memory was full",
    "WorkerCrashedError": "its worker died",
    "LocalRayletDiedError": "the node died",
    "NodeDiedError": "the node died",
    "ObjectStoreFullError": "the object store was full",
    "OutOfDiskError": "the disk that the object store spills to was full",
    "ObjectLostError": "output that it had sent was lost",
    # It had not begun, or has seen to the end of its command first; see `run_command`.
    "TaskCancelledError": "its task was cancelled",
}
"""By the names of `ray.exceptions`, where Ray's own words say no more; the first that an error is one of."""

_NOTHING_RUNS = ("TaskCancelledError", "RuntimeEnvSetupError", "TaskUnschedulableError")


def to_loss(error: BaseException) -> Lost:
    """Return what was lost where this was raised in place of an item."""
    # Of what a task raised, the kind is in the cause, or among the bases of a class made for it.
    kinds = {base.__name__ for raised in (error, getattr(error, "cause", None)) for base in type(raised).__mro__}
    told = next((reason for name, reason in _REASONS.items() if name in kinds), None)
    return Lost(told or f"Ray failed: {excerpt(error)}", is_seen_ended=not kinds.isdisjoint(_NOTHING_RUNS))


def excerpt(error: BaseException) -> str:
    """Return what an error of Ray's says in one line that is not too long."""
    # Ray's messages have paragraphs, of which the first sentence says what there was.
    text = describe_error(error)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
