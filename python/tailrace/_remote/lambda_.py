"""Chunks on AWS Lambda."""

from __future__ import annotations

from functools import partial

from .._checks import check_times
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._concurrency.kept_open import Enterable
from .._extras import missing_extra
from .._wire.answer import RemoteAnswer
from .._wire.request import remote_request
from .lambda_answer import LambdaStream, receive_payload
from .worker_capabilities import worker_capabilities
from .worker_queue import WorkerQueue

_LONGEST_FUNCTION = 900.0
"""What Lambda lets a function run, in seconds (AWS Lambda quotas)."""


class AwsLambdaAdapter(Enterable):
    """Has an AWS Lambda function run the chunks of a job: `tailrace.worker.lambda_handler`, or another that takes them.

    Each `execute` is one invocation, which is never repeated: `JobExecutor` alone does that. Only while Lambda answers
    that too many functions run (429) the job waits, of which `on_warning` is told once a minute. Credentials come from
    where every AWS tool looks for them. With `streaming=True` (`InvokeWithResponseStream`) the callbacks are called
    while the command runs, if the function streams frames, which the managed Python runtime cannot; otherwise they are
    not called, and the result has the output, 6 MB at most.

    Nothing stops a function once it has been invoked: after a cancellation it runs on, up to the job's `timeout`,
    which it is told, or its own.

    `async with adapter:` closes the connections to Lambda when the block is left, when nothing may run any more;
    without it they are closed with the adapter.

    `streams` is True where streaming was asked for; `remote` is True; `capabilities` says the rest.
    """

    remote = True

    def __init__(
        self,
        function_name: str,
        *,
        job_def_url: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        streaming: bool = False,
        trust_2xx: bool = False,
        shares_files: bool = False,
        connect_timeout: float = 10.0,
        response_timeout: float = _LONGEST_FUNCTION + 30,
        silence_timeout: float = 60.0,
    ) -> None:
        """Take the function's name or ARN and how to reach it; times are seconds.

        `job_def_url` is where the function finds the job specification, unless the `meta` of a job says it
        (`job_def_url`). `endpoint_url` is that of an emulator or a VPC endpoint. With `trust_2xx`, a command whose
        answer has a `statusCode` of success and no exit code has succeeded; else that is an error. `response_timeout`
        is how long the answer may take; less than the function may run would abandon functions that are still at work.
        `silence_timeout` is how long a streamed answer may pause; a third of it is asked for as the interval of
        heartbeats.
        `shares_files` says that the worker writes into a folder that is the job's here too: only then are the outputs
        looked for here, before and after a chunk, and `verify_output` can be used.

        Raises `ImportError` if boto3 is missing, `ValueError` or `TypeError` for values that cannot be
        used. Reads the settings of
        AWS, which takes a moment.
        """
        try:
            from .lambda_client import LambdaCall, LambdaClient
        except ImportError as error:
            raise missing_extra(type(self).__name__, "aws", error) from error
        check_times(connect_timeout=connect_timeout, response_timeout=response_timeout, silence_timeout=silence_timeout)
        if not function_name:
            raise ValueError("function_name must be the name or the ARN of a function")
        self.capabilities = worker_capabilities(streams=streaming, shares_files=shares_files)
        self.streams = streaming
        self._function_name = function_name
        self._job_def_url = job_def_url
        self._trusts_2xx = trust_2xx
        self._silence = silence_timeout
        self._new_call = LambdaCall
        self._client = LambdaClient(
            region=region, endpoint_url=endpoint_url, connect_timeout=connect_timeout, read_timeout=response_timeout
        )
        self._kept_open = self._client.connections
        self._queue = WorkerQueue([(self.try_execute, None)])

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Have the function run the chunk `job.meta["chunk_id"]`; its command is the specification's.

        Raises what `HttpWorkerAdapter.execute` does; an error of the function has the end of its log.
        """
        return await self._queue.execute(job)

    async def try_execute(self, job: WorkerJob) -> WorkerResult:
        """Do the same, but raise `WorkerBusyError` where too many functions run, instead of waiting."""
        heartbeat = self._silence / 3 if self.streams else None
        request = {
            "FunctionName": self._function_name,
            "LogType": "Tail",
            "Payload": remote_request(job, self._job_def_url, heartbeat=heartbeat),
        }
        answer = RemoteAnswer(job, f"Lambda function {self._function_name}", streams=self.streams)
        call = self._new_call()
        try:
            if self.streams:
                invoke = partial(self._client.invoke_with_response_stream, **request)
                stream = LambdaStream(call, invoke, trusts_2xx=self._trusts_2xx)
                return await stream.receive(answer, silence=self._silence)
            response = await answer.within_limit(lambda: call.run(partial(self._client.invoke, **request)))
            payload = await answer.take_in(lambda: call.run(response["Payload"].read))
            return receive_payload(answer, response, payload, trusts_2xx=self._trusts_2xx)
        except BaseException:
            call.end()
            raise
