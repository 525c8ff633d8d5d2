"""What a chunk of a farm elsewhere wrote, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Self

from .._api.place import ATTEMPT_HEADER, ENDED_HEADER
from .._command.job import StreamName
from .server_calls import ServerCalls

_QUESTION = 20.0
"""How long one question for more waits, in seconds."""


class RemoteOutput(AsyncIterator[bytes]):
    """Iterates over a log. Each piece is asked for by itself, so that nothing has to be closed.

    Where it is followed, a server that is gone once it has answered is waited for; then it goes on at the same place.
    """

    def __init__(
        self,
        server: ServerCalls,
        job: str,
        chunk_id: int,
        stream: StreamName,
        *,
        attempt: int | None,
        offset: int,
        follows: bool,
    ) -> None:
        """Take where the job is asked for, which log, and from where on."""
        self._server = server
        self._job = job
        self._path = f"{job}/chunks/{chunk_id}/output/next"
        self._stream = stream
        self._attempt = attempt
        self._offset = offset
        self._follows = follows
        self._has_begun = False
        self._has_ended = False

    def __aiter__(self) -> Self:
        return self

    async def _is_patient(self) -> bool:
        """Return whether a server that does not answer is waited for. Raises `FarmServerError` if none ever did."""
        if self._follows and not self._has_begun:
            # What is asked for next may take long to be answered.
            await self._server.send("GET", self._job)
            self._has_begun = True
        return self._follows

    async def __anext__(self) -> bytes:
        while not self._has_ended:
            params: dict[str, str | int | float] = {"stream": self._stream, "offset": self._offset}
            if self._attempt is not None:
                params["attempt"] = self._attempt
            if self._follows:
                params["wait"] = _QUESTION
            ask = partial(self._server.send, "GET", self._path, params=params)
            response = await (self._server.until_answered(ask) if await self._is_patient() else ask())
            self._has_ended = response.headers.get(ENDED_HEADER) == "true"
            attempt = int(response.headers.get(ATTEMPT_HEADER, 0))
            # 0: it has not begun.
            self._attempt = attempt or self._attempt
            if response.content:
                self._offset += len(response.content)
                return response.content
        raise StopAsyncIteration
