"""`tailrace job validate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

import tailrace

from ..completion import complete_file
from ..phrases import counted
from ..writing import print_message

_LACKING = 1
_BAD_SPECIFICATION = 2


@click.command()
@click.argument("spec", shell_complete=complete_file)
@click.option("--machine", is_flag=True, help="Look for the programs, inputs and folders that the commands need, too.")
def validate(spec: str, *, machine: bool) -> None:
    """Check the job specification SPEC, a file, an http(s) URL or "-" for standard input, and say what it holds.

    Exit status: 0, also where there are notes on what is seldom meant; 1 if this machine lacks something (--machine); 2
    for a specification that cannot be used, with a line for each error.
    """
    try:
        job = tailrace.JobSpec.parse(sys.stdin.buffer.read()) if spec == "-" else tailrace.JobSpec.load(spec)
    except tailrace.SpecError as error:
        for problem in error.problems:
            print_message(problem)
        if not error.problems:
            print_message(str(error))
        sys.exit(_BAD_SPECIFICATION)
    frames = sum(chunk.frame_count for chunk in job.chunks)
    size = f"{job.metadata.width}x{job.metadata.height} at {job.metadata.fps:g} frames a second"
    held = f"{counted(len(job.chunks), 'chunk')}, {frames} of {counted(job.metadata.total_frames, 'frame')}, {size}"
    click.echo(f"{tailrace.shown_source(spec)}: job {job.id}: {held}")
    click.echo(f"merged by: {job.merge_command}" if job.merge_command else "not merged: there is no mergeCommand")
    for note in tailrace.lint_job(job):
        click.echo(f"note: {note}")
    if machine and (faults := _faults_of_machine(job)):
        for fault in faults:
            print_message(str(fault))
        sys.exit(_LACKING)


def _faults_of_machine(job: tailrace.JobSpec) -> Sequence[tailrace.MachineFault]:
    # Without this option nothing else needs it, and it takes as long to load as all the rest.
    import anyio

    return anyio.run(tailrace.check_machine, job)
