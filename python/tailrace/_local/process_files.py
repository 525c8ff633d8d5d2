"""What /proc tells of processes, each look under a limit of its own: any of its files may never answer.

Whoever asks does not read. A thread that hangs in a file is left there, and the next goes on with the other processes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from .._command.ending import ProcessNote

LIMIT = 0.2
"""How long a process may take to answer, in seconds."""
_SUCCESSOR_AFTER = 0.02
_MOST_THREADS = 32
"""How many threads may be lost to files that do not answer."""
_START_TIME = 19
"""Its place among the fields of `stat` from the state on."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

T = TypeVar("T")


class Looked(NamedTuple, Generic[T]):
    """What a look at processes gave."""

    found: dict[int, T]
    unseen: list[int]
    """Those that do not answer. What is gone is nowhere."""
    late: list[int]
    """Those for which there was no time."""
    cost: float
    """Seconds of processor time."""


def look(kind: str, numbers: Iterable[int], read: Callable[[int], T | None], within: float = 2.0) -> Looked[T]:
    """Have `read` called with each of `numbers`, on other threads, for `within` seconds and a `LIMIT` at most.

    What `read` raises for a process that is gone counts as None. A process that does not answer is not read again,
    for the same `kind` of question, for as long as a thread sits there.
    """
    return _readers.look(_Look(kind, read), numbers, within)


class _Look:
    def __init__(self, kind: str, read: Callable[[int], Any]) -> None:
        self.kind = kind
        self.read = read
        self.waiting: deque[int] = deque()
        self.since: dict[int, float] = {}
        """When the reading of those began that are being read."""
        self.found: dict[int, Any] = {}
        self.unseen: list[int] = []
        self.late: list[int] = []
        self.cost = 0.0
        self.is_over = False


class _Readers:
    """The threads that read. One stays when there is nothing to do: an interpreter that exits can start none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._looks: deque[_Look] = deque()
        self._count = self._idle = 0
        self._hung: set[tuple[str, int]] = set()

    def prepare(self) -> None:
        """Have a thread ready. Raises `RuntimeError` where none can be had."""
        with self._changed:
            if not self._count:
                self._add()

    def look(self, look: _Look, numbers: Iterable[int], within: float) -> Looked[Any]:
        deadline = time.monotonic() + within
        with self._changed:
            for number in numbers:
                (look.unseen if (look.kind, number) in self._hung else look.waiting).append(number)
            if look.waiting:
                self._looks.append(look)
                if self._idle:
                    self._changed.notify_all()
                else:
                    self._try_to_add()
            judged = time.monotonic()
            while look.waiting or look.since:
                self._changed.wait(_SUCCESSOR_AFTER)
                now = time.monotonic()
                excess = now - judged - _SUCCESSOR_AFTER
                judged = now
                if excess > _SUCCESSOR_AFTER:
                    # Nobody hangs: this process was stopped, or somebody else had the processor or the interpreter.
                    look.since = {number: min(since + excess, now) for number, since in look.since.items()}
                self._judge(look, now, deadline)
            look.is_over = True
            return Looked(look.found, look.unseen, look.late, look.cost)

    def _judge(self, look: _Look, now: float, deadline: float) -> None:
        for number, since in list(look.since.items()):
            if now - since >= LIMIT:
                self._hung.add((look.kind, number))
                look.unseen.append(number)
            elif now >= deadline + LIMIT:
                look.late.append(number)
            else:
                continue
            del look.since[number]
        if not look.waiting:
            return
        is_slow = all(now - since >= _SUCCESSOR_AFTER for since in look.since.values())
        can_go_on = not is_slow or self._idle or self._try_to_add() or self._count > len(self._hung)
        if now >= deadline or not can_go_on:
            (look.unseen if not can_go_on else look.late).extend(look.waiting)
            look.waiting.clear()
            if look in self._looks:
                self._looks.remove(look)

    def _try_to_add(self) -> bool:
        if self._count >= _MOST_THREADS:
            return False
        try:
            self._add()
        except RuntimeError:
            return False
        return True

    def _add(self) -> None:
        threading.Thread(target=self._work, name="tailrace-look", daemon=True).start()
        self._count += 1

    def _work(self) -> None:
        with self._changed:
            while True:
                while not self._looks:
                    if self._idle:
                        self._count -= 1
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                look = self._looks[0]
                number = look.waiting.popleft()
                if not look.waiting:
                    self._looks.popleft()
                look.since[number] = time.monotonic()
                self._changed.release()
                result, cost = None, time.thread_time()
                try:
                    result = look.read(number)
                except (OSError, ValueError, LookupError):
                    # It is gone, or says nothing that could be understood.
                    pass
                finally:
                    self._changed.acquire()
                self._hung.discard((look.kind, number))
                if look.is_over or look.since.pop(number, None) is None:
                    continue
                look.cost += time.thread_time() - cost
                if result is not None:
                    look.found[number] = result
                if not look.waiting and not look.since:
                    self._changed.notify_all()


_readers = _Readers()


def prepare() -> None:
    """Have a thread ready that reads. Raises `RuntimeError` where none can be had."""
    _readers.prepare()


def _start_anew() -> None:
    global _readers
    _readers = _Readers()


os.register_at_fork(after_in_child=_start_anew)


def contents(number: int, name: str) -> bytes:
    """Return what a file of a process holds. Raises `OSError`; may never return."""
    fd = os.open(f"/proc/{number}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def stat_fields(number: int) -> list[bytes]:
    """Return the fields of a process' `stat` from its state on (proc(5)); raises `OSError`."""
    return _name_and_fields(number)[1]


