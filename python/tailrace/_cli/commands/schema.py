"""`tailrace job schema`."""

from __future__ import annotations

import json

import click

import tailrace


@click.command()
def schema() -> None:
    """Print the JSON Schema of job files.

    An editor that has it completes and explains the keys, and marks what tailrace would refuse.

    \b
    tailrace job schema > job.schema.json
    """  # noqa: D301 - click wants the character itself.
    click.echo(json.dumps(tailrace.job_schema(), indent=2, ensure_ascii=False))
