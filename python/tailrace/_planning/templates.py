"""The commands that render some frames of a job: for the renderers known by name, and for any other command."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from typing import NamedTuple

from .._errors import SpecError
from .._spec.command import parse_command
from .._spec.numbered_name import FRAME_NUMBER, number
from .command_template import fill_in, placeholders_in

Size = tuple[int, int]
"""Width and height in pixels."""


class Outline(NamedTuple):
    """What all chunks of a job have in common. File names are relative to the job's folder."""

    source: str | None
    output: str
    args: Sequence[str]
    fps: Fraction | None
    size: Size | None
    first_frame: int
    last_frame: int
    chunk_size: int


class Work(NamedTuple):
    """The command that renders the frames of a chunk, as its words, and the output file as a job file has it."""

    words: list[str]
    output_file: str


class Template(NamedTuple):
    """Makes the work of each chunk from its frames; `takes_step` says whether they may be more than one apart."""

    work: Callable[[range], Work]
    takes_step: bool


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
    return _command(name, outline)


def _blender(outline: Outline) -> Template:
    """Blender executes its arguments in their order: what is set after the scene and before --render-anim counts.

    https://docs.blender.org/manual/en/latest/advanced/command_line/render.html
    """
    source = _source(outline, "a .blend file, or a Python script that makes the scene")
    pattern = _frame_pattern(outline.output)
    if "#" in pattern.after:
        raise SpecError(f"output: Blender takes the last # of {outline.output!r} for the frame: keep one ####")
    if outline.output.startswith("//"):
        raise SpecError(
            f"output: {outline.output!r} should not start with //, which means the scene's folder to Blender"
        )
    if ".." in PurePosixPath(outline.output).parts:
        raise SpecError(f"output: {outline.output!r} should have no .., which Blender does not follow beyond the first")
    file_format = _by_suffix(outline.output, _BLENDER_FORMATS, "Blender")
    end = outline.args.index("--") if "--" in outline.args else len(outline.args)
    own_args, script_args = outline.args[:end], outline.args[end:]

    words = ["blender", "--background"]
    # A script that fails would otherwise leave Blender with the scene it starts with, and exit status 0.
    words += ["--python-exit-code", "1", "--python", source] if source.endswith(".py") else [_operand(source)]
    words += own_args
    if outline.size is not None:
        width, height = outline.size
        words += ["--python-expr", _BLENDER_SIZE.format(width=width, height=height)]
    words += ["--render-output", outline.output]
    if not {"-F", "--render-format"}.intersection(own_args):
        words += ["--render-format", file_format]
    words += ["--use-extension", "1"]

    def work(frames: range) -> Work:
        subset = ["--frame-start", f"{frames[0]}", "--frame-end", f"{frames[-1]}", "--frame-jump", f"{frames.step}"]
        return Work([*words, *subset, "--render-anim", *script_args], outline.output)

    return Template(work, takes_step=True)


def _povray(outline: Outline) -> Template:
    """The clock runs over all frames of the job, so each chunk names them all, and its own as the subset.

    POV-Ray appends the frame to the file's name, with as many digits as the last of all frames has; without an
    animation of two frames it has no clock. (source/frontend/animationprocessing.cpp in https://github.com/POV-Ray)
    """
    source = _source(outline, "a .pov file")
    pattern = _frame_pattern(outline.output)
    switch = _by_suffix(outline.output, _POVRAY_FORMATS, "POV-Ray")
    suffix = PurePosixPath(outline.output).suffix
    digits = len(str(outline.last_frame))
    if pattern.after != suffix:
        raise SpecError(f"output: POV-Ray puts the frame's number last: write {'#' * digits}{suffix} at the end")
    if pattern.width < digits:
        raise SpecError(f"output: POV-Ray writes {digits} digits for frame {outline.last_frame}: write {'#' * digits}")
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

    def work(frames: range) -> Work:
        return Work([*words, f"+SF{frames[0]}", f"+EF{frames[-1]}", *outline.args], outline.output)

    return Template(work, takes_step=False)


