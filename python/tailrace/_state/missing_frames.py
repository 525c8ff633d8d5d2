"""Which frames of a job are still to be rendered, by a look at its output files."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .._concurrency.side_by_side import side_by_side
from .._concurrency.slices import Work, in_slices
from .._events.types import FrameLevel
from .._spec.frame_range import FrameRange
from .._spec.model import Chunk, JobSpec
from .artifacts import Record
from .folder import FILE_NAME, job_folder, resolve_job_dir
from .inspection import OutputFile, OutputInspector, are_whole, by_frame, inspector_of, require_tools


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
    only if the record says that an earlier run wrote them with the same command. If that came to its end, they must not
    have changed since; else the one that was written last may be torn, unless its content is looked at. `job_dir` and
    `state_dir` are what the job was or will be run with; its `JobExecutionOptions.chunk_frames` takes what is returned,
    for chunks that have parts.

    Raises `TailraceError` if there is a record and it cannot be read, or if what reads the frames is not installed.
    """
    require_tools(spec, check_frames)
    folder = resolve_job_dir(spec, job_dir)
    inspector = inspector_of(folder, check_frames)
    record = await in_slices(_read_record(job_folder(folder, spec.id, state_dir) / FILE_NAME)) if recorded else None
    missing = dict.fromkeys((chunk.id for chunk in spec.chunks), FrameRange())
    async with inspector:

        async def look(chunk: Chunk) -> None:
            kept = await _whole_frames(chunk, inspector, record)
            missing[chunk.id] = FrameRange(frame for frame in chunk.frames if frame not in kept)

        # Twice as many as there are processors that may decode, so that none waits for the event loop.
        await side_by_side(spec.chunks, look, tasks=2 * len(os.sched_getaffinity(0)))
    return missing


def _read_record(path: Path) -> Work[Record]:
    record = Record(path)
    yield
    return record


async def _whole_frames(chunk: Chunk, inspector: OutputInspector, record: Record | None) -> Collection[int]:
    written = dict.fromkeys(chunk.frames, True) if record is None else record.written_frames(chunk)
    if not written:
        return ()
    files = await in_slices(inspector.look(chunk))
    # What a command wrote that came to its end is as it was then, or somebody else has written it.
    changed = set() if record is None else {file.frame for file in record.changed_files(chunk, files)}
    of_frames = by_frame(files)
    of_all = of_frames.pop(None, ())
    is_done = all(written.values())
    may_be_torn = not is_done and not inspector.reads_content
    if of_all and (may_be_torn or (is_done and None in changed)):
        return ()
    if of_all and not await are_whole(inspector, of_all, len(chunk.frames)):
        return ()
    if not of_frames:
        return written.keys() if len(written) == len(chunk.frames) else ()
    whole = {
        frame
        for frame, of_frame in of_frames.items()
        if frame is not None
        and frame in written
        and not (written[frame] and frame in changed)
        and await are_whole(inspector, of_frame, 1)
    }
    if may_be_torn:
        unfinished = [frame for frame in chunk.frames if frame in whole and not written[frame]]
        if unfinished:
            # Of several that were written at the same time, as far as the file system tells, the last one.
            whole.discard(max(reversed(unfinished), key=lambda frame: _time_of(of_frames[frame])))
    return whole


def _time_of(files: Sequence[OutputFile]) -> int:
    return max(file.state[1] for file in files if file.state is not None)
