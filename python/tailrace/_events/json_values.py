"""Results and exceptions as JSON."""

from __future__ import annotations

import asyncio
from typing import Literal, get_args

from .._command.memory_report import MemoryReport, ProcessMemory
from .._command.result import ResourceUsage, WorkerResult
from .._errors import (
    ChunkFailedError,
    ErrorCategory,
    JobLockedError,
    MergeFailedError,
    SpecError,
    StitchError,
    TailraceError,
    WorkerBusyError,
    WorkerError,
    WorkerLostError,
    WorkerRemoteError,
    WorkerSpawnError,
    WorkerTimeoutError,
)
from .json_fields import JsonFields

_CATEGORIES: tuple[ErrorCategory, ...] = get_args(ErrorCategory)
_LIMITS: tuple[Literal["total", "idle", "cpu", "progress"], ...] = ("total", "idle", "cpu", "progress")


class LoggedError(TailraceError):
    """An exception of a job that is known by its name and message alone; `event_from_json` returns it in events.

    `type_name` is the name of its class. It stands for all exceptions but tailrace's own, a cancellation too.
    """

    type_name: str

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(message)
        self.type_name = type_name


def plain_result(result: WorkerResult) -> dict[str, object]:
    """Return everything but the output, which has had events of its own."""
    usage = result.usage
    return {
        "exit_code": result.exit_code,
        "duration": result.duration,
        "cpu_user": None if usage is None else usage.cpu_user,
        "cpu_system": None if usage is None else usage.cpu_system,
        "max_rss": None if usage is None else usage.max_rss,
        "tree_max_rss": None if usage is None else usage.tree_max_rss,
        "truncated": result.truncated,
        "lingered": result.lingered,
        "killed_for_memory": None if result.killed_for_memory is None else _plain_memory(result.killed_for_memory),
        "node": result.node,
    }


def result_from(fields: JsonFields) -> WorkerResult:
    """Return the result that was described so, without output."""
    usage = None
    if fields.has("cpu_user"):
        usage = ResourceUsage(
            fields.get("cpu_user", float),
            fields.get("cpu_system", float),
            fields.optional("max_rss", int),
            fields.optional("tree_max_rss", int),
        )
    return WorkerResult(
        fields.get("exit_code", int),
        duration=fields.get("duration", float),
        usage=usage,
        truncated=fields.get("truncated", bool),
        lingered=fields.get("lingered", bool),
        killed_for_memory=_memory_from(fields.object("killed_for_memory")) if fields.has("killed_for_memory") else None,
        node=fields.optional("node", str) if fields.has("node") else None,
    )


def _plain_memory(report: MemoryReport) -> dict[str, object]:
    return {
        "kernel_killed": report.kernel_killed,
        "available": report.available,
        "total": report.total,
        "processes": [process._asdict() for process in report.processes],
        "machine_processes": [process._asdict() for process in report.machine_processes],
        "age": report.age,
    }


def _memory_from(fields: JsonFields) -> MemoryReport:
    return MemoryReport(
        fields.get("kernel_killed", bool),
        fields.optional("available", int),
        fields.optional("total", int),
        _processes_from(fields, "processes"),
        _processes_from(fields, "machine_processes"),
        fields.optional("age", float),
    )


def _processes_from(fields: JsonFields, key: str) -> tuple[ProcessMemory, ...]:
    return tuple(
        ProcessMemory(each.get("pid", int), each.get("name", str), each.get("memory", int))
        for each in fields.objects(key)
    )


def type_name_of(error: BaseException) -> str:
    """Return the name of an exception's class, that of the original one for a `LoggedError`.

    Of a class that is derived from one of tailrace's it is that one's, so that it is read back as what it is.
    """
    if isinstance(error, LoggedError):
        return error.type_name
    own = [kind for kind in type(error).__mro__ if kind.__module__ == TailraceError.__module__]
    return type(error).__name__ if not own or own[0] is TailraceError else own[0].__name__


def message_of(error: BaseException) -> str:
    """Return what an error says; of a cancellation only that it is one: the libraries tell of their own insides."""
    # Trio need not be there.
    is_of_trio = (type(error).__module__.partition(".")[0], type(error).__name__) == ("trio", "Cancelled")
    return "cancelled" if is_of_trio or isinstance(error, asyncio.CancelledError) else str(error)


def plain_error(error: BaseException) -> dict[str, object]:
    """Return the name of its class, its message, and what else tailrace's own tell; of a failure also the cause."""
    description: dict[str, object] = {"type": type_name_of(error), "message": message_of(error)}
    match error:
        case ChunkFailedError():
            description |= {"chunk_id": error.chunk_id, "attempts": error.attempts, "category": error.category}
        case WorkerSpawnError():
            description["errno"] = error.errno
        case WorkerTimeoutError():
            description |= {"kind": error.kind, "no_answer": error.no_answer}
        case WorkerBusyError():
            description["retry_after"] = error.retry_after
        case WorkerRemoteError():
            description["nothing_began"] = error.nothing_began
        case WorkerLostError():
            description |= {"node": error.node, "may_run": error.may_run}
        case JobLockedError():
            description["pid"] = error.pid
    if isinstance(error, WorkerError | ChunkFailedError | MergeFailedError | StitchError) and error.result is not None:
        description["result"] = plain_result(error.result)
    if isinstance(error, ChunkFailedError | MergeFailedError) and error.__cause__ is not None:
        description["cause"] = plain_error(error.__cause__)
    return description


def error_from(fields: JsonFields) -> TailraceError:
    """Return an exception that was described so: one of the same class if that is tailrace's, else a `LoggedError`."""
    name, message = fields.get("type", str), fields.get("message", str)
    error: TailraceError
    match name:
        case "ChunkFailedError":
            error = ChunkFailedError(
                message,
                chunk_id=fields.get("chunk_id", int),
                attempts=fields.get("attempts", int),
                result=_result_in(fields),
                category=category_from(fields),
            )
        case "MergeFailedError":
            error = MergeFailedError(message, _result_in(fields))
        case "StitchError":
            error = StitchError(message, _result_in(fields))
        case "WorkerError":
            error = WorkerError(message, _result_in(fields))
        case "WorkerSpawnError":
            error = WorkerSpawnError(fields.get("errno", int), message)
        case "WorkerTimeoutError":
            result, kind = result_from(fields.object("result")), fields.one_of("kind", _LIMITS)
            error = WorkerTimeoutError(message, result, kind, no_answer=fields.get("no_answer", bool))
        case "WorkerBusyError":
            error = WorkerBusyError(message, retry_after=fields.optional("retry_after", float))
        case "WorkerRemoteError":
            nothing_began = fields.get("nothing_began", bool)
            error = WorkerRemoteError(message, _result_in(fields), nothing_began=nothing_began)
        case "WorkerLostError":
            node, may_run = fields.optional("node", str), fields.get("may_run", bool)
            error = WorkerLostError(message, _result_in(fields), node=node, may_run=may_run)
        case "JobLockedError":
            error = JobLockedError(message, fields.optional("pid", int))
        case "SpecError" | "TailraceError":
            error = {"SpecError": SpecError, "TailraceError": TailraceError}[name](message)
        case _:
            error = LoggedError(name, message)
    if fields.has("cause"):
        error.__cause__ = error_from(fields.object("cause"))
    return error


def category_from(fields: JsonFields) -> ErrorCategory | None:
    """Return the `category` of an error, None for null."""
    return None if fields.value("category") is None else fields.one_of("category", _CATEGORIES)


def _result_in(fields: JsonFields) -> WorkerResult | None:
    return result_from(fields.object("result")) if fields.has("result") else None
