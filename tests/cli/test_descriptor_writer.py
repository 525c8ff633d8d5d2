"""Writing to a descriptor that may be slow."""

from __future__ import annotations

import os
import pty
import threading
import time

from tailrace._cli.writing import DescriptorWriter


def test_a_terminal_with_little_room_left_does_not_block_who_has_no_patience() -> None:
    reader, terminal = pty.openpty()
    writer = DescriptorWriter(terminal, threading.Lock())
    while not writer.write_within(0, b"x" * 1000):
        pass
    # There is room again for a little less than a piece.
    freed = 0
    while freed < 3000:
        freed += len(os.read(reader, 3000 - freed))
    rescue = threading.Timer(5, os.read, (reader, 65536))
    rescue.start()
    started = time.monotonic()
    # More than the kernel could ever find room for meanwhile.
    rest = writer.write_within(0, b"y" * (1 << 20))
    assert time.monotonic() - started < 4
    rescue.cancel()
    assert rest
    os.close(terminal)
    os.close(reader)
