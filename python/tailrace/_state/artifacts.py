"""Which chunks of a job need not be run again, and why the others do."""

from __future__ import annotations

import json
import operator
import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from .._concurrency.slices import at_once
from .._errors import SpecError, TailraceError
from .._spec.frame_range import FrameRange, rising_runs
from .._spec.frame_set import FrameSet
from .._spec.model import Chunk, JobSpec
from .._spec.numbered_name import is_numbered
from .._spec.outputs import output_paths
from .folder import FILE_NAME, VERSION, job_folder, resolve_job_dir
from .inspection import FileInspector, Fingerprint, OutputFile, fingerprint_of

_SECOND = 10**9
_UNITS = (2 * _SECOND, _SECOND, 10**7, 10**6, 1000, 100)
"""What file systems count the time in, in nanoseconds: FAT, HFS+ and SFTP, exFAT, ..., NTFS and SMB."""


def completed_chunk_ids(
    spec: JobSpec,
    job_dir: str | os.PathLike[str] | None = None,
    *,
    state_dir: str | os.PathLike[str] | None = None,
    shares_files: bool = False,
) -> frozenset[int]:
    """Return the chunks whose command and frames are recorded as completed and whose output is unchanged.

    A chunk whose output file is missing, or differs in size or time from what was recorded, is not among them; times
    are compared as exactly as the coarser of the file systems keeps them. What was completed by a worker whose files
    are not seen here is completed by its word, whatever lies here, unless another command was to write the same file
    since; with `shares_files`, for an adapter whose files are seen here, it is not. `job_dir` and `state_dir` are what
    the job was or will be run with. Blocks for reading the record. Raises `TailraceError` if there is a record and it
    cannot be read.
    """
    reasons = reasons_to_run(spec, job_dir, state_dir=state_dir, shares_files=shares_files)
    return frozenset(chunk_id for chunk_id, reason in reasons.items() if reason is None)


def reasons_to_run(
    spec: JobSpec,
    job_dir: str | os.PathLike[str] | None = None,
    *,
    state_dir: str | os.PathLike[str] | None = None,
    shares_files: bool = False,
) -> dict[int, str | None]:
    """Return for each chunk of `spec`, by its id, why a resumed job would run it; None if it would not.

    A reason is a few words, such as "its command changed since it was done"; what counts as done, the parameters and
    the errors are those of `completed_chunk_ids`. Blocks for reading the record and looking at the output files.
    """
    folder = resolve_job_dir(spec, job_dir)
    record = Record(job_folder(folder, spec.id, state_dir) / FILE_NAME)
    return {chunk.id: record.reason_to_run(chunk, folder, trusts_word=not shares_files) for chunk in spec.chunks}


def changed_outputs(
    spec: JobSpec,
    chunk_ids: Container[int],
    job_dir: str | os.PathLike[str] | None = None,
    *,
    state_dir: str | os.PathLike[str] | None = None,
) -> dict[int, str]:
    """Return which of the chunks have lost an output that was recorded, and how; one that is not recorded has not.

    Blocks for reading the record and looking at the output files. Raises `TailraceError` if there is a record and it
    cannot be read.
    """
    folder = resolve_job_dir(spec, job_dir)
    record = Record(job_folder(folder, spec.id, state_dir) / FILE_NAME)
    chunks = (chunk for chunk in spec.chunks if chunk.id in chunk_ids)
    changes = ((chunk.id, record.change_of_outputs(chunk, folder)) for chunk in chunks)
    return {chunk_id: change for chunk_id, change in changes if change is not None}


_Frames: TypeAlias = "tuple[int, int, int] | str"
"""The start, the number and the step of frames that are evenly spaced, the range of others."""


_Changed: TypeAlias = Literal["command", "frames"]


class _Entry(NamedTuple):
    command: str
    frames: _Frames
    output_files: tuple[str, ...]
    outputs: Fingerprint | None
    """None: the files are not seen here, and the worker's word counts."""


class _Begun(NamedTuple):
    """An entry that says that a command began to write its files."""

    command: str
    frames: _Frames
    output_files: tuple[str, ...]


class _Writer(NamedTuple):
    """The command that was the last to write a frame."""

    command: str
    is_done: bool
    """Whether it came to its end, with the files that are recorded."""


class _NewerEntry(NamedTuple):
    """An entry in a format that a newer version of tailrace has written."""

    version: int
    output_file: str


