"""HTTP requests to a worker."""

from __future__ import annotations

import contextlib
import math
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import anyio
import httpx

from .._checks import check_times
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._concurrency.kept_open import KeptOpen
from .._errors import WorkerRemoteError
from .._spec.source import has_user, is_url, redact_url, shown_source
from .._wire.answer import RemoteAnswer, RemoteFault, parse_object
from .._wire.frames import MEDIA_TYPE
from .._wire.http import keep_alive_options
from .._wire.request import remote_request
from .http_client import leave_body, network_reason

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110, 5.6.2."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `ValueError` if they cannot. No value is shown: it is a secret even with a mistake in it."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or value != value.strip():
            raise ValueError(
                f"the header {name} must be a text of ASCII characters, with no line ends, and no spaces around it"
            )


Authorise = Callable[[Mapping[str, str] | None], Awaitable[Mapping[str, str]]]
"""Returns the headers that authorise a request, given those that were refused, if any: it returns others then."""

_LARGEST_ANSWER = 512 * 2**20
"""The most bytes that a buffered answer may have: its text has to be in memory, several times."""
_LARGEST_REFUSAL = 64 * 1024
"""How much of the answer that comes with an HTTP error is read if it is no JSON, in bytes."""
_LONGEST_QUESTION = 5.0
"""How long a worker may take to begin to tell its places, and to tell them, in seconds: chunks wait for it."""
_UNAUTHORISED = 401
_KEPT_FOR = 1.0
"""How long an idle connection is used again, in seconds: no server closes one so soon that says that it keeps them."""
_END = 0.1
"""How long the end of an answer may take to come after the result, in seconds, for the connection to be used again."""


