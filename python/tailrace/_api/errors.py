"""Exceptions as they go over the wire: a client raises what the server's farm raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from .._errors import (
    FarmServerError,
    JobNotFoundError,
    JobStateError,
    RepositoryError,
    RepositoryLostError,
    RepositoryUnavailableError,
    SpecError,
)


class ErrorFields(BaseModel):
    """What is told of an exception."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: str
    """The name of the class that a client raises."""
    message: str
    job_id: str | None = None
    state: str | None = None
    problems: tuple[str, ...] = ()


class ErrorAnswer(BaseModel):
    """The body of each answer that is no success."""

    model_config = ConfigDict(frozen=True)

    error: ErrorFields


STATUSES: Mapping[type[Exception], int] = {
    JobNotFoundError: 404,
    KeyError: 404,
    JobStateError: 409,
    SpecError: 422,
    TypeError: 422,
    ValueError: 422,
    RepositoryUnavailableError: 503,
    RepositoryLostError: 503,
    RepositoryError: 503,
}
"""What each class is answered with, and a class that is derived from one with what that is; all others are bugs."""


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that tells of an exception, None for one that nobody should be told of."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)


def describe(error: Exception) -> ErrorAnswer:
    """Return what is told of an exception that `status_of` knows."""
    kind = next(kind for kind in STATUSES if isinstance(error, kind))
    # A KeyError shows its message quoted.
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return ErrorAnswer(
        error=ErrorFields(
            type=kind.__name__,
            message=message,
            job_id=getattr(error, "job_id", None),
            state=getattr(error, "state", None),
            problems=tuple(getattr(error, "problems", ())),
        )
    )


_MAKERS: Mapping[str, Callable[[ErrorFields], Exception]] = {
    "JobNotFoundError": lambda told: JobNotFoundError(told.message, told.job_id or ""),
    "JobStateError": lambda told: JobStateError(told.message, told.job_id or "", told.state or ""),
    "SpecError": lambda told: SpecError(told.message, told.problems),
    **{
        kind.__name__: lambda told, kind=kind: kind(told.message)  # type: ignore[misc]
        for kind in (KeyError, TypeError, ValueError, RepositoryError, RepositoryLostError, RepositoryUnavailableError)
    },
}


def to_exception(status: int, body: bytes, where: str) -> Exception:
    """Return what a client raises for an answer that is no success, from the server at `where`."""
    try:
        told = ErrorAnswer.model_validate_json(body).error
    except ValidationError:
        return FarmServerError(f"{where} answered {status}, and not as a farm's server does", status)
    make = _MAKERS.get(told.type)
    return FarmServerError(f"{where}: {told.message}", status) if make is None else make(told)
