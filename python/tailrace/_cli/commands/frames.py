"""`tailrace frames`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self, cast, get_args

import click

from tailrace import FrameCheck, FrameLevel

from ..completion import complete_file

if TYPE_CHECKING:
    from ..display.pictures import Graphics
    from ..display.style import TerminalStyle

_DAMAGED = 1
_LACKING = 2
_OFTEN = 0.2
"""How often the number of frames so far is shown, in seconds."""
_NARROWEST = 26
"""Columns that a picture and what is beside it take at least."""
_MOST_IN_A_ROW = 6
_ROWS = 2
_GAP = 2
_ASPECT = 16 / 9
_MOST_ON_SHEET = 100


@click.command()
@click.argument("sources", metavar="PATHS_OR_JOB_OR_LOG_DIR...", nargs=-1, required=True, shell_complete=complete_file)
@click.option(
    "--check",
    "level",
    type=click.Choice(get_args(FrameLevel)),
    default="whole",
    show_default=True,
    help="How closely: exist (there and not empty), whole (decoded to the end), looks (what is odd about it, too).",
)
@click.option("--to", metavar="SHEET.jpg", type=click.Path(dir_okay=False), help="Write a contact sheet, .jpg or .png.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON array with an object for each frame.")
@click.option(
    "--pictures",
    type=click.Choice(["auto", "off", "kitty", "iterm2", "sixel", "blocks"]),
    default="auto",
    show_default=True,
    help="Show the last frames and those with faults in the terminal; auto finds out by what means it can.",
)
def frames(sources: tuple[str, ...], level: FrameLevel, to: str | None, as_json: bool, pictures: str) -> None:
    """Look at frames, and say which are damaged, missing or odd.

    They are pictures and videos, folders of them, sequences such as 'shot.####.exr', a job file, of which all outputs
    are meant, or the folder of a job's logs, of which the frames rendered so far are.

    Exit status: 0; 1 if one is damaged or missing; 2 bad usage, or something is not installed; 130, 143 or 129 after
    Ctrl-C, SIGTERM or SIGHUP.
    """
    # Help and completion are asked for often, and need none of it.
    import anyio

    from ..interruption import Interruptible
    from ..writing import print_message

    interruptible = Interruptible(print_message)
    status = 0

    async def look() -> None:
        nonlocal status
        status = await _look(sources, level, to, as_json=as_json, pictures=pictures)

    try:
        anyio.run(interruptible.run, look)
    except ImportError as error:
        print_message(str(error))
        sys.exit(_LACKING)
    sys.exit(status if interruptible.signal is None else 128 + interruptible.signal)


async def _look(sources: Sequence[str], level: FrameLevel, to: str | None, *, as_json: bool, pictures: str) -> int:
    from tailrace import write_contact_sheet

    from ..display.frame_report import describe_frames, frame_to_json
    from ..display.style import is_drawable, style_of
    from ..frame_sources import find_frames

    found = find_frames(sources)
    with _Count() as count:
        checks = await found.check(level, count.up)
    if not checks:
        raise click.UsageError("there is no picture and no video among what was named")
    if to is not None and _is_one_of(to, checks):
        raise click.UsageError(f"--to {to} would replace one of the frames")
    if as_json:
        click.echo(json.dumps([frame_to_json(check) for check in checks], indent=2))
    else:
        style = style_of(1, no_colour=False)
        # A job says itself which frames it has.
        for line in describe_frames(checks, style, tell_holes=not (found.jobs or found.logs)):
            click.echo(line)
        if pictures not in ("auto", "off") or (pictures == "auto" and is_drawable(1)):
            await _show(checks, style, None if pictures == "auto" else cast("Graphics", pictures))
    if to is not None:
        shown = await write_contact_sheet(to, checks, most=_MOST_ON_SHEET)
        of_all = "all frames" if len(shown) == len(checks) else f"the last {len(shown)} frames and those with faults"
        click.echo(f"{to}: {of_all}", err=as_json)
    return _DAMAGED if any(check.reason is not None for check in checks) else 0


class _Count:
    """Shows in a terminal how many frames were looked at, until it is left."""

    def __init__(self) -> None:
        self._is_shown = os.isatty(2)
        self._count = 0
        self._next = time.monotonic() + 1.0

    def up(self, check: FrameCheck) -> None:
        del check
        self._count += 1
        if self._is_shown and (now := time.monotonic()) > self._next:
            self._next = now + _OFTEN
            click.echo(f"\r{self._count:,} looked at", err=True, nl=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_shown:
            click.echo("\r\x1b[K", err=True, nl=False)


async def _show(checks: Sequence[FrameCheck], style: TerminalStyle, graphics: Graphics | None) -> None:
    """Show the last frames and those with faults in the terminal, with their names below."""
    from tailrace import make_thumbnails, notable_frames

    from ..display.frame_report import colour_of
    from ..display.pictures import terminal_pictures

    if find_spec("chafa") is None:
        click.echo("pictures in the terminal need chafa: pip install 'tailrace[frames]'", err=True)
        return
    size = os.get_terminal_size(1) if os.isatty(1) else os.terminal_size((80, 24))
    in_a_row = min(max(size.columns // _NARROWEST, 1), _MOST_IN_A_ROW)
    shown = notable_frames(checks, in_a_row * _ROWS)
    terminal = terminal_pictures(1, graphics)
    columns = max(size.columns // in_a_row - _GAP, 1)
    width = columns * terminal.cell[0]
    lines = max(round(width / _ASPECT / terminal.cell[1]), 1)
    made = await make_thumbnails([check.path for check in shown], width=width, height=lines * terminal.cell[1])
    for begin in range(0, len(shown), in_a_row):
        row = shown[begin : begin + in_a_row]
        sys.stdout.flush()
        click.echo(terminal.row(made[begin : begin + in_a_row], columns, _GAP, lines), nl=False)
        names = [style.paint(style.fit(check.name, columns), colour_of(check)) for check in row]
        click.echo((" " * _GAP).join(names).rstrip())


def _is_one_of(path: str, checks: Sequence[FrameCheck]) -> bool:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        # What is not there yet replaces nothing.
        return False
    for check in checks:
        with suppress(OSError):
            if os.path.samestat(status, os.stat(check.path)):  # noqa: PTH116
                return True
    return False
