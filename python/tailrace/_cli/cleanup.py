"""What has to be cleaned up when Ctrl-C comes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def raising_keyboard_interrupt() -> Iterator[None]:
    """Have Ctrl-C raise `KeyboardInterrupt` in here, for something to be cleaned up.

    Elsewhere it ends the process at once. Where it is ignored it stays so.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
