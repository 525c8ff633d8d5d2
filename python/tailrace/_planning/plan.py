"""A job for a renderer, made from a range of frames."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from .._errors import SpecError
from .._spec.frame_range import FrameRange
from .._spec.frame_rate import exact_frame_rate
from .._spec.model import Chunk, JobMetadata, JobSpec
from .._spec.needs import Needs
from .._spec.numbered_name import is_numbered
from .._spec.outputs import chunks_sharing_outputs
from .outline import DEFAULT_SIZE, Outline, Template
from .templates import find_template
from .video_merge import video_merge

_DEFAULT_FPS = Fraction(24)


def plan_job(
    template: str,
    frames: str | Iterable[int],
    *,
    chunk_size: int,
    output: str,
    source: str | None = None,
    args: Sequence[str] = (),
    fps: float | Fraction | None = None,
    size: tuple[int, int] | None = None,
    video: str | None = None,
    merge_command: str | None = None,
    retry_command: str | None = None,
    needs: Mapping[str, float] | None = None,
    job_id: str = "job",
) -> JobSpec:
    """Return a job that renders `frames`, such as "1-250x2,300", in chunks of at most `chunk_size` frames.

    `template` is "blender", "ffmpeg" or "povray", which take a `source` and further `args`, or a command with
    placeholders: "render {start} {end} {output}". `output` names what is written; in it, `####` is the number of each
    frame, for ffmpeg that of the chunk's first one. A command's `output` may have placeholders too. File names are
    relative to the folder that the job will run in; nothing is looked up there.

    `fps` (24 unless given) and `size` in pixels describe the video, and `size` is what a renderer is told to render.
    23.976, 29.97 and 59.94 stand for 24000/1001, 30000/1001 and 60000/1001.
    `video` has ffmpeg make a video of the chunks, `merge_command` is any other command for that.

    An attempt at a chunk of which some frames are whole already renders the others alone, by a retry command: Blender,
    POV-Ray and commands with `{frames}` or `{ranges:..}` have one; `retry_command` is that of another command:
    "render --only {frames} {output}". The output is `####` then. `needs` is what each chunk needs; see `Chunk.needs`.

    Raises `SpecError` for what cannot be planned.
    """
    try:
        own_needs = Needs(needs)
    except ValueError as error:
        raise SpecError(f"needs: {error}") from None
    if chunk_size < 1:
        raise SpecError(f"chunk size: {chunk_size} should be 1 or more")
    if video is not None and merge_command is not None:
        raise SpecError("video: is made by a merge command of its own: give one of the two")
    frames = FrameRange.of(frames)
    if not frames:
        raise SpecError("frames: there should be one at least")
    rate = _to_fraction(fps)
    chunks = _plan_chunks(
        template,
        Outline(
            source=source,
            output=output,
            args=args,
            fps=rate,
            size=size,
            first_frame=min(map(min, frames.ranges)),
            last_frame=max(map(max, frames.ranges)),
            chunk_size=chunk_size,
            retry_command=retry_command,
        ),
        frames,
    )
    if video is not None and is_numbered(chunks[0].output_file) and min(map(min, frames.ranges)) < 0:
        raise SpecError("video: ffmpeg numbers the pictures of a video from 0: leave out the frames below it")
    rate = rate or _DEFAULT_FPS
    total = len(frames)
    width, height = size or DEFAULT_SIZE
    return JobSpec(
        id=job_id,
        metadata=JobMetadata(
            total_frames=total, fps=float(rate), width=width, height=height, duration=float(total / rate)
        ),
        chunks=chunks,
        merge_command=merge_command if video is None else video_merge(chunks, video, rate),
        needs=own_needs,
    )


def _plan_chunks(template_name: str, outline: Outline, frames: FrameRange) -> tuple[Chunk, ...]:
    template = find_template(template_name, outline)
    chunks: list[Chunk] = []
    for part in _parts(template_name, template, outline.chunk_size, frames):
        work = template.work(part)
        chunks.append(
            Chunk(
                id=len(chunks),
                frames=part,
                output_file=work.output_file,
                command=shlex.join(work.words),
                retry_command=work.retry_command if len(part) > 1 else None,
            )
        )
    if chunks_sharing_outputs(chunks):
        raise SpecError(
            f"output: {outline.output!r} is the same file for several chunks: put #### in its name, or in that of a"
            " command {start:04}"
        )
    return tuple(chunks)


def _parts(template_name: str, template: Template, chunk_size: int, frames: FrameRange) -> Iterator[FrameRange]:
    """Yield the frames of each chunk, in the order that was asked for; within one, renderers go up."""
    if template.takes == "lists":
        for place in range(0, len(frames), chunk_size):
            yield FrameRange(sorted(frames[place : place + chunk_size]))
        return
    for run in frames.ranges:
        if abs(run.step) > 1 and chunk_size > 1 and template.takes == "runs":
            raise SpecError(
                f"chunk size: {template_name!r} renders every frame of a chunk, so a range with a step takes a chunk"
                " size of 1" + ("" if "{" not in template_name else ", or {step} or {frames} in the command")
            )
        for place in range(0, len(run), chunk_size):
            part = run[place : place + chunk_size]
            yield FrameRange(part if part.step > 0 else part[::-1])


def _to_fraction(fps: float | Fraction | None) -> Fraction | None:
    if fps is None:
        return None
    try:
        rate = exact_frame_rate(fps)
    except ValueError:
        rate = Fraction(0)
    if rate <= 0:
        raise SpecError(f"fps: {fps} should be more than 0")
    return rate
