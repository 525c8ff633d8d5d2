"""Which names the output files of chunks may have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from .model import Chunk
from .numbered_name import NumberedName, NumberedNames, is_numbered


class OutputNames:
    """The names of everything that `chunks` may write, for whatever frame."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        names = {os.path.normpath(chunk.output_file) for chunk in chunks}
        self.digest = hashlib.sha256("\0".join(sorted(names)).encode(errors="surrogatepass")).digest()
        """Is the same for the same names."""
        self._plain = {name for name in names if not is_numbered(name)}
        self._numbered = NumberedNames(names - self._plain)

    def __contains__(self, name: str) -> bool:
        """Return whether `name`, without needless parts, is one of them."""
        return name in self._plain or any(True for _ in self._numbered.frames_of(name))


def is_output_of(chunk: Chunk, name: str) -> bool:
    """Return whether `name`, without needless parts, is one of the files that `chunk` is to write."""
    own = os.path.normpath(chunk.output_file)
    if not is_numbered(own):
        return name == own
    frame = NumberedName(own).frame_in(name)
    return frame is not None and frame in chunk.frames