def start_time(number: int) -> str:
    """Return when the process began, in ticks since the machine was booted: its number may be another one's later.

    Raises `OSError` if there is none.
    """
    return stat_fields(number)[_START_TIME].decode()


def _name_and_fields(number: int) -> tuple[str, list[bytes]]:
    # The name stands in parentheses, and may hold any character.
    head, _, rest = contents(number, "stat").rpartition(b")")
    return head.partition(b"(")[2].decode(errors="replace"), rest.split()


def resident_of(numbers: Iterable[int], within: float = LIMIT) -> tuple[dict[int, tuple[str, int]], float]:
    """Return name and resident memory, in bytes, of each process that is there, and what that cost, as `figures_of`."""

    def read(number: int) -> tuple[str, int]:
        name, fields = _name_and_fields(number)
        return name, int(fields[21]) * _PAGE

    looked = look("resident", numbers, read, within)
    return looked.found, looked.cost


def status_fields(number: int) -> dict[bytes, bytes]:
    """Return the fields of a process' `status` (proc(5)); raises `OSError`."""
    return {
        name: value.strip()
        for name, _, value in (line.partition(b":") for line in contents(number, "status").splitlines())
    }


def describe(numbers: Iterable[int]) -> list[ProcessNote]:
    """Return what can be had of each of the processes; those that are gone are left out."""
    numbers = list(numbers)
    statuses = look("status", numbers, status_fields)
    asked = [number for number in numbers if number in statuses.found or number in statuses.unseen]
    channels = look("wchan", asked, lambda number: contents(number, "wchan")).found
    notes = []
    for number in asked:
        status = statuses.found.get(number, {})
        channel = channels.get(number, b"").decode(errors="replace").strip()
        name, state = (status.get(field, b"").decode(errors="replace") for field in (b"Name", b"State"))
        notes.append(ProcessNote(number, name, state[:1], "" if channel == "0" else channel))
    return notes


@dataclass
class Figures:
    """What one process uses, as far as it answered."""

    name: str
    started: int
    """In clock ticks since the machine started: tells it from a later process of the same number."""
    user: float
    system: float
    """Seconds of processor time, with those of whom it waited for."""
    peak: int | None = None
    """The most that it had resident, in bytes."""
    memory: int = 0
    """Its share of the resident memory, in bytes."""


def figures_of(numbers: Iterable[int], within: float = LIMIT) -> tuple[dict[int, Figures], float]:
    """Return the figures of each process that is there, and how much processor time it took to have them."""
    figures: dict[int, Figures] = {}

    def read(number: int) -> None:
        name, fields = _name_and_fields(number)
        user, system, waited_user, waited_system = map(int, fields[11:15])
        figure = figures[number] = Figures(
            name, int(fields[19]), (user + waited_user) / _TICKS, (system + waited_system) / _TICKS
        )
        status = status_fields(number)
        if b"VmHWM" in status:
            figure.peak = _kilobytes(status[b"VmHWM"])
            # Until the better figure comes, for which the kernel walks all pages and may have to wait.
            figure.memory = _kilobytes(status[b"VmRSS"])
            for line in contents(number, "smaps_rollup").splitlines():
                if line.startswith(b"Pss:"):
                    figure.memory = _kilobytes(line[4:])

    cost = look("usage", numbers, read, within).cost
    return dict(figures), cost


def children_of(number: int) -> list[int]:
    """Return the children of all threads of a process; raises `OSError`."""
    children: list[int] = []
    for thread in os.listdir(f"/proc/{number}/task"):  # noqa: PTH208
        children += map(int, contents(number, f"task/{thread}/children").split())
    return children


def _kilobytes(value: bytes) -> int:
    return int(value.split()[0]) * 1024
