"""What clients of HTTP have in common: why there was no answer, and how one is left."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator

import anyio
import httpx

from .._command.ending import describe_error


def network_reason(error: BaseException) -> str:
    """Return what the system said, if it is behind the error, else the error's own words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}; SSL_CERT_FILE names one that is"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason}"
        if isinstance(cause, OSError) and cause.errno:
            # The numbers of the name service are others.
            told = cause.strerror if isinstance(cause, socket.gaierror) else None
            return told or os.strerror(cause.errno)
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    return describe_error(error)


async def leave_body(body: AsyncIterator[bytes], patience: float = 0.0) -> None:
    """Read no more: the connection is closed unless the body is at its end, which may take `patience` seconds to come.

    The generators inside httpx that stand between two pieces would be left to the garbage collector, of which trio
    warns. They end as soon as they wait for more.
    """
    with anyio.CancelScope(shield=True) as scope, contextlib.suppress(httpx.HTTPError):
        if patience:
            scope.deadline = anyio.current_time() + patience
        else:
            scope.cancel()
        async for _ in body:
            pass
