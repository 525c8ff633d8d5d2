"""Calls of AWS Lambda through boto3, made in threads, each of which can be ended from outside."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import boto3.session
import botocore.exceptions
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config
from botocore.eventstream import ParserError

from .._command.ending import describe_error
from .._concurrency.kept_open import KeptOpen
from .._spec.source import has_user
from .._wire.answer import BusyFault, RemoteFault
from .._wire.http import keep_alive_options, parse_retry_after

_T = TypeVar("_T")

_MOST_CONNECTIONS = 1000
"""How many are kept for later calls; an account may run as many functions at a time unless it asks for more."""
_EMULATED_REGION = "us-east-1"
_BUSY = 429

_current_call: ContextVar[LambdaCall] = ContextVar("tailrace_lambda_call")


class LambdaClient:
    """A client of Lambda for any number of threads. Each call is one request: boto3 itself would repeat it."""

    def __init__(
        self, *, region: str | None, endpoint_url: str | None, connect_timeout: float, read_timeout: float
    ) -> None:
        """Look for the credentials and the region as every AWS tool does.

        Raises `ValueError` if there is no region. An endpoint of one's own, such as an emulator, needs neither.
        """
        session = boto3.session.Session(region_name=region)
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_pool_connections=_MOST_CONNECTIONS,
            tcp_keepalive=True,
        )
        if endpoint_url is not None:
            if has_user(endpoint_url):
                # Not shown: it may be a password, and boto3 would show it where no connection can be made.
                raise ValueError("endpoint_url must have no user name or password in it: AWS credentials are sent")
            region = session.region_name or _EMULATED_REGION
            if session.get_credentials() is None:
                config = config.merge(Config(signature_version=UNSIGNED))
        try:
            client = session.client("lambda", region_name=region, endpoint_url=endpoint_url, config=config)
        except botocore.exceptions.NoRegionError as error:
            raise ValueError("no AWS region: give one, or set AWS_REGION") from error
        _follow_connections(client)
        self.connections = KeptOpen(partial(_closing, client))
        """Closed when the last who has entered leaves; they are opened as they are needed."""
        self.invoke: Callable[..., dict[str, Any]] = client.invoke
        self.invoke_with_response_stream: Callable[..., dict[str, Any]] = client.invoke_with_response_stream


class LambdaCall:
    """One invocation: what is done for it in threads, and how to end that."""

    _lock = threading.Lock()
    """One for all calls: connections go from one to another."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._is_running = False
        self._is_ended = False

    async def run(self, function: Callable[[], _T]) -> _T:
        """Return what `function` returns in a thread; raises `RemoteFault` for the errors of boto3.

        When this is cancelled, the thread goes on until `end` is called.
        """

        def in_thread() -> _T:
            _current_call.set(self)
            self._set_running(True)
            try:
                return function()
            finally:
                self._set_running(False)

        try:
            # The limiter is for this thread alone: who waits for a render must not keep others from reading a file.
            return await anyio.to_thread.run_sync(in_thread, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
        except botocore.exceptions.ClientError as error:
            told = error.response.get("Error", {})
            words = ": ".join(str(word) for word in (told.get("Code"), told.get("Message")) if word)
            words = words or describe_error(error)
            response: Any = error.response.get("ResponseMetadata", {})
            if response.get("HTTPStatusCode") == _BUSY:
                headers = response.get("HTTPHeaders", {})
                wait = parse_retry_after(headers.get("retry-after", ""), headers.get("date", ""))
                raise BusyFault(words, wait) from error
            raise RemoteFault(words) from error
        except botocore.exceptions.ReadTimeoutError as error:
            raise RemoteFault("no answer in the time that a function may take") from error
        except (botocore.exceptions.EndpointConnectionError, botocore.exceptions.ConnectTimeoutError) as error:
            raise RemoteFault(f"no connection: {describe_error(error)}", nothing_began=True) from error
        except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, ParserError, OSError) as error:
            raise RemoteFault(f"the connection was lost or not made: {describe_error(error)}") from error
        except (AttributeError, TypeError) as error:
            # boto3 takes all JSON that comes with an error for an object of texts.
            raise RemoteFault(f"boto3 cannot read the answer: {describe_error(error)}") from error

    def end(self) -> None:
        """Close the connection, if the call still has one; a thread that waits for it ends."""
        with self._lock:
            self._is_ended = True
            if not self._owns_connection():
                return
            if not self._is_running:
                self._connection.close()
            elif self._connection.sock is not None:
                # Closing would not wake the thread, and is up to it. TLS has no part in this: the thread is in the
                # middle of it.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._connection.sock, socket.SHUT_RDWR)

    def use(self, connection: Any) -> None:
        """Take over what the call is waiting for; raises `ConnectionAbortedError` if that has been ended."""
        with self._lock:
            self._connection = connection
            connection.call = self
            self._check()

    def _set_running(self, is_running: bool) -> None:
        with self._lock:
            self._is_running = is_running
            if is_running:
                self._check()
            elif self._is_ended and self._owns_connection():
                self._connection.close()

    def _check(self) -> None:
        if self._is_ended:
            raise ConnectionAbortedError("the call was ended")

    def _owns_connection(self) -> bool:
        return self._connection is not None and self._connection.call is self


@contextlib.asynccontextmanager
async def _closing(client: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        client.close()


def _follow_connections(client: Any) -> None:
    """Have the client's connections tell their call, and TCP keep-alive begin before gateways forget them."""

    def following(pool: Any) -> Any:
        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                for option in keep_alive_options():
                    self.sock.setsockopt(*option)
                self._tell_call()

            def request(self, *args: Any, **kwargs: Any) -> Any:
                self._tell_call()
                return super().request(*args, **kwargs)

            def _tell_call(self) -> None:
                _current_call.get().use(self)

        return type("Pool", (pool,), {"ConnectionCls": Connection})

    session = client._endpoint.http_session
    pools = {scheme: following(pool) for scheme, pool in session._pool_classes_by_scheme.items()}
    session._pool_classes_by_scheme = session._manager.pool_classes_by_scheme = pools
