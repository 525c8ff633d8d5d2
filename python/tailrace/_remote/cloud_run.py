"""Chunks on Google Cloud Run."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._concurrency.kept_open import Enterable
from .._extras import missing_extra
from .worker_capabilities import worker_capabilities
from .worker_queue import WorkerQueue


class CloudRunAdapter(Enterable):
    """Has a Cloud Run service run the chunks of a job: `tailrace worker serve` in a container, or another worker.

    All is as with `HttpWorkerAdapter`, but that requests are authorised by identity tokens: those of the service
    account in GOOGLE_APPLICATION_CREDENTIALS, or of the machine that this runs on. They are kept until shortly before
    they expire, and fetched anew once if the service answers 401.

    `streams` is True where streaming was asked for; `remote` is True; `capabilities` says the rest.
    """

    remote = True

    def __init__(
        self,
        service_url: str,
        *,
        job_def_url: str | None = None,
        streaming: bool = False,
        trust_2xx: bool = False,
        shares_files: bool = False,
        audience: str | None = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 10.0,
        response_timeout: float = 3630.0,
        silence_timeout: float = 60.0,
    ) -> None:
        """Take the service's URL and how to talk to it; see `HttpWorkerAdapter` for what both have.

        `audience` is who the tokens are for: the service's URL without a path, unless the service has another one
        configured.

        Raises `ImportError` if httpx or google-auth is missing, `ValueError` or `TypeError` for values that cannot be
        used.
        """
        try:
            from .http_transport import HttpTransport
            from .identity_tokens import IdentityTokens
        except ImportError as error:
            raise missing_extra(type(self).__name__, "gcp", error) from error
        self.capabilities = worker_capabilities(streams=streaming, shares_files=shares_files)
        self.streams = streaming
        parts = urlsplit(service_url)
        self._transport = HttpTransport(
            service_url,
            job_def_url=job_def_url,
            headers=headers or {},
            authorise=IdentityTokens(audience or f"{parts.scheme}://{parts.netloc}").authorise,
            streaming=streaming,
            trust_2xx=trust_2xx,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            silence_timeout=silence_timeout,
        )
        self._kept_open = self._transport.connections
        self._queue = WorkerQueue([(self._transport.execute, None)])

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Have the service run the chunk `job.meta["chunk_id"]`; its command is the specification's.

        Raises what `HttpWorkerAdapter.execute` does, and `WorkerRemoteError` if there is no identity token.
        """
        return await self._queue.execute(job)

    async def try_execute(self, job: WorkerJob) -> WorkerResult:
        """Do the same, but raise `WorkerBusyError` where the service has no place, instead of waiting for one."""
        return await self._transport.execute(job)
