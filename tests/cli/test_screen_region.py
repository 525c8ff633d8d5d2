"""The rows at the bottom of a terminal, and what scrolls above them."""

from __future__ import annotations

import os
import pty
import signal
import termios
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import anyio
import pytest

from support.terminal import Terminal
from tailrace._cli.display.region import Row, ScreenRegion
from tailrace._cli.writing import DescriptorWriter, OutputFailedError

pytestmark = pytest.mark.anyio


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal(columns=60, lines=12) as made:
        yield made


class Rows:
    """Rows that say how often they were made, and are as wide as the terminal allows."""

    def __init__(self, count: int = 3) -> None:
        self.count = count
        self.made = 0

    def __call__(self, size: os.terminal_size) -> Sequence[Row]:
        self.made += 1
        texts = [f"row {number} of {self.count} ".ljust(size.columns - 1, "=") for number in range(1, self.count + 1)]
        return [Row(text[: size.columns - 1].encode(), size.columns - 1) for text in texts]


def region_on(terminal: Terminal, rows: Callable[[os.terminal_size], Sequence[Row]]) -> ScreenRegion:
    return ScreenRegion(terminal.program_side, DescriptorWriter(terminal.program_side, threading.Lock()), rows)


async def shown(terminal: Terminal, is_shown: Callable[[list[str]], bool]) -> list[str]:
    return await anyio.to_thread.run_sync(terminal.wait_until, is_shown)


def ends_with_rows(screen: list[str], count: int = 3) -> bool:
    return [line[:10] for line in screen[-count:]] == [f"row {n} of {count}" for n in range(1, count + 1)]


async def test_bursts_scroll_by_complete_and_in_order_and_the_rows_stay_below(terminal: Terminal) -> None:
    region = region_on(terminal, Rows())
    expected = [f"line {number}" for number in range(5000)]

    async def job() -> None:
        for start in range(0, 5000, 50):
            region.add("".join(f"{line}\n" for line in expected[start : start + 50]).encode())
            await region.wait_for_room()
            if start % 1000 == 0:
                screen = await shown(terminal, lambda screen: ends_with_rows(screen))
                assert sum(line.startswith("row ") for line in screen) == 3
        await shown(terminal, lambda screen: screen[-4] == expected[-1])

    await region.run(job)
    await region.close()
    await shown(terminal, lambda screen: screen[-1] == expected[-1])
    assert terminal.text == expected


