"""The commands that render some frames of a job: for the renderers known by name, and for any other command."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import PurePosixPath

from .._errors import SpecError
from .._spec.frame_range import FrameRange
from .._spec.placeholders import without_placeholders
from .._spec.retry_command import to_retry_command
from .blender import BLENDER_FORMATS, blender
from .outline import (
    DEFAULT_SIZE,
    FramePattern,
    Outline,
    Template,
    Work,
    format_of,
    refuse_retry_command,
    source_of,
)
from .own_command import own_command


def template_names() -> list[str]:
    """Return the names of the renderers that `plan_job` makes commands for, sorted."""
    return sorted(_RENDERERS)


def find_template(name: str, outline: Outline) -> Template:
    """Return the template for a job; `name` is that of a renderer, or a command with placeholders.

    Raises `SpecError` for a name that is neither, and for what the renderer cannot do.
    """
    if name in _RENDERERS:
        return _RENDERERS[name](outline)
    if "{" not in name:
        known = ", ".join(template_names())
        raise SpecError(
            f"template: {name!r} should be {known}, or a command with placeholders such as"
            " 'render {start} {end} {output}'"
        )
    for unused in (outline.source, *outline.args):
        if unused is not None:
            raise SpecError(f"source: {unused!r} is for {', '.join(template_names())}: write it into the command")
    return own_command(name, outline)


def _povray(outline: Outline) -> Template:
    """The clock runs over all frames of the job, so each chunk names them all, and its own as the subset.

    POV-Ray appends the frame to the file's name, with as many digits as the last of all frames has; without an
    animation of two frames it has no clock. (source/frontend/animationprocessing.cpp in https://github.com/POV-Ray)
    """
    source = source_of(outline, "a .pov file")
    refuse_retry_command(outline, "POV-Ray", "has one")
    pattern = FramePattern.need(outline.output)
    switch = format_of(outline.output, _POVRAY_FORMATS, "POV-Ray")
    suffix = PurePosixPath(outline.output).suffix
    digits = len(str(outline.last_frame))
    if pattern.after != suffix:
        raise SpecError(f"output: POV-Ray puts the frame's number last: write {'#' * digits}{suffix} at the end")
    if pattern.width < digits:
        raise SpecError(f"output: POV-Ray writes {digits} digits for frame {outline.last_frame}: write {'#' * digits}")
    if outline.first_frame < 0:
        raise SpecError(f"frames: POV-Ray counts from 0: there is {outline.first_frame}")
    if outline.first_frame == outline.last_frame:
        raise SpecError("frames: POV-Ray needs two frames or more, over which its clock runs")
    stem = pattern.before + "0" * (pattern.width - digits)
    if not PurePosixPath(stem + "x").stem.removesuffix("x"):
        raise SpecError(f"output: POV-Ray needs a name before the number: write frame_{'#' * pattern.width}{suffix}")
    folder = str(PurePosixPath(source).parent)
    width, height = outline.size or DEFAULT_SIZE
    words = ["povray", _povray_file("+I", source), _povray_file("+O", stem + suffix), switch]
    # Its own folder is not among those where a scene's include files are looked for.
    words += [] if folder == "." else [_povray_file("+L", folder)]
    words += [f"+W{width}", f"+H{height}", "-D", f"+KFI{outline.first_frame}", f"+KFF{outline.last_frame}"]
    retry_words = [without_placeholders(word) for word in ("sh", "-c", _POVRAY_RUNS, "sh")]
    retry_words += ["{ranges:..}", *map(without_placeholders, [*words, *outline.args])]
    retry_command = to_retry_command(retry_words)

    def work(frames: FrameRange) -> Work:
        subset = [f"+SF{frames[0]}", f"+EF{frames[-1]}"]
        return Work([*words, *subset, *outline.args], outline.output, retry_command)

    return Template(work, takes="runs")


def _ffmpeg(outline: Outline) -> Template:
    """Each chunk is a piece of the source's picture, encoded anew; frames count from 0 and sound is left out."""
    source = source_of(outline, "the video")
    refuse_retry_command(outline, "ffmpeg", "writes the frames of a chunk into one file")
    if outline.fps is None:
        raise SpecError("fps: ffmpeg finds a frame by its time: give the frames a second of the source")
    fps = outline.fps
    if outline.first_frame < 0:
        raise SpecError(f"frames: ffmpeg counts from 0: there is {outline.first_frame}")
    pattern = FramePattern.find(outline.output)
    if outline.chunk_size > 1 and PurePosixPath(outline.output).suffix.lower() in PICTURE_SUFFIXES:
        raise SpecError(
            f"output: {outline.output!r} is a single picture, and ffmpeg writes the frames of a chunk into one file:"
            " name a video such as part_####.mp4, or use a chunk size of 1"
        )
    size = [] if outline.size is None else ["-s", f"{outline.size[0]}x{outline.size[1]}"]

    def work(frames: FrameRange) -> Work:
        # A quarter of a frame early, for time stamps that are rounded. From half a frame on, ffmpeg would show the
        # first one twice (`delta` in fftools/ffmpeg_filter.c).
        seek = ["-ss", f"{float((frames[0] - Fraction(1, 4)) / fps):.6f}"] if frames[0] else []
        output = outline.output if pattern is None else pattern.fill_in(frames[0])
        words = ["ffmpeg", "-v", "warning", "-stats", *seek, "-i", ffmpeg_file(source), "-map", "0:v:0"]
        words += ["-frames:v", f"{len(frames)}", "-r", f"{fps}", *size, *outline.args, "-y", ffmpeg_file(output)]
        return Work(words, output, None)

    return Template(work, takes="runs")


_RENDERERS: Mapping[str, Callable[[Outline], Template]] = {"blender": blender, "ffmpeg": _ffmpeg, "povray": _povray}

_POVRAY_FORMATS = {
    ".bmp": "+FB",
    ".exr": "+FE",
    ".hdr": "+FH",
    ".jpg": "+FJ",
    ".png": "+FN",
    ".ppm": "+FP",
    ".tga": "+FT",
}
# It takes one run of frames: a list after +SF is read up to its first comma.
_POVRAY_RUNS = 'runs=$1; shift; IFS=,; for run in $runs; do "$@" "+SF${run%%..*}" "+EF${run##*..}" || exit; done'
PICTURE_SUFFIXES = BLENDER_FORMATS.keys() | _POVRAY_FORMATS.keys()


def ffmpeg_file(name: str) -> str:
    """Return a name for the file that ffmpeg takes neither for an option nor, before a colon, for a protocol."""
    return f"./{name}" if re.match(r"-|[^/]*:", name) else name


def _povray_file(option: str, name: str) -> str:
    # POV-Ray reads each argument like a line of its INI files, where quotation marks cannot be escaped.
    if re.fullmatch(r"[\w./-]+", name, re.ASCII):
        return option + name
    quote = "'" if '"' in name else '"'
    if quote in name or not name.isascii():
        raise SpecError(f"POV-Ray cannot open {name!r}: its names are ASCII with one kind of quotation mark at most")
    return f"{option}{quote}{name}{quote}"
