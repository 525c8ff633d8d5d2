"""`tailrace worker serve`."""

from __future__ import annotations

import logging
import os
import socket
import sys

import click

from tailrace.worker import WorkerApp, WorkerSettings, create_app
from tailrace.worker import serve as serve_app

from ..cleanup import raising_keyboard_interrupt
from ..listening import is_for_others, listen, log_to_standard_error, take_token, url_of
from ..writing import print_message

_DEFAULTS = WorkerSettings(())
_COMMANDS_VARIABLE = "TAILRACE_ALLOW_COMMAND"


@click.command()
@click.option("--host", default="127.0.0.1", help="The address to listen on; default 127.0.0.1.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, envvar="PORT", help="The port; 0: any. Default 8080."
)
@click.option(
    "--allow-spec",
    "allow_specs",
    metavar="PLACE",
    multiple=True,
    envvar="TAILRACE_ALLOW_SPEC",
    help="A folder, or the beginning of a URL, that job specifications may come from. May be given again.",
)
@click.option(
    "--allow-command",
    "allow_commands",
    metavar="NAME",
    multiple=True,
    envvar=_COMMANDS_VARIABLE,
    help="A command that chunks may run; default any that a specification names. May be given again.",
)
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False),
    envvar="TAILRACE_WORK_DIR",
    help="A folder shared with whoever submits jobs: chunks read it, and their output appears in it.",
)
@click.option("--token-env", metavar="NAME", help="The environment variable with the token that clients have to send.")
@click.option("--no-token", is_flag=True, help="Listen to other machines without a token: something else checks them.")
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    default=_DEFAULTS.concurrency,
    help="Chunks at a time; default: one for each processor.",
)
@click.option(
    "--ignore-assets",
    is_flag=True,
    envvar="TAILRACE_IGNORE_ASSETS",
    help="Run jobs with an assetsUrl too, without their assets: they are in place already.",
)
@click.option(
    "--max-body",
    metavar="BYTES",
    type=click.IntRange(min=1),
    default=_DEFAULTS.max_body,
    help="The largest request; default 1 MiB.",
)
@click.option("--quiet", "-q", is_flag=True, help="Tell of no chunk that ended and no request that was refused.")
def serve(
    *,
    host: str,
    port: int,
    allow_specs: tuple[str, ...],
    allow_commands: tuple[str, ...],
    work_dir: str | None,
    token_env: str | None,
    no_token: bool,
    concurrency: int,
    ignore_assets: bool,
    max_body: int,
    quiet: bool,
) -> None:
    """Run chunks for the http and gcp adapters of other machines.

    A line on standard error tells how each chunk ended, and of each request that was refused, but for those that have
    to wait for a place.

    Everything that may be run is named by job specifications, so whoever may write to the places that --allow-spec
    lists may run commands here.
    """
    if not allow_specs:
        raise click.UsageError("--allow-spec is missing: say where job specifications may come from")
    try:
        settings = WorkerSettings(
            allow_specs,
            # Click takes a blank variable for one that is not there; it may well have been meant to allow nothing.
            allow_commands=allow_commands if allow_commands or _COMMANDS_VARIABLE in os.environ else None,
            work_dir=work_dir,
            token=take_token("--token-env", token_env),
            concurrency=concurrency,
            ignore_assets=ignore_assets,
            max_body=max_body,
        )
        app = create_app(settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    log_to_standard_error(logging.WARNING if quiet else logging.INFO)
    listener = listen(host, port)
    with listener:
        if settings.token is None and not no_token and is_for_others(listener):
            raise click.UsageError(
                f"{listener.getsockname()[0]} can be reached from other machines: give --token-env, or --no-token if"
                " something before this worker checks who asks"
            )
        _run(app, listener, url_of(listener))


def _run(app: WorkerApp, listener: socket.socket, address: str) -> None:
    try:
        with raising_keyboard_interrupt():
            serve_app(app, listener, on_listening=lambda: print_message(f"the worker listens on {address}", patience=0))
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)
