"""A command with placeholders, such as `render {start} {end} {output}`."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import SpecError
from .._spec.command import parse_command
from .._spec.frame_range import FrameRange
from .._spec.placeholders import Part, fill_in, partly_filled_in, read_placeholders
from .._spec.retry_command import RETRY_PLACEHOLDERS, check_names_frames, to_retry_command
from .outline import FramePattern, Outline, Template, Work

PLACEHOLDERS = ("start", "end", "step", "count", "frame", "frames", "ranges", "output")
"""The chunk's first and last frame, its step, how many frames it has, its only frame, all of them, its output file."""
_IN_RETRY_COMMAND = (*RETRY_PLACEHOLDERS, "output")


def own_command(text: str, outline: Outline) -> Template:
    """Return the template that has `text` for its command; raises `SpecError` for what cannot be filled in."""
    command, args = parse_command(text)
    used = _names(_parts_of(text, "template"))
    if not used:
        raise SpecError(f"template: {text!r} has no placeholder: every chunk would run the same command")
    words = [_parts_of(word, "template") for word in (command, *args)]
    output_parts = _parts_of(outline.output, "output")
    in_output = _names(output_parts)
    if "output" in in_output:
        raise SpecError("output: {output} cannot be part of itself")
    if "frame" in used | in_output and outline.chunk_size != 1:
        raise SpecError(
            "chunk size: {frame} is the number of a single frame: use a chunk size of 1, or {start} and {end}"
        )
    takes_lists = not used.isdisjoint(("frames", "ranges"))
    retry_words = _retry_words(outline)
    if retry_words is None and takes_lists and used <= set(_IN_RETRY_COMMAND):
        retry_words = words
    is_asked_for = outline.retry_command is not None

    def work(frames: FrameRange) -> Work:
        numbers = {"count": len(frames), "frame": frames[0]}
        output = fill_in(output_parts, frames, numbers)
        pattern = FramePattern.find(output)
        named = output if pattern is None or "frame" not in used else pattern.fill_in(frames[0])
        filled = [fill_in(word, frames, {**numbers, "output": named}) for word in words]
        if retry_words is None or len(frames) == 1 or (pattern is None and not is_asked_for):
            return Work(filled, output, None)
        if pattern is None:
            raise SpecError(
                f"output: {output!r} needs #### for the number of the frame, such as frame_####.png: the retry command"
                " is for the frames whose files are missing"
            )
        kept = [partly_filled_in(word, {"output": named}) for word in retry_words]
        return Work(filled, output, to_retry_command(kept))

    return Template(work, takes="lists" if takes_lists else "steps" if "step" in used else "runs")


def _retry_words(outline: Outline) -> list[tuple[Part, ...]] | None:
    """Return the words of the retry command that was asked for."""
    text = outline.retry_command
    if text is None:
        return None
    try:
        check_names_frames(read_placeholders(text, _IN_RETRY_COMMAND))
        command, args = parse_command(text)
        return [read_placeholders(word, _IN_RETRY_COMMAND) for word in (command, *args)]
    except SpecError as error:
        raise SpecError(f"retry command: {error}") from error


def _parts_of(text: str, field: str) -> tuple[Part, ...]:
    """Return the parts of a text; `field` is where it comes from, for an error."""
    try:
        return read_placeholders(text, PLACEHOLDERS)
    except SpecError as error:
        raise SpecError(f"{field}: {error}") from error


def _names(parts: Sequence[Part]) -> set[str]:
    return {part.name for part in parts if part.name is not None}
