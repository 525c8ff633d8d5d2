"""Which frames an attempt at a chunk has finished, while its command runs and after it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import anyio

from .._command.callbacks import await_if_needed
from .._concurrency.slices import Work, in_slices
from .._events.head import EmitChunkEvent
from .._events.types import FrameFinished, FrameFlagged
from .._frames.names import SET_ASIDE
from .._spec.model import Chunk
from .._spec.numbered_name import NumberedName, is_numbered
from .._state.inspection import Finding, OutputFile, OutputInspector, are_whole, by_frame

_INTERVAL = 1.0
"""How often the files of a command that runs are looked for, in seconds."""
_MOST_AT_ONCE = 250
"""How many frames are looked at before anything else is: any number may have been there before."""
_FEW = 8
"""How many frames may be unknown where all is complete: others are found by those after them."""
_SETTLED = 10.0
"""How long a file that seems to be damaged must not change while its command runs, in seconds: several frames may be
written at once, and one that is set aside is lost to who writes it."""


_Frame: TypeAlias = "tuple[int | None, list[OutputFile]]"


class WholeFrames(NamedTuple):
    """The frames of a chunk that are known to be whole, over all its attempts in one run of the job."""

    known: dict[int, list[OutputFile]]
    """Those that need not be rendered again, with their files as they were seen to be whole."""
    told: set[int]
    """Those that were told, and not flagged since."""


class FrameWatch:
    """Finds out which frames an attempt has finished, tells of them, and sets those aside that are damaged.

    A frame is looked at when its renderer has saved it, or when the one after it is there; in the end all are. Without
    an inspector, where the files are not seen here, the renderer's word counts.
    """

    def __init__(
        self,
        chunk: Chunk,
        frames: Sequence[int],
        whole: WholeFrames,
        *,
        job_dir: Path,
        inspector: OutputInspector | None,
        emit: EmitChunkEvent,
        watches_end: bool = False,
        on_file: Callable[[Path, int, int], object] = lambda path, size, frames: None,
    ) -> None:
        """Watch the output of an attempt that is to render these frames of the chunk.

        With `watches_end`, find out when all of it is there too. `on_file` is called with each file that is whole, its
        size, and how many frames are finished with it.
        """
        self._chunk = chunk
        self._frames = frames
        self._whole = whole
        self._job_dir = f"{job_dir}/"
        self._inspector = inspector
        self._emit = emit
        self._watches_end = watches_end
        self._on_file = on_file
        self._complete: tuple[float, list[OutputFile]] | None = None
        """Since when all is there, and what the last of it was then."""
        self._names = [NumberedName(os.path.normpath(name)) for name in chunk.output_files if is_numbered(name)]
        self._saved: dict[int, str] = {}
        """Frames that the renderer has saved, with what it calls the file, in their order."""
        self._place = 0
        """Of the first frame that is not known to have one after it."""
        self._doubted: dict[int, tuple[float, list[OutputFile]]] = {}
        """What seems to be damaged, and since when it has not changed: it may have been looked at too early."""
        self._lock = anyio.Lock()
        self._next_look = time.monotonic() + _INTERVAL
        self._last = time.time()
        """When the last frame was finished, or the attempt began."""
        self._before: dict[Path, tuple[int, int] | None] = {}
        """What was there when the attempt began, and is none of its output as long as it stays like that."""
        self._faults: dict[int | None, str] = {}
        """What is wrong with frames, or under None with the one file of all."""
        for frame in frames:
            # It is written once more, and may be torn then.
            whole.known.pop(frame, None)

    def command_began(self) -> None:
        """Count the time of the first frame from now on: the command waited for a place before."""
        self._last = time.time()

    async def begin(self) -> None:
        """Take note of what is there, before the command begins: for output that was not set aside."""
        if self._inspector is not None:
            files = await in_slices(self._inspector.look(self._chunk, self._part))
            self._before = {file.path: file.state for file in files if file.state is not None}

    def saved(self, frame: int | None, path: str | None) -> None:
        """Take it that the renderer says that it has finished a frame, or saved the file of one."""
        if frame is None and path is not None:
            frame = self._frame_of(path)
        if frame is not None and frame in self._frames:
            self._saved.setdefault(frame, path or self._chunk.output_file)

    def is_due(self, now: float) -> bool:
        """Return whether it is time for a look; `now` is by `time.monotonic`."""
        if self._lock.statistics().locked:
            return False
        is_looked_for = self._inspector is not None and (bool(self._names) or self._watches_end)
        return bool(self._saved) or (is_looked_for and now >= self._next_look)

    async def look(self) -> None:
        """Look at the frames that should be finished by now. Raises what a callback raises."""
        async with self._lock:
            self._next_look = time.monotonic() + _INTERVAL
            saved, self._saved = self._saved, {}
            if self._inspector is None:
                await self._tell_by_word(saved)
                return
            for frame, files in await in_slices(self._find(self._inspector, saved)):
                await self._judge(self._inspector, frame, files, is_over=False)
            if self._watches_end:
                await self._look_for_end(self._inspector)

    def complete_since(self) -> float | None:
        """Return since when all files are whole and have not changed, by `time.monotonic`; None if they are not."""
        return None if self._complete is None else self._complete[0]

    async def examine(self) -> Sequence[OutputFile] | None:
        """Look into the files of the attempt, now that the command has ended well; `fault` says what is wrong.

        Returns all files of the chunk as they were looked at, None where content is not looked at.
        """
        async with self._lock:
            if self._inspector is None or not self._inspector.reads_content:
                return None
            looked_at = await in_slices(self._inspector.look(self._chunk))
            for frame, files in by_frame(looked_at).items():
                if self._part is None or frame is None or frame in self._part:
                    await self._judge(self._inspector, frame, files, is_over=True)
        return looked_at

    async def conclude(self, files: Sequence[OutputFile], *, faults_count: bool) -> None:
        """Tell the frames of the files that were looked at now that the command has ended well.

        `fault` says what is wrong with them, if that counts.
        """
        async with self._lock:
            if self._inspector is None:
                await self._tell_by_word(self._saved)
            for frame, of_frame in by_frame(files).items():
                faulty = [file for file in of_frame if file.fault is not None]
                if not faulty:
                    await self._tell(frame, of_frame)
                elif faults_count:
                    for file in faulty:
                        await self._flag(frame, file, Finding("exist", file.fault or "", fatal=True))
            if self._inspector is not None:
                for file, finding in self._inspector.compare(files):
                    await self._flag(file.frame, file, finding)

    async def find_whole(self) -> None:
        """Look at what is there now that the command has failed: what is whole need not be rendered again."""
        place = -1
        while place != self._place:
            place = self._place
            await self.look()
        if self._inspector is None or not self._names:
            return
        async with self._lock:
            for frame, files in await in_slices(self._find_rest(self._inspector)):
                await self._judge(self._inspector, frame, files, is_over=True)

    async def _look_for_end(self, inspector: OutputInspector) -> None:
        rest = [frame for frame in self._frames if frame not in self._whole.known] if self._names else None
        files: list[OutputFile] | None = None
        if rest is None or len(rest) <= _FEW:
            files = await in_slices(self._look_for_rest(inspector, rest))
        if files is None or not await are_whole(inspector, files, len(self._chunk.frames)):
            self._complete = None
        elif self._complete is None or self._complete[1] != files:
            self._complete = time.monotonic(), files

    @property
    def whole(self) -> Collection[int]:
        """The frames of the chunk that are known to be whole."""
        return self._whole.told if self._inspector is None else self._whole.known

    @property
    def fault(self) -> str | None:
        """What is wrong with the output, if anything is."""
        if not self._faults:
            return None
        first, *others = self._faults.values()
        return f"its output {first}{f' (and {len(others)} more)' if others else ''}"

    @property
    def _part(self) -> Sequence[int] | None:
        """The frames of the files to look at, None where it is all of the chunk's files."""
        return None if len(self._frames) == len(self._chunk.frames) else self._frames

    def _frame_of(self, path: str) -> int | None:
        name = os.path.normpath(path.removeprefix(self._job_dir))
        return next((frame for known in self._names if (frame := known.frame_in(name)) is not None), None)

    def _look_for(self, inspector: OutputInspector, frames: Iterable[int] | None) -> Work[list[OutputFile]]:
        """Return the files as they are now; those that were there before count as missing."""
        files = yield from inspector.look(self._chunk, frames)
        if not self._before:
            return files
        return [
            file if file.state is None or self._before.get(file.path) != file.state else file._replace(fault="is old")
            for file in files
        ]

    def _look_for_rest(self, inspector: OutputInspector, frames: Sequence[int] | None) -> Work[list[OutputFile]]:
        """Return the files of these frames, None for all, and those that are of no frame."""
        has_others = len(self._names) < len(self._chunk.output_files)
        files = yield from self._look_for(inspector, None if has_others else frames)
        return [file for file in files if frames is None or file.frame is None or file.frame in frames]

    def _find(self, inspector: OutputInspector, saved: Iterable[int]) -> Work[list[_Frame]]:
        """Return the frames that should be finished, with their files, as far as they are there."""
        frames = list(saved)
        while len(frames) < _MOST_AT_ONCE and self._place + 1 < len(self._frames):
            after = yield from self._look_for(inspector, (self._frames[self._place + 1],))
            if not after or after[0].fault is not None:
                break
            frames.append(self._frames[self._place])
            self._place += 1
        frames += self._doubted
        return (yield from self._look_at(inspector, frames))

    def _find_rest(self, inspector: OutputInspector) -> Work[list[_Frame]]:
        """Return the frames that may be whole after a failure: which they are only their content shows."""
        if not inspector.reads_content:
            return []
        return (yield from self._look_at(inspector, self._frames))

    def _look_at(self, inspector: OutputInspector, frames: Iterable[int]) -> Work[list[_Frame]]:
        unknown = [frame for frame in dict.fromkeys(frames) if frame not in self._whole.known]
        found = by_frame((yield from self._look_for(inspector, unknown)))
        return [(frame, files) for frame, files in found.items() if all(file.fault is None for file in files)]

    async def _judge(
        self, inspector: OutputInspector, frame: int | None, files: list[OutputFile], *, is_over: bool
    ) -> None:
        if frame is not None and self._whole.known.get(frame) == files:
            return
        count = len(self._chunk.frames)
        for file in files:
            findings: Sequence[Finding] = (
                (Finding("exist", file.fault, fatal=True),)
                if file.fault is not None
                else await inspector.examine(file, frames=count)
            )
            fatal = [finding for finding in findings if finding.fatal]
            if fatal and frame is not None and not is_over and not self._has_settled(frame, files):
                return
            for finding in findings:
                await self._flag(frame, file, finding)
            if fatal:
                return
        await self._tell(frame, files)

    def _has_settled(self, frame: int, files: list[OutputFile]) -> bool:
        """Return whether the files of a frame that seems to be damaged have not changed for some time."""
        now = time.monotonic()
        since, before = self._doubted.get(frame, (now, None))
        if before != files:
            since = now
        self._doubted[frame] = since, files
        return now - since >= _SETTLED

    async def _flag(self, frame: int | None, file: OutputFile, finding: Finding) -> None:
        shown = self._frames[-1] if frame is None else frame
        if finding.fatal:
            self._faults.setdefault(frame, f"{file.path} {finding.reason}")
            self._whole.known.pop(shown, None)
            self._whole.told.discard(shown)
            if file.state is not None:
                await in_slices(_set_aside(file))
        level, reason, fatal = finding
        await await_if_needed(
            self._emit(
                lambda head: FrameFlagged(
                    **head, frame=shown, path=os.fspath(file.path), level=level, reason=reason, fatal=fatal
                )
            )
        )

    async def _tell(self, frame: int | None, files: Sequence[OutputFile]) -> None:
        if frame is None:
            # A video is its chunk's last frame, whatever else there is of each frame.
            frame = None if self._names else self._frames[-1]
        else:
            self._whole.known[frame] = list(files)
            self._doubted.pop(frame, None)
            self._faults.pop(frame, None)
        first = files[0]
        if frame is not None and frame not in self._whole.told:
            count = 1 if self._names else len(self._frames)
            for file in files:
                if file.state is not None:
                    self._on_file(file.path, file.state[0], count if file is first else 0)
        if frame is not None and first.state is not None:
            await self._tell_frame(frame, os.fspath(first.path), first.state[1] / 1e9)

    async def _tell_by_word(self, saved: dict[int, str]) -> None:
        now = time.time()
        for frame, path in saved.items():
            await self._tell_frame(frame, path, now)

    async def _tell_frame(self, frame: int, path: str, at: float) -> None:
        if frame in self._whole.told:
            return
        self._whole.told.add(frame)
        # Files may be kept by another clock, and be written in any order.
        duration = max(0.0, at - self._last)
        self._last = max(self._last, at)
        await await_if_needed(self._emit(lambda head: FrameFinished(**head, frame=frame, path=path, duration=duration)))


def _set_aside(file: OutputFile) -> Work[None]:
    with suppress(OSError):
        target = os.path.realpath(file.path)
        os.replace(target, target + SET_ASIDE)  # noqa: PTH105
    yield
