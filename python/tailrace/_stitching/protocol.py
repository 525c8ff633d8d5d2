"""What puts the chunks' output files together without a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .._command.job import Callback, StreamMode


class Stitcher(Protocol):
    """Puts the chunks' output files together, in place of the specification's merge command.

    A stitcher may also have `streams: bool`, True where it is a `StreamingStitcher`; without it, nobody sees what it
    writes while it works.
    """

    async def stitch(self, inputs: Sequence[Path], output: Path) -> None:
        """Write `output` from `inputs`: absolute paths in the order of their frames.

        What it raises becomes the cause of a `MergeFailedError`, and its `result`, if it has one, the result of that.
        """
        ...


class StreamingStitcher(Stitcher, Protocol):
    """A stitcher whose output is streamed like that of a command, as `MergeOutput` events for example."""

    streams: bool
    """True."""

    async def stitch(
        self,
        inputs: Sequence[Path],
        output: Path,
        *,
        stream: StreamMode = "text",
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> None:
        """Do what `Stitcher.stitch` does, and call the callbacks as `WorkerAdapter.execute` would.

        What a callback raises comes out unchanged.
        """
        ...
