"""How an attempt ended, as clients are told."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .._command.ending import NO_STATUS, describe_error
from .._command.result import ResourceUsage, WorkerResult
from .._errors import WorkerError, WorkerSpawnError, WorkerTimeoutError

ErrorKind: TypeAlias = Literal["timeout-total", "timeout-idle", "timeout-cpu", "spawn", "refused", "internal"]

_TIMEOUTS: dict[str, ErrorKind] = {"total": "timeout-total", "idle": "timeout-idle", "cpu": "timeout-cpu"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """An exit code, or an error with the exit code that goes with it."""

    exit_code: int
    duration: float = 0.0
    usage: ResourceUsage | None = None
    truncated: bool = False
    error_kind: ErrorKind | None = None
    message: str = ""
    errno_name: str | None = None

    @classmethod
    def of_result(cls, result: WorkerResult, *, truncated: bool) -> Outcome:
        """Return the outcome of a command that ended by itself."""
        return cls(result.exit_code, result.duration, result.usage, truncated)

    @classmethod
    def of_error(cls, error: WorkerError, *, truncated: bool = False) -> Outcome:
        """Return the outcome of a command that could not be carried through."""
        kind: ErrorKind = "internal"
        if isinstance(error, WorkerTimeoutError):
            kind = _TIMEOUTS[error.kind]
        elif isinstance(error, WorkerSpawnError):
            kind = "spawn"
        message = describe_error(error)
        result = error.result
        if result is None:
            name = errno.errorcode.get(error.errno or 0) if isinstance(error, WorkerSpawnError) else None
            return cls(NO_STATUS, error_kind=kind, message=message, errno_name=name)
        # Who looks at the exit code alone must not see success beside an error.
        return cls(result.exit_code or NO_STATUS, result.duration, result.usage, truncated, kind, message)

    @classmethod
    def internal(cls, message: str, ended: Outcome | None = None) -> Outcome:
        """Return that something but the command failed, perhaps after it had `ended`."""
        if ended is None:
            return cls(NO_STATUS, error_kind="internal", message=message)
        return cls(NO_STATUS, ended.duration, ended.usage, ended.truncated, "internal", message)

    def to_json(self) -> dict[str, object]:
        """Return the JSON that ends every kind of answer."""
        usage = self.usage
        error = {"kind": self.error_kind, "message": self.message}
        if self.errno_name is not None:
            error["errno"] = self.errno_name
        return {
            "exitCode": self.exit_code,
            "duration": self.duration,
            # For older clients, as is the message beside the error.
            "durationMs": round(self.duration * 1000),
            "usage": None
            if usage is None
            else {
                "cpuUser": usage.cpu_user,
                "cpuSystem": usage.cpu_system,
                "maxRss": usage.max_rss,
                "treeMaxRss": usage.tree_max_rss,
            },
            "truncated": self.truncated,
            "error": None if self.error_kind is None else error,
            **({} if self.error_kind is None else {"message": self.message}),
        }
