"""What SQLite writes and syncs, recorded beneath it, and what of that a disk may hold after the power failed.

SQLite reaches its files through a table of functions (https://www.sqlite.org/vfs.html). Those that change a file are
put behind ones that write down what they do, in the library that Python has loaded.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECTOR = 512
"""What a disk writes whole."""
_CREATE = 0x4
_LOGS = 0x800 | 0x4000 | 0x80000
"""A journal, a super-journal, a log: the folder of one that is new is synced with it (`unixOpen`, `unixSync`)."""


@dataclass(frozen=True)
class Write:
    path: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    path: str
    size: int


@dataclass(frozen=True)
class Delete:
    path: str


@dataclass(frozen=True)
class Sync:
    path: str
    folder: bool
    """Whether its folder was synced too, so that what was deleted there is gone for good."""


@dataclass(frozen=True)
class Note:
    """That something was said to be durable."""

    number: int


Entry = Write | Truncate | Delete | Sync | Note


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("zName", ctypes.c_char_p),
        ("pAppData", ctypes.c_void_p),
        ("xOpen", ctypes.c_void_p),
        ("xDelete", ctypes.c_void_p),
    ]


class _Methods(ctypes.Structure):
    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("xClose", ctypes.c_void_p),
        ("xRead", ctypes.c_void_p),
        ("xWrite", ctypes.c_void_p),
        ("xTruncate", ctypes.c_void_p),
        ("xSync", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 13),
    ]


class _File(ctypes.Structure):
    _fields_ = [("pMethods", ctypes.POINTER(_Methods))]


_pointer = ctypes.c_void_p
# The names as they are: SQLite keeps the pointer.
_Open = ctypes.CFUNCTYPE(ctypes.c_int, _pointer, _pointer, _pointer, ctypes.c_int, _pointer)
_DeleteIt = ctypes.CFUNCTYPE(ctypes.c_int, _pointer, _pointer, ctypes.c_int)
_WriteIt = ctypes.CFUNCTYPE(ctypes.c_int, _pointer, _pointer, ctypes.c_int, ctypes.c_int64)
_TruncateIt = ctypes.CFUNCTYPE(ctypes.c_int, _pointer, ctypes.c_int64)
_SyncIt = ctypes.CFUNCTYPE(ctypes.c_int, _pointer, ctypes.c_int)


def record() -> list[Entry]:
    """Record what SQLite does in this process from now on, for good; return the list that it goes into."""
    entries: list[Entry] = []
    paths: dict[int, str] = {}
    new_logs: set[int] = set()
    tables: dict[int, _Methods] = {}
    library: Any = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(None).contents
    open_it, delete_it = _Open(vfs.xOpen), _DeleteIt(vfs.xDelete)

    def recorded(methods: _Methods) -> _Methods:
        write_it, truncate_it = _WriteIt(methods.xWrite), _TruncateIt(methods.xTruncate)
        sync_it = _SyncIt(methods.xSync)

        def write(file: int, data: int, size: int, offset: int) -> int:
            entries.append(Write(paths[file], offset, ctypes.string_at(data, size)))
            return int(write_it(file, data, size, offset))

        def truncate(file: int, size: int) -> int:
            entries.append(Truncate(paths[file], size))
            return int(truncate_it(file, size))

        def sync(file: int, flags: int) -> int:
            result = int(sync_it(file, flags))
            entries.append(Sync(paths[file], file in new_logs))
            new_logs.discard(file)
            return result

        copy = _Methods.from_buffer_copy(methods)
        kept = _WriteIt(write), _TruncateIt(truncate), _SyncIt(sync)
        _kept.append((copy, *kept))
        copy.xWrite, copy.xTruncate, copy.xSync = (ctypes.cast(function, _pointer).value for function in kept)
        return copy

    def open_file(this: int, name: int | None, file: int, flags: int, out: int) -> int:
        result = int(open_it(this, name, file, flags, out))
        opened = ctypes.cast(file, ctypes.POINTER(_File)).contents
        if result == 0 and name is not None and opened.pMethods:
            paths[file] = ctypes.string_at(name).decode()
            new_logs.discard(file)
            if flags & _CREATE and flags & _LOGS:
                new_logs.add(file)
            address = ctypes.addressof(opened.pMethods.contents)
            if address not in tables:
                tables[address] = recorded(opened.pMethods.contents)
            opened.pMethods = ctypes.pointer(tables[address])
        return result

    def delete_file(this: int, name: int, sync: int) -> int:
        result = int(delete_it(this, name, sync))
        if result == 0:
            entries.append(Delete(ctypes.string_at(name).decode()))
        return result

    hooks = _Open(open_file), _DeleteIt(delete_file)
    _kept.append(hooks)
    vfs.xOpen, vfs.xDelete = (ctypes.cast(hook, _pointer).value for hook in hooks)
    return entries


_kept: list[object] = []
"""What C calls must not be freed."""


@dataclass
class _Disk:
    """What is certainly on a disk, and what may be."""

    files: dict[str, bytearray] = field(default_factory=dict)
    pending: dict[str, list[Entry]] = field(default_factory=dict)

    def take(self, entry: Write | Truncate | Delete | Sync) -> None:
        if isinstance(entry, Sync):
            for earlier in self.pending.pop(entry.path, []):
                _apply(self.files, earlier)
            if entry.folder:
                for entries in self.pending.values():
                    self._delete(entries)
        else:
            self.pending.setdefault(entry.path, []).append(entry)

    def _delete(self, entries: list[Entry]) -> None:
        deletions = [number for number, entry in enumerate(entries) if isinstance(entry, Delete)]
        if deletions:
            for entry in entries[: deletions[-1] + 1]:
                _apply(self.files, entry)
            del entries[: deletions[-1] + 1]

    def states(self, dice: random.Random) -> Iterator[dict[str, bytearray]]:
        """Yield what may be there now: without what was not synced, with all of it, and with some of its sectors."""
        for chance in (0.0, 1.0, 0.5):
            files = {path: bytearray(data) for path, data in self.files.items()}
            for entries in self.pending.values():
                for entry in entries:
                    for part in _sectors(entry):
                        if dice.random() < chance:
                            _apply(files, part)
            yield files


def states_after_power_loss(entries: Sequence[Entry], seed: int) -> Iterator[tuple[int, dict[str, bytearray]]]:
    """Yield for a power loss just before each sync what the disk may hold, after the last number noted until then.

    That a file is there counts as known to the disk with the file's first sync, that it was deleted with the folder's.
    """
    dice = random.Random(seed)
    disk, noted = _Disk(), 0
    for entry in entries:
        if isinstance(entry, Note):
            noted = entry.number
            continue
        if isinstance(entry, Sync):
            for files in disk.states(dice):
                yield noted, files
        disk.take(entry)
    for files in disk.states(dice):
        yield noted, files


def write_files(files: dict[str, bytearray], old: Path, new: Path) -> None:
    """Put the files of one folder into another."""
    for path, data in files.items():
        (new / Path(path).relative_to(old)).write_bytes(data)


def _sectors(entry: Entry) -> Iterator[Entry]:
    if not isinstance(entry, Write):
        yield entry
        return
    position = 0
    while position < len(entry.data):
        end = position + _SECTOR - (entry.offset + position) % _SECTOR
        yield Write(entry.path, entry.offset + position, entry.data[position:end])
        position = end


def _apply(files: dict[str, bytearray], entry: Entry) -> None:
    match entry:
        case Write(path, offset, data):
            file = files.setdefault(path, bytearray())
            file.extend(bytes(max(0, offset + len(data) - len(file))))
            file[offset : offset + len(data)] = data
        case Truncate(path, size):
            file = files.setdefault(path, bytearray())
            file[size:] = bytes(max(0, size - len(file)))
        case Delete(path):
            files.pop(path, None)
