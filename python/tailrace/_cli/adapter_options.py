"""The options that say where the chunks of a job run."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

import tailrace

if TYPE_CHECKING:
    from tailrace import JobSpec, WorkerAdapter


_USERS = {
    "url": ("gcp", "http"),
    "token_env": ("http",),
    "token_header": ("http",),
    "function": ("aws",),
    "region": ("aws",),
    "endpoint_url": ("aws",),
    "job_def_url": ("aws", "gcp", "http"),
    "shares_files": ("aws", "gcp", "http"),
    "streaming": ("aws", "gcp", "http"),
    "trust_2xx": ("aws", "gcp", "http"),
    # A worker gives slots of its own.
    "slot_env": ("local",),
}
"""Which adapters take which option."""

_DEFAULT_TOKEN = "TAILRACE_TOKEN"  # noqa: S105 (the name of a variable)


class AdapterRequest(NamedTuple):
    """What the options say."""

    adapter: str
    url: tuple[str, ...]
    token_env: str | None
    token_header: str | None
    function: str | None
    region: str | None
    endpoint_url: str | None
    job_def_url: str | None
    shares_files: bool
    streaming: bool
    trust_2xx: bool


_OPTIONS = (
    click.option(
        "--adapter",
        type=click.Choice(["local", "aws", "gcp", "http"]),
        default="local",
        envvar="TAILRACE_ADAPTER",
        help="Where the chunks run: here, on AWS Lambda, on Google Cloud Run, or on an HTTP worker. Default local.",
    ),
    click.option(
        "--url",
        metavar="U",
        multiple=True,
        envvar="TAILRACE_URL",
        help="A worker's URL (gcp, http). May be given again: each worker gets as many chunks as it has places.",
    ),
    click.option(
        "--token-env",
        metavar="NAME",
        help=f"The environment variable with the token that the worker wants (http); default {_DEFAULT_TOKEN}.",
    ),
    click.option(
        "--token-header",
        metavar="NAME",
        help="The header that has the token (http), such as x-functions-key; default Authorization, as a bearer.",
    ),
    click.option("--function", metavar="F", envvar="TAILRACE_FUNCTION", help="The function's name or ARN (aws)."),
    click.option(
        "--region", metavar="R", envvar="TAILRACE_REGION", help="Its region (aws); default as for all AWS tools."
    ),
    click.option(
        "--endpoint-url",
        metavar="U",
        envvar="TAILRACE_ENDPOINT_URL",
        help="Where Lambda is, if not at AWS's own address (aws).",
    ),
    click.option(
        "--job-def-url",
        metavar="U",
        envvar="TAILRACE_JOB_DEF_URL",
        help="Where the worker reads SPEC, a URL or a path on its machine; default SPEC itself.",
    ),
    click.option(
        "--shares-files",
        is_flag=True,
        envvar="TAILRACE_SHARES_FILES",
        help="The worker writes into the job's folder here: the outputs are looked for; otherwise its word counts.",
    ),
    click.option(
        "--streaming",
        is_flag=True,
        envvar="TAILRACE_STREAMING",
        help="Receive output while chunks run, from a worker that can send it; otherwise it comes at the end.",
    ),
    click.option(
        "--trust-2xx",
        is_flag=True,
        envvar="TAILRACE_TRUST_2XX",
        help="Take an answer with a status of success but no exit code for success; otherwise it is an error.",
    ),
)


def adapter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it receives them as `adapter`, an `AdapterRequest`.

    Raises `click.UsageError` for options that do not go together.
    """

    @wraps(function)
    def collect(**options: Any) -> Any:
        request = AdapterRequest(**{name: options.pop(name) for name in AdapterRequest._fields})
        _check(request)
        return function(adapter=request, **options)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return collect


def make_adapter(request: AdapterRequest, spec: JobSpec, source: str, *, masked: Collection[str]) -> WorkerAdapter:
    """Return the adapter that `request` asks for, for the job `spec` that was loaded from `source`.

    The variable with the token is taken out of the environment, unless it is one of the `masked` ones.

    Raises `click.UsageError` for what cannot be used, and where a package is missing.
    """
    if request.adapter == "local":
        return tailrace.LocalWorkerAdapter()
    try:
        return _make_remote(request, request.job_def_url or _address_of(spec, source), masked)
    except (ImportError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _make_remote(request: AdapterRequest, job_def_url: str, masked: Collection[str]) -> WorkerAdapter:
    common: dict[str, Any] = {
        "job_def_url": job_def_url,
        "shares_files": request.shares_files,
        "streaming": request.streaming,
        "trust_2xx": request.trust_2xx,
    }
    if request.adapter == "aws":
        return tailrace.AwsLambdaAdapter(
            request.function or "", region=request.region, endpoint_url=request.endpoint_url, **common
        )
    urls = dict.fromkeys(request.url)
    adapters: Sequence[WorkerAdapter]
    if request.adapter == "gcp":
        adapters = [tailrace.CloudRunAdapter(url, **common) for url in urls]
    else:
        auth = _credentials(request, masked)
        adapters = [tailrace.HttpWorkerAdapter(url, auth=auth, **common) for url in urls]
    return adapters[0] if len(adapters) == 1 else tailrace.WorkerPool(adapters)


def _check(request: AdapterRequest) -> None:
    context = click.get_current_context()
    for name, adapters in _USERS.items():
        # What the environment says may be meant for other commands.
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and request.adapter not in adapters:
            raise click.UsageError(
                f"{_option(name)} goes with --adapter {' or '.join(adapters)}, not {request.adapter}"
            )
    needed = {"aws": "function", "gcp": "url", "http": "url"}.get(request.adapter)
    if needed is not None and not getattr(request, needed):
        raise click.UsageError(f"--adapter {request.adapter} needs {_option(needed)} (or TAILRACE_{needed.upper()})")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _address_of(spec: JobSpec, source: str) -> str:
    if "://" in source:
        return source
    if spec.path is None:
        raise click.UsageError(f"{source} is no file that a worker could read: give --job-def-url")
    return str(spec.path)


def _credentials(request: AdapterRequest, masked: Collection[str]) -> str | dict[str, str] | None:
    token = _token(request.token_env, masked)
    if request.token_header is None:
        return token
    if token is None:
        raise click.UsageError(f"--token-header needs a token: {_DEFAULT_TOKEN}, or --token-env NAME")
    return {request.token_header: token}


def _token(name: str | None, masked: Collection[str]) -> str | None:
    variable = name or _DEFAULT_TOKEN
    token = os.environ.get(variable)
    if variable not in masked:
        # The merge and whatever else runs here have no use for it.
        os.environ.pop(variable, None)
    if name is not None and not token:
        raise click.UsageError(f"--token-env: there is no variable {name}, or it is empty")
    return token or None
