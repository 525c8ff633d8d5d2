"""Which frames are meant: by their files, their folder, a job, or the logs of one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypedDict

import click

from tailrace import (
    FrameCheck,
    FrameFinished,
    FrameFlagged,
    FrameLevel,
    JobSpec,
    check_frames,
    check_job_frames,
    event_from_json,
)

_EVENTS = "job.ndjson"
_SET_ASIDE = (".damaged", ".partial")


class _Options(TypedDict):
    level: FrameLevel
    in_background: bool
    on_check: Callable[[FrameCheck], object]


class FrameSources(NamedTuple):
    """What was named on a command line."""

    named: Sequence[str]
    in_folders: Sequence[str]
    jobs: Sequence[JobSpec]
    logs: Sequence[LoggedFrames]

    async def check(self, level: FrameLevel, on_check: Callable[[FrameCheck], object]) -> list[FrameCheck]:
        """Return what a look at each frame finds; files in a folder that are neither pictures nor videos are no frames.

        Raises what `check_frames` does.
        """
        # Who waits for it may say "nice"; the executor, for which nobody waits, does it behind all others.
        look: _Options = {"level": level, "in_background": False, "on_check": on_check}
        named = frozenset(self.named)
        paths = dict.fromkeys([*self.named, *self.in_folders])
        found = await check_frames(paths, **look) if paths else []
        checks = [check for check in found if check.kind != "other" or check.path in named]
        for job in self.jobs:
            checks += await check_job_frames(job, **look)
        for logged in self.logs:
            rendered = await check_frames(logged.finished, **look) if logged.finished else []
            checks += logged.with_flags(rendered, level)
        # A file may be named by itself and by its job; what was named last knows the most of it.
        return list({os.path.abspath(check.path): check for check in checks}.values())  # noqa: PTH100, ASYNC240


class LoggedFrames(NamedTuple):
    """The frames that the events of a job speak of."""

    finished: Sequence[str]
    """Files, in the order in which they became known to be whole."""
    odd: dict[str, list[str]]
    """What was told of these."""
    damaged: dict[str, str]
    """Files that were not rendered again, and why they are none that could be used."""

    def with_flags(self, checks: Sequence[FrameCheck], level: FrameLevel) -> list[FrameCheck]:
        """Return the checks with what the events say, too."""
        told = []
        for check in checks:
            more = [reason for reason in self.odd.get(check.path, ()) if reason not in check.warnings]
            told.append(replace(check, warnings=(*check.warnings, *more)))
        for path, reason in self.damaged.items():
            told.append(FrameCheck(path=path, level=level, kind="other", reason=reason))
        return told


def find_frames(sources: Sequence[str]) -> FrameSources:
    """Return what each of `sources` stands for.

    Raises `click.UsageError` for one that holds no frames, `SpecError` for a job that cannot be read.
    """
    named: list[str] = []
    in_folders: list[str] = []
    jobs, logs = [], []
    for source in sources:
        status = _status(source)
        if status is not None and stat.S_ISDIR(status.st_mode):
            if os.path.exists(os.path.join(source, _EVENTS)):  # noqa: PTH110, PTH118
                logs.append(_logged(Path(source) / _EVENTS))
            else:
                in_folders += _in_folder(source)
        elif os.path.basename(source) == _EVENTS:  # noqa: PTH119
            logs.append(_logged(Path(source)))
        elif source.endswith(".json"):
            jobs.append(JobSpec.load(source))
        elif status is None and ("#" in source or "%0" in source):
            named += _in_sequence(source)
        else:
            named.append(source)
    return FrameSources(named, in_folders, jobs, logs)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None


def _in_folder(folder: str) -> Iterator[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise click.UsageError(f"the folder {folder} cannot be read: {error.strerror}") from error
    for name in names:
        if not name.startswith(".") and not name.endswith(_SET_ASIDE):
            yield os.path.join(folder, name)  # noqa: PTH118


def _in_sequence(pattern: str) -> Iterator[str]:
    import fileseq
    from fileseq.constants import PAD_STYLE_HASH1
    from fileseq.exceptions import FileSeqException

    try:
        yield from map(str, fileseq.findSequenceOnDisk(pattern, strictPadding=True, pad_style=PAD_STYLE_HASH1))
    except FileSeqException as error:
        raise click.UsageError(f"there is no file like {pattern}") from error


def _logged(path: Path) -> LoggedFrames:
    finished: dict[str, None] = {}
    odd: dict[str, list[str]] = {}
    damaged: dict[str, str] = {}
    try:
        with path.open("rb") as lines:
            for line in lines:
                # Of the many kinds of events only these two have to be read.
                if b'"frame_f' not in line[:32] or not line.endswith(b"\n"):
                    continue
                match event_from_json(line):
                    case FrameFinished(path=file):
                        finished[file] = None
                        damaged.pop(file, None)
                    case FrameFlagged(path=file, reason=reason, fatal=True):
                        finished.pop(file, None)
                        odd.pop(file, None)
                        damaged[file] = reason
                    case FrameFlagged(path=file, reason=reason):
                        odd.setdefault(file, []).append(reason)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise click.UsageError(f"{path} is no log of a job: {error}") from error
    if not finished and not damaged:
        raise click.UsageError(f"{path} tells of no frame that is finished")
    return LoggedFrames(list(finished), odd, damaged)
