"""What the command line itself has to say."""

from __future__ import annotations

import contextlib
import os


def tell(text: str) -> None:
    """Write a line to standard error, where it does not get into the output of the chunks.

    Does nothing if nobody can read it any more: there is no better place for it.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"tailrace: {text}\n".encode(errors="backslashreplace"))
