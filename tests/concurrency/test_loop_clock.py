"""The time in which an event loop stands still is nobody's silence."""

from __future__ import annotations

import time
from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest

from tailrace._concurrency.loop_clock import LoopClock

pytestmark = pytest.mark.anyio


async def wait_until(clock: LoopClock, deadline: float, event: anyio.Event) -> None:
    """Return at the event, or when the clock has come to the deadline."""
    while clock.now() < deadline and not event.is_set():
        await clock.wait(event.wait, deadline - clock.now())


async def test_while_the_event_loop_runs_the_clock_tells_its_time() -> None:
    clock = LoopClock()
    before, began = clock.now(), anyio.current_time()
    await wait_until(clock, before + 1.2, anyio.Event())
    # More on a busy machine, where the loop is held up.
    assert 1.2 <= anyio.current_time() - began < 5


async def test_the_clock_stands_still_with_the_event_loop() -> None:
    clock = LoopClock()
    deadline, began = clock.now() + 0.8, anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_until, clock, deadline, anyio.Event())
        await anyio.sleep(0.1)
        time.sleep(2)  # noqa: ASYNC251
    # As long as without it, but for the step in which it began.
    assert anyio.current_time() - began > 2 + 0.8 - 0.2


async def test_a_limit_is_reached_beside_a_callback_that_holds_up_the_event_loop_all_the_time() -> None:
    clock = LoopClock()

    async def hold_up() -> None:
        while True:
            time.sleep(0.5)  # noqa: ASYNC251
            await anyio.sleep(0.02)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold_up)
            await wait_until(clock, clock.now() + 1, anyio.Event())
            tasks.cancel_scope.cancel()


async def test_the_clock_never_runs_backwards() -> None:
    clock = LoopClock()
    times = [clock.now()]

    async def read() -> None:
        for _ in range(8):
            await clock.wait(anyio.sleep_forever, 0.1)
            times.append(clock.now())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for _ in range(3):
            await anyio.sleep(0.25)
            time.sleep(0.5)  # noqa: ASYNC251
    # But for what is lost in rounding.
    assert all(later - earlier > -1e-6 for earlier, later in pairwise(times))


async def test_what_has_come_meanwhile_is_heard_before_the_time_is_up() -> None:
    clock, event = LoopClock(), anyio.Event()
    deadline = clock.now() + 0.3
    heard = False

    async def bring() -> None:
        await anyio.sleep(0.2)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        event.set()

    async def listen() -> None:
        nonlocal heard
        await wait_until(clock, deadline, event)
        heard = event.is_set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        tasks.start_soon(bring)
        await anyio.sleep(0.1)
        time.sleep(1)  # noqa: ASYNC251
    assert heard


async def test_what_happens_is_heard_at_once() -> None:
    clock, event = LoopClock(), anyio.Event()
    event.set()
    began = anyio.current_time()
    await clock.wait(event.wait, 60)
    assert anyio.current_time() - began < 1
