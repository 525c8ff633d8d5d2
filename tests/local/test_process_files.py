"""Files of /proc that do not answer, and what that may cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tailrace._local.process_files import look


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What does not happen before the test is over."""
    event = threading.Event()
    yield event
    event.set()


def answering(silent: set[int], never: threading.Event) -> Callable[[int], str]:
    def read(number: int) -> str:
        if number in silent:
            never.wait()
        return f"answer of {number}"

    return read


def test_a_process_that_does_not_answer_holds_up_no_look_at_others_for_long(never: threading.Event) -> None:
    silent = set(range(0, 100, 20))
    started = time.monotonic()
    looked = look("test", range(100), answering(silent, never))
    assert time.monotonic() - started < 2
    assert set(looked.unseen) == silent
    assert set(looked.found) == set(range(100)) - silent
    assert looked.late == []


def test_a_process_that_does_not_answer_is_asked_once(never: threading.Event) -> None:
    asked: list[int] = []

    def read(number: int) -> str | None:
        asked.append(number)
        return answering({7}, never)(number)

    for _ in range(20):
        assert look("once", [7, 8], read).unseen == [7]
    assert asked.count(7) == 1
    never.set()
    deadline = time.monotonic() + 10
    while look("once", [7], answering(set(), never)).found != {7: "answer of 7"}:
        assert time.monotonic() < deadline


def test_nobody_is_taken_for_one_who_does_not_answer_while_the_interpreter_is_busy(never: threading.Event) -> None:
    def read(number: int) -> int:
        # Lets go of the interpreter, as every system call does.
        time.sleep(0)
        return number

    def hold_the_interpreter() -> None:
        while not never.is_set():
            sum(range(9_000_000))

    look("busy", [0], read)
    threading.Thread(target=hold_the_interpreter).start()
    assert [look(f"busy {number}", range(5), read, 5).unseen for number in range(4)] == [[]] * 4


def test_what_says_nothing_that_could_be_understood_counts_as_gone() -> None:
    looked = look("odd", [1], {2: "answer"}.__getitem__)
    assert (looked.found, looked.unseen, looked.late) == ({}, [], [])


def test_threads_lost_to_processes_that_do_not_answer_are_bounded(never: threading.Event) -> None:
    before = threading.active_count()
    started = time.monotonic()
    looked = look("many", range(200), answering(set(range(200)), never), within=5)
    assert len(looked.unseen) == 200
    assert time.monotonic() - started < 10
    assert threading.active_count() - before <= 32
    never.set()
