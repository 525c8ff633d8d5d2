"""Short calls that block, in a thread."""

from __future__ import annotations

import os
import signal
import threading

import anyio
import pytest

from support.processes import fork_beside_threads
from tailrace._concurrency.disk_threads import DiskThreads
from tailrace._concurrency.in_thread import in_thread
from tailrace._concurrency.slices import Work, in_slices


def _raise() -> None:
    raise ValueError("no")


def _thread_of() -> Work[int]:
    yield
    return threading.get_ident()


@pytest.mark.anyio
async def test_what_a_call_returns_or_raises_comes_out_and_the_event_loop_goes_on() -> None:
    threads = DiskThreads()
    goes_on = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, threads, lambda: goes_on.wait(30))
        assert await in_thread(threads, threading.get_ident) != threading.get_ident()
        with pytest.raises(ValueError, match="no"):
            await in_thread(threads, _raise)
        goes_on.set()


@pytest.mark.anyio
async def test_a_disk_that_has_answered_at_once_and_then_hangs_does_not_hold_up_the_event_loop() -> None:
    threads = DiskThreads()
    goes_on = threading.Event()
    while not threads.answers_at_once:
        await in_thread(threads, threading.get_ident)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(in_thread, threads, lambda: goes_on.wait(30))
        await anyio.sleep(0.05)
        # Set by the event loop, for which nothing else would make the call return so soon.
        assert not goes_on.is_set()
        assert not threads.answers_at_once
        goes_on.set()
        with anyio.fail_after(10):
            assert await in_thread(threads, lambda: goes_on.is_set())


@pytest.mark.anyio
async def test_a_cancellation_leaves_the_call_to_itself() -> None:
    threads = DiskThreads()
    goes_on, is_over = threading.Event(), threading.Event()

    def work() -> None:
        goes_on.wait(30)
        is_over.set()

    with anyio.move_on_after(0.05) as scope:
        await in_thread(threads, work)
    assert scope.cancelled_caught
    goes_on.set()
    assert await in_thread(threads, lambda: is_over.wait(30))


@pytest.mark.anyio
async def test_where_there_can_be_no_thread_the_call_is_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = DiskThreads()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert await in_thread(threads, threading.get_ident) == threading.get_ident()


@fork_beside_threads
def test_a_forked_process_has_threads_of_its_own() -> None:
    assert anyio.run(in_slices, _thread_of()) != threading.get_ident()
    pid = os.fork()
    if not pid:
        try:
            signal.alarm(30)
            os._exit(anyio.run(in_slices, _thread_of()) == threading.get_ident())
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
