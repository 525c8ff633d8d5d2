"""Calls of AWS Lambda through boto3, made in threads, each of which can be ended from outside."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import boto3.session
import botocore.exceptions
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config
from botocore.eventstream import ParserError

from ._describe_failure import describe_error
from ._keep_alive import keep_alive_options
from ._remote_answer import RemoteFault

_T = TypeVar("_T")

_MOST_CONNECTIONS = 1000
"""How many are kept for later calls; an account may run as many functions at a time unless it asks for more."""
_EMULATED_REGION = "us-east-1"

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
            region = session.region_name or _EMULATED_REGION
            if session.get_credentials() is None:
                config = config.merge(Config(signature_version=UNSIGNED))
        try:
            client = session.client("lambda", region_name=region, endpoint_url=endpoint_url, config=config)
        except botocore.exceptions.NoRegionError as error:
            raise ValueError("no AWS region: give one, or set AWS_REGION") from error
        _follow_connections(client)
        self.invoke: Callable[..., dict[str, Any]] = client.invoke
        self.invoke_with_response_stream: Callable[..., dict[str, Any]] = client.invoke_with_response_stream


class LambdaCall:
    """One invocation: what is done for it in threads, and how to end that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self._is_aborted = False

    async def run(self, function: Callable[[], _T]) -> _T:
        """Return what `function` returns in a thread; raises `RemoteFault` for the errors of boto3.

        When this is cancelled, the caller has to call `abort`, or the thread goes on.
        """

        def in_thread() -> _T:
            _current_call.set(self)
            return function()

        try:
            # The limiter is for this thread alone: who waits for a render must not keep others from reading a file.
            return await anyio.to_thread.run_sync(in_thread, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
        except botocore.exceptions.ClientError as error:
            told = error.response.get("Error", {})
            words = ": ".join(word for word in (told.get("Code"), told.get("Message")) if word)
            raise RemoteFault(words or describe_error(error)) from error
        except botocore.exceptions.ReadTimeoutError as error:
            raise RemoteFault("no answer in the time that a function may take") from error
        except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, ParserError, OSError) as error:
            raise RemoteFault(f"the connection was lost or not made: {describe_error(error)}") from error

    def abort(self) -> None:
        """Cut the connection, so that the thread that waits for it ends, and nobody uses it again."""
        with self._lock:
            self._is_aborted = True
            sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                # TLS, if it is used, has no part in this: the other thread is in the middle of it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def use(self, connection: object) -> None:
        """Remember what the call is waiting for."""
        with self._lock:
            self._connection = connection
            if self._is_aborted:
                raise ConnectionAbortedError("the call was ended")


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
                call = _current_call.get(None)
                if call is not None:
                    call.use(self)

        return type("Pool", (pool,), {"ConnectionCls": Connection})

    session = client._endpoint.http_session
    pools = {scheme: following(pool) for scheme, pool in session._pool_classes_by_scheme.items()}
    session._pool_classes_by_scheme = session._manager.pool_classes_by_scheme = pools
