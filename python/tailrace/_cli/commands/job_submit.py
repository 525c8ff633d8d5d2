"""`tailrace job submit` and `tailrace job edit`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..arguments import parse_moment
from ..completion import complete_file, complete_folder
from ..farm_access import ask_farm, complete_job_id, json_option, server_option, to_json, whole_id
from .job_settings import settings_of, settings_options

if TYPE_CHECKING:
    from tailrace import JobStatus, RemoteFarm


@click.command()
@click.argument("spec", shell_complete=complete_file)
@click.option(
    "--priority", metavar="N", type=int, default=0, help="Chunks of jobs with a higher one come first; default 0."
)
@click.option(
    "--after",
    metavar="ID",
    multiple=True,
    shell_complete=complete_job_id,
    help="Begin when this job is completed; may be repeated.",
)
@click.option(
    "--not-before",
    metavar="TIME",
    callback=parse_moment,
    help="Begin at this time, or when there are slots after it: 22:00, 2027-01-31T06:30, or 2h for in two hours.",
)
@click.option("--name", metavar="S", help="What the job is called; default the id in SPEC.")
@click.option("--owner", metavar="S", help="Whose it is.")
@click.option("--tag", "tags", metavar="S", multiple=True, help="A word to find it by; may be repeated.")
@click.option("--comment", metavar="S", default="", help="What there is to say of it.")
@click.option(
    "--folder",
    metavar="DIR",
    shell_complete=complete_folder,
    help="Where the commands run, here and on the server; default SPEC's.",
)
@click.option("--wait", is_flag=True, help="Wait until the job has ended; exit status 1 if it is not completed then.")
@click.option("--watch", is_flag=True, help="The same, and show what happens.")
@server_option
@json_option
@settings_options
def submit(
    spec: str,
    *,
    priority: int,
    after: tuple[str, ...],
    not_before: float | None,
    name: str | None,
    owner: str | None,
    tags: tuple[str, ...],
    comment: str,
    folder: str | None,
    wait: bool,
    watch: bool,
    server: str | None,
    as_json: bool,
    settings: Mapping[str, Any],
) -> None:
    """Add the job that SPEC describes to the farm, and print its id.

    Its commands run in SPEC's folder, which the farm's server has to see under the same name.

    Exit status: 0; 1 if the job was waited for and is not completed; 2 bad usage, a bad specification, or no server.
    """
    from tailrace import JobSpec

    loaded = JobSpec.load(spec)
    chosen = settings_of(settings)

    async def add(farm: RemoteFarm) -> str:
        job_id = await farm.submit(
            loaded,
            chosen,
            folder=folder,
            name=name,
            owner=owner,
            tags=tags,
            comment=comment,
            priority=priority,
            after=[await whole_id(farm, one) for one in after],
            not_before=not_before,
        )
        # At once, for who reads it to go on.
        click.echo(to_json({"id": job_id}) if as_json else job_id)
        return job_id

    job_id = ask_farm(server, add)
    if watch:
        from ..watching import watch_job

        sys.exit(watch_job(server, job_id))
    if wait:
        status: JobStatus = ask_farm(server, lambda farm: farm.wait(job_id))
        if status.state != "completed":
            raise click.ClickException(f"job {job_id} is {status.state}{f': {status.error}' if status.error else ''}")


@click.command()
@click.argument("job_id", metavar="ID", shell_complete=complete_job_id)
@click.option("--name", metavar="S", help="What the job is called.")
@click.option("--tag", "tags", metavar="S", multiple=True, help="In place of the words that it has; may be repeated.")
@click.option("--comment", metavar="S", help="What there is to say of it.")
@server_option
@json_option
@settings_options
def edit(
    job_id: str,
    *,
    name: str | None,
    tags: tuple[str, ...],
    comment: str | None,
    server: str | None,
    as_json: bool,
    settings: Mapping[str, Any],
) -> None:
    """Change a job that has not begun, or is paused and of which nothing runs; what is not given stays."""
    if not settings and not tags and name is None and comment is None:
        raise click.UsageError("nothing to change: give --name, --tag, --comment or an option of tailrace job submit")

    async def change(farm: RemoteFarm) -> JobStatus:
        found = await whole_id(farm, job_id)
        changed = settings_of(settings, (await farm.get(found)).settings) if settings else None
        await farm.edit(found, settings=changed, name=name, tags=tags or None, comment=comment)
        return await farm.get(found)

    status = ask_farm(server, change)
    if as_json:
        click.echo(to_json(status))