class HttpTransport:
    """Sends requests to the worker at `url`: each once, over a connection of its own unless connections are kept.

    An idle connection that is closed at the moment it is used again looks like a worker that failed, and nobody could
    tell whether it had begun. So only those are used again that the worker says it keeps (RFC 9112, 9.3 makes that the
    rule without a word, but not everybody knows), and only for a moment.
    """

    def __init__(
        self,
        url: str,
        *,
        job_def_url: str | None,
        headers: Mapping[str, str],
        authorise: Authorise | None,
        streaming: bool,
        trust_2xx: bool,
        connect_timeout: float,
        response_timeout: float,
        silence_timeout: float,
    ) -> None:
        """Raises `ValueError` for what is no http(s) URL, and for headers, times and proxies that cannot be used."""
        if has_user(url):
            # Not shown: it may be a password. httpx would send it in place of what authorises the request.
            raise ValueError("the URL of a worker must have no user name or password in it: use a token or headers")
        try:
            is_usable = is_url(url) and urlsplit(url).hostname is not None
            self._url = httpx.URL(url)
        except (ValueError, httpx.InvalidURL) as error:
            raise ValueError(f"{redact_url(url)!r} is not a URL: {error}") from error
        if not is_usable:
            raise ValueError(f"expected the http(s) URL of a worker, not {redact_url(url)!r}")
        check_times(connect_timeout=connect_timeout, response_timeout=response_timeout, silence_timeout=silence_timeout)
        parts = urlsplit(url)
        self._places_url = httpx.URL(parts._replace(path=f"{parts.path.rstrip('/')}/places").geturl())
        self._job_def_url = job_def_url
        self._trusts_2xx = trust_2xx
        self._headers = {
            "Content-Type": "application/json",
            "Accept": MEDIA_TYPE if streaming else "application/json",
            "User-Agent": "tailrace",
            # What compresses also collects: the output would come late.
            **({"Accept-Encoding": "identity"} if streaming else {}),
            **headers,
        }
        check_headers(self._headers)
        self._authorise = authorise
        self._heartbeat = silence_timeout / 3 if streaming else None
        self._timeout = httpx.Timeout(response_timeout, connect=connect_timeout)
        # That of httpx begins anew with each byte.
        self._longest = response_timeout
        self._silence = silence_timeout
        # Made once: reading the certificates takes longer than a request.
        self._tls = httpx.create_ssl_context()
        self.connections = KeptOpen(self._new_client)
        """Kept from when the first enters until the last leaves."""
        self._is_kept_there = False
        """Whether the worker said last that it keeps connections."""
        # For what it says of proxies that cannot be used, and what httpx imports the first time.
        self._new_transport()

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Have the worker run the chunk that `job.meta` names, once. Raises `WorkerBusyError` if it has no place."""
        content = remote_request(job, self._job_def_url, heartbeat=self._heartbeat)
        answer = RemoteAnswer(job, shown_source(str(self._url)), streams=self._heartbeat is not None)
        end = 0.0
        async with self._client() as client:
            response = _Response(await answer.within_limit(lambda: self._send(client, "POST", self._url, content)))
            answer.begin()
            try:
                if not response.is_success:
                    body = await answer.within_limit(partial(response.read_failure, self._longest))
                    return answer.receive_failure(
                        response.status,
                        response.reason,
                        body,
                        headers=response.headers,
                        is_text=response.media_type == "text/plain",
                    )
                if response.media_type == MEDIA_TYPE:
                    result = await answer.receive_frames(response.read, silence=self._silence)
                    end = _END if self._is_kept_there else 0.0
                    return result
                body = await answer.take_in_body(response.read_part, longest=self._longest, silence=self._silence)
                return answer.receive_json(body, is_success=self._trusts_2xx)
            finally:
                await response.close(end)

    async def places(self) -> int | None:
        """Return how many chunks the worker takes at a time, None if it does not say so.

        Raises `WorkerRemoteError` if it cannot be reached, or does not begin to answer.
        """
        async with self._client() as client:
            try:
                response = _Response(await self._send(client, "GET", self._places_url, longest=_LONGEST_QUESTION))
                try:
                    told = parse_object(await response.read_start(_LARGEST_REFUSAL, _LONGEST_QUESTION), "its answer")
                finally:
                    await response.close(0.0)
            except RemoteFault as fault:
                if fault.nothing_began:
                    where = shown_source(str(self._url))
                    raise WorkerRemoteError(f"{where}: {fault}", nothing_began=True) from fault.__cause__
                return None
            places = told.get("places")
            return places if response.is_success and type(places) is int and places > 0 else None

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        kept = self.connections.value
        if kept is not None and self._is_kept_there:
            yield kept
        else:
            async with self._new_client() as client:
                yield client

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._new_transport(), timeout=self._timeout, trust_env=False)

    async def _send(
        self,
        client: httpx.AsyncClient,
        method: Literal["GET", "POST"],
        url: httpx.URL,
        content: bytes | None = None,
        *,
        longest: float = math.inf,
    ) -> httpx.Response:
        """Send a request; once more with new credentials if it was not authorised, for then nothing has begun.

        `longest` is how long the answer may take to begin, where that is less than it may take to a chunk.
        """
        authorisation = {} if self._authorise is None else await self._authorise(None)
        build = partial(client.build_request, method, url, content=content)
        response = await self._send_once(client, build, authorisation, longest)
        if response.status_code == _UNAUTHORISED and self._authorise is not None:
            await response.aclose()
            response = await self._send_once(client, build, await self._authorise(authorisation), longest)
        return response

    async def _send_once(
        self,
        client: httpx.AsyncClient,
        build: Callable[..., httpx.Request],
        authorisation: Mapping[str, str],
        longest: float,
    ) -> httpx.Response:
        check_headers(authorisation)
        request = build(headers={**self._headers, **authorisation})
        request.stream = _Body(request.content)
        try:
            with anyio.fail_after(longest):
                response = await client.send(request, stream=True)
        except httpx.ConnectTimeout as error:
            raise RemoteFault(f"no connection within {self._timeout.connect:g} s", nothing_began=True) from error
        except (httpx.ReadTimeout, TimeoutError) as error:
            waited = min(longest, self._longest)
            # What only asks begins nothing.
            raise RemoteFault(f"no answer within {waited:g} s", nothing_began=request.method == "GET") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The URL is that of a redirection, which httpx reads although it is not to follow it.
            never_sent = isinstance(error, httpx.ConnectError | httpx.ProxyError)
            raise RemoteFault(f"no answer: {network_reason(error)}", nothing_began=never_sent) from error
        self._is_kept_there = "keep-alive" in response.headers.get("Connection", "").lower()
        return response

    def _new_transport(self) -> httpx.AsyncHTTPTransport:
        # httpx itself looks for proxies in the environment only where it chooses the options of the socket too.
        proxies = urllib.request.getproxies()
        is_direct = urllib.request.proxy_bypass(self._url.netloc.decode())
        proxy = None if is_direct else proxies.get(self._url.scheme) or proxies.get("all")
        try:
            return httpx.AsyncHTTPTransport(
                verify=self._tls,
                proxy=proxy,
                socket_options=keep_alive_options(),
                # Without a limit: a request that waited for a connection would lose the time of its limits.
                limits=httpx.Limits(keepalive_expiry=_KEPT_FOR),
            )
        except ImportError as error:
            raise ValueError(
                "the environment names a SOCKS proxy, which needs socksio: pip install 'httpx[socks]',"
                " or except the worker by NO_PROXY"
            ) from error


class _Body(httpx.AsyncByteStream):
    """The body of a request, in one piece.

    httpx's own is a generator, which is left to the garbage collector when sending it is cancelled; trio warns of that.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._content)


