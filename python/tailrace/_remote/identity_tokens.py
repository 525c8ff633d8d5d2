"""Identity tokens from Google, which say to a Cloud Run service who calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread
import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.id_token
import requests

from .._command.ending import describe_error
from .._wire.answer import RemoteFault

_LONGEST_TRY = 5.0
_LONGEST_FETCH = 10.0
"""How long one request for a token may take, and all that are made for one, in seconds.

A thread cannot be ended, and Python does not exit before it.
"""
_FAULTS = (google.auth.exceptions.GoogleAuthError, ValueError, TypeError, LookupError, ArithmeticError)
"""What google-auth raises; the errors of Python's own for answers that are no tokens."""


class IdentityTokens:
    """Fetches tokens for one audience and keeps each until shortly before it expires.

    They come from the service account in GOOGLE_APPLICATION_CREDENTIALS, or from the metadata server of the machine.
    """

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._lock = threading.Lock()
        self._credentials: Any = None

    async def authorise(self, refused: Mapping[str, str] | None) -> Mapping[str, str]:
        """Return the header with the token, with another than was `refused`; raises `RemoteFault` if there is none."""
        try:
            # In threads, of which those who wait for the same token take none from others.
            token = await anyio.to_thread.run_sync(
                self._get, refused, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
        except _FAULTS as error:
            raise RemoteFault(f"no identity token for {self._audience}: {describe_error(error)}") from error
        return _to_headers(token)

    def _get(self, refused: Mapping[str, str] | None) -> str:
        with self._lock:
            credentials = self._credentials
            # Whoever was refused at the same time may have fetched another by now.
            if credentials is None or not credentials.valid or refused == _to_headers(credentials.token):
                with requests.Session() as session:
                    self._fetch(_Request(session))
            return str(self._credentials.token)

    def _fetch(self, request: Any) -> None:
        if self._credentials is None:
            find: Any = google.oauth2.id_token.fetch_id_token_credentials
            self._credentials = find(self._audience, request)
        self._credentials.refresh(request)


class _Request:
    """Makes google-auth's requests, for as long as they may take together."""

    def __init__(self, session: requests.Session) -> None:
        request: Any = google.auth.transport.requests.Request
        self._request = request(session)
        self._deadline = time.monotonic() + _LONGEST_FETCH

    def __call__(self, *args: Any, **options: Any) -> Any:
        left = self._deadline - time.monotonic()
        if left <= 0:
            # Not a TransportError, after which it would try again.
            error: Any = google.auth.exceptions.RefreshError
            raise error(f"no answer within {_LONGEST_FETCH:g} s")
        options["timeout"] = min(options.get("timeout") or _LONGEST_TRY, _LONGEST_TRY, left)
        return self._request(*args, **options)


def _to_headers(token: object) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}
