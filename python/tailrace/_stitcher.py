"""What puts the chunks' output files together without a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Stitcher(Protocol):
    """Puts the chunks' output files together, in place of the specification's merge command."""

    async def stitch(self, inputs: Sequence[Path], output: Path) -> None:
        """Write `output` from `inputs`: absolute paths in the order of their frames.

        What it raises becomes the cause of a `MergeFailedError`.
        """
        ...