class _Once(AsyncIterator[bytes]):
    """Yields one piece, if it is not empty."""

    def __init__(self, piece: bytes) -> None:
        self._piece = piece

    async def __anext__(self) -> bytes:
        piece, self._piece = self._piece, b""
        if not piece:
            raise StopAsyncIteration
        return piece


class _Response:
    """An answer whose body has not been read."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._body = response.aiter_bytes()
        self._length = 0
        self.is_success = response.is_success
        self.media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        place = f" to {redact_url(response.headers['Location'])}" if response.has_redirect_location else ""
        self.status = response.status_code
        self.headers = response.headers
        self.reason = f"{response.reason_phrase}{place}"

    async def read(self) -> bytes:
        """Return what has come of the body, nothing at its end; raises `RemoteFault`."""
        try:
            return await anext(self._body, b"")
        except httpx.HTTPError as error:
            raise RemoteFault(
                f"the connection was lost before the answer was complete: {network_reason(error)}"
            ) from error

    async def read_part(self) -> bytes:
        """Do the same, but raise `RemoteFault` also when the body is too long to be kept in memory."""
        part = await self.read()
        self._length += len(part)
        if self._length > _LARGEST_ANSWER:
            raise RemoteFault(f"its answer has more than {_LARGEST_ANSWER >> 20} MiB: streaming has no such limit")
        return part

    async def read_start(self, length: int, longest: float) -> bytes:
        """Return the beginning of the body, up to at least `length`, as far as it can be had in `longest` seconds."""
        body = bytearray()
        with anyio.move_on_after(longest), contextlib.suppress(RemoteFault):
            while len(body) < length and (part := await self.read()):
                body += part
        return bytes(body)

    async def read_failure(self, longest: float) -> bytes:
        """Return the body that comes with an HTTP error: all of it where it may tell of a command and its output."""
        start = await self.read_start(_LARGEST_REFUSAL, longest)
        may_tell = start[:16].lstrip().startswith(b"{")
        return start + await self.read_start(_LARGEST_ANSWER, longest) if may_tell else start

    async def close(self, patience: float) -> None:
        """Read no more: the connection is closed, and the worker hears of it, unless the body was at its end.

        That may take `patience` seconds to come.
        """
        await leave_body(self._body, patience)
