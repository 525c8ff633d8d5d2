"""`tailrace job list` and `tailrace job show`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ..display.text import clock, size
from ..farm_access import ask_farm, complete_job_id, json_option, server_option, to_json, whole_id
from ..text_table import table

if TYPE_CHECKING:
    from tailrace import ChunkStatus, JobStatus, RemoteFarm

_STATES = ("pending", "running", "paused", "merging", "completed", "failed", "cancelled")
_MOST_CHUNKS = 40
_LONGEST_NAME = 40


@click.command("list")
@click.option(
    "--state", "states", type=click.Choice(_STATES), multiple=True, help="Those in this state; may be repeated."
)
@click.option("--limit", metavar="N", type=click.IntRange(1, 1000), default=100, help="So many at most; default 100.")
@server_option
@json_option
def list_jobs(*, states: tuple[str, ...], limit: int, server: str | None, as_json: bool) -> None:
    """Show the jobs of the farm, the newest first."""
    jobs = ask_farm(server, lambda farm: farm.list(states or None, limit))  # type: ignore[arg-type]
    if as_json:
        click.echo(to_json(jobs))
        return
    rows = [
        (
            job.id,
            job.name[:_LONGEST_NAME],
            job.state,
            f"{job.progress:.0%}",
            f"{job.completed_chunks} of {job.total_chunks}",
            str(job.priority),
            _left(job),
            job.error or _begins(job),
        )
        for job in jobs
    ]
    click.echo("\n".join(table(("id", "name", "state", "done", "chunks", "priority", "left", ""), rows)))


@click.command()
@click.argument("job_id", metavar="ID", shell_complete=complete_job_id)
@server_option
@json_option
def show(job_id: str, *, server: str | None, as_json: bool) -> None:
    """Show what is known of a job and its chunks. ID may be cut to any unique beginning."""

    async def ask(farm: RemoteFarm) -> tuple[JobStatus, Sequence[ChunkStatus]]:
        found = await whole_id(farm, job_id)
        return await farm.get(found), await farm.chunks(found)

    job, chunks = ask_farm(server, ask)
    if as_json:
        click.echo(to_json({"job": job, "chunks": chunks}))
        return
    click.echo("\n".join([*_facts(job), "", *_chunk_table(chunks)]))


def _facts(job: JobStatus) -> Iterator[str]:
    facts = {
        "id": job.id,
        "name": job.name,
        "state": job.state + (f": {job.error}" if job.error else ""),
        "done": f"{job.progress:.0%}, {job.completed_chunks} of {job.total_chunks} chunks, {job.failed_chunks} failed",
        "left": _left(job),
        "priority": str(job.priority),
        "after": ", ".join(job.after),
        "folder": job.folder,
        "owner": job.owner or "",
        "tags": ", ".join(job.tags),
        "comment": job.comment,
        "settings": "" if job.settings.to_json() == "{}" else job.settings.to_json(),
        "created": _time(job.created_at),
        "not before": _time(job.not_before),
        "started": _time(job.started_at),
        "finished": _time(job.finished_at),
    }
    yield from table(("", ""), [(f"{name}:", told) for name, told in facts.items() if told])


def _chunk_table(chunks: Sequence[ChunkStatus]) -> Iterator[str]:
    # Of many those first that somebody may want to see.
    order = {"failed": 0, "running": 1, "skipped": 2, "cancelled": 3}
    shown = chunks if len(chunks) <= _MOST_CHUNKS else sorted(chunks, key=lambda chunk: order.get(chunk.state, 4))
    rows = [
        (
            str(chunk.id),
            chunk.state,
            f"{chunk.progress:.0%}",
            str(chunk.attempts),
            "" if chunk.duration is None else f"{chunk.duration:.1f} s",
            _memory(chunk),
            "" if chunk.exit_code is None else str(chunk.exit_code),
            chunk.node or "",
            chunk.error or "",
        )
        for chunk in shown[:_MOST_CHUNKS]
    ]
    yield from table(("chunk", "state", "done", "tries", "took", "memory", "exit", "node", ""), rows)
    if len(chunks) > _MOST_CHUNKS:
        yield f"… and {len(chunks) - _MOST_CHUNKS} more: --json has all"


def _memory(chunk: ChunkStatus) -> str:
    memory = None if chunk.usage is None else chunk.usage.tree_max_rss or chunk.usage.max_rss
    return "" if memory is None else size(memory)


def _left(job: JobStatus) -> str:
    return "" if job.eta is None else clock(max(0.0, job.eta - time.time()))


def _begins(job: JobStatus) -> str:
    waits = job.state == "pending" and job.not_before is not None and job.not_before > time.time()
    return f"not before {_time(job.not_before)}" if waits else ""


def _time(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
