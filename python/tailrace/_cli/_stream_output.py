"""The commands' output on the streams of this process."""

from __future__ import annotations

from typing import Literal

from ._descriptor_writer import settle, standard_writers
from ._line_prefixer import LinePrefixer

MERGE = -1
"""Stands for the merge where the others have their chunk's id."""

Stream = Literal["stdout", "stderr"]


def prefix_of(chunk_id: int) -> str:
    """Return what tells whose line it is, where several write to one place."""
    return "[merge]" if chunk_id == MERGE else f"[chunk {chunk_id}]"


class StreamOutput:
    """Writes output to the stream of this process that corresponds to it.

    The bytes go through as they are, or with `prefixed` as whole lines, each of which says whose it is.
    """

    def __init__(self, *, prefixed: bool) -> None:
        self._prefixed = prefixed
        self._writers = standard_writers()._asdict()
        self._prefixers: dict[tuple[int, Stream], LinePrefixer] = {}
        self._at_line_start = True

    async def write(self, chunk_id: int, stream: Stream, data: memoryview) -> None:
        """Write a piece of output. Raises `OSError`."""
        if not self._prefixed:
            if stream == "stderr":
                self._at_line_start = data[-1] in b"\r\n"
            await settle(self._writers[stream].write(data))
            return
        prefixer = self._prefixers.get((chunk_id, stream))
        if prefixer is None:
            prefixer = self._prefixers[chunk_id, stream] = LinePrefixer(f"{prefix_of(chunk_id)} ")
        await settle(self._writers[stream].write(prefixer.feed(data)))

    async def finish(self, chunk_id: int) -> None:
        """Write the last lines of a chunk, if nothing ended them. Raises `OSError`."""
        streams: tuple[Stream, ...] = ("stdout", "stderr")
        for stream in streams:
            prefixer = self._prefixers.pop((chunk_id, stream), None)
            if prefixer is not None:
                await settle(self._writers[stream].write(prefixer.finish()))

    async def end_line(self) -> None:
        """End the line that standard error is in, for something else to follow. Raises `OSError`."""
        if not self._at_line_start:
            self._at_line_start = True
            await settle(self._writers["stderr"].write(b"\n"))

    async def close(self) -> None:
        """Write what is left of lines that nothing ended. Raises `OSError`."""
        for chunk_id in {chunk_id for chunk_id, _ in self._prefixers}:
            await self.finish(chunk_id)
        await self.end_line()
