"""Whether there is memory left, looked at now and then, where there is no native core: as its `memory_watch.rs`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from .._command.memory_report import MemoryReport, ProcessMemory

_GLANCE = 0.5
"""How often to see how much there is, in seconds."""
_LOOK = 2.0
"""How often to count whom the kernel killed, and at most to look who has what there is, in seconds."""
_RECENT = 10.0
"""The kernel killed a command for it if it killed anybody in this time before: a large process takes a while to go."""
_OUTDATED = 30.0
"""What was counted so many seconds ago tells nothing of now."""
_SETTLED = 60.0
"""How long this process is taken to stay in its control group, in seconds."""
_LOW = 0.1
"""Below this part of all memory it is looked who has it."""
_NEARLY_FULL = 0.05
"""Below this part somebody may be killed: there are services that do so before the kernel does."""
_LARGEST = 5
"""How many of the largest processes are told."""


class Available(NamedTuple):
    """How much memory is to be had, and of how much, in bytes."""

    size: int
    total: int

    def is_less(self, part: float) -> bool:
        """Whether it is less than this part of all."""
        return self.size < self.total * part


class _Groups(NamedTuple):
    """Of the control groups (version 2) that this process is in."""

    own: Path | None
    limited: Sequence[Path]
    """Those that limit memory."""


class MemoryWatch:
    """Looks at the memory of this machine and of this process's control groups.

    One thread looks; another may ask for a report.
    """

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._glanced: float | None = None
        self._available: Available | None = None
        self._largest: tuple[float, Sequence[ProcessMemory]] | None = None
        self._counts: deque[tuple[float, Mapping[str, int]]] = deque()
        """How many the kernel had killed when, by where it counts them, the oldest first."""
        self._groups: tuple[float, _Groups] | None = None

    def glance(self) -> bool:
        """See how much there is, if that is due; return whether it is to be told who has it."""
        now = self._clock()
        if self._glanced is not None and now - self._glanced < _GLANCE:
            return False
        if self._groups is None or now - self._groups[0] >= _SETTLED:
            self._groups = now, self._find_groups()
        groups = self._groups[1]
        self._glanced, self._available = now, self._read_available(groups)
        if not self._counts or now - self._counts[-1][0] >= _LOOK:
            self._count(now, self._read_counts(groups))
        if self._available is None or not self._available.is_less(_LOW):
            self._largest = None
            return False
        return self._largest is None or now - self._largest[0] >= _LOOK

    def tell(self, processes: Iterable[ProcessMemory]) -> None:
        """Take what the processes of this machine have."""
        self._largest = self._clock(), largest(processes)

    def report(self, processes: Sequence[ProcessMemory], *, certain: bool) -> MemoryReport | None:
        """Return what is known if a process that was killed just now was killed for want of memory, else None.

        `processes` are the largest of its command; `certain`: only if the kernel says that it has killed somebody.
        """
        now = self._clock()
        counts = {} if self._groups is None else self._read_counts(self._groups[1])
        before = next((counts for at, counts in list(self._counts) if now - at < _OUTDATED), {})
        kernel_killed = any(count > before.get(where, count) for where, count in counts.items())
        glanced = self._glanced if self._glanced is not None and now - self._glanced < _RECENT else None
        available = None if glanced is None else self._available
        was_full = available is not None and available.is_less(_NEARLY_FULL)
        if not kernel_killed and (certain or not was_full):
            return None
        looked, machine = (glanced, ()) if self._largest is None else self._largest
        return MemoryReport(
            kernel_killed,
            None if available is None else available.size,
            None if available is None else available.total,
            tuple(processes),
            tuple(machine),
            None if looked is None else now - looked,
        )

    def _count(self, now: float, counts: Mapping[str, int]) -> None:
        # The first is kept until the second is old enough to be from before whoever is just ending was killed.
        self._counts.append((now, counts))
        while len(self._counts) > 1 and now - self._counts[1][0] >= _RECENT:
            self._counts.popleft()
        while now - self._counts[0][0] >= _OUTDATED:
            self._counts.popleft()

    def _read_counts(self, groups: _Groups) -> Mapping[str, int]:
        files = {"machine": self._proc / "vmstat"}
        if groups.own is not None:
            files["group"] = groups.own / "memory.events"
        counts = {where: _values_in(file).get("oom_kill") for where, file in files.items()}
        return {where: count for where, count in counts.items() if count is not None}

    def _read_available(self, groups: _Groups) -> Available | None:
        machine = _values_in(self._proc / "meminfo")
        found = [_available_to(group) for group in groups.limited]
        if "MemAvailable:" in machine and "MemTotal:" in machine:
            found.append(Available(machine["MemAvailable:"] * 1024, machine["MemTotal:"] * 1024))
        return min(
            (each for each in found if each is not None and each.total),
            key=lambda each: Fraction(each.size, each.total),
            default=None,
        )

    def _find_groups(self) -> _Groups:
        own = _own_group(_text_of(self._proc / "self/cgroup"), _text_of(self._proc / "self/mountinfo"))
        if own is None:
            return _Groups(None, ())
        # What is above the groups has no such file.
        return _Groups(own, [group for group in (own, *own.parents) if _limit_of(group) is not None])


def largest(processes: Iterable[ProcessMemory]) -> Sequence[ProcessMemory]:
    """Return the five largest of the processes, the largest first."""
    return sorted(processes, key=lambda process: (-process.memory, process.pid))[:_LARGEST]


def _available_to(group: Path) -> Available | None:
    limit, used = _limit_of(group), _text_of(group / "memory.current").strip()
    if limit is None or not used.isdigit():
        return None
    available = Available(max(0, limit - int(used)), limit)
    if not available.is_less(_LOW):
        return available
    # Asking for it costs more. What is kept of files is given up before anybody is killed.
    stat = _values_in(group / "memory.stat")
    files = stat.get("inactive_file", 0) + stat.get("active_file", 0)
    return Available(min(limit, available.size + files), limit)


def _limit_of(group: Path) -> int | None:
    limit = _text_of(group / "memory.max").strip()
    return int(limit) if limit.isdigit() else None


def _own_group(cgroup: str, mountinfo: str) -> Path | None:
    """Return the folder of this process's group (cgroups(7), proc(5)); None where there is none that can be seen."""
    own = next((line.removeprefix("0::") for line in cgroup.splitlines() if line.startswith("0::")), "")
    if not own or own.startswith("/..") or own.endswith(" (deleted)"):
        return None
    # The last mount on a folder is the one that is seen.
    for line in reversed(mountinfo.splitlines()):
        mount, _, filesystem = line.partition(" - ")
        fields = mount.split(" ")
        if filesystem.startswith("cgroup2 ") and len(fields) > 4 and "\\" not in fields[4]:
            if not Path(own).is_relative_to(fields[3]):
                return None
            return Path(fields[4]) / Path(own).relative_to(fields[3])
    return None


def _values_in(file: Path) -> dict[str, int]:
    lines = (line.split() for line in _text_of(file).splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def _text_of(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
