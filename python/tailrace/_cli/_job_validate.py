"""`tailrace job validate`."""

from __future__ import annotations

import click

from tailrace import JobSpec


@click.command()
@click.argument("spec")
def validate(spec: str) -> None:
    """Check the job specification SPEC, a file or an http(s) URL, and say what it holds."""
    job = JobSpec.load(spec)
    frames = sum(chunk.frame_count for chunk in job.chunks)
    size = f"{job.metadata.width}x{job.metadata.height} at {job.metadata.fps:g} frames a second"
    click.echo(
        f"{spec}: job {job.id}: {len(job.chunks)} chunks, {frames} of {job.metadata.total_frames} frames, {size}"
    )
    click.echo(f"merged by: {job.merge_command}" if job.merge_command else "not merged: there is no mergeCommand")
