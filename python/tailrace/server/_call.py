"""One request for something in the API, read and checked before anything is done."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from .._spec.validation import to_spec_error
from ._queries import LISTS
from ._refusal import RefusedError, one_line

_Model = TypeVar("_Model", bound=BaseModel)

_FRAME = re.compile(r"-?\d{1,10}", re.ASCII)
_MOST_DIGITS = 20
"""Of a number; Python itself refuses to read some thousand of them."""


class Call:
    """What is asked for."""

    def __init__(self, request: Request, *, max_body: int, body_timeout: float) -> None:
        """Take the request; `max_body` are bytes, `body_timeout` seconds."""
        self.request = request
        self._max_body = max_body
        self._body_timeout = body_timeout

    @property
    def job_id(self) -> str:
        """That in the path."""
        return str(self.request.path_params["job_id"])

    @property
    def chunk_id(self) -> int:
        """That in the path. Raises `ValueError` for what is none."""
        told = str(self.request.path_params["chunk_id"])
        if not (told.isascii() and told.isdecimal()) or len(told) > _MOST_DIGITS:
            raise ValueError(f"{one_line(told)} is not the number of a chunk")
        return int(told)

    @property
    def frame(self) -> int:
        """That in the path. Raises `ValueError` for what is no number."""
        frame = str(self.request.path_params["frame"])
        if not _FRAME.fullmatch(frame):
            raise ValueError(f"a frame has a number, not {frame!r}")
        return int(frame)

    def query(self, model: type[_Model]) -> _Model:
        """Return what stands behind the question mark. Raises `ValueError` for what cannot be used."""
        fields: dict[str, Any] = dict(self.request.query_params)
        for name in LISTS:
            if name in fields:
                fields[name] = [part for part in fields[name].split(",") if part]
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise ValueError(str(to_spec_error("the address", error))) from None

    async def body(self, model: type[_Model]) -> _Model:
        """Return what was sent; without anything it is an empty object.

        Raises `SpecError` or `ValueError` for what cannot be used, `RefusedError` for what is not read at all.
        """
        content = await self._read()
        if content and self.request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise RefusedError(415, "the body should be application/json")
        try:
            # A job of a hundred thousand chunks takes a while.
            return await anyio.to_thread.run_sync(model.model_validate_json, content or b"{}")
        except ValidationError as error:
            found = to_spec_error("the request", error)
            raise found if "spec" in model.model_fields else ValueError(str(found)) from None

    async def _read(self) -> bytes:
        limit = self._max_body
        too_large = RefusedError(413, f"the request is larger than {limit} bytes")
        length = self.request.headers.get("content-length", "")
        if length.isdecimal() and (len(length) > _MOST_DIGITS or int(length) > limit):
            raise too_large
        body = bytearray()
        try:
            with anyio.fail_after(self._body_timeout):
                async for part in self.request.stream():
                    body += part
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise RefusedError(408, f"the request did not come within {self._body_timeout:g} s") from None
        except ClientDisconnect:
            raise RefusedError(400, "the request was not whole") from None
        return bytes(body)
