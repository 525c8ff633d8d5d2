"""Answers to what a server does not do."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from .._api.errors import ErrorAnswer, ErrorFields

_LONGEST = 1000
"""How much of a message is told, in characters: what is wrong may come from the request."""


class RefusedError(Exception):
    """Is answered with a status and one line."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}

    def answer(self) -> Response:
        """Return the answer."""
        fields = ErrorFields(type="FarmServerError", message=one_line(str(self)))
        # There may be more of a body that is not worth reading.
        headers = {"Connection": "close", **self.headers}
        return json_answer(ErrorAnswer(error=fields), self.status, headers)


def json_answer(body: ErrorAnswer | bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    content = body if isinstance(body, bytes) else body.model_dump_json(by_alias=True, exclude_none=True)
    return Response(content, status, dict(headers or {}), media_type="application/json")


def one_line(text: str) -> str:
    """Return a text that may be anybody's as one line that is not too long."""
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:_LONGEST])
    return line if len(text) <= _LONGEST else f"{line}…"