class Record:
    """The newest entries of a record, by what was done."""

    def __init__(self, path: Path) -> None:
        self._entries: dict[tuple[str, _Frames, tuple[str, ...]], _Entry] = {}
        self._by_frames: dict[tuple[str, object], _Entry] = {}
        self._newer: dict[str, _NewerEntry] = {}
        self._writers: dict[tuple[str, ...], dict[int, _Writer]] = {}
        """Of files that commands began to write, for each frame the one that was the last to do so."""
        self._done_frames: dict[str, _DoneFrames] = {}
        for entry in _read(path):
            if isinstance(entry, _NewerEntry):
                self._newer[entry.output_file] = entry
                continue
            output_file = entry.output_files[0]
            self._newer.pop(output_file, None)
            if isinstance(entry, _Begun) or entry.output_files in self._writers:
                writers = self._writers.setdefault(entry.output_files, {})
                writer = _Writer(entry.command, isinstance(entry, _Entry))
                writers |= dict.fromkeys(_frames_in(entry.frames), writer)
            if isinstance(entry, _Begun):
                continue
            # Not by the chunk's id: when a job is planned again, its chunks get others.
            self._entries[entry[:3]] = entry
            self._by_frames[_files_of(output_file, entry.frames)] = entry

    def written_frames(self, chunk: Chunk) -> dict[int, bool]:
        """Return the frames whose files, if there are any, were written by the chunk's command as it is now.

        Each comes with whether the command came to its end, and they are as they were then if they are unchanged.
        """
        writers = self._writers.get(chunk.output_files, {})
        found = ((frame, writers.get(frame)) for frame in chunk.frames)
        return {
            frame: writer.is_done for frame, writer in found if writer is not None and writer.command == chunk.command
        }

    def changed_files(self, chunk: Chunk, files: Sequence[OutputFile]) -> list[OutputFile]:
        """Return those of the chunk's files, all of which are given, that are not as they were when it was done."""
        entry = self._entries.get((chunk.command, recorded_frames(chunk), chunk.output_files))
        if entry is None or entry.outputs is None or len(entry.outputs) != len(files):
            return list(files)
        return [file for file, then in zip(files, entry.outputs, strict=True) if not _is_same(then, file.state)]

    def change_of_outputs(self, chunk: Chunk, job_dir: Path) -> str | None:
        """Return how the files of a chunk differ from what was recorded when it was done; None if they do not."""
        entry = self._entries.get((chunk.command, recorded_frames(chunk), chunk.output_files))
        if entry is None or entry.outputs is None:
            return None
        return _change(entry.outputs, chunk, job_dir, knows_missing=False)

    def reason_to_run(self, chunk: Chunk, job_dir: Path, *, trusts_word: bool) -> str | None:
        newer = self._newer.get(chunk.output_file)
        if newer is not None:
            return f"its record is of version {newer.version}, and only version {VERSION} can be read"
        frames = recorded_frames(chunk)
        entry = self._entries.get((chunk.command, frames, chunk.output_files))
        if entry is not None and entry.outputs is None:
            if not trusts_word:
                return "it was done where its files are not seen"
            newest = self._by_frames[_files_of(chunk.output_file, frames)]
            return None if newest.command == chunk.command else "another command has written its output since"
        if entry is not None and entry.outputs is not None:
            return _change(entry.outputs, chunk, job_dir)
        change = self._change_of(chunk)
        return "it is not recorded as done" if change is None else f"its {change} changed since it was done"

    def _change_of(self, chunk: Chunk) -> _Changed | None:
        """Return how the chunk differs from what is recorded of its output; None if nothing is."""
        output_file = chunk.output_file
        if not is_numbered(output_file):
            entry = self._by_frames.get((output_file, None))
            if entry is None:
                return None
            return "frames" if entry.command == chunk.command else "command"
        if not self._done_frames:
            # Only when somebody asks: a job that is done need not be looked at so closely.
            entries: dict[str, list[_Entry]] = defaultdict(list)
            for (name, _), entry in self._by_frames.items():
                entries[name].append(entry)
            self._done_frames = {name: _DoneFrames(of_name) for name, of_name in entries.items()}
        done = self._done_frames.get(output_file)
        return None if done is None else done.change_of(chunk)


