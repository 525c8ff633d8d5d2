"""`tailrace progress replay`."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import click

from tailrace import FrameRange
from tailrace.progress import FileSaved, FrameRendered, Progress, ProgressParser, RenderError, Report, renderer_names

from ..arguments import error_pattern_option, parse_frames
from ..completion import complete_file
from ..display.text import size
from ..phrases import counted

_PIECE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_AFTER_LINE = re.compile(rb"(?<=[\r\n])")


@click.command()
@click.argument("log", type=click.File("rb"), shell_complete=complete_file)
@click.option(
    "--renderer",
    type=click.Choice(["auto", *renderer_names()]),
    default="auto",
    show_default=True,
    help="Whose output it is; auto finds out.",
)
@click.option("--frames", callback=parse_frames, metavar="RANGE", help="The frames that were to be rendered.")
@error_pattern_option
def replay(log: BinaryIO, renderer: str, frames: FrameRange | None, error_pattern: tuple[tuple[str, str], ...]) -> None:
    """Show what is understood of LOG, the output of a renderer, or of standard input for "-".

    It may be packed with gzip. Each line begins with the number of LOG's line that tells it.
    """
    parser = ProgressParser(renderer, frames=frames, error_patterns=error_pattern)
    seen: set[int] = set()
    saved = 0
    errors: list[RenderError] = []
    for number, report in _numbered_reports(log, parser):
        click.echo(f"{number:7}  {_described(report)}")
        match report:
            case Progress(frame=int(frame)):
                seen.add(frame)
            case FileSaved():
                saved += 1
            case RenderError():
                errors.append(report)
    fatal = sum(error.fatal for error in errors)
    parts = [
        f"frames {min(seen)} to {max(seen)}" if seen else "no frames",
        f"{counted(saved, 'file')} saved",
        counted(len(errors), "error") + (f" ({fatal} fatal)" if fatal else ""),
    ]
    if parser.progress.fraction is not None:
        parts.append(f"{_percent(parser.progress.fraction)} done")
    click.echo(f"{parser.renderer}: {', '.join(parts)}")


def _numbered_reports(log: BinaryIO, parser: ProgressParser) -> Iterator[tuple[int, Report]]:
    """Yield what each line adds, with its number as editors count: a carriage return alone begins no new one."""
    number = 1
    for piece in _unpacked(_pieces(log)):
        for line in _AFTER_LINE.split(piece):
            for report in parser.feed(line):
                yield number, report
            number += line.count(b"\n")
    for report in parser.finish():
        yield number, report


def _pieces(log: BinaryIO) -> Iterator[bytes]:
    # Not all of a piece is waited for, so that one can look at what is still being written.
    while piece := os.read(log.fileno(), _PIECE):
        yield piece


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces, unpacked if they are gzip's (RFC 1952), which may be several files in a row."""
    first = next(pieces, b"")
    if _is_event(first):
        raise click.UsageError(
            "these are the events of a job: give what a chunk wrote, such as chunk-0-attempt-1-stdout.log beside them"
        )
    if not first.startswith(b"\x1f\x8b"):
        yield first
        yield from pieces
        return
    unpacker = zlib.decompressobj(_GZIP)
    for piece in chain([first], pieces):
        rest = piece
        while rest:
            if unpacker.eof:
                unpacker = zlib.decompressobj(_GZIP)
            try:
                yield unpacker.decompress(rest)
            except zlib.error as error:
                raise click.ClickException(f"the log cannot be unpacked: {error}") from error
            rest = unpacker.unused_data


def _is_event(data: bytes) -> bool:
    """Return whether that is the beginning of what --log-dir writes as job.ndjson."""
    try:
        fields = json.loads(data.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"event", "job_id", "run_id"} <= fields.keys()


def _described(report: Report) -> str:
    match report:
        case FileSaved(path):
            return f"saved     {path}"
        case FrameRendered(frame, path):
            file = "" if path is None else f" ({path})"
            return f"rendered  {'a frame' if frame is None else f'frame {frame}'}{file}"
        case RenderError(message, category, fatal):
            kind = " ".join(part for part in ("fatal" if fatal else "", category or "") if part)
            return f"error     {kind + ': ' if kind else ''}{message}"
    return f"progress  {', '.join(_facts(report)) or 'unknown'}"


def _facts(progress: Progress) -> Iterator[str]:
    if progress.frame is not None:
        yield f"frame {progress.frame}"
    if progress.frame_fraction is not None:
        yield f"{_percent(progress.frame_fraction)} of the frame"
    if progress.fraction is not None:
        yield f"{_percent(progress.fraction)} of all"
    if progress.remaining is not None:
        yield f"{progress.remaining:.1f} s left"
    if progress.memory is not None:
        yield size(progress.memory)
    if progress.status is not None:
        yield progress.status


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.1f} %"
