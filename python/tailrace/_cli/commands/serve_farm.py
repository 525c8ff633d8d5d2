"""`tailrace serve`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import click

from ..adapter_options import AdapterCommand, AdapterRequest
from ..arguments import parse_amounts, parse_file_size, parse_limit
from ..completion import complete_folder
from ..listening import is_for_others, listen, log_to_standard_error, take_token, url_of
from ..writing import print_message

_DEFAULT_PORT = 8089
"""As in `tailrace.server.DEFAULT_PORT`, which takes long to load."""


@click.command("serve", cls=AdapterCommand)
@click.option(
    "--db",
    metavar="FILE_OR_URL",
    default="farm.db",
    help="What the jobs are kept in: a file, made if it is missing, or a postgresql:// URL. Default farm.db.",
)
@click.option(
    "--slots", metavar="N", type=click.IntRange(min=1), help="Chunks at a time; default: one for each processor."
)
@click.option(
    "--capacity",
    metavar="NAME=N,...",
    multiple=True,
    callback=parse_amounts,
    help="What the running chunks have together, for what they need: memory=64G,gpus=2,nuke_i=3.",
)
@click.option("--host", default="127.0.0.1", help="The address to listen on; default 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), default=_DEFAULT_PORT, help="The port; 0: any. Default 8089.")
@click.option(
    "--server-token-env",
    metavar="NAME",
    help="The environment variable with the token that clients have to send; default: one is made, and kept in a file.",
)
@click.option(
    "--view-token-env", metavar="NAME", help="The variable with a second token, with which nothing can be changed."
)
@click.option(
    "--log-dir", metavar="DIR", shell_complete=complete_folder, help="Keep logs here; default: beside the jobs."
)
@click.option(
    "--retention",
    metavar="TIME",
    callback=parse_limit,
    help="Forget jobs with their logs when they ended so long ago, and events, such as 30d; default: never.",
)
@click.option(
    "--retention-logs",
    metavar="SIZE",
    callback=parse_file_size,
    help="Forget those that ended first, too, while the logs of ended jobs take more room, such as 50G.",
)
@click.option("--drain", is_flag=True, help="When asked to end, let chunks that run end first, and start no more.")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    metavar="H",
    multiple=True,
    help="A name that clients know the server by, beside this machine's own. May be given again.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    metavar="A",
    multiple=True,
    help="The address of a proxy whose X-Forwarded-For and -Proto count. May be given again.",
)
@click.option("--tls-cert", metavar="F", type=click.Path(dir_okay=False), help="Speak HTTPS, with this certificate.")
@click.option("--tls-key", metavar="F", type=click.Path(dir_okay=False), help="The key of the certificate.")
@click.option("--quiet", "-q", is_flag=True, help="Tell of no request.")
def serve_farm(
    *,
    db: str,
    slots: int | None,
    capacity: Mapping[str, float] | None,
    host: str,
    port: int,
    server_token_env: str | None,
    view_token_env: str | None,
    log_dir: str | None,
    retention: float | None,
    retention_logs: int | None,
    drain: bool,
    allowed_hosts: tuple[str, ...],
    trusted_proxies: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
    quiet: bool,
    adapter: AdapterRequest,
) -> None:
    """Run many jobs, and take them over HTTP from this machine and others.

    `tailrace job submit` adds a job, `tailrace job list` shows them. When it is ended, in whatever way, what ran is run
    again by the next one.
    """
    # Before that nothing of it is needed: help and completion are asked for often.
    import anyio

    from tailrace import JobManager, Retention, describe_error
    from tailrace.server import ServerSettings, make_token, serve, token_file

    from ..adapter_options import make_adapter

    if adapter.values.get("job_def_url"):
        raise click.UsageError("--job-def-url is of a job, and a farm has many: give it to tailrace job submit")
    log_to_standard_error(logging.WARNING if quiet else logging.INFO)
    with listen(host, port) as listener:
        scheme = "http" if tls_cert is None else "https"
        where = url_of(listener, scheme)
        token = take_token("--server-token-env", server_token_env)
        shown = where
        try:
            if token is None:
                token = make_token(token_file(listener.getsockname()[1]))
                shown = f"{where}/#{token}"
            settings = ServerSettings(
                token,
                view_token=take_token("--view-token-env", view_token_env),
                allowed_hosts=allowed_hosts,
                trusted_proxies=trusted_proxies,
                tls_cert=tls_cert,
                tls_key=tls_key,
            )
            chosen = make_adapter(adapter, None, "a job of the farm", Path.cwd(), masked=(), for_many_jobs=True)
            kept = Retention(age=retention, log_bytes=retention_logs)
            manager = JobManager(chosen, db, slots=slots, capacity=capacity, log_dir=log_dir, retention=kept)
        except (ValueError, OSError) as error:
            raise click.UsageError(describe_error(error)) from error
        except ImportError as error:
            raise click.ClickException(str(error)) from error

        def tell() -> None:
            print_message(f"the farm listens on {shown}", patience=0)
            if scheme == "http" and is_for_others(listener):
                print_message(
                    "note: without --tls-cert, tokens can be read on their way from other machines", patience=0
                )

        async def run() -> None:
            async with manager:
                await serve(manager, listener, settings, drain=drain, on_listening=tell)

        try:
            anyio.run(run)
        except ImportError as error:
            raise click.ClickException(str(error)) from error
        except ValueError as error:
            raise click.UsageError(str(error)) from error