class _DoneFrames:
    """The frames of one numbered output that are done."""

    def __init__(self, entries: Iterable[_Entry]) -> None:
        by_command: dict[str, list[range]] = defaultdict(list)
        for entry in entries:
            by_command[entry.command] += _ranges_of(entry.frames)
        self._by_command = {command: FrameSet(runs) for command, runs in by_command.items()}
        self._all = FrameSet(run for runs in by_command.values() for run in runs)

    def change_of(self, chunk: Chunk) -> _Changed | None:
        """Return what is another for a frame of the chunk that is done; None if no frame of it is."""
        frames = FrameSet(rising_runs(chunk.frames))
        least = min(run.start for run in frames)
        own = self._by_command.get(chunk.command)
        if own is not None and frames.common_frame(own, least) is not None:
            return "frames"
        return None if frames.common_frame(self._all, least) is None else "command"


def _ranges_of(frames: _Frames) -> list[range]:
    """Return the same frames as ranges that go up; none for what cannot be frames."""
    try:
        return rising_runs(_frames_in(frames))
    except (SpecError, TypeError, ValueError):
        return []


def recorded_frames(chunk: Chunk, some: Sequence[int] | None = None) -> _Frames:
    """Return the chunk's frames, or some of them, as they stand in the record."""
    if some is not None and len(some) < len(chunk.frames):
        return str(FrameRange(some))
    if chunk.frame_step:
        return chunk.start_frame, chunk.frame_count, chunk.frame_step
    return str(chunk.frames)


def _frames_in(frames: _Frames) -> Sequence[int]:
    if isinstance(frames, str):
        return FrameRange.parse(frames)
    start, count, step = frames
    return range(start, start + count * step, step)


def _files_of(output_file: str, frames: _Frames) -> tuple[str, object]:
    """Return what is the same for chunks that write the same files."""
    return output_file, frames if is_numbered(output_file) else None


def _read(path: Path) -> Iterator[_Entry | _Begun | _NewerEntry]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise TailraceError(f"the record {path} cannot be read: {error.strerror}") from error
    for line in lines:
        try:
            fields = json.loads(line)
            version = operator.index(fields["version"])
            if version != VERSION:
                if version > VERSION:
                    yield _NewerEntry(version, str(fields["outputFile"]))
                continue
            frames = fields["frames"]
            if not isinstance(frames, str):
                start, count, step = frames
                frames = (start, count, step)
            names = tuple(fields.get("outputFiles") or (fields["outputFile"],))
            if "begunAt" in fields:
                begun = _Begun(fields["command"], frames, names)
                hash(begun)
                yield begun
                continue
            files = fields["outputs"]
            outputs = None if files is None else [None if file is None else _size_and_time(*file) for file in files]
            entry = _Entry(fields["command"], frames, names, outputs)
            hash(entry[:3])
        except (ValueError, TypeError, LookupError, RecursionError):
            # Torn, when the run was killed.
            continue
        yield entry


def _size_and_time(size: int, time: int) -> tuple[int, int]:
    return operator.index(size), operator.index(time)


def _change(recorded: Fingerprint, chunk: Chunk, job_dir: Path, *, knows_missing: bool = True) -> str | None:
    """Return how the chunk's output differs from what was recorded, None if it does not.

    Whether a file that was not there then is a difference, `knows_missing` says.
    """
    found = fingerprint_of(at_once(FileInspector(job_dir).look(chunk)))
    if len(found) != len(recorded):
        return "its record is of other files"
    for path, then, now in zip(output_paths(chunk, job_dir), recorded, found, strict=True):
        if then is None and not knows_missing:
            continue
        name = os.path.relpath(path, job_dir)
        if now is None:
            return f"its output {name} is missing"
        if then is None:
            return f"its output {name} was missing when it was done"
        if then[0] != now[0]:
            return f"its output {name} has {now[0]} bytes, and had {then[0]} when it was done"
        if not _is_same_time(then[1], now[1]):
            return f"its output {name} was written again since it was done"
    return None


def _is_same(then: tuple[int, int] | None, now: tuple[int, int] | None) -> bool:
    return then is not None and now is not None and then[0] == now[0] and _is_same_time(then[1], now[1])


def _is_same_time(first: int, second: int) -> bool:
    """Return whether two times, in nanoseconds, can be the same one on two file systems."""
    if first % _SECOND == second % _SECOND == 0:
        return first == second
    unit = next((unit for unit in _UNITS if first % unit == 0 or second % unit == 0), 1)
    return abs(first - second) < unit
