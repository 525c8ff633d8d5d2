"""What a client asks for, one chunk of a job, and why it may be refused."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from typing import NamedTuple

from .._errors import SpecError
from .._spec.source import read_json

_END = 400
"""How many characters are left at either end of a message that is too long."""


class RefusedError(Exception):
    """Is answered with `status` and `message`, one short line that tells nothing of this machine."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        # Names in it come from requests, and may be as long as these.
        self.message = one_line(message)
        super().__init__(self.message)
        self.status = status
        self.headers = headers or {}

    def anew(self) -> RefusedError:
        """Return the same without what an exception gathers on its way: frames, with all that they hold."""
        return RefusedError(self.status, self.message, headers=self.headers)

    @property
    def kind(self) -> str:
        """What the answer calls it."""
        return "internal" if self.status == 500 else "refused"

    def to_json(self) -> dict[str, object]:
        """Return the body of the answer."""
        # Older clients look for the message beside the error.
        return {"error": {"kind": self.kind, "message": self.message}, "message": self.message}


def one_line(text: str) -> str:
    """Return a text that may be anybody's as one line that is not too long."""
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in _shorten(text))
    return _shorten(line)


def _shorten(text: str) -> str:
    return text if len(text) <= 2 * _END else f"{text[:_END]} ... {text[-_END:]}"


_HEARTBEAT = 15.0
"""The seconds between heartbeats when none are given: well below the minute after which most proxies give up."""
_SHORTEST_HEARTBEAT = 0.1
_LONGEST_HEARTBEAT = 60.0
_LONGEST_ID = 128
_LONGEST_PATH = 4096


class ChunkRequest(NamedTuple):
    """One chunk; `timeout`, `cpu_idle_timeout` and `heartbeat` are seconds."""

    job_path: str
    chunk_index: int
    attempt_id: str | None
    timeout: float | None
    cpu_idle_timeout: float | None
    heartbeat: float
    asks_for_heartbeats: bool


def read_request(body: bytes) -> ChunkRequest:
    """Return what a request's body asks for; other keys are ignored. Raises `RefusedError` for what is no request."""
    try:
        fields = read_json(body, "the request")
    except SpecError as error:
        raise RefusedError(400, str(error)) from None
    return to_request(fields)


def to_request(fields: object) -> ChunkRequest:
    """Do the same with JSON that has been read."""
    if not isinstance(fields, Mapping):
        raise RefusedError(400, "the request should be a JSON object")
    job_path = fields.get("jobPath")
    if not isinstance(job_path, str) or not job_path:
        raise RefusedError(400, "jobPath should be the address of a job specification, a text")
    if len(job_path) > _LONGEST_PATH:
        raise RefusedError(400, f"jobPath should have at most {_LONGEST_PATH} characters")
    if not _is_unicode(job_path):
        raise RefusedError(400, "jobPath should be Unicode: it has half of a surrogate pair")
    chunk_index = fields.get("chunkIndex")
    if not isinstance(chunk_index, int) or isinstance(chunk_index, bool):
        raise RefusedError(400, "chunkIndex should be the id of a chunk, a whole number")
    attempt_id = fields.get("attemptId")
    if attempt_id is not None and not (isinstance(attempt_id, str) and 0 < len(attempt_id) <= _LONGEST_ID):
        raise RefusedError(400, f"attemptId should be a text of 1 to {_LONGEST_ID} characters")
    heartbeat = _seconds(fields, "heartbeat") or _HEARTBEAT
    return ChunkRequest(
        job_path,
        chunk_index,
        attempt_id,
        _seconds(fields, "timeout"),
        _seconds(fields, "cpuIdleTimeout"),
        min(max(heartbeat, _SHORTEST_HEARTBEAT), _LONGEST_HEARTBEAT),
        asks_for_heartbeats=fields.get("heartbeat") is not None,
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _seconds(fields: Mapping[str, object], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    # A whole number may be too large to become a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9 or not math.isfinite(value):
        raise RefusedError(400, f"{name} should be a positive number of seconds, less than a billion")
    return float(value)


def check_token(token: str | None, authorization: str, functions_key: str) -> None:
    """Raise `RefusedError` unless one of the headers, `Authorization` or `x-functions-key`, has it, or none is needed.

    How long it takes tells nothing of where a wrong one differs.
    """
    if token is None:
        return
    scheme, _, bearer = authorization.partition(" ")
    is_right = hmac.compare_digest(bearer.strip().encode(), token.strip().encode()) and scheme.lower() == "bearer"
    if functions_key:
        # What clients of Azure Functions send.
        is_right |= hmac.compare_digest(functions_key.strip().encode(), token.strip().encode())
    if not is_right:
        what = "this is not the worker's token" if authorization or functions_key else "a bearer token is needed"
        raise RefusedError(
            401, f"{what}: job run takes it from TAILRACE_TOKEN or --token-env", headers={"WWW-Authenticate": "Bearer"}
        )
