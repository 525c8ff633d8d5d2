"""Looks at files and folders, some of which may be on disks that do not answer."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import anyio

from .._concurrency.disk_threads import DiskThreads
from .._concurrency.in_thread import in_thread

PATIENCE = 5.0
"""How long a disk may take for one thing, in seconds."""
_MOST_HANGS = 3
"""After how many folders that do not answer those beside them are not looked at: links may lead all to one disk."""
_SLICE = 1.0
"""How long a thread goes on before it tells that the disk answers, in seconds."""

Kind: TypeAlias = Literal["program", "input", "folder"]


class Look(NamedTuple):
    """What is looked at: whether it is a program, a file that can be read, or a folder that can be written."""

    kind: Kind
    path: str


class Hung(str):
    """The part of the file system that does not answer."""

    __slots__ = ()


Findings: TypeAlias = Mapping[Look, str | Hung | None]
"""What is wrong with each; None if nothing is."""


async def look_at(looks: Iterable[Look]) -> Findings:
    """Look at each once. A disk that does not answer is waited for five seconds, and holds up nobody else.

    What lies beside three folders that do not answer is taken to have no faults.
    """
    mounts = await _mount_points()
    by_mount: dict[str, list[Look]] = {}
    known: dict[str, list[Look]] = {}
    for look in looks:
        folder = look.path.rpartition("/")[0]
        if folder not in known:
            known[folder] = by_mount.setdefault(_mount_of(folder, mounts), [])
        known[folder].append(look)
    findings: dict[Look, str | Hung | None] = {}
    async with anyio.create_task_group() as tasks:
        for mount, group in by_mount.items():
            tasks.start_soon(_look_on, mount, group, findings)
    return findings


async def _look_on(mount: str, looks: list[Look], findings: dict[Look, str | Hung | None]) -> None:
    threads = DiskThreads()
    hangs = 0
    while looks:
        if hangs == _MOST_HANGS:
            # What is not looked at has no faults: this is about what can be told in time.
            findings.update(dict.fromkeys(looks))
            return
        found: list[str | None] = []
        while len(found) < len(looks):
            with anyio.move_on_after(PATIENCE) as patience:
                await in_thread(threads, partial(_look_for_a_while, looks, found))
            if patience.cancelled_caught:
                break
        done = len(found)
        findings.update(zip(looks, found, strict=False))
        if done == len(looks):
            return
        hangs += 1
        # A link may lead to another disk than the one that it is on itself.
        hung = mount if mount != "/" else os.path.dirname(looks[done].path)  # noqa: PTH120
        prefix = hung.rstrip("/") + "/"
        findings.update((look, Hung(hung)) for look in looks[done:] if f"{look.path}/".startswith(prefix))
        looks = [look for look in looks[done:] if look not in findings]
        threads = DiskThreads()


def _look_for_a_while(looks: list[Look], found: list[str | None]) -> None:
    deadline = time.monotonic() + _SLICE
    while len(found) < len(looks) and time.monotonic() < deadline:
        look = looks[len(found)]
        found.append(_LOOKS[look.kind](look.path))


def _fault_of_program(path: str) -> str | None:
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except OSError as error:
        return error.strerror
    return None if is_file and os.access(path, os.X_OK) else os.strerror(errno.EACCES)


def _fault_of_input(path: str) -> str | None:
    try:
        # Only what is looked at says that a link leads nowhere, or how a folder on the way refuses.
        os.stat(path)  # noqa: PTH116
    except OSError as error:
        return error.strerror
    return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)


def _fault_of_folder(path: str) -> str | None:
    """Return why files cannot be made in the folder, or the folder itself where it is missing."""
    place = path
    while True:
        try:
            mode = os.stat(place).st_mode  # noqa: PTH116
        except FileNotFoundError:
            if place == (above := os.path.dirname(place)):  # noqa: PTH120
                return os.strerror(errno.ENOENT)
            place = above
            continue
        except OSError as error:
            return error.strerror
        if not stat.S_ISDIR(mode):
            return os.strerror(errno.ENOTDIR)
        if os.access(place, os.W_OK | os.X_OK):
            return None
        is_read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        return os.strerror(errno.EROFS if is_read_only else errno.EACCES)


_LOOKS: Mapping[Kind, Callable[[str], str | None]] = {
    "program": _fault_of_program,
    "input": _fault_of_input,
    "folder": _fault_of_folder,
}


async def _mount_points() -> list[str]:
    """Return where disks are mounted, the deepest first; none where the system does not list them."""
    try:
        text = await in_thread(DiskThreads(), lambda: Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
    except OSError:
        return []
    places = {_unescaped(line.split(" ")[4]) for line in text.splitlines()}
    return sorted(places, key=len, reverse=True)


def _unescaped(place: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(code, character)
    return place


def _mount_of(path: str, mounts: list[str]) -> str:
    return next((mount for mount in mounts if f"{path}/".startswith(mount.rstrip("/") + "/")), "/")
