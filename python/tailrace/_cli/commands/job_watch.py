"""`tailrace job watch`."""

from __future__ import annotations

import sys

import click

from ..farm_access import ask_farm, complete_job_id, server_option, whole_id


@click.command()
@click.argument("job_id", metavar="ID", shell_complete=complete_job_id)
@click.option("--quiet", "-q", is_flag=True, help="Show no output of the chunks, and say only what goes wrong.")
@click.option("--no-color", is_flag=True, help="Use no colours; so does the variable NO_COLOR.")
@click.option("--json", "as_json", is_flag=True, help="Write what happens to standard output, one JSON object a line.")
@server_option
def watch(job_id: str, *, quiet: bool, no_color: bool, as_json: bool, server: str | None) -> None:
    """Show what happens in a job of the farm, as `job run` does, until it has ended. Ctrl-C leaves it running.

    Exit status: 0 completed; 1 failed or cancelled; 2 no such job, or no server; 130 after Ctrl-C.
    """
    from ..watching import watch_job

    found = ask_farm(server, lambda farm: whole_id(farm, job_id))
    sys.exit(watch_job(server, found, quiet=quiet, no_color=no_color, as_json=as_json))
