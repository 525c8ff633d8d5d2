"""A file that is there in whole, or as it was before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .._errors import TailraceError


@contextmanager
def replacing(path: str, what: str) -> Iterator[str]:
    """Yield where to write what is to be in `path`: it gets there at the end of the block, unless that raises.

    The yielded name, of a file that is there and empty, ends as `path` does: that may say the format. Raises
    `TailraceError`, which says what could not be written, in place of an `OSError`.
    """
    folder, name = os.path.split(path)
    # In the same folder, so that it can be renamed.
    written = os.path.join(folder, f".{os.getpid()}.{name}")  # noqa: PTH118
    try:
        # It tells why it cannot be made, which not all that write to it do.
        with open(written, "xb"):  # noqa: PTH123
            pass
        yield written
        os.replace(written, path)  # noqa: PTH105
    except OSError as error:
        raise TailraceError(f"{what} {path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            os.unlink(written)  # noqa: PTH108
