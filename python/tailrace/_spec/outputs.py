"""The files that chunks are to write: their names, and what lies there already."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .._concurrency.slices import Work
from .frame_range import rising_runs
from .frame_set import common_frame, comparable
from .model import Chunk
from .numbered_name import NumberedName, NumberedNames, is_numbered, least_alike, texts_of, unified


class OutputNames:
    """The names of everything that `chunks` may write, for whatever frame."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        names = _names(chunks)
        self.digest = hashlib.sha256("\0".join(sorted(names)).encode(errors="surrogatepass")).digest()
        """Is the same for the same names."""
        self._plain = {name for name in names if not is_numbered(name)}
        self._numbered = NumberedNames(names - self._plain)

    def __contains__(self, name: str) -> bool:
        """Return whether `name`, without needless parts, is one of them."""
        return name in self._plain or any(True for _ in self._numbered.frames_of(name))


def is_output_of(chunk: Chunk, name: str) -> bool:
    """Return whether `name`, without needless parts, is one of the files that `chunk` is to write."""
    for own in map(os.path.normpath, chunk.output_files):
        if not is_numbered(own):
            if name == own:
                return True
        elif (frame := NumberedName(own).frame_in(name)) is not None and frame in chunk.frames:
            return True
    return False


def _names(chunks: Iterable[Chunk]) -> set[str]:
    return {os.path.normpath(name) for chunk in chunks for name in chunk.output_files}


_LEFTOVER_SUFFIX = ".partial"
_MOST_PADDINGS = 8
"""In how many ways a name may pad its numbers before they count as one: each is compared with each."""


def output_files(chunk: Chunk, job_dir: Path, frames: Iterable[int] | None = None) -> Iterator[tuple[int | None, Path]]:
    """Yield the files that `chunk` is to write, each with the frame it is of, or None if it is one for all of them.

    With `frames`, those of some of its frames, and none that is for all.
    """
    for name in chunk.output_files:
        if is_numbered(name):
            numbered = NumberedName(name)
            for frame in chunk.frames if frames is None else frames:
                yield frame, job_dir / numbered.at(frame)
        elif frames is None:
            yield None, job_dir / name


def output_paths(chunk: Chunk, job_dir: Path, frames: Iterable[int] | None = None) -> Iterator[Path]:
    """Yield the paths of `output_files`."""
    for _, path in output_files(chunk, job_dir, frames):
        yield path


def fault_of_file(path: Path) -> str | None:
    """Return why `path` cannot be what a command has written, or None if it is a file and not empty."""
    try:
        status = path.stat()
    except OSError as error:
        return f"cannot be found: {error.strerror}"
    return fault_of_status(status)