def _ffmpeg(outline: Outline) -> Template:
    """Each chunk is a piece of the source's picture, encoded anew; frames count from 0 and sound is left out."""
    source = _source(outline, "the video")
    if outline.fps is None:
        raise SpecError("fps: ffmpeg finds a frame by its time: give the frames a second of the source")
    fps = outline.fps
    pattern = _Pattern.find(outline.output)
    if outline.chunk_size > 1 and PurePosixPath(outline.output).suffix.lower() in PICTURE_SUFFIXES:
        raise SpecError(
            f"output: {outline.output!r} is a single picture, and ffmpeg writes the frames of a chunk into one file:"
            " name a video such as part_####.mp4, or use a chunk size of 1"
        )
    size = [] if outline.size is None else ["-s", f"{outline.size[0]}x{outline.size[1]}"]

    def work(frames: range) -> Work:
        # A quarter of a frame early, for time stamps that are rounded. From half a frame on, ffmpeg would show the
        # first one twice (`delta` in fftools/ffmpeg_filter.c).
        seek = ["-ss", f"{float((frames[0] - Fraction(1, 4)) / fps):.6f}"] if frames[0] else []
        output = outline.output if pattern is None else pattern.fill_in(frames[0])
        words = ["ffmpeg", "-v", "warning", "-stats", *seek, "-i", ffmpeg_file(source), "-map", "0:v:0"]
        words += ["-frames:v", f"{len(frames)}", "-r", f"{fps}", *size, *outline.args, "-y", ffmpeg_file(output)]
        return Work(words, output)

    return Template(work, takes_step=False)


def _command(text: str, outline: Outline) -> Template:
    for unused in (outline.source, *outline.args):
        if unused is not None:
            raise SpecError(f"source: {unused!r} is for {', '.join(template_names())}: write it into the command")
    command, args = parse_command(text)
    used = placeholders_in(text, "template")
    if not used:
        raise SpecError(f"template: {text!r} has no placeholder: every chunk would run the same command")
    in_output = placeholders_in(outline.output, "output")
    if "output" in in_output:
        raise SpecError("output: {output} cannot be part of itself")
    if "frame" in used | in_output and outline.chunk_size != 1:
        raise SpecError(
            "chunk size: {frame} is the number of a single frame: use a chunk size of 1, or {start} and {end}"
        )

    def work(frames: range) -> Work:
        numbers = {"start": frames[0], "end": frames[-1], "step": frames.step, "count": len(frames), "frame": frames[0]}
        output = fill_in(outline.output, numbers)
        pattern = _Pattern.find(output)
        named = output if pattern is None or "frame" not in used else pattern.fill_in(frames[0])
        return Work([fill_in(word, {**numbers, "output": named}) for word in (command, *args)], output)

    return Template(work, takes_step="step" in used)


_RENDERERS: Mapping[str, Callable[[Outline], Template]] = {"blender": _blender, "ffmpeg": _ffmpeg, "povray": _povray}
DEFAULT_SIZE: Size = (1920, 1080)

_BLENDER_SIZE = (
    "import bpy; r = bpy.context.scene.render;"
    " r.resolution_x, r.resolution_y, r.resolution_percentage = {width}, {height}, 100"
)
_BLENDER_FORMATS = {
    ".bmp": "BMP",
    ".exr": "OPEN_EXR",
    ".hdr": "HDR",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tga": "TGA",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_POVRAY_FORMATS = {
    ".bmp": "+FB",
    ".exr": "+FE",
    ".hdr": "+FH",
    ".jpg": "+FJ",
    ".png": "+FN",
    ".ppm": "+FP",
    ".tga": "+FT",
}
PICTURE_SUFFIXES = _BLENDER_FORMATS.keys() | _POVRAY_FORMATS.keys()


class _Pattern(NamedTuple):
    """The name of an output file, cut at the #### that stands for the number of a frame."""

    before: str
    width: int
    after: str

    @classmethod
    def find(cls, output: str) -> _Pattern | None:
        """Return the only one in the name, or None; raises `SpecError` for several, one in a folder, and %04d."""
        matches = list(FRAME_NUMBER.finditer(output))
        if not matches:
            return None
        match = matches[0]
        if match[0][0] == "%":
            raise SpecError(f"output: {match[0]} in {output!r} should be ####, one # for each digit")
        if len(matches) > 1 or "/" in output[match.end() :]:
            raise SpecError(f"output: {output!r} should have #### once, in the name of the file and not of its folder")
        return cls(output[: match.start()], len(match[0]), output[match.end() :])

    def fill_in(self, frame: int) -> str:
        return self.before + number("#" * self.width, frame) + self.after


def _frame_pattern(output: str) -> _Pattern:
    pattern = _Pattern.find(output)
    if pattern is None:
        raise SpecError(f"output: {output!r} needs #### for the number of the frame, such as frame_####.png")
    return pattern


def _source(outline: Outline, what: str) -> str:
    if not outline.source:
        raise SpecError(f"source: is missing: name {what}")
    return outline.source


def _by_suffix(output: str, formats: Mapping[str, str], renderer: str) -> str:
    suffix = PurePosixPath(output).suffix
    if suffix not in formats:
        raise SpecError(f"output: {output!r} should end in what {renderer} writes: {', '.join(formats)}")
    return formats[suffix]


def _operand(name: str) -> str:
    """Return a name for the file that is not taken for an option."""
    return f"./{name}" if name.startswith("-") else name


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
