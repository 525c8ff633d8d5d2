"""The documentation's files, and the code in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from support import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


class Block(NamedTuple):
    """A fenced block of code."""

    source: str
    """The file, relative to the repository."""
    line: int
    """That of the fence."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a document in their order, those in lists too."""
    text = path.read_text()
    return [
        Block(
            path.relative_to(ROOT).as_posix(),
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            textwrap.dedent(found["text"]),
        )
        for found in re.finditer(
            r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", text, flags=re.MULTILINE | re.DOTALL
        )
    ]


BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]
