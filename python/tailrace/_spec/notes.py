"""What is allowed in a job specification and yet seldom meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from .command import parse_command
from .frame_range import rising_runs
from .frame_set import FrameSet
from .model import Chunk, JobSpec
from .outputs import chunks_sharing_outputs
from .schema import SCHEMA_KEY

_MEANT = {"cpu": "cpus", "gpu": "gpus", "mem": "memory", "ram": "memory"}
"""What is likely to be meant by other names of a need, in small letters."""
_SHELL_SYNTAX = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"})


def lint_job(spec: JobSpec) -> list[str]:
    """Return a line for each thing in `spec` that is allowed and yet seldom meant; an empty list if there is none.

    Such are unknown keys, needs that are called as others in other programs, frames that no chunk has or two have,
    output files that several chunks write, and shell syntax in a command that no shell runs. It reads nothing but
    `spec`; what this machine lacks says `check_machine`. Raises nothing for what it finds.
    """
    return list(_notes_on(spec))


def _notes_on(job: JobSpec) -> Iterator[str]:
    parts = {"": job, "metadata.": job.metadata, **{f"chunks[{n}].": chunk for n, chunk in enumerate(job.chunks)}}
    unknown = [prefix + key for prefix, part in parts.items() for key in part.extra if prefix + key != SCHEMA_KEY]
    if unknown:
        yield f"not a key that tailrace knows: {', '.join(unknown)}"
    for name in sorted({name for chunk in job.chunks for name in chunk.needs} - {"cpus", "gpus", "memory"}):
        meant = _MEANT.get(name.lower(), name.lower())
        if meant in ("cpus", "gpus", "memory"):
            yield f"needs: {name} is taken for a resource of that name: {meant} may be meant"
    yield from _notes_on_frames(job)
    sharing = chunks_sharing_outputs(job.chunks)
    if sharing:
        yield f"chunks {enumerated(sharing)} have the same outputFile as another: one overwrites the other"
    for chunk in job.chunks:
        if _SHELL_SYNTAX.intersection(parse_command(chunk.command)[1]):
            yield f"chunk {chunk.id} is not run by a shell: pipes and redirections take sh -c '...'"


def enumerated(ids: Iterable[int]) -> str:
    """Return the numbers, runs of them in short."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _notes_on_frames(job: JobSpec) -> Iterator[str]:
    in_order = sorted(job.chunks, key=lambda chunk: min(chunk.frames))
    furthest = in_order[0]
    for first, second in pairwise(in_order):
        # Where a chunk has a step, the frames between its own are left out on purpose, or belong to another chunk.
        furthest = max(furthest, first, key=_frame_after)
        if min(second.frames) > _frame_after(furthest):
            yield f"no chunk has the frames between chunk {furthest.id} and chunk {second.id}"
        elif FrameSet(rising_runs(first.frames)).common_frame(FrameSet(rising_runs(second.frames))) is not None:
            yield f"chunk {first.id} and chunk {second.id} have frames in common"
    planned, total = sum(chunk.frame_count for chunk in job.chunks), job.metadata.total_frames
    if planned < total:
        yield f"no chunk has {total - planned} of the {counted(total, 'frame')} in metadata.totalFrames"
    elif planned > total:
        yield f"the chunks have {counted(planned, 'frame')}, metadata.totalFrames is {total}"


def _frame_after(chunk: Chunk) -> int:
    """Return the frame from which on another chunk is expected to go on."""
    return max(chunk.frames) + (chunk.frame_step or 1)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: 1 chunk, 2 chunks."""
    return f"{number} {noun}{'s' * (number != 1)}"
