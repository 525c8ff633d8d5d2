"""The files that chunks write."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ._spec import Chunk

_FRAME_NUMBER = re.compile(r"#{2,}|%0?\d{0,2}d")
_LEFTOVER_SUFFIX = ".partial"


def output_paths(chunk: Chunk, job_dir: Path) -> Iterator[Path]:
    """Yield the files that `chunk` is to write: one, or one for each frame where the name stands for them."""
    name = chunk.output_file
    if not is_numbered(name):
        yield job_dir / name
        return
    for frame in range(chunk.start_frame, chunk.start_frame + chunk.frame_count):
        yield job_dir / _FRAME_NUMBER.sub(lambda match, frame=frame: _number(match[0], frame), name)  # type: ignore[misc]


def fault_of_output(chunk: Chunk, job_dir: Path) -> str | None:
    """Return what is wrong with the chunk's output, or None if every file is there and not empty."""
    for path in output_paths(chunk, job_dir):
        try:
            status = path.stat()
        except OSError as error:
            return f"its output {path} cannot be found: {error.strerror}"
        if not stat.S_ISREG(status.st_mode):
            return f"its output {path} is not a file"
        if not status.st_size:
            return f"its output {path} is empty"
    return None


def set_leftovers_aside(chunk: Chunk, job_dir: Path) -> None:
    """Rename what an earlier attempt left to `*.partial`, so that it cannot pass for the output of the next one."""
    for path in output_paths(chunk, job_dir):
        # A link stays where it is and its target is renamed: the next output is to go to the same place. Devices
        # (/dev/null) and folders are no leftovers.
        target = os.path.realpath(path)
        try:
            if stat.S_ISREG(os.stat(target).st_mode):  # noqa: PTH116
                os.replace(target, target + _LEFTOVER_SUFFIX)  # noqa: PTH105
        except FileNotFoundError:
            continue


def is_numbered(name: str) -> bool:
    """Return whether `name` stands for a file for each frame."""
    return _FRAME_NUMBER.search(name) is not None


def output_pattern(chunks: Sequence[Chunk]) -> re.Pattern[str]:
    """Return what matches the names of everything that `chunks` may write, for whatever frame."""
    names = {os.path.normpath(chunk.output_file) for chunk in chunks}
    return re.compile("|".join(r"\d+".join(map(re.escape, _FRAME_NUMBER.split(name))) for name in sorted(names)))


def chunks_sharing_outputs(chunks: Sequence[Chunk]) -> frozenset[int]:
    """Return the ids of the chunks that write a file which another chunk writes too."""
    by_name: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        by_name[os.path.normpath(chunk.output_file)].append(chunk)
    sharing: set[int] = set()
    for name, group in by_name.items():
        if not is_numbered(name):
            if len(group) > 1:
                sharing.update(chunk.id for chunk in group)
            continue
        group.sort(key=lambda chunk: chunk.start_frame)
        furthest = group[0]
        for chunk in group[1:]:
            if chunk.start_frame < furthest.start_frame + furthest.frame_count:
                sharing.update((furthest.id, chunk.id))
            furthest = max(furthest, chunk, key=lambda chunk: chunk.start_frame + chunk.frame_count)
    return frozenset(sharing)


def _number(token: str, frame: int) -> str:
    return str(frame).zfill(len(token)) if token[0] == "#" else token % frame
