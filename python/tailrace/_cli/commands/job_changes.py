"""`tailrace job pause`, `resume`, `cancel`, `retry`, `mark-done`, `delete` and `priority`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from ..farm_access import NotDoneError, ask_farm, complete_job_id, json_option, server_option, to_json, whole_id
from ..writing import print_message

if TYPE_CHECKING:
    from tailrace import RemoteFarm

_ids_argument = click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_job_id)
_chunk_option = click.option(
    "--chunk", "chunks", metavar="N", type=int, multiple=True, help="This chunk alone; may be given again."
)


@click.command()
@_ids_argument
@click.option("--now", is_flag=True, help="End the chunks that run, which are pending again then.")
@server_option
@json_option
def pause(ids: tuple[str, ...], *, now: bool, server: str | None, as_json: bool) -> None:
    """Start no more chunks of jobs, and let those that run end. An ID may be cut to any unique beginning."""
    _change(ids, server, lambda farm, job_id: farm.pause(job_id, now=now), as_json=as_json)


@click.command()
@_ids_argument
@server_option
@json_option
def resume(ids: tuple[str, ...], *, server: str | None, as_json: bool) -> None:
    """Have paused jobs go on, and those that wait for others or for a time begin."""
    _change(ids, server, lambda farm, job_id: farm.resume(job_id), as_json=as_json)


@click.command()
@_ids_argument
@server_option
@json_option
def cancel(ids: tuple[str, ...], *, server: str | None, as_json: bool) -> None:
    """End jobs. What is finished of them stays."""
    _change(ids, server, lambda farm, job_id: farm.cancel(job_id), as_json=as_json)


@click.command()
@_ids_argument
@_chunk_option
@click.option("--done", is_flag=True, help="Run the chunks that --chunk names though they are completed.")
@server_option
@json_option
def retry(ids: tuple[str, ...], *, chunks: tuple[int, ...], done: bool, server: str | None, as_json: bool) -> None:
    """Run what failed, was skipped or cancelled again, of jobs that have ended."""
    if done and not chunks:
        raise click.UsageError("--done is for the chunks that --chunk names")
    _change(ids, server, lambda farm, job_id: farm.retry(job_id, chunks or None, done=done), as_json=as_json)


@click.command("mark-done")
@click.argument("job_id", metavar="ID", shell_complete=complete_job_id)
@click.argument("chunks", metavar="CHUNK...", type=int, nargs=-1, required=True)
@server_option
@json_option
def mark_done(job_id: str, *, chunks: tuple[int, ...], server: str | None, as_json: bool) -> None:
    """Take chunks of a job as completed that were made some other way, and whatever their files are."""
    _change((job_id,), server, lambda farm, found: farm.mark_done(found, chunks), as_json=as_json)


@click.command()
@_ids_argument
@server_option
@json_option
def delete(ids: tuple[str, ...], *, server: str | None, as_json: bool) -> None:
    """Forget jobs that do not run, with their logs. What they rendered stays."""
    _change(ids, server, lambda farm, job_id: farm.delete(job_id), as_json=as_json, is_gone=True)


# A number below zero is no option.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("job_id", metavar="ID", shell_complete=complete_job_id)
@click.argument("priority", metavar="N", type=int)
@server_option
@json_option
def priority(job_id: str, *, priority: int, server: str | None, as_json: bool) -> None:
    """Have the chunks of a job come before those of jobs with a lower priority than N."""
    _change((job_id,), server, lambda farm, found: farm.set_priority(found, priority), as_json=as_json)


def _change(
    ids: tuple[str, ...],
    server: str | None,
    change: Callable[[RemoteFarm, str], Awaitable[None]],
    *,
    as_json: bool,
    is_gone: bool = False,
) -> None:
    """Change all of them, also when one cannot be; then the last one's reason is the command's."""
    from tailrace import JobNotFoundError, JobStateError, RepositoryError

    async def change_all(farm: RemoteFarm) -> None:
        changed: list[object] = []
        reasons: list[str] = []
        for given in ids:
            try:
                job_id = await whole_id(farm, given)
                await change(farm, job_id)
            except (JobNotFoundError, JobStateError, RepositoryError, NotDoneError, ValueError) as error:
                reasons.append(str(error))
                continue
            changed.append({"id": job_id, "state": "deleted"} if is_gone else await farm.get(job_id))
        if as_json:
            click.echo(to_json(changed))
        for reason in reasons[:-1]:
            print_message(reason)
        if reasons:
            raise NotDoneError(reasons[-1])

    ask_farm(server, change_all)
