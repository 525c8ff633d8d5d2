"""Which chunks and frames a command line asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import click

from tailrace import Capabilities, Chunk, FrameLevel, FrameRange, JobSpec, missing_frames, reasons_to_run, shown_source

from .phrases import enumerated


class SelectionRequest(NamedTuple):
    """The options that say what is to be rendered."""

    chunk: tuple[int, ...]
    frames: FrameRange | None
    again: FrameRange | None
    missing: bool
    resume: bool


class Selection(NamedTuple):
    """What is to be rendered of a job."""

    unasked: frozenset[int]
    """Chunks that are left out of everything that is told."""
    done: frozenset[int]
    """Chunks that need not be run."""
    chunk_frames: Mapping[int, FrameRange]
    """The frames that are asked for of chunks of which not all are."""
    reasons: Mapping[int, str | None]
    """Why a chunk is run, None if it is done; empty where nobody asked for that."""
    notes: tuple[str, ...]
    """What is not done as it was asked for."""
    kept: int
    """How many frames are done already of chunks of which others are to be rendered."""

    def chunks(self, spec: JobSpec) -> list[Chunk]:
        """Return the chunks that count, with the frames that count."""
        asked = []
        for chunk in spec.chunks:
            if chunk.id not in self.unasked:
                frames = self.chunk_frames.get(chunk.id)
                asked.append(chunk if frames is None else chunk.part(frames))
        return asked


def select(
    request: SelectionRequest,
    spec: JobSpec,
    source: str,
    job_dir: Path,
    *,
    state_dir: str | os.PathLike[str] | None,
    capabilities: Capabilities,
    check_frames: FrameLevel | None,
) -> Selection:
    """Return what is to be rendered, after a look at the record and the files if that is asked for.

    Raises `click.UsageError` for what does not go together or asks for nothing, `TailraceError` if the record cannot
    be read.
    """
    shares_files = capabilities.shares_files
    _check(request, shares_files=shares_files)
    ids = {chunk.id for chunk in spec.chunks}
    named = request.frames if request.again is None else request.again
    asked = {chunk.id: chunk.frames for chunk in spec.chunks if not request.chunk or chunk.id in request.chunk}
    if named is not None:
        wanted = set(named)
        asked = {id_: kept for id_, all_ in asked.items() if (kept := [frame for frame in all_ if frame in wanted])}
        if not asked:
            raise click.UsageError(f"{shown_source(source)} has none of the frames {named}")
    reasons: Mapping[int, str | None] = {}
    missing: Mapping[int, FrameRange] = {}
    if request.resume:
        reasons = reasons_to_run(spec, job_dir, state_dir=state_dir, shares_files=shares_files)
    if shares_files and (request.missing or any(reason is not None for reason in reasons.values())):
        missing = anyio.run(
            partial(
                missing_frames,
                spec,
                job_dir,
                check_frames=check_frames or "exist",
                recorded=request.resume,
                state_dir=state_dir,
            )
        )
    done = {id_ for id_, reason in reasons.items() if reason is None}
    left = {
        id_: FrameRange(kept)
        for id_, frames in asked.items()
        if (kept := [frame for frame in frames if id_ not in missing or frame in missing[id_]])
    }
    done |= asked.keys() - left.keys()
    by_id = {chunk.id: chunk for chunk in spec.chunks}
    to_run = [by_id[id_] for id_ in left if id_ not in done]
    unasked = ids - asked.keys()
    look = partial(reasons_to_run, spec, job_dir, state_dir=state_dir, shares_files=shares_files)
    chunk_frames, notes = {}, []
    for id_, frames in left.items():
        chunk = by_id[id_]
        if id_ in done or len(frames) == len(chunk.frames):
            continue
        if chunk.has_parts and capabilities.sees_parts:
            chunk_frames[id_] = frames
        elif named is not None:
            notes.append(id_)
    reason = "no retryCommand renders some" if capabilities.sees_parts else "this adapter's workers render whole chunks"
    text = f"all frames of chunk{'s' * (len(notes) > 1)} {enumerated(notes)} are rendered: {reason}"
    return Selection(
        frozenset(unasked),
        frozenset(done) | unasked,
        chunk_frames,
        reasons,
        (*([text] if notes else []), *_absent(spec, named), *_left_behind(to_run, unasked, look)),
        sum(len(asked[id_]) - len(frames) for id_, frames in chunk_frames.items()),
    )


def _left_behind(
    chunks: Iterable[Chunk], unasked: AbstractSet[int], look: Callable[[], Mapping[int, str | None]]
) -> Iterator[str]:
    """Yield a note for each of the chunks to run that depends on one which is neither done nor asked for."""
    waiting = {chunk.id: others for chunk in chunks if (others := unasked & set(chunk.depends_on))}
    reasons = look() if waiting else {}
    for id_, others in waiting.items():
        lacking = [other for other in others if reasons[other] is not None]
        if lacking:
            yield (
                f"chunk {id_} runs without chunk{'s' * (len(lacking) > 1)} {enumerated(lacking)},"
                " which it depends on: not done, and not asked for"
            )


def _absent(spec: JobSpec, named: FrameRange | None) -> Iterator[str]:
    """Yield a note of the frames that were named and are in no chunk."""
    if named is None:
        return
    absent = set(named).difference(*(chunk.frames for chunk in spec.chunks))
    if absent:
        yield f"no chunk has the frame{'s' * (len(absent) > 1)} {FrameRange(sorted(absent))}"


def _check(request: SelectionRequest, *, shares_files: bool) -> None:
    together = [
        ("--frames", request.frames is not None),
        ("--again", request.again is not None),
        ("--chunk", bool(request.chunk)),
    ]
    given = [name for name, is_given in together if is_given]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} each say what is run: use one of them")
    if request.missing and request.resume:
        raise click.UsageError("--missing looks at the files alone, --resume at the record too: use one of them")
    if request.again is not None and (request.missing or request.resume):
        raise click.UsageError("--again renders frames whatever there is: use it without --missing and --resume")
    if request.missing and not shares_files:
        raise click.UsageError("--missing looks at the output files here, where those of this adapter are not seen")
