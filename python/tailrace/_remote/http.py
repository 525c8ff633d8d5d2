"""Chunks on an HTTP worker."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._concurrency.kept_open import Enterable
from .._extras import missing_extra
from .worker_capabilities import worker_capabilities
from .worker_queue import WorkerQueue

Credentials: TypeAlias = str | Mapping[str, str]
"""A bearer token, or the headers that authorise a request."""


class HttpWorkerAdapter(Enterable):
    """Has a worker at an http(s) URL run the chunks of a job: `tailrace worker serve`, or whatever takes the same POST.

    Each `execute` is one request, which is never repeated: `JobExecutor` alone does that. Only while the worker answers
    that it is busy (429, or 503 with `Retry-After`) the job waits, of which `on_warning` is told once a minute. With
    `streaming=True` the callbacks are called while the command runs, as `LocalWorkerAdapter` does; without it, and with
    a worker that does not stream, they are not called, and the result has the output. However `execute` ends before the
    answer is there, the connection is closed, which ends the command on a worker that notices: docs/remote-workers.md
    says which.

    `async with adapter:` uses connections again to a worker that says that it keeps them (`Connection: keep-alive`),
    until the block is left, when nothing may run any more. Without it each request has a connection of its own.

    `streams` is True where streaming was asked for; `remote` is True; `capabilities` says the rest.
    """

    remote = True

    def __init__(
        self,
        url: str,
        *,
        job_def_url: str | None = None,
        auth: Credentials | Callable[[], Credentials | Awaitable[Credentials]] | None = None,
        headers: Mapping[str, str] | None = None,
        streaming: bool = False,
        trust_2xx: bool = False,
        shares_files: bool = False,
        connect_timeout: float = 10.0,
        response_timeout: float = 3630.0,
        silence_timeout: float = 60.0,
    ) -> None:
        """Take the worker's URL and how to talk to it; times are seconds.

        `job_def_url` is where the worker finds the job specification, unless the `meta` of a job says it
        (`job_def_url`). `auth` is a bearer token, or headers, or a plain or async function that returns one of them;
        it is called for each request, and once more if the worker answers 401. With `trust_2xx`, a command whose answer
        has a status of success and no exit code has succeeded; else that is an error. `response_timeout` is how long
        the answer may take to begin (the default is just more than Cloud Run's hour), and then once more for all the
        rest of it where it is not streamed. `silence_timeout` is how long a streamed one may pause, and one that is
        not and comes after the `timeout` of the job; a third of it is asked for as the interval of heartbeats.
        `shares_files` says that the worker writes into a folder that is the job's here too: only then are the outputs
        looked for here, before and after a chunk, and `verify_output` can be used.

        Raises `ImportError` if httpx is missing, `ValueError` or `TypeError` for values that cannot be
        used.
        """
        try:
            from .http_transport import HttpTransport
        except ImportError as error:
            raise missing_extra(type(self).__name__, "http", error) from error
        self.capabilities = worker_capabilities(streams=streaming, shares_files=shares_files)
        self.streams = streaming
        fixed, authorise = ({}, _caller(auth)) if callable(auth) else (_to_headers(auth), None)
        self._transport = HttpTransport(
            url,
            job_def_url=job_def_url,
            headers={**(headers or {}), **fixed},
            authorise=authorise,
            streaming=streaming,
            trust_2xx=trust_2xx,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            silence_timeout=silence_timeout,
        )
        self._kept_open = self._transport.connections
        self._queue = WorkerQueue([(self._transport.execute, None)])

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Have the worker run the chunk `job.meta["chunk_id"]`; its command is the specification's.

        Raises `ValueError` before anything is sent if `job.meta` lacks `chunk_id`, or nothing says where the
        specification is. Raises `WorkerTimeoutError` if a limit ended the command, `WorkerSpawnError` or `WorkerError`
        if the worker could not or would not run it, and `WorkerRemoteError` if it could not be reached or did not
        answer as agreed; all with the output so far. What a callback raises comes out unchanged.
        """
        return await self._queue.execute(job)

    async def try_execute(self, job: WorkerJob) -> WorkerResult:
        """Do the same, but raise `WorkerBusyError` where the worker has no place, instead of waiting for one."""
        return await self._transport.execute(job)

    async def places(self) -> int | None:
        """Return how many chunks the worker runs at a time, None if it cannot say: a GET of `places` below its URL.

        Raises `WorkerRemoteError` if it cannot be reached, or does not begin to answer in 5 s.
        """
        return await self._transport.places()


def _caller(
    function: Callable[[], Credentials | Awaitable[Credentials]],
) -> Callable[[Mapping[str, str] | None], Awaitable[Mapping[str, str]]]:
    async def authorise(_: Mapping[str, str] | None) -> Mapping[str, str]:
        returned = function()
        return _to_headers(await returned if inspect.isawaitable(returned) else returned)

    return authorise


def _to_headers(credentials: Credentials | None) -> Mapping[str, str]:
    if credentials is None:
        return {}
    if not isinstance(credentials, str):
        return credentials
    if not credentials.isascii() or not credentials.isprintable() or " " in credentials:
        # Not shown: it is a secret even with a mistake in it.
        raise ValueError("a bearer token has no spaces, line ends or other characters than ASCII in it")
    return {"Authorization": f"Bearer {credentials}"}