def fault_of_status(status: os.stat_result) -> str | None:
    """Return the same of a file whose status is known."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a file"
    return None if status.st_size else "is empty"


def set_leftovers_aside(chunk: Chunk, job_dir: Path, frames: Iterable[int] | None = None) -> Work[list[str]]:
    """Rename what an earlier attempt left to `*.partial`, so that it cannot pass for the output of the next one.

    With `frames`, that of these frames alone. Returns what it was named, for `put_back`.
    """
    renamed = []
    for path in output_paths(chunk, job_dir, frames):
        yield
        try:
            target = _target(path)
            # Devices (/dev/null) and folders are no leftovers.
            if stat.S_ISREG(os.stat(target).st_mode):  # noqa: PTH116
                os.replace(target, target + _LEFTOVER_SUFFIX)  # noqa: PTH105
                renamed.append(target)
        except FileNotFoundError:
            continue
    return renamed


def put_back(renamed: Sequence[str]) -> Work[None]:
    """Give files their names again that were set aside for a command that did not begin."""
    for target in renamed:
        yield
        if not os.path.lexists(target):
            with suppress(OSError):
                os.replace(target + _LEFTOVER_SUFFIX, target)  # noqa: PTH105


def delete_leftovers(chunk: Chunk, job_dir: Path) -> Work[None]:
    """Delete what `set_leftovers_aside` renamed, now or in an earlier run, and there is a new output in place of."""
    for path in output_paths(chunk, job_dir):
        yield
        if fault_of_file(path) is None:
            with suppress(OSError):
                os.unlink(_target(path) + _LEFTOVER_SUFFIX)  # noqa: PTH108


def _target(path: Path) -> str:
    """Return where what is written to `path` goes: a link stays, and with it the place of the next output.

    Raises `FileNotFoundError` where there is nothing, not even a link.
    """
    return os.path.realpath(path) if stat.S_ISLNK(path.lstat().st_mode) else os.fspath(path)


def chunks_whose_leftovers_are_outputs(chunks: Sequence[Chunk]) -> Iterator[int]:
    """Yield the ids of the chunks that cannot have leftovers, since other chunks write files of these names."""
    names = _names(chunks)
    for chunk in chunks:
        if any(name + _LEFTOVER_SUFFIX in names for name in _names((chunk,))):
            yield chunk.id


def chunks_sharing_outputs(chunks: Sequence[Chunk]) -> frozenset[int]:
    """Return the ids of the chunks that write a file which another chunk writes too."""
    by_name: dict[str, list[tuple[range, int]]] = defaultdict(list)
    plain: dict[str, list[int]] = defaultdict(list)
    for chunk in chunks:
        for name in _names((chunk,)):
            if is_numbered(name):
                by_name[unified(name)].extend((frames, chunk.id) for frames in rising_runs(chunk.frames))
            else:
                plain[name].append(chunk.id)
    numbered = NumberedNames(by_name)
    for name, ids in plain.items():
        for pattern, frame in numbered.frames_of(name):
            by_name[pattern].extend((range(frame, frame + 1), id_) for id_ in ids)
    sharing = {id_ for ids in plain.values() if len(ids) > 1 for id_ in ids}
    for writers in _by_file_names(by_name):
        sharing.update(_that_share_a_frame(writers))
    return frozenset(sharing)


def _by_file_names(by_name: Mapping[str, list[tuple[range, int]]]) -> Iterator[list[tuple[range, int]]]:
    """Yield what is written under each name, and under others with what they have of the same files."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in by_name:
        alike[texts_of(name)].append(name)
    for names in alike.values():
        if len(names) > _MOST_PADDINGS:
            yield [writer for name in names for writer in by_name[name]]
            continue
        for place, name in enumerate(names):
            writers = by_name[name]
            yield writers + [
                (frames[-(-(max(least_alike(name, other) - frames.start, 0)) // frames.step) :], id_)
                for other in names[place + 1 :]
                for frames, id_ in by_name[other]
            ]


def _that_share_a_frame(writers: Iterable[tuple[range, int]]) -> Iterator[int]:
    writers = [(frames, id_) for frames, id_ in writers if frames]
    by_frames: dict[range, set[int]] = defaultdict(set)
    for frames, (_, id_) in zip(comparable([frames for frames, _ in writers]), writers, strict=True):
        by_frames[frames].add(id_)
    for ids in by_frames.values():
        if len(ids) > 1:
            yield from ids
    for frames in _that_meet_another(by_frames):
        yield from by_frames[frames]


def _that_meet_another(ranges: Iterable[range]) -> Iterator[range]:
    """Yield the ranges that have a frame of another one, some of them several times.

    Those with the same step that meet leave the same remainder when divided by it; of these, the one that ends last
    meets whatever any of them would from there on. So the chunks of a job are not compared each with each, though all
    are interleaved.
    """
    last_to_end: dict[int, dict[int, range]] = {}
    ends: dict[int, int] = {}
    for frames in sorted(ranges, key=lambda frames: frames.start):
        for step in [step for step, end in ends.items() if end < frames.start]:
            del ends[step], last_to_end[step]
        for step, others in last_to_end.items():
            looked_up = frames[:1] if step == frames.step else frames
            if len(looked_up) <= len(others):
                met = [
                    other
                    for frame in looked_up
                    if (other := others.get(frame % step)) is not None and frame <= other[-1]
                ]
            else:
                met = [other for other in others.values() if common_frame(other, frames) is not None]
            if met:
                yield from (*met, frames)
        others = last_to_end.setdefault(frames.step, {})
        remainder = frames.start % frames.step
        if remainder not in others or others[remainder][-1] < frames[-1]:
            others[remainder] = frames
        ends[frames.step] = max(frames[-1], ends.get(frames.step, 0))
