"""What a chunk of a farm elsewhere wrote, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from .._api.place import ATTEMPT_HEADER, ENDED_HEADER
from .._command.job import StreamName
from .server_calls import ServerCalls

_QUESTION = 20.0
"""How long one question for more waits, in seconds."""


class RemoteOutput(AsyncIterator[bytes]):
    """Iterates over a log. Each piece is asked for by itself: nothing has to be closed, and a restart is no loss."""

    def __init__(
        self, server: ServerCalls, path: str, stream: StreamName, *, attempt: int | None, offset: int, follows: bool
    ) -> None:
        """Take where it is asked for, and from where on."""
        self._server = server
        self._path = path
        self._stream = stream
        self._attempt = attempt
        self._offset = offset
        self._follows = follows
        self._has_ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._has_ended:
            params: dict[str, str | int | float] = {"stream": self._stream, "offset": self._offset}
            if self._attempt is not None:
                params["attempt"] = self._attempt
            if self._follows:
                params["wait"] = _QUESTION
            response = await self._server.send("GET", self._path, params=params)
            self._has_ended = response.headers.get(ENDED_HEADER) == "true"
            attempt = int(response.headers.get(ATTEMPT_HEADER, 0))
            # 0: it has not begun.
            self._attempt = attempt or self._attempt
            if response.content:
                self._offset += len(response.content)
                return response.content
        raise StopAsyncIteration
