"""Identity tokens from Google, which say to a Cloud Run service who calls."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread
import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.id_token
import requests

from ._describe_failure import describe_error
from ._remote_answer import RemoteFault


class IdentityTokens:
    """Fetches tokens for one audience and keeps each until shortly before it expires.

    They come from the service account in GOOGLE_APPLICATION_CREDENTIALS, or from the metadata server of the machine.
    """

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._lock = threading.Lock()
        self._credentials: Any = None

    async def authorise(self, renew: bool) -> Mapping[str, str]:
        """Return the header with the token; with `renew`, with a new one. Raises `RemoteFault` if there is none."""
        try:
            # In threads, of which those who wait for the same token take none from others.
            token = await anyio.to_thread.run_sync(
                self._get, renew, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
        except (google.auth.exceptions.GoogleAuthError, ValueError) as error:
            raise RemoteFault(f"no identity token for {self._audience}: {describe_error(error)}") from error
        return {"Authorization": f"Bearer {token}"}

    def _get(self, renew: bool) -> str:
        with self._lock:
            if renew or self._credentials is None or not self._credentials.valid:
                with requests.Session() as session:
                    self._fetch(google.auth.transport.requests.Request(session))
            return str(self._credentials.token)

    def _fetch(self, request: Any) -> None:
        if self._credentials is None:
            find: Any = google.oauth2.id_token.fetch_id_token_credentials
            self._credentials = find(self._audience, request)
        self._credentials.refresh(request)
