"""What an AWS Lambda function answers, as it comes through boto3."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from .._command.result import WorkerResult
from .._wire.answer import RemoteAnswer, RemoteFault, parse_object
from .._wire.frames import FrameKind

if TYPE_CHECKING:
    from .lambda_client import LambdaCall

_HTTP_DELIMITER = bytes(8)
"""Ends the JSON with status and headers that comes first where an HTTP server answers through Lambda.

AWS's runtimes and the Lambda Web Adapter write it: HttpResponseStream.js of aws-lambda-nodejs-runtime-interface-client.
"""
_LONGEST_HEAD = 64 * 1024
_FRAME_STARTS = frozenset(bytes([kind]) for kind in FrameKind)

_LIMITS = {
    "buffered": "Lambda takes answers up to 6 MB: write less, or use streaming=True with a function that streams",
    "streamed": "Lambda takes streams up to 200 MB",
}


def receive_payload(
    answer: RemoteAnswer, response: Mapping[str, Any], payload: bytes, *, trusts_2xx: bool
) -> WorkerResult:
    """Return the result in the response of `Invoke`; `payload` is what its payload says."""
    if response.get("FunctionError"):
        # It comes with HTTP status 200.
        raise answer.failure(_describe_function_error(payload) + _describe_log(response))
    return _receive_body(answer, payload, trusts_2xx=trusts_2xx)


class LambdaStream:
    """The answer to `InvokeWithResponseStream`; `invoke` makes the call."""

    def __init__(self, call: LambdaCall, invoke: Callable[[], dict[str, Any]], *, trusts_2xx: bool) -> None:
        self._call = call
        self._invoke = invoke
        self._trusts_2xx = trusts_2xx
        self._events: Iterator[dict[str, Any]] = iter(())
        self._unread = b""
        self._is_complete = False

    async def receive(self, answer: RemoteAnswer, *, silence: float) -> WorkerResult:
        """Call the callbacks while frames come, and return the result; `silence` is as in `receive_frames`.

        A function that does not stream frames has its answer taken as that of `Invoke`.
        """
        try:
            head = await answer.within_limit(self._begin)
            answer.begin()
            if head.get("statusCode", 200) // 100 != 2:
                body = await answer.within_limit(self._read_all)
                return answer.receive_failure(head["statusCode"], "", body, headers=_headers_in(head))
            if self._unread[:1] not in _FRAME_STARTS:
                body = await answer.take_in(self._read_all)
                if "statusCode" in head:
                    return answer.receive_json(body, is_success=self._trusts_2xx)
                return _receive_body(answer, body, trusts_2xx=self._trusts_2xx)
            result = await answer.receive_frames(self._read, silence=silence)
            # Only now it is known that nothing has been cut off.
            await answer.take_in(partial(self._finish, silence))
            return result
        finally:
            # Also after the last event: there may be more of the HTTP answer, so nobody can use its connection again.
            self._call.end()

    async def _begin(self) -> Mapping[str, Any]:
        """Make the call; return what the head of an HTTP answer says, if there is one."""
        self._events = iter((await self._call.run(self._invoke))["EventStream"])
        self._unread = await self._read()
        if self._unread[:1] != b"{":
            return {}
        while _HTTP_DELIMITER not in self._unread and len(self._unread) < _LONGEST_HEAD:
            more = await self._read_next()
            if not more:
                return {}
            self._unread += more
        text, delimiter, rest = self._unread.partition(_HTTP_DELIMITER)
        if not delimiter:
            return {}
        head = parse_object(text, "the head of the answer")
        if not isinstance(head.get("statusCode", 200), int):
            raise RemoteFault(f"the head of the answer has statusCode {head['statusCode']!r}")
        self._unread = rest or await self._read_next()
        return head

    async def _read(self) -> bytes:
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        return await self._read_next()

    async def _read_next(self) -> bytes:
        """Return what comes next, or nothing when the stream is complete."""
        while not self._is_complete:
            event = await self._call.run(partial(next, self._events, None))
            if event is None:
                raise RemoteFault("the stream ended without Lambda saying that it is complete")
            if "InvokeComplete" in event:
                self._is_complete = True
                _check_completion(event["InvokeComplete"])
            elif payload := event.get("PayloadChunk", {}).get("Payload"):
                return bytes(payload)
        return b""

    async def _read_all(self) -> bytes:
        body = bytearray()
        while part := await self._read():
            body += part
        return bytes(body)

    async def _finish(self, silence: float) -> None:
        with anyio.move_on_after(silence) as scope:
            await self._read_all()
        if scope.cancelled_caught:
            raise RemoteFault(f"the stream was not completed within {silence:g} s after the result")


def _receive_body(answer: RemoteAnswer, payload: bytes, *, trusts_2xx: bool) -> WorkerResult:
    """Return the result in an answer that is one, or that of an HTTP server as JSON."""
    try:
        envelope = parse_object(payload, "the answer")
    except RemoteFault as fault:
        raise answer.failure(str(fault)) from fault.__cause__
    if "statusCode" not in envelope:
        return answer.receive_json(payload)
    body, status = envelope.get("body"), envelope["statusCode"]
    text: str | bytes = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    if envelope.get("isBase64Encoded") is True:
        try:
            text = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise answer.failure("the body of the answer is not Base64") from error
    if not isinstance(status, int) or status // 100 != 2:
        return answer.receive_failure(status, "", text, headers=_headers_in(envelope))
    return answer.receive_json(text, is_success=trusts_2xx)


def _headers_in(head: Mapping[str, Any]) -> Mapping[str, str]:
    headers = head.get("headers")
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _describe_function_error(payload: bytes) -> str:
    try:
        error = parse_object(payload, "the error")
    except RemoteFault:
        error = {}
    kind, message = error.get("errorType"), error.get("errorMessage")
    words = ": ".join(str(word) for word in (kind, message) if word) or payload.decode(errors="replace")
    return f"the function failed: {words}{_describe_limit(str(kind), 'buffered')}"


def _check_completion(completion: Mapping[str, Any]) -> None:
    code = completion.get("ErrorCode")
    if code:
        words = ": ".join(str(word) for word in (code, completion.get("ErrorDetails")) if word)
        limit = _describe_limit(str(code), "streamed")
        raise RemoteFault(f"the function failed: {words}{limit}{_describe_log(completion)}")


def _describe_limit(code: str, kind: str) -> str:
    return f" ({_LIMITS[kind]})" if "ResponseSizeTooLarge" in code else ""


def _describe_log(response: Mapping[str, Any]) -> str:
    """Return the end of the function's log, which Lambda sends in Base64, as words to follow a message."""
    try:
        log = base64.b64decode(response.get("LogResult") or "").decode(errors="replace").strip()
    except ValueError:
        return ""
    return f"\nThe function's log ends with:\n{log}" if log else ""