async def test_a_flood_is_not_slowed_down_by_drawing() -> None:
    reader, writer = pty.openpty()
    pieces, size = 100, 64 * 1024
    rows = Rows()
    region = ScreenRegion(writer, DescriptorWriter(writer, threading.Lock()), rows)

    async def job() -> None:
        for _ in range(pieces):
            region.add(b"y\n" * (size // 2))
            await region.wait_for_room()

    drain = threading.Thread(target=read_lines, args=(reader, pieces * size // 2))
    drain.start()
    started = time.monotonic()
    await region.run(job)
    duration = time.monotonic() - started
    await region.close()
    await anyio.to_thread.run_sync(drain.join, 30)
    assert not drain.is_alive()
    os.close(reader)
    os.close(writer)
    # Not once for each piece.
    assert rows.made <= 3 + duration / 0.05


def read_lines(descriptor: int, count: int) -> None:
    """Read until `count` lines of "y" have come."""
    while count > 0:
        count -= os.read(descriptor, 65536).count(b"y")


async def test_what_has_not_changed_is_not_drawn_again(terminal: Terminal) -> None:
    rows = Rows()
    region = region_on(terminal, rows)

    async def job() -> None:
        await shown(terminal, lambda screen: ends_with_rows(screen))
        before = len(terminal.written)
        made = rows.made
        await shown(terminal, lambda _: rows.made >= made + 3)
        assert len(terminal.written) == before

    await region.run(job)


async def test_rows_that_are_fewer_leave_nothing_behind(terminal: Terminal) -> None:
    rows = Rows(5)
    region = region_on(terminal, rows)

    async def job() -> None:
        region.add(b"first\n")
        await shown(terminal, lambda screen: ends_with_rows(screen, 5))
        rows.count = 2
        assert len(await shown(terminal, lambda screen: ends_with_rows(screen, 2))) == 3
        rows.count = 4
        assert len(await shown(terminal, lambda screen: ends_with_rows(screen, 4))) == 5

    await region.run(job)
    await region.close()
    await shown(terminal, lambda screen: screen == ["first"])
    assert terminal.cursor == (1, 0, True)
    assert terminal.wraps


@pytest.mark.parametrize(("columns", "lines"), [(90, 12), (60, 20), (200, 50)])
async def test_the_rows_follow_the_size_of_the_terminal(terminal: Terminal, columns: int, lines: int) -> None:
    region = region_on(terminal, Rows())

    async def job() -> None:
        region.add(b"first\nsecond\n")
        await shown(terminal, lambda screen: ends_with_rows(screen))
        terminal.resize(columns, lines)
        await shown(terminal, lambda screen: len(screen[-1]) == columns - 1 and ends_with_rows(screen))
        region.add(b"third\n")
        await shown(terminal, lambda screen: "third" in screen)

    await region.run(job)
    await region.close()
    await shown(terminal, lambda screen: screen == ["first", "second", "third"])


@pytest.mark.parametrize(("rewraps", "up"), [(True, b"\x1b[6A"), (False, b"\x1b[3A")])
async def test_rows_that_a_narrower_terminal_has_broken_are_cleared_whole(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, rewraps: bool, up: bytes
) -> None:
    monkeypatch.setattr("tailrace._cli.display.region._REWRAPS", rewraps)
    region = region_on(terminal, Rows())

    async def job() -> None:
        await shown(terminal, lambda screen: ends_with_rows(screen))
        before = len(terminal.written)
        terminal.resize(30, 12)
        await shown(terminal, lambda screen: len(screen[-1]) == 29)
        # A row of 59 cells takes two lines now.
        assert terminal.written[before:].startswith(b"\r" + up)

    await region.run(job)


async def test_a_line_that_fills_the_width_costs_no_line_of_the_rows(terminal: Terminal) -> None:
    region = region_on(terminal, Rows())
    lines = ["x" * 59, "y" * 60, "z" * 61, "a" * 120, "b"]

    async def job() -> None:
        for line in lines:
            region.add(f"{line}\n".encode())
            await shown(terminal, lambda screen: ends_with_rows(screen))
        await shown(terminal, lambda screen: "b" in screen)

    await region.run(job)
    await region.close()
    expected = ["x" * 59, "y" * 60, "z" * 60, "z", "a" * 60, "a" * 60, "b"]
    await shown(terminal, lambda screen: screen == expected)


async def test_a_row_that_is_wider_than_it_says_does_not_become_two(terminal: Terminal) -> None:
    region = region_on(terminal, lambda size: [Row(b"1" * 200, 59), Row(b"2" * 200, 59)])

    async def job() -> None:
        await shown(terminal, lambda screen: [line[:1] for line in screen] == ["1", "2"])
        region.add(b"above\n")
        await shown(terminal, lambda screen: [line[:1] for line in screen] == ["a", "1", "2"])

    await region.run(job)


@pytest.mark.parametrize("holds_up", ["nobody reads", "stopped"])
async def test_a_terminal_that_takes_nothing_holds_up_who_writes_and_nothing_else(
    terminal: Terminal, holds_up: str
) -> None:
    region = region_on(terminal, Rows())
    line = b"y" * 59 + b"\n"
    added = 0

    async def job() -> None:
        nonlocal added
        while True:
            region.add(66 * line)
            added += 1
            await region.wait_for_room()

    if holds_up == "stopped":
        # What the terminal does at Ctrl-S.
        termios.tcflow(terminal.program_side, termios.TCOOFF)
    else:
        terminal.pause()
    with anyio.move_on_after(1) as scope:
        await region.run(job)
    assert scope.cancelled_caught
    assert 0 < added < 200
    if holds_up == "stopped":
        termios.tcflow(terminal.program_side, termios.TCOON)
    terminal.resume()
    await region.close()
    # Not by its text, which takes as long to put together as all else here does.
    await shown(terminal, lambda _: terminal.written.count(line.rstrip()) >= 66 * added)
    assert terminal.text == ["y" * 59] * 66 * added


async def test_a_terminal_that_is_gone_ends_the_job(terminal: Terminal) -> None:
    region = region_on(terminal, Rows())

    class GoneWriter(DescriptorWriter):
        def write(self, data: bytes | memoryview) -> Awaitable[None] | None:
            raise OSError(5, "Input/output error")

    region._writer = GoneWriter(terminal.program_side, threading.Lock())
    with pytest.raises(OutputFailedError, match="the output cannot be written: Input/output error"):
        await region.run(anyio.sleep_forever)


async def test_what_the_job_raises_comes_out_unchanged(terminal: Terminal) -> None:
    error = ValueError("of the job")

    async def job() -> None:
        raise error

    with pytest.raises(ValueError) as caught:
        await region_on(terminal, Rows()).run(job)
    assert caught.value is error


async def test_after_a_pause_in_the_background_nothing_of_others_is_overwritten(terminal: Terminal) -> None:
    region = region_on(terminal, Rows())

    async def job() -> None:
        await shown(terminal, lambda screen: ends_with_rows(screen))
        os.write(terminal.program_side, b"[1]+ Stopped\n$ ls\nfile\n$ fg\n")
        os.kill(os.getpid(), signal.SIGCONT)
        await shown(terminal, lambda screen: ends_with_rows(screen) and len(screen) > 8)
        region.add(b"line\n")
        await shown(terminal, lambda screen: "line" in screen and ends_with_rows(screen))

    await region.run(job)
    assert terminal.text[3:7] == ["[1]+ Stopped", "$ ls", "file", "$ fg"]
