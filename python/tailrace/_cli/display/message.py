"""What there is to say about an event."""

from __future__ import annotations

from typing import NamedTuple

from tailrace import (
    ChunkFailed,
    ChunkFinished,
    ChunkRetrying,
    ChunkSkipped,
    ChunkWarning,
    ErrorCategory,
    FrameFlagged,
    JobEvent,
    JobState,
    LogFailed,
    MergeStarted,
)

WITH_MESSAGE = (
    ChunkFinished,
    ChunkRetrying,
    ChunkFailed,
    ChunkSkipped,
    ChunkWarning,
    FrameFlagged,
    LogFailed,
    MergeStarted,
)
"""The events that there is a message on."""


class Message(NamedTuple):
    """One line about an event."""

    text: str
    is_trouble: bool
    """Whether something went wrong."""


def message_on(event: JobEvent, state: JobState) -> Message | None:
    """Return the message on an event that the state of the job knows of; None for those that are not `WITH_MESSAGE`."""
    match event:
        case ChunkFinished(chunk_id=chunk_id, result=result):
            progress = ", ".join([f"{state.done} of {state.total}", *frames_done(state)])
            return Message(f"chunk {chunk_id} done in {result.duration:.1f} s, {progress}", is_trouble=False)
        case ChunkRetrying(chunk_id=chunk_id, reason=reason, category=category, delay=delay):
            text = f"chunk {chunk_id} failed: {with_class(reason, category)}; next attempt in {delay:.1f} s"
            return Message(text, is_trouble=True)
        case ChunkFailed(error=error):
            return Message(with_class(str(error), error.category), is_trouble=True)
        case ChunkSkipped(chunk_id=chunk_id, because_of=failed):
            return Message(f"chunk {chunk_id} is not run: it depends on chunk {failed}, which failed", is_trouble=True)
        case ChunkWarning(chunk_id=chunk_id, message=message):
            return Message(f"chunk {chunk_id}: {message}", is_trouble=True)
        case FrameFlagged(chunk_id=chunk_id, frame=frame, path=path, reason=reason, fatal=fatal):
            what = "is damaged" if fatal else "looks odd"
            return Message(f"chunk {chunk_id}: frame {frame} {what}: {path} {reason}", is_trouble=True)
        case LogFailed(path=path, reason=reason):
            return Message(f"the log {path} cannot be written: {reason}; the job goes on without it", is_trouble=True)
        case MergeStarted():
            return Message("merging", is_trouble=False)
    return None


def frames_done(state: JobState) -> list[str]:
    """Return how many frames are done, or nothing where each chunk is one frame."""
    return [f"{state.frames_done} of {state.frames} frames"] if state.frames > state.total else []


def with_class(text: str, category: ErrorCategory | None) -> str:
    """Return what is told of a failure, with the class of its error if that is known."""
    return text if category is None else f"{text} [{category.replace('_', ' ')}]"
