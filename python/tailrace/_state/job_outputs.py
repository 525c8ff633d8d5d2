"""What a job writes, to be compared with what others write, however many files that is."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from .._spec.frame_range import rising_runs
from .._spec.frame_set import FrameSet
from .._spec.model import JobSpec
from .._spec.numbered_name import NumberedName, NumberedNames, is_numbered, least_alike, texts_of, unified


class JobOutputs:
    """The names of a job's output files, and of those that are numbered the frames."""

    def __init__(self, names: Iterable[str], numbered: Mapping[str, Iterable[range]]) -> None:
        self._names = frozenset(names)
        self._numbered = {pattern: FrameSet(frames) for pattern, frames in numbered.items()}

    @classmethod
    def of(cls, spec: JobSpec, job_dir: Path, stitched: str | os.PathLike[str] | None = None) -> JobOutputs:
        """Return what all chunks of the job write, and `stitched`. Looks for links among the folders."""
        places = _Places(job_dir)
        names = set() if stitched is None else {places.of(os.fspath(stitched))}
        numbered: dict[str, list[range]] = defaultdict(list)
        for chunk in spec.chunks:
            for name in map(places.of, chunk.output_files):
                if is_numbered(name):
                    numbered[unified(name)].extend(rising_runs(chunk.frames))
                else:
                    names.add(name)
        return cls(names, numbered)

    @classmethod
    def from_json(cls, text: str | bytes) -> JobOutputs:
        """Return what `to_json` has written. Raises `ValueError` for anything else."""
        try:
            fields = json.loads(text)
            frames = {
                pattern: [range(start, start + count * step, step) for start, count, step in ranges]
                for pattern, ranges in fields["frames"].items()
            }
            return cls(fields["files"], frames)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError("not a list of outputs") from error

    def to_json(self) -> str:
        """Return the outputs as text: names, and patterns with the start, count and step of each run of frames."""
        frames = {
            pattern: [[run.start, len(run), run.step] for run in frames] for pattern, frames in self._numbered.items()
        }
        return json.dumps({"files": sorted(self._names), "frames": frames}, separators=(",", ":"))

    def shared_with(self, other: JobOutputs) -> str | None:
        """Return a file that both write, None if there is none."""
        common = self._names & other._names
        if common:
            return min(common)
        return self._numbered_as(other._names) or other._numbered_as(self._names) or self._same_number(other)

    def _numbered_as(self, names: Iterable[str]) -> str | None:
        """Return one of `names` that is the name of a frame."""
        numbered = NumberedNames(self._numbered)
        for name in names:
            if any(frame in self._numbered[pattern] for pattern, frame in numbered.frames_of(name)):
                return name
        return None

    def _same_number(self, other: JobOutputs) -> str | None:
        by_texts: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for pattern in other._numbered:
            by_texts[texts_of(pattern)].append(pattern)
        for pattern, frames in self._numbered.items():
            for candidate in by_texts.get(texts_of(pattern), ()):
                frame = frames.common_frame(other._numbered[candidate], least_alike(pattern, candidate))
                if frame is not None:
                    return NumberedName(pattern).at(frame)
        return None


class _Places:
    """Finds names that do not depend on how files were called, nor, in the job's folder, on where that is."""

    def __init__(self, job_dir: Path) -> None:
        self._job_dir = os.path.realpath(job_dir)
        self._folders: dict[str, str] = {}

    def of(self, name: str) -> str:
        folder, base = os.path.split(os.path.normpath(name))
        if folder not in self._folders:
            real = os.path.realpath(f"{self._job_dir}/{folder}" if not folder.startswith("/") else folder)
            seen = os.path.relpath(real, self._job_dir)
            self._folders[folder] = "" if seen == "." else f"{seen}/"
        return self._folders[folder] + base
