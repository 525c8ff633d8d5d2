"""A look at all that a job has rendered."""

from __future__ import annotations

import os
from collections.abc import Callable

from .._concurrency.slices import Work, in_slices
from .._events.types import FrameLevel
from .._frames.checker import FrameRequest, check_all
from .._frames.result import FrameCheck
from .._spec.model import JobSpec
from .._spec.outputs import output_files
from .folder import resolve_job_dir


async def check_job_frames(
    spec: JobSpec,
    job_dir: str | os.PathLike[str] | None = None,
    *,
    level: FrameLevel = "whole",
    concurrency: int | None = None,
    in_background: bool = True,
    on_check: Callable[[FrameCheck], object] | None = None,
) -> list[FrameCheck]:
    """Look at every file that the job's chunks are to write, and return what `check_frames` does of each.

    They are in the order of the chunks and their frames; a file that several name comes once. A video of a chunk has to
    hold as many frames as the chunk. `job_dir` is the folder that the job is run in: by default that of its file.

    Raises what `check_frames` does.
    """
    requests = await in_slices(_requests(spec, job_dir))
    return await check_all(requests, level, concurrency=concurrency, in_background=in_background, on_check=on_check)


def _requests(spec: JobSpec, job_dir: str | os.PathLike[str] | None) -> Work[list[FrameRequest]]:
    folder = resolve_job_dir(spec, job_dir)
    requests: dict[str, FrameRequest] = {}
    for chunk in spec.chunks:
        for frame, path in output_files(chunk, folder):
            requests.setdefault(
                os.fspath(path), FrameRequest(path, frames=len(chunk.frames) if frame is None else None)
            )
            yield
    return list(requests.values())
