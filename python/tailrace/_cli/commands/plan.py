"""`tailrace job plan`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final, Literal

import click

import tailrace

from ..arguments import parse_amounts
from ..cleanup import raising_keyboard_interrupt
from ..completion import complete_file, complete_template
from ..phrases import counted
from ..writing import print_message

_AUTO: Final = "auto"
"""In place of the frames, the rate or the size: what the source says of itself."""


def _parse_size(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | Literal["auto"] | None:
    if value is None:
        return None
    if value == _AUTO:
        return _AUTO
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", value, re.ASCII)
    if match is None:
        raise click.BadParameter(f"{value!r} is not of the form 1920x1080, nor {_AUTO}")
    return int(match[1]), int(match[2])


def _parse_rate(_: click.Context, __: click.Parameter, value: str | None) -> Fraction | Literal["auto"] | None:
    if value == _AUTO:
        return _AUTO
    try:
        return None if value is None else Fraction(value)
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"{value!r} is not a number such as 25, 29.97 or 30000/1001, nor {_AUTO}") from error


def _check_template(_: click.Context, __: click.Parameter, value: str) -> str:
    # Before a source that is not there is complained of.
    if value not in tailrace.template_names() and "{" not in value:
        raise click.BadParameter(
            f"{value!r} should be {', '.join(tailrace.template_names())}, or a command with placeholders such as"
            " 'render {start} {end} {output}'"
        )
    return value


@click.command()
@click.argument("template", is_eager=True, callback=_check_template, shell_complete=complete_template)
@click.argument("source", required=False, type=click.Path(exists=True, dir_okay=False), shell_complete=complete_file)
@click.argument("args", nargs=-1)
@click.option(
    "--frames",
    metavar="RANGE",
    required=True,
    help="What to render, such as 1-250, 1-250x2,300 or 7; auto asks the scene or the video.",
)
@click.option(
    "--chunk-size", metavar="N", type=click.IntRange(min=1), required=True, help="The most frames a chunk may have."
)
@click.option(
    "--output",
    metavar="NAME",
    required=True,
    shell_complete=complete_file,
    help="What is written. #### is the number of each frame; for ffmpeg, of the chunk's first.",
)
@click.option(
    "--size",
    metavar="WxH",
    callback=_parse_size,
    help="Pixels to render; default: what the source says, and in the job file 1920x1080. auto asks it.",
)
@click.option(
    "--fps",
    metavar="N",
    callback=_parse_rate,
    help="Frames a second; default 24. For ffmpeg, those of SOURCE. auto asks the source.",
)
@click.option(
    "--video", metavar="FILE", shell_complete=complete_file, help="Have ffmpeg make a video of the chunks at the end."
)
@click.option("--merge", metavar="COMMAND", help="Run this command at the end instead.")
@click.option(
    "--retry-command",
    metavar="COMMAND",
    help="What renders some frames of a chunk alone, for a command without {frames} and {ranges:..}.",
)
@click.option(
    "--needs",
    metavar="NAME=N,...",
    multiple=True,
    callback=parse_amounts,
    help="What each chunk needs of --capacity: memory=8G,gpus=1,nuke_i=1.",
)
@click.option(
    "--to", metavar="FILE", shell_complete=complete_file, help="The job file to write; default: standard output."
)
@click.option("--force", is_flag=True, help="Overwrite the job file.")
def plan(
    template: str,
    source: str | None,
    args: tuple[str, ...],
    frames: str,
    chunk_size: int,
    output: str,
    size: tuple[int, int] | Literal["auto"] | None,
    fps: Fraction | Literal["auto"] | None,
    video: str | None,
    merge: str | None,
    retry_command: str | None,
    needs: Mapping[str, float] | None,
    to: str | None,
    force: bool,
) -> None:
    """Write a job file that renders a range of frames in chunks.

    TEMPLATE is blender, povray or ffmpeg, with the file to render or to encode as SOURCE and any further arguments
    for the program after --, or a command with placeholders: {start} {end} {step} {count} {frame} {frames}
    {ranges:..} {output}.

    \b
    tailrace job plan blender scene.blend --frames 1-250 --chunk-size 10 \\
        --output 'out/frame_####.png' --video out.mp4 --to job.json
    tailrace job plan povray scene.pov --frames 1-48 --chunk-size 8 --size 640x360 \\
        --output 'out/frame_##.png' --to job.json
    tailrace job plan ffmpeg film.mov --fps auto --frames auto --chunk-size 500 \\
        --output 'out/part_####.mp4' --video film.mp4 --to job.json -- -c:v libx264 -crf 20
    tailrace job plan 'sh render.sh {start} {end} {output}' --frames 1-100 --chunk-size 20 \\
        --output 'out/part_{start:04}.mp4' --to job.json

    File names are relative to the current folder, where a job written to standard output has to be run; a command
    with placeholders is run in the job file's folder. With --to, the folders of the output are created.
    """  # noqa: D301 - click wants the character itself.
    target = None if to is None else _check_target(to, force=force)
    folder = Path(to or "job.json").absolute().parent
    video = None if video is None else _seen_from(folder, video)
    try:
        range_ = None if frames == _AUTO else tailrace.FrameRange.parse(frames)
        if range_ is None or fps == _AUTO or size == _AUTO:
            info = _inspect(template, source or "", args)
            range_ = info.frames if range_ is None else range_
            fps = info.fps if fps == _AUTO else fps
            size = info.size if size == _AUTO else size
        spec = tailrace.plan_job(
            template,
            range_,
            chunk_size=chunk_size,
            output=_seen_from(folder, output, is_filled_in="{" in template),
            source=None if source is None else _seen_from(folder, source),
            args=args,
            fps=fps,
            size=size,
            video=video,
            merge_command=merge,
            retry_command=retry_command,
            needs=needs,
        )
    except tailrace.SpecError as error:
        raise click.UsageError(_in_option_names(str(error))) from error
    held = f"{counted(spec.metadata.total_frames, 'frame')} in {counted(len(spec.chunks), 'chunk')}"
    if to is None or target is None:
        click.echo(_to_json(spec), nl=False)
        print_message(f"planned {held}; from a file, they are rendered by: tailrace job run FILE")
    else:
        for name in {chunk.output_file for chunk in spec.chunks}.union(() if video is None else (video,)):
            _make_folder((folder / name).parent)
        with raising_keyboard_interrupt():
            _write(target, _to_json(spec), to)
        print_message(f"wrote {to}: {held}; to render them: tailrace job run {shlex.quote(to)}")


def _inspect(template: str, source: str, args: Sequence[str]) -> tailrace.SceneInfo:
    """Ask the source what it has; what does so is ended by Ctrl-C."""
    # Help is asked for often, and needs none of it.
    import anyio

    with raising_keyboard_interrupt():
        return anyio.run(partial(tailrace.inspect_scene, template, source, args=args))


def _in_option_names(text: str) -> str:
    """Return a message that begins with the name of a parameter of `plan_job` with that of the option in its place."""
    name, colon, rest = text.partition(": ")
    if name in ("source", "template"):
        return name.upper() + colon + rest
    is_option = name in ("chunk size", "fps", "frames", "needs", "output", "retry command", "video")
    return f"--{name.replace(' ', '-')}: {rest}" if is_option else text


def _check_target(name: str, *, force: bool) -> Path:
    """Return the path of the job file, or of what it is a link to; complain if that must not be written."""
    target = Path(name).resolve()
    if not target.parent.is_dir():
        raise click.UsageError(f"--to {name}: there is no folder {target.parent}")
    if target.exists():
        if not target.is_file():
            raise click.UsageError(f"--to {name}: is not a file")
        if not force:
            raise click.UsageError(f"--to {name}: exists already: --force overwrites it")
    return target


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"the folder {folder} cannot be created: {error.strerror}") from error


def _seen_from(folder: Path, name: str, *, is_filled_in: bool = False) -> str:
    """Return the name for a file, given from the current folder, that it has from `folder`: in full if outside it.

    Where the name `is_filled_in`, the folders on the way must not bring braces of their own into it.
    """
    path, folder = Path(name), folder.resolve()
    if path.is_absolute():
        return name
    path = path.parent.resolve() / path.name
    seen = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    if is_filled_in and (seen.count("{"), seen.count("}")) != (name.count("{"), name.count("}")):
        raise click.UsageError(
            f"--output {name}: {seen} has a folder with braces: write it like this, with {{{{ and }}}}"
        )
    return seen


def _to_json(spec: tailrace.JobSpec) -> str:
    """Return the job file, a line for each chunk. Without an id, the job has the file's name."""
    fields = spec.model_dump(mode="json", by_alias=True, exclude={"id"}, exclude_none=True)
    chunks = ",\n".join(f"    {json.dumps(chunk, ensure_ascii=False)}" for chunk in fields["chunks"])
    lines = [
        f'  "{key}": ' + (f"[\n{chunks}\n  ]" if key == "chunks" else json.dumps(value, ensure_ascii=False))
        for key, value in fields.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _write(target: Path, text: str, name: str) -> None:
    """Write the whole file or nothing; `name` is what the user calls it."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with unfinished.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        raise click.ClickException(f"--to {name}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
