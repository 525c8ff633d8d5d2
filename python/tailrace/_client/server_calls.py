"""Requests to the server of a farm."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
from pydantic import BaseModel, ValidationError

from .._api.errors import to_exception
from .._api.place import API
from .._concurrency.kept_open import KeptOpen
from .._errors import FarmServerError
from .._remote.http_client import network_reason
from .._spec.source import has_user, is_url, redact_url

_T = TypeVar("_T")
_Answer = TypeVar("_Answer", bound=BaseModel)

_log = logging.getLogger("tailrace")

_CONNECTING = 10.0
_KEPT_FOR = 2.0
"""How long an idle connection is used again, in seconds."""
_ANSWERING = 300.0
"""How long an answer may take, in seconds: a job is cancelled when its commands have ended."""
_FROM_PROXIES = frozenset({502, 503, 504})
"""What a proxy answers with in place of a server that does not."""
_PAUSE = 2.0
"""Before a server that does not answer any more is asked again, in seconds."""


class ServerCalls:
    """Asks a server, and raises what it answers with."""

    def __init__(self, url: str, token: str | None, may_be_told: Callable[[], bool] | None = None) -> None:
        """Take where it is, the token, and what says before each request whether that may still be told there.

        Raises `ValueError` for what is no http(s) URL, or a token that no header can have.
        """
        if has_user(url) or not is_url(url) or not _has_place(url):
            raise ValueError(f"expected the http(s) URL of a farm's server, not {redact_url(url)!r}")
        if "#" in url or "?" in url:
            # As `tailrace serve` prints it, for browsers.
            raise ValueError(
                "the URL of a farm's server has nothing behind # or ?: the token goes into TAILRACE_SERVER_TOKEN"
            )
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ValueError("the token of a farm's server has to be printable ASCII")
        self.url = url.rstrip("/")
        self._headers = {"User-Agent": "tailrace"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        self._has_token = token is not None
        self._may_be_told = may_be_told
        self._options: dict[str, Any] = {
            "headers": self._headers,
            "auth": self._look,
            "timeout": httpx.Timeout(_ANSWERING, connect=_CONNECTING),
            # Less than servers keep them: one that is closed at that moment would look like one that is gone.
            "limits": httpx.Limits(keepalive_expiry=_KEPT_FOR),
            # No proxy leads back to this machine.
            "trust_env": not _is_here(urlsplit(url).hostname or ""),
        }
        # Made once: reading the certificates takes longer than a request.
        self._tls = httpx.create_ssl_context() if url.lower().startswith("https") else False
        self.connections = KeptOpen(self.new_client)

    def new_client(self) -> httpx.AsyncClient:
        """Return what sends requests, to be closed."""
        return httpx.AsyncClient(**self._options, verify=self._tls)

    async def ask(
        self,
        answer: type[_Answer],
        method: str,
        path: str,
        body: BaseModel | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> _Answer:
        """Return what the server answers. Raises what it says, and `FarmServerError`."""
        content = None
        if body is not None:
            # A job of a hundred thousand chunks takes a while.
            content = await anyio.to_thread.run_sync(lambda: body.model_dump_json(by_alias=True).encode())
        return self._read(answer, await self.send(method, path, content, params))

    async def send(
        self, method: str, path: str, content: bytes | None = None, params: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Return the whole answer to a request that succeeded. Raises as `ask` does."""
        headers = {} if content is None else {"Content-Type": "application/json"}

        async def ask(client: httpx.AsyncClient) -> httpx.Response:
            return await client.request(method, self.address(path), content=content, params=params, headers=headers)

        kept = self.connections.value
        try:
            if kept is not None:
                response = await ask(kept)
            else:
                async with self.new_client() as client:
                    response = await ask(client)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.unreachable(error) from error
        self.check(response.status_code, response.content)
        return response

    async def until_answered(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `ask` does, which is called again as long as no server answers. Raises what else it raises."""
        is_told = False
        while True:
            try:
                return await ask()
            except FarmServerError as error:
                if error.status is not None:
                    raise
                if not is_told:
                    _log.warning("%s; trying again", error)
                    is_told = True
                await anyio.sleep(_PAUSE)

    def get_text_now(self, path: str) -> str:
        """Return the text of an answer, without an event loop; blocks. Raises as `ask` does."""
        try:
            with httpx.Client(**self._options, verify=self._tls) as client:
                response = client.get(self.address(path))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.unreachable(error) from error
        self.check(response.status_code, response.content)
        return response.text

    def address(self, path: str) -> str:
        """Return the URL of something in the API."""
        return f"{self.url}{API}{path}"

    def check(self, status: int, body: bytes) -> None:
        """Raise what an answer says, unless it is a success."""
        if 200 <= status < 300:
            return
        error = to_exception(status, body, self.url)
        if status == 401:
            what = "does not take the token" if self._has_token else "wants a token"
            remedy = "give the one that `tailrace serve` shows behind # in its address, as TAILRACE_SERVER_TOKEN"
            raise FarmServerError(f"{self.url} {what}: {remedy}", status)
        if status in _FROM_PROXIES and isinstance(error, FarmServerError):
            raise self._unreachable(f"what is before it answered {status}")
        raise error

    def unreachable(self, error: Exception) -> FarmServerError:
        """Return what to raise where there was no answer."""
        if isinstance(error, httpx.ReadTimeout):
            return FarmServerError(
                f"the farm's server at {self.url} did not answer in time; what was asked for may be done all the same"
            )
        return self._unreachable(network_reason(error))

    def _unreachable(self, reason: str) -> FarmServerError:
        return FarmServerError(
            f"no farm's server answers at {self.url}: {reason}; `tailrace serve` starts one,"
            " TAILRACE_SERVER or --server says where it is"
        )

    def _look(self, request: httpx.Request) -> httpx.Request:
        if self._may_be_told is not None and not self._may_be_told():
            raise httpx.ConnectError("the server that made the token has ended", request=request)
        return request

    def _read(self, answer: type[_Answer], response: httpx.Response) -> _Answer:
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise FarmServerError(
                f"{self.url} does not answer as a farm's server does", response.status_code
            ) from error


def _has_place(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # A port that cannot be raises ValueError, too.
        return parts.hostname is not None and parts.port != 0
    except ValueError:
        return False


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
