"""Which frames of a job are still to be rendered, by a look at its output files."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .._concurrency.slices import Work, in_slices
from .._events.types import FrameLevel
from .._spec.frame_range import FrameRange
from .._spec.model import Chunk, JobSpec
from .artifacts import Record
from .folder import job_folder, resolve_job_dir
from .inspection import OutputInspector, are_whole, by_frame, inspector_of
from .journal import FILE_NAME


async def missing_frames(
    spec: JobSpec,
    job_dir: str | os.PathLike[str] | None = None,
    *,
    check_frames: FrameLevel = "exist",
    recorded: bool = False,
    state_dir: str | os.PathLike[str] | None = None,
) -> Mapping[int, FrameRange]:
    """Return for each chunk of `spec`, by its id, the frames whose files are missing or, by `check_frames`, damaged.

    Of a chunk whose output is one file for all frames, all are missing or none. With `recorded`, frames count as there
    only if the record says that an earlier run began them with the same command; the last one that is there may be torn
    then, unless its content is looked at. `job_dir` and `state_dir` are what the job was or will be run with; its
    `JobExecutionOptions.chunk_frames` takes what is returned, for chunks that have a `retry_command`.

    Raises `TailraceError` if there is a record and it cannot be read.
    """
    folder = resolve_job_dir(spec, job_dir)
    inspector = inspector_of(folder, check_frames)
    record = await in_slices(_read_record(job_folder(folder, spec.id, state_dir) / FILE_NAME)) if recorded else None
    missing = {}
    async with inspector:
        for chunk in spec.chunks:
            trusted: Sequence[int] = chunk.frames if record is None else record.begun_frames(chunk)
            whole: Collection[int] = ()
            if trusted:
                whole = await _whole_frames(chunk, inspector, may_be_torn=recorded and not inspector.reads_content)
            kept = set(trusted).intersection(whole)
            missing[chunk.id] = FrameRange(frame for frame in chunk.frames if frame not in kept)
    return missing


def _read_record(path: Path) -> Work[Record]:
    record = Record(path)
    yield
    return record


async def _whole_frames(chunk: Chunk, inspector: OutputInspector, *, may_be_torn: bool) -> Collection[int]:
    of_frames = by_frame(await in_slices(inspector.look(chunk)))
    of_all = of_frames.pop(None, ())
    if of_all and (may_be_torn or not await are_whole(inspector, of_all, len(chunk.frames))):
        return ()
    if not of_frames:
        return chunk.frames
    whole = [frame for frame, files in of_frames.items() if frame is not None and await are_whole(inspector, files, 1)]
    return whole[:-1] if may_be_torn else whole
