"""`tailrace job validate`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, takewhile

import click

from tailrace import JobSpec, parse_command

from ._completion import complete_file

_SHELL_SYNTAX = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"})


@click.command()
@click.argument("spec", shell_complete=complete_file)
def validate(spec: str) -> None:
    """Check the job specification SPEC, a file or an http(s) URL, and say what it holds."""
    job = JobSpec.load(spec)
    frames = sum(chunk.frame_count for chunk in job.chunks)
    size = f"{job.metadata.width}x{job.metadata.height} at {job.metadata.fps:g} frames a second"
    click.echo(
        f"{spec}: job {job.id}: {len(job.chunks)} chunks, {frames} of {job.metadata.total_frames} frames, {size}"
    )
    click.echo(f"merged by: {job.merge_command}" if job.merge_command else "not merged: there is no mergeCommand")
    for remark in _remarks(job):
        click.echo(f"note: {remark}")


def _remarks(job: JobSpec) -> Iterator[str]:
    """Yield what is allowed and yet seldom meant."""
    parts = {"": job, "metadata.": job.metadata, **{f"chunks[{n}].": chunk for n, chunk in enumerate(job.chunks)}}
    unknown = [prefix + key for prefix, part in parts.items() for key in part.extra]
    if unknown:
        yield f"not a key that tailrace knows: {', '.join(unknown)}"
    in_order = sorted(job.chunks, key=lambda chunk: chunk.start_frame)
    furthest = in_order[0]
    for first, second in pairwise(in_order):
        # Where a chunk has a step, the frames between its own are left out on purpose, or belong to another chunk.
        furthest = max(furthest, first, key=lambda chunk: chunk.frames.stop)
        if second.start_frame > furthest.frames.stop:
            yield f"no chunk has the frames between chunk {furthest.id} and chunk {second.id}"
        elif any(frame in first.frames for frame in takewhile(first.frames[-1].__ge__, second.frames)):
            yield f"chunk {first.id} and chunk {second.id} have frames in common"
    for chunk in job.chunks:
        _, args = parse_command(chunk.command)
        if _SHELL_SYNTAX.intersection(args):
            yield f"chunk {chunk.id} is not run by a shell: pipes and redirections take sh -c '...'"
