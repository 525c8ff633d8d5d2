"""The events of a farm, over connections that may be lost."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Self

import anyio
import httpx

from .._api.events import event_from_bytes
from .._api.sse import HEARTBEAT, MEDIA_TYPE, Message, MessageReader
from .._errors import FarmServerError
from .._farm.status import FarmEvent
from .._remote.http_client import leave_body
from .server_calls import ServerCalls

_log = logging.getLogger("tailrace")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
"""Before a lost connection is made again, in seconds; the pauses become longer."""
_SILENCE = 3 * HEARTBEAT
"""After so many seconds without a word the connection counts as lost."""


class EventStream(AsyncIterator[FarmEvent]):
    """Iterates over what happens. Where a connection is lost, it goes on with the next one after the last event."""

    def __init__(self, server: ServerCalls, after: int | None, job_id: str | None) -> None:
        """Begin after the event `after`, or now; with a job, there is nothing of others."""
        self._server = server
        self._last = after
        self._job_id = job_id
        self._client = server.new_client()
        self._body: AsyncIterator[bytes] | None = None
        self._reader = MessageReader()
        self._waiting: deque[FarmEvent] = deque()

    async def open(self) -> None:
        """Return when nothing that happens from now on is missed. Raises `FarmServerError`."""
        try:
            await self._connect()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Listen no more."""
        await self._disconnect()
        with anyio.CancelScope(shield=True):
            await self._client.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FarmEvent:
        pause, is_told = _FIRST_PAUSE, False
        while not self._waiting:
            try:
                if self._body is None:
                    await self._connect()
                    pause, is_told = _FIRST_PAUSE, False
                    # What is not durable may have been told to nobody meanwhile.
                    gap = FarmEvent(id=self._last or 0, job_id="", time=time.time(), event=None, gap=True)
                    self._waiting.appendleft(gap)
                    continue
                await self._read()
            except (httpx.HTTPError, FarmServerError) as error:
                await self._disconnect()
                if isinstance(error, FarmServerError) and error.status is not None:
                    raise
                if isinstance(error, FarmServerError) and not is_told:
                    _log.warning("%s; trying again", error)
                    is_told = True
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        return self._waiting.popleft()

    async def _connect(self) -> None:
        params = {"output": "true"}
        if self._last is not None:
            params["after"] = str(self._last)
        if self._job_id is not None:
            params["job"] = self._job_id
        request = self._client.build_request(
            "GET",
            self._server.address("/events"),
            params=params,
            headers={"Accept": MEDIA_TYPE},
            timeout=httpx.Timeout(_SILENCE, connect=10),
        )
        try:
            response = await self._client.send(request, stream=True)
            self._body = response.aiter_raw()
            if not response.is_success:
                self._server.check(response.status_code, b"".join([part async for part in self._body]))
            self._reader = MessageReader()
            # The first message tells from where on.
            await self._read()
        except httpx.HTTPError as error:
            raise self._server.unreachable(error) from error

    async def _read(self) -> None:
        """Take what comes next. Raises `httpx.HTTPError` where nothing more will."""
        assert self._body is not None  # noqa: S101
        piece = await anext(self._body, b"")
        if not piece:
            raise httpx.RemoteProtocolError("the server has ended the stream")
        for message in self._reader.feed(piece):
            self._take(message)

    def _take(self, message: Message) -> None:
        if message.id is not None and message.id.isdecimal():
            self._last = int(message.id)
        if message.data:
            self._waiting.append(event_from_bytes(message.data))

    async def _disconnect(self) -> None:
        body, self._body = self._body, None
        if body is None:
            return
        # Of one that has been read to its end there is nothing to leave.
        with contextlib.suppress(httpx.StreamError):
            await leave_body(body)
