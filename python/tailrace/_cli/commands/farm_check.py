"""`tailrace farm check`."""

from __future__ import annotations

import click

from tailrace import check_farm


@click.command()
@click.argument("repository", default="farm.db")
def check(repository: str) -> None:
    """Look for what is wrong with what a farm keeps of its jobs, while nobody runs it.

    REPOSITORY is a file (farm.db unless it is named) or a postgresql:// URL. Each fault is a line. Exit status: 0 if
    there is none, 1 if there are some or it cannot be read, as while a manager has it.
    """
    faults = check_farm(repository)
    for fault in faults:
        click.echo(fault)
    if faults:
        raise click.exceptions.Exit(1)
    click.echo("nothing is wrong", err=True)
