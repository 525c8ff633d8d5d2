"""Pictures in a terminal, by the best means that it has."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
import tty
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from tailrace import Thumbnail

Graphics: TypeAlias = Literal["kitty", "iterm2", "sixel", "blocks"]

_PATIENCE = 0.5
"""How long a terminal may take to answer, in seconds."""
# Only a terminal that knows these graphics answers the first, and each one the second, so that nobody waits
# (https://sw.kovidgoyal.net/kitty/graphics-protocol/, "Querying support"; DA1 of ECMA-48, 8.3.24: 4 is Sixel's).
_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
_ATTRIBUTES = re.compile(rb"\x1b\[\?([0-9;]*)c")
_SIXEL = b"4"
# By the variables that they set; none of them answers otherwise.
_ITERM_PROGRAMS = ("iTerm.app", "WezTerm", "mintty")
_USUAL_CELL = (10, 20)
"""In pixels, for terminals that do not say it."""
_BLOCK_CELL = (4, 8)
"""A cell of two blocks is made of that many pixels."""


class TerminalPictures(NamedTuple):
    """How pictures get into the terminal at hand."""

    graphics: Graphics
    cell: tuple[int, int]
    """The width and height of a character, in pixels."""
    true_colour: bool

    def row(self, pictures: Sequence[Thumbnail | None], columns: int, gap: int, lines: int) -> bytes:
        """Return what shows the pictures side by side, each in so many columns and lines; the cursor is below then."""
        from chafa import Canvas, CanvasConfig, CanvasMode, PixelMode, PixelType, SymbolMap, SymbolTags

        modes = {
            "kitty": PixelMode.CHAFA_PIXEL_MODE_KITTY,
            "iterm2": PixelMode.CHAFA_PIXEL_MODE_ITERM2,
            "sixel": PixelMode.CHAFA_PIXEL_MODE_SIXELS,
            "blocks": PixelMode.CHAFA_PIXEL_MODE_SYMBOLS,
        }
        width, height = len(pictures) * (columns + gap), lines
        pixels = _side_by_side(pictures, (columns * self.cell[0], lines * self.cell[1]), gap * self.cell[0])
        config = CanvasConfig()
        config.width, config.height = width, height
        config.cell_width, config.cell_height = self.cell
        config.pixel_mode = modes[self.graphics]
        is_true = self.true_colour or self.graphics != "blocks"
        config.canvas_mode = (
            CanvasMode.CHAFA_CANVAS_MODE_TRUECOLOR if is_true else CanvasMode.CHAFA_CANVAS_MODE_INDEXED_240
        )
        symbols = SymbolMap()
        symbols.add_by_tags(SymbolTags.CHAFA_SYMBOL_TAG_VHALF)
        symbols.add_by_tags(SymbolTags.CHAFA_SYMBOL_TAG_SPACE)
        config.set_symbol_map(symbols)
        canvas = Canvas(config)
        across, down = width * self.cell[0], height * self.cell[1]
        canvas.draw_all_pixels(PixelType.CHAFA_PIXEL_RGBA8_UNASSOCIATED, pixels, across, down, across * 4)
        shown: bytes = canvas.print(fallback=True)
        return shown + b"\n"


def _side_by_side(pictures: Sequence[Thumbnail | None], box: tuple[int, int], gap: int) -> bytes:
    """Return the pictures in the middle of a box each, as red, green, blue and alpha; between them is nothing."""
    across = len(pictures) * (box[0] + gap)
    pixels = bytearray(across * box[1] * 4)
    for place, picture in enumerate(pictures):
        if picture is None:
            continue
        opaque = bytearray(b"\xff" * (picture.width * picture.height * 4))
        for colour in range(3):
            opaque[colour::4] = picture.pixels[colour::3]
        left = place * (box[0] + gap) + (box[0] - picture.width) // 2
        top = (box[1] - picture.height) // 2
        for row in range(picture.height):
            begin = ((top + row) * across + left) * 4
            pixels[begin : begin + picture.width * 4] = opaque[row * picture.width * 4 : (row + 1) * picture.width * 4]
    return bytes(pixels)


def terminal_pictures(descriptor: int, graphics: Graphics | None = None) -> TerminalPictures:
    """Return how to show pictures in the terminal that `descriptor` is open on.

    With None it is found out by which means. The terminal is asked for that, and may take half a second to answer.
    """
    chosen = graphics or _by_name() or _by_asking() or "blocks"
    true_colour = os.environ.get("COLORTERM") in ("truecolor", "24bit")
    return TerminalPictures(chosen, _BLOCK_CELL if chosen == "blocks" else _cell_of(descriptor), true_colour)


def _by_name() -> Graphics | None:
    environment = os.environ
    # What it sets comes through tmux and screen as well, what it is sent does not.
    if environment.get("TERM", "").startswith(("screen", "tmux")):
        return None
    if environment.get("TERM_PROGRAM") in _ITERM_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return None


def _by_asking() -> Graphics | None:
    """Ask the terminal of this process, unless it is another's turn to read from it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return None
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal, termios.TCSADRAIN)
            os.write(terminal, _QUESTION)
            said = _answer(terminal)
        finally:
            # What came too late must not be taken for something that was typed.
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    except (OSError, termios.error):
        return None
    finally:
        os.close(terminal)
    if b"\x1b_Gi=31;OK" in said:
        return "kitty"
    found = _ATTRIBUTES.search(said)
    return "sixel" if found and _SIXEL in found[1].split(b";") else None


def _answer(terminal: int) -> bytes:
    said = b""
    deadline = time.monotonic() + _PATIENCE
    while not _ATTRIBUTES.search(said):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            break
        said += os.read(terminal, 4096)
    return said


def _cell_of(descriptor: int) -> tuple[int, int]:
    try:
        size: Any = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return _USUAL_CELL
    lines, columns, width, height = struct.unpack("HHHH", size)
    return (width // columns, height // lines) if columns and lines and width and height else _USUAL_CELL
