"""The frames of jobs, as the API gives them: which are known, and how they look."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from functools import partial

import anyio
import anyio.to_thread
from starlette.responses import Response

from .._api.models import FrameAnswer, FramesAnswer
from .._farm.manager import JobManager
from .._farm.status import StateChange
from .._frames.checker import missing_tools
from ._call import Call
from ._frame_files import FrameFiles
from ._frame_images import FrameImages, NoPicture
from ._frame_log import FrameLog
from ._known_frames import KnownFrame, KnownFrames
from ._queries import FrameImageQuery, FramesQuery
from ._refusal import RefusedError
from ._streams import unless_left

_MOST_JOBS = 4
"""Of which the frames are kept in memory."""
_IDLE = 60.0
"""How long they are kept without a question, in seconds."""
_PAGE = 1000
_LEFT = 499
"""For the log: nobody gets it."""


class Frames:
    """Answers requests for frames, and knows those of the few jobs that are looked at."""

    def __init__(self, manager: JobManager) -> None:
        """Take the farm."""
        self._farm = manager
        self._images = FrameImages()
        self._jobs: dict[str, _JobFrames] = {}
        """The one that was asked for last comes last."""

    async def run(self) -> None:
        """Make the pictures that are asked for, and forget jobs that nobody looks at any more."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._images.run)
            while True:
                await anyio.sleep(_IDLE)
                self._forget(_MOST_JOBS)

    async def frames(self, call: Call) -> FramesAnswer:
        """Return the frames of a job that are known, as far as something has changed."""
        asked = call.query(FramesQuery)
        return await (await self._job(call.job_id)).answer(asked.after, asked.limit)

    async def image(self, call: Call) -> Response:
        """Return a picture of a frame; of a video it is the first one in it."""
        asked = call.query(FrameImageQuery)
        path = await (await self._job(call.job_id)).path(asked.chunk, call.frame)
        # Who scrolls on does not wait for what was to be seen there.
        found = await unless_left(call.request.receive, partial(self._images.get, path, asked.size))
        match found:
            case None:
                return Response(status_code=_LEFT)
            case NoPicture(status, message):
                raise RefusedError(status, message)
        headers = {"Cache-Control": "private, no-cache", "ETag": found.tag}
        if found.tag in call.request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(found.data, headers=headers, media_type="image/jpeg")

    async def _job(self, job_id: str) -> _JobFrames:
        # It may have been deleted.
        log = FrameLog(await self._farm.log_folder(job_id))
        job = self._jobs.pop(job_id, None) or _JobFrames(self._farm, job_id, log)
        self._jobs[job_id] = job
        job.asked_at = time.monotonic()
        self._forget(_MOST_JOBS)
        return job

    def _forget(self, most: int) -> None:
        for number, (job_id, job) in enumerate(reversed(list(self._jobs.items()))):
            if number >= most or time.monotonic() - job.asked_at > _IDLE:
                del self._jobs[job_id]


class _JobFrames:
    """The frames of one job; it reads on where it has read before."""

    def __init__(self, farm: JobManager, job_id: str, log: FrameLog) -> None:
        self.asked_at = 0.0
        self._farm = farm
        self._job_id = job_id
        self._lock = anyio.Lock()
        self._log = log
        self._files: FrameFiles | None = None
        self._known: KnownFrames | None = None
        self._last_event: int | None = None
        self._name = secrets.token_hex(4)
        """Of the order that versions count in: another one knows the frames in another order."""

    async def answer(self, after: str, limit: int) -> FramesAnswer:
        """Return what has changed since that place in an earlier answer, or all from the beginning."""
        name, _, version = after.partition(".")
        goes_on = name == self._name and version.isascii() and version.isdecimal() and len(version) < 19
        async with self._lock:
            known, files = await self._update()
            return await anyio.to_thread.run_sync(
                lambda: self._answer(known.since(int(version) if goes_on else 0, limit), files, after, goes_on, limit)
            )

    def _answer(
        self, changed: Sequence[KnownFrame], files: FrameFiles, after: str, goes_on: bool, limit: int
    ) -> FramesAnswer:
        frames = tuple(_answer_of(frame, files) for frame in changed)
        return FramesAnswer(
            frames=frames,
            next=f"{self._name}.{changed[-1].version}" if changed else after if goes_on else f"{self._name}.0",
            goes_on=goes_on,
            has_more=len(frames) == limit,
            lacks=tuple(missing_tools((frame.file for frame in frames), "whole")),
        )

    async def path(self, chunk_id: int, frame: int) -> str:
        """Return where the picture of a frame is. Raises `RefusedError` if no such frame is known."""
        async with self._lock:
            known = None if self._known is None else self._known.find(chunk_id, frame)
            if known is None:
                frames, _ = await self._update()
                known = frames.find(chunk_id, frame)
            files = self._files
        if known is None or files is None:
            raise RefusedError(404, f"frame {frame} of chunk {chunk_id} of job {self._job_id} is not rendered")
        return await anyio.to_thread.run_sync(
            partial(files.path, chunk_id, frame, known.place, is_damaged=known.state == "damaged"),
            abandon_on_cancel=True,
        )

    async def _update(self) -> tuple[KnownFrames, FrameFiles]:
        if self._known is None or self._files is None:
            status = await self._farm.get(self._job_id)
            text = await self._farm.spec_text(self._job_id)
            # A hundred thousand chunks take a second.
            self._files = await anyio.to_thread.run_sync(FrameFiles, text, status.folder)
            self._known = KnownFrames(self._files)
        completed = await self._newly_completed()
        await anyio.to_thread.run_sync(self._read_on, self._known, completed)
        return self._known, self._files

    def _read_on(self, known: KnownFrames, completed: Sequence[int]) -> None:
        for event in self._log.read_on():
            known.apply(event)
        known.complete(completed)

    async def _newly_completed(self) -> Sequence[int]:
        """Return the chunks that are completed since it was asked last, or all of them."""
        completed: list[int] = []
        while self._last_event is not None:
            page = await self._farm.changes(self._last_event, self._job_id, _PAGE)
            if any(event.gap for event in page):
                break
            for event in page:
                match event.event:
                    case StateChange(chunk_id=int() as chunk_id, state="completed"):
                        completed.append(chunk_id)
                self._last_event = event.id
            if len(page) < _PAGE:
                return completed
        found = await self._farm.chunk_states(self._job_id)
        self._last_event = found.last_event
        return [chunk_id for chunk_id, state in zip(found.ids, found.states, strict=True) if state == "completed"]


def _answer_of(known: KnownFrame, files: FrameFiles) -> FrameAnswer:
    return FrameAnswer(
        frame=known.frame,
        chunk_id=known.chunk_id,
        span=files.span(known.chunk_id),
        # Names may hold bytes that are no text.
        file=_as_text(files.names(known.chunk_id, known.frame)[known.place]),
        state=known.state,
        reasons=tuple(map(_as_text, known.reasons)),
        version=known.version,
    )


def _as_text(text: str) -> str:
    return text.encode(errors="replace").decode()
