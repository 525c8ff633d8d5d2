"""`tailrace farm check`."""

from __future__ import annotations

import click

from tailrace import check_farm

from ..farm_access import json_option, to_json


@click.command()
@click.argument("repository", default="farm.db")
@json_option
def check(repository: str, *, as_json: bool) -> None:
    """Look for what is wrong with what a farm keeps of its jobs, while nobody runs it.

    REPOSITORY is a file (farm.db unless it is named) or a postgresql:// URL. Each fault is a line. Exit status: 0 if
    there is none, 1 if there are some or it cannot be read, as while a manager has it.
    """
    faults = check_farm(repository)
    if as_json:
        click.echo(to_json({"faults": faults}))
    else:
        for fault in faults:
            click.echo(fault)
    if faults:
        raise click.exceptions.Exit(1)
    if not as_json:
        click.echo("nothing is wrong", err=True)
