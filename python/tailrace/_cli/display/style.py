"""How things look on the terminal at hand."""

from __future__ import annotations

import locale
import os
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

# Parameters of SGR (ECMA-48, 8.3.117).
BOLD = "1"
DIM = "2"
RED = "31"
GREEN = "32"
_TELLABLE_APART = ("36", "33", "35", "94", "32")


class TerminalStyle(NamedTuple):
    """What a terminal can show."""

    colours: bool = False
    unicode: bool = False

    @property
    def ellipsis(self) -> str:
        """Return what stands for something that is left out."""
        return "…" if self.unicode else "..."

    def colour_of(self, chunk_id: int) -> str:
        """Return the colour of a chunk."""
        return _TELLABLE_APART[chunk_id % len(_TELLABLE_APART)]

    def paint(self, text: str, colour: str) -> str:
        """Return `text` in a colour, if there are colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and colour and text else text

    def bar(self, fraction: float, width: int, colour: str) -> list[tuple[str, str]]:
        """Return a bar of which a part is done, as pieces of text with their colours."""
        heavy, half, light = ("━", "╾", "─") if self.unicode else ("#", "-", "-")
        halves = int(min(max(fraction, 0), 1) * width * 2)
        done = heavy * (halves // 2) + half * (halves % 2)
        return [(done, colour), (light * (width - len(done)), DIM)]

    def fit(self, text: str, width: int) -> str:
        """Return `text` in exactly `width` cells, cut off or padded."""
        text = self.drawable(text)
        if cell_len(text) <= width:
            return set_cell_size(text, width)
        mark = self.ellipsis[:width]
        return set_cell_size(text, width - len(mark)) + mark

    def drawable(self, text: str) -> str:
        """Return `text` as `encode` shows it: what takes no cell may become a mark that takes one."""
        return text if self.unicode else self.encode(text).decode()

    def encode(self, text: str) -> bytes:
        """Return the bytes that show `text`."""
        return text.encode("utf-8" if self.unicode else "ascii", "replace")


def is_drawable(descriptor: int) -> bool:
    """Whether `descriptor` is a terminal that can move its cursor."""
    return os.isatty(descriptor) and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def style_of(descriptor: int, *, no_colour: bool) -> TerminalStyle:
    """Return the style of what `descriptor` is open on: a plain one unless it can be drawn on.

    NO_COLOR is heeded (https://no-color.org).
    """
    if not is_drawable(descriptor):
        return TerminalStyle()
    return TerminalStyle(
        colours=not no_colour and not os.environ.get("NO_COLOR"),
        # In the C locale Python itself writes UTF-8, and who set that locale has a reason.
        unicode=locale.getencoding().lower().replace("-", "") == "utf8",
    )
