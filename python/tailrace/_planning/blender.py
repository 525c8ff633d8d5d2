"""The commands by which Blender renders some frames of a scene.

Blender executes its arguments in their order: what is set after the scene and before the rendering counts.
https://docs.blender.org/manual/en/latest/advanced/command_line/render.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from .._errors import SpecError
from .._spec.frame_range import FrameRange
from .._spec.placeholders import fill_in, read_placeholders, without_placeholders
from .._spec.retry_command import RETRY_PLACEHOLDERS, to_retry_command
from .outline import FramePattern, Outline, Template, Work, format_of, refuse_retry_command, source_of

BLENDER_FORMATS = {
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
_LAST_FRAME = 1_048_574
"""MAXFRAME in Blender's sources; it would render this one in place of any after it, and say nothing."""
# It renders them in pink, or not at all, and says nothing unless it is asked.
_NAME_MISSING_FILES = "import bpy; bpy.ops.file.report_missing_files()"
_SIZE = (
    "import bpy; r = bpy.context.scene.render;"
    " r.resolution_x, r.resolution_y, r.resolution_percentage = {width}, {height}, 100"
)
# To the options, a number below 0 is a frame before the end of the scene.
_BELOW_ZERO = """\
import bpy
scene = bpy.context.scene
for frame in ({{frames}},):
    scene.frame_set(frame)
    scene.render.filepath = {before} + '%0{width}d' % frame + {after}
    bpy.ops.render.render(write_still=True)"""


class SceneCommand(NamedTuple):
    """The words before what is to be done with a scene, and those behind it, which are for scripts."""

    words: list[str]
    script_args: list[str]

    @classmethod
    def opening(cls, source: str, args: Sequence[str]) -> SceneCommand:
        """Return the command that opens a scene, or has a script make it, with further arguments."""
        end = args.index("--") if "--" in args else len(args)
        # A script that raises would otherwise leave Blender with the scene as it is then, and exit status 0.
        words = ["blender", "--background", "--python-exit-code", "1"]
        words += (
            ["--python", source] if source.endswith(".py") else [f"./{source}" if source.startswith("-") else source]
        )
        return cls([*words, *args[:end]], list(args[end:]))


def blender(outline: Outline) -> Template:
    """Return the template for Blender; raises `SpecError` for what it cannot do."""
    source = source_of(outline, "a .blend file, or a Python script that makes the scene")
    refuse_retry_command(outline, "Blender", "has one")
    pattern = FramePattern.need(outline.output)
    if "#" in pattern.after:
        raise SpecError(f"output: Blender takes the last # of {outline.output!r} for the frame: keep one ####")
    if outline.output.startswith("//"):
        raise SpecError(
            f"output: {outline.output!r} should not start with //, which means the scene's folder to Blender"
        )
    if ".." in PurePosixPath(outline.output).parts:
        raise SpecError(f"output: {outline.output!r} should have no .., which Blender does not follow beyond the first")
    file_format = format_of(outline.output, BLENDER_FORMATS, "Blender")
    if outline.last_frame > _LAST_FRAME:
        raise SpecError(f"frames: Blender's last frame is {_LAST_FRAME}: there is {outline.last_frame}")

    words, script_args = SceneCommand.opening(source, outline.args)
    words += ["--python-expr", _NAME_MISSING_FILES]
    has_format = not {"-F", "--render-format"}.isdisjoint(words)
    if outline.size is not None:
        width, height = outline.size
        words += ["--python-expr", _SIZE.format(width=width, height=height)]
    words += ["--render-output", outline.output]
    words += [] if has_format else ["--render-format", file_format]
    words += ["--use-extension", "1"]
    fixed, script_words = ([without_placeholders(word) for word in part] for part in (words, script_args))
    before, after = (without_placeholders(ascii(text)) for text in (pattern.before, pattern.after))
    below_zero = _BELOW_ZERO.format(before=before, width=pattern.width, after=after)

    def work(frames: FrameRange) -> Work:
        some = ["--python-expr", below_zero] if frames[0] < 0 else ["--render-frame", "{ranges:..}"]
        if frames[0] < 0 or len(frames.ranges) > 1:
            action = [some[0], fill_in(read_placeholders(some[1], RETRY_PLACEHOLDERS), frames)]
        else:
            step = frames.ranges[0].step
            action = ["--frame-start", f"{frames[0]}", "--frame-end", f"{frames[-1]}", "--frame-jump", f"{step}"]
            action += ["--render-anim"]
        retry_command = to_retry_command([*fixed, *some, *script_words])
        return Work([*words, *action, *script_args], outline.output, retry_command)

    return Template(work, takes="lists")
