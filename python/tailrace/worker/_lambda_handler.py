"""The worker as an AWS Lambda function, for the managed Python runtime: all output comes at the end."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Protocol

import anyio

from .._command.result import Capture
from .._errors import WorkerError
from .._local.run import run
from ._outcome import Outcome
from ._requests import ChunkRequest, RefusedError, check_token, read_request, to_request
from ._settings import WorkerSettings
from ._tasks import Search, TaskFinder

_LARGEST_ANSWER = 6 * 2**20 - 2**16
"""In bytes. Lambda takes 6 MiB, and calls the function failed for a byte more."""
_KEPT = Capture.head_tail(3 * 2**20, 3 * 2**20)
_MARGIN = 3.0
"""How long before Lambda would end the function its command is, in seconds: an answer still has to be made."""

_logger = logging.getLogger("tailrace.worker")


class LambdaContext(Protocol):
    """What tailrace needs of the context that Lambda passes."""

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function may go on."""
        ...


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Run the chunk that `event` asks for, and return `{"statusCode": ..., "body": <JSON>}`.

    The event is the request itself, or that of a function URL or an API gateway with the request as its body.
    Settings come from the environment: `TAILRACE_ALLOW_SPEC`, `TAILRACE_ALLOW_COMMAND` (both separated by spaces),
    `TAILRACE_WORK_DIR`, `TAILRACE_IGNORE_ASSETS` (1), and `TAILRACE_TOKEN` for requests over HTTP. The status is 200
    for a command that exited with 0, 500 for one that failed.
    """
    try:
        settings, finder = _worker()
        request = _read_event(event, settings)
        report = _run(request, finder, context)
        # Older clients look at nothing else.
        return _answer(200 if report["exitCode"] == 0 else 500, report)
    except RefusedError as refusal:
        return _answer(refusal.status, refusal.to_json())
    except Exception:
        _logger.exception("an attempt failed")
        failure = RefusedError(500, "the worker failed; its log says why")
        return _answer(failure.status, failure.to_json())


@cache
def _worker() -> tuple[WorkerSettings, TaskFinder]:
    commands = os.environ.get("TAILRACE_ALLOW_COMMAND")
    settings = WorkerSettings(
        os.environ.get("TAILRACE_ALLOW_SPEC", "").split(),
        # Set but blank is refused: it may well have been meant to allow nothing.
        allow_commands=None if commands is None else commands.split(),
        work_dir=os.environ.get("TAILRACE_WORK_DIR") or None,
        token=os.environ.get("TAILRACE_TOKEN"),
        ignore_assets=os.environ.get("TAILRACE_IGNORE_ASSETS") == "1",
    )
    # Nobody would delete what it kept: Lambda ends it without a word.
    finder = TaskFinder(settings, keeps_folders=False)
    # The commands that are run have no business with it. Not before: after a failure, the next call comes here again
    # and would let everybody in.
    os.environ.pop("TAILRACE_TOKEN", None)
    return settings, finder


def _read_event(event: Mapping[str, Any], settings: WorkerSettings) -> ChunkRequest:
    if "requestContext" not in event:
        return to_request(event)
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    if "origin" in headers:
        raise RefusedError(403, "requests from web pages are not answered")
    check_token(settings.token, headers.get("authorization", ""), headers.get("x-functions-key", ""))
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return read_request(body.encode())
    try:
        return read_request(base64.b64decode(body, validate=True))
    except binascii.Error:
        raise RefusedError(400, "the body should be Base64") from None


def _run(request: ChunkRequest, finder: TaskFinder, context: LambdaContext) -> dict[str, object]:
    task = anyio.run(partial(Search(finder).run, request, within=_remaining(context)))
    folder = task.make_folder()
    try:
        remaining = _remaining(context)
        timeout = min(remaining, request.timeout or remaining)
        idle = request.cpu_idle_timeout
        job = task.to_job(folder, timeout=timeout, cpu_idle_timeout=idle, slot=0, capture=_KEPT)
        try:
            result = run(job)
        except WorkerError as error:
            ended = error.result
            outcome = Outcome.of_error(error, truncated=ended is not None and ended.truncated)
            if ended is None:
                return _describe(outcome, b"", b"")
            return _describe(outcome, ended.stdout_bytes, ended.stderr_bytes)
        outcome = folder.publish(Outcome.of_result(result, truncated=result.truncated))
        return _describe(outcome, result.stdout_bytes, result.stderr_bytes)
    finally:
        folder.remove()


def _remaining(context: LambdaContext) -> float:
    remaining = context.get_remaining_time_in_millis() / 1000 - _MARGIN
    if remaining <= 0:
        raise RefusedError(503, "too little is left of the time that the function may take")
    return remaining


def _describe(outcome: Outcome, stdout: bytes, stderr: bytes) -> dict[str, object]:
    """Return the body of the answer, with as much of the output as it may have."""
    body = outcome.to_json() | _describe_output(stdout, stderr)
    size = _size(body)
    while size > _LARGEST_ANSWER:
        share = 0.95 * _LARGEST_ANSWER / size
        stdout, stderr = _shorten(stdout, share), _shorten(stderr, share)
        # What is not all there need not be exact.
        body |= {"output": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
        body = {key: value for key, value in body.items() if not key.endswith("Base64")} | {"truncated": True}
        size = _size(body)
    return body


def _describe_output(stdout: bytes, stderr: bytes) -> dict[str, object]:
    described: dict[str, object] = {}
    for key, stream, data in (("output", "stdout", stdout), ("stderr", "stderr", stderr)):
        described[key] = text = data.decode(errors="replace")
        if text.encode() != data:
            described[f"{stream}Base64"] = base64.b64encode(data).decode()
    return described


def _shorten(data: bytes, share: float) -> bytes:
    half = int(len(data) * share / 2)
    return data[:half] + data[len(data) - half :]


def _size(body: dict[str, object]) -> int:
    return len(json.dumps(_answer(200, body)))


def _answer(status: int, body: dict[str, object]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(body, ensure_ascii=False),
    }
