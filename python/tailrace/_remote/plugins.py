"""`--adapter http`, `gcp` and `aws`, and their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from .._command.adapter import WorkerAdapter
from .._command.plugin import AdapterContext, AdapterPlugin
from .._extras import lacking
from .worker_capabilities import worker_capabilities

_DEFAULT_TOKEN = "TAILRACE_TOKEN"  # noqa: S105 (the name of a variable)

_URL = click.Option(
    ["--url"],
    metavar="U",
    multiple=True,
    envvar="TAILRACE_URL",
    help="A worker's URL (gcp, http). May be given again: each worker gets as many chunks as it has places.",
)
_TOKEN_ENV = click.Option(
    ["--token-env"],
    metavar="NAME",
    help=f"The environment variable with the token that the worker wants (http); default {_DEFAULT_TOKEN}.",
)
_TOKEN_HEADER = click.Option(
    ["--token-header"],
    metavar="NAME",
    help="The header that has the token (http), such as x-functions-key; default Authorization, as a bearer.",
)
_FUNCTION = click.Option(
    ["--function"], metavar="F", envvar="TAILRACE_FUNCTION", help="The function's name or ARN (aws)."
)
_REGION = click.Option(
    ["--region"], metavar="R", envvar="TAILRACE_REGION", help="Its region (aws); default as for all AWS tools."
)
_ENDPOINT_URL = click.Option(
    ["--endpoint-url"],
    metavar="U",
    envvar="TAILRACE_ENDPOINT_URL",
    help="Where Lambda is, if not at AWS's own address (aws).",
)
_JOB_DEF_URL = click.Option(
    ["--job-def-url"],
    metavar="U",
    envvar="TAILRACE_JOB_DEF_URL",
    help="Where the worker reads SPEC, a URL or a path on its machine; default SPEC itself.",
)
_SHARES_FILES = click.Option(
    ["--shares-files"],
    is_flag=True,
    envvar="TAILRACE_SHARES_FILES",
    help="The worker writes into the job's folder here: the outputs are looked for; otherwise its word counts.",
)
_TRUST_2XX = click.Option(
    ["--trust-2xx"],
    is_flag=True,
    envvar="TAILRACE_TRUST_2XX",
    help="Take an answer with a status of success but no exit code for success; otherwise it is an error.",
)
_OF_ALL = (_JOB_DEF_URL, _SHARES_FILES, _TRUST_2XX)


def _make_http(values: Mapping[str, Any], context: AdapterContext) -> WorkerAdapter:
    from .http import HttpWorkerAdapter

    urls = _needed("http", "url", values, context)
    auth = _credentials(values, context)
    common = _in_common(values, context)
    return _one_of([HttpWorkerAdapter(url, auth=auth, **common) for url in dict.fromkeys(urls)])


def _make_gcp(values: Mapping[str, Any], context: AdapterContext) -> WorkerAdapter:
    from .cloud_run import CloudRunAdapter

    urls = _needed("gcp", "url", values, context)
    common = _in_common(values, context)
    return _one_of([CloudRunAdapter(url, **common) for url in dict.fromkeys(urls)])


def _make_aws(values: Mapping[str, Any], context: AdapterContext) -> WorkerAdapter:
    from .lambda_ import AwsLambdaAdapter

    function = _needed("aws", "function", values, context)
    common = _in_common(values, context)
    return AwsLambdaAdapter(function, region=values["region"], endpoint_url=values["endpoint_url"], **common)


def _one_of(adapters: Sequence[WorkerAdapter]) -> WorkerAdapter:
    from .pool import WorkerPool

    return adapters[0] if len(adapters) == 1 else WorkerPool(adapters)


def _in_common(values: Mapping[str, Any], context: AdapterContext) -> dict[str, Any]:
    return {
        "job_def_url": values["job_def_url"] or _address_of_spec(context),
        "streaming": context.streaming,
        "shares_files": values["shares_files"],
        "trust_2xx": values["trust_2xx"],
    }


def _needed(adapter: str, name: str, values: Mapping[str, Any], context: AdapterContext) -> Any:
    if not values[name]:
        context.refuse(f"--adapter {adapter} needs --{name} (or TAILRACE_{name.upper()})")
    return values[name]


def _address_of_spec(context: AdapterContext) -> str | None:
    if context.for_many_jobs:
        return None
    if "://" in context.source:
        return context.source
    if context.spec_path is None:
        context.refuse(f"{context.source} is no file that a worker could read: give --job-def-url")
    return str(context.spec_path)


def _credentials(values: Mapping[str, Any], context: AdapterContext) -> str | dict[str, str] | None:
    name, header = values["token_env"], values["token_header"]
    token = context.take_secret(name or _DEFAULT_TOKEN)
    if name is not None and token is None:
        context.refuse(f"--token-env: there is no variable {name}, or it is empty")
    if header is None:
        return token
    if token is None:
        context.refuse(f"--token-header needs a token: {_DEFAULT_TOKEN}, or --token-env NAME")
    return {header: token}


def _plugin(
    name: str,
    make: Callable[[Mapping[str, Any], AdapterContext], WorkerAdapter],
    options: Sequence[click.Option],
    *,
    summary: str,
    needs: Sequence[str],
) -> AdapterPlugin:
    return AdapterPlugin(
        name=name,
        options=(*options, *_OF_ALL),
        make=make,
        summary=summary,
        capabilities=worker_capabilities(streams=False, shares_files=False),
        takes_streaming=True,
        lacks=partial(lacking, name, needs),
    )


HTTP = _plugin("http", _make_http, (_URL, _TOKEN_ENV, _TOKEN_HEADER), summary="on HTTP workers", needs=["httpx"])
GCP = _plugin(
    "gcp",
    _make_gcp,
    (_URL,),
    summary="on Google Cloud Run",
    needs=["httpx", "google.auth", "requests"],
)
AWS = _plugin("aws", _make_aws, (_FUNCTION, _REGION, _ENDPOINT_URL), summary="on AWS Lambda", needs=["boto3"])
