"""Shows a job of a farm as `tailrace job run` shows one of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from tailrace import (
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkOutput,
    ChunkStarted,
    ChunkStatus,
    FarmEvent,
    FarmServerError,
    JobEvent,
    JobFinished,
    JobStarted,
    JobState,
    JobStatus,
    MergeOutput,
    RemoteFarm,
    StateChange,
    WorkerResult,
)

from .display.base import Display
from .display.events import EventOutput
from .display.lines import LiveOutput
from .display.report import summary_line
from .display.screen import TerminalOutput
from .display.style import is_drawable, style_of
from .farm_access import NotDoneError, ask_farm
from .interruption import Interruptible
from .writing import print_message, telling_reasons

_T = TypeVar("_T")

_FINAL = ("completed", "failed", "cancelled")
_STDERR = 2
_PAUSE = 1.0
"""Before a server that does not answer any more is asked again, in seconds."""


def watch_job(
    server: str | None, job_id: str, *, quiet: bool = False, no_color: bool = False, as_json: bool = False
) -> int:
    """Show the job until it has ended; return the exit status. Raises `NotDoneError`."""
    interruptible = Interruptible(lambda _: None)
    watch: list[Watch] = []

    async def run(farm: RemoteFarm) -> None:
        status = await farm.get(job_id)
        watch.append(Watch(farm, status, quiet=quiet, no_color=no_color, as_json=as_json))
        await interruptible.run(watch[0].run)

    ask_farm(server, run)
    if interruptible.signal is not None:
        print_message(f"job {job_id} goes on: tailrace job watch {job_id} shows it again, job cancel ends it")

        return 128 + interruptible.signal
    return watch[0].tell_end()


class Watch:
    """Shows one job, from when it is run."""

    def __init__(self, farm: RemoteFarm, status: JobStatus, *, quiet: bool, no_color: bool, as_json: bool) -> None:
        self._farm = farm
        self._status = status
        self._state = JobState()
        self._quiet = quiet
        self._no_color = no_color
        self._as_json = as_json
        self._is_told = False
        self._taken_in: dict[int, int] = {}
        """The attempts at chunks whose ends are in the state, and may be told of once more."""
        self._began = time.monotonic()

    async def run(self) -> None:
        """Show it until it has ended."""
        job_id = self._status.id
        async with self._farm.events(job_id=job_id) as events:
            # From here on nothing is missed.
            spec = await anyio.to_thread.run_sync(lambda: self._status.spec)
            self._state = JobState(spec.chunks)
            self._display = self._choose_display()
            self._status = await self._farm.get(job_id)
            await self._take_in(await self._farm.chunks(job_id))
            try:
                await self._display.run(partial(self._follow, events))
            finally:
                with anyio.CancelScope(shield=True), telling_reasons():
                    await self._display.close()

    def tell_end(self) -> int:
        """Tell how it ended, and return the exit status."""
        status = self._status
        self._state.end(time.monotonic())
        if not self._as_json:
            duration = (status.finished_at or time.time()) - (status.started_at or status.created_at)
            print_message(f"job {status.id}: {summary_line(self._state, duration, interrupted=False)}")
        if status.state == "completed":
            return 0
        print_message(f"job {status.id} is {status.state}{f': {status.error}' if status.error else ''}")
        return 1

    def _choose_display(self) -> Display:
        if self._as_json:
            return EventOutput(self._state, None)
        if is_drawable(_STDERR):
            style = style_of(_STDERR, no_colour=self._no_color)
            return TerminalOutput(self._state, style, prefixed=True, watched=None, quiet=self._quiet)
        return LiveOutput(self._state, prefixed=True, watched=None, quiet=self._quiet)

    async def _follow(self, events: AsyncIterator[FarmEvent]) -> None:
        status = self._status
        if not self._as_json:
            why = f": {status.error}" if status.error else ""
            done = f"{status.completed_chunks} of {status.total_chunks} chunks done"
            self._display.announce(f"job {status.id} ({status.name}) is {status.state}, {done}{why}")
        while self._status.state not in _FINAL:
            await self._take(await anext(events))

    async def _take(self, told: FarmEvent) -> None:
        match told.event:
            case None:
                # Something was missed.
                self._status = await _patiently(lambda: self._farm.get(self._status.id))
                await self._take_in(await _patiently(lambda: self._farm.chunks(self._status.id)))
            case StateChange(chunk_id=None, state="deleted"):
                raise NotDoneError(f"job {self._status.id} was deleted meanwhile")
            case StateChange(chunk_id=None, state=state):
                self._status = await _patiently(lambda: self._farm.get(self._status.id))
                if state == "paused" or (state == "running" and self._is_told):
                    self._display.announce(f"job {self._status.id} is {state}")
            case JobStarted() | JobFinished() if self._state.started is not None:
                # A job of a farm begins anew after each pause; here it is one.
                pass
            case JobEvent() as event:
                # The other machine's clock is not ours.
                await self._show(_text_as_bytes(replace(event, monotonic=time.monotonic())))

    async def _show(self, event: JobEvent) -> None:
        self._is_told |= isinstance(event, JobStarted)
        if not self._is_known(event):
            self._state.apply(event)
        if self._display.shows(event):
            with telling_reasons():
                await self._display.show(event)

    def _is_known(self, event: JobEvent) -> bool:
        """Return whether the chunks told of it already when they were asked for."""
        match event:
            case ChunkStarted(chunk_id=chunk_id, attempt=attempt):
                return self._taken_in.get(chunk_id, 0) >= attempt
            case ChunkFinished(chunk_id=chunk_id, attempt=attempt) | ChunkFailed(chunk_id=chunk_id, attempt=attempt):
                # It comes once.
                return self._taken_in.pop(chunk_id, 0) >= attempt
        return False

    async def _take_in(self, chunks: Collection[ChunkStatus]) -> None:
        """Have the state be that of the chunks as they are, where no event told so."""
        if self._status.started_at is None:
            return
        self._taken_in = {chunk.id: chunk.attempts for chunk in chunks if chunk.state in ("completed", "failed")}
        now = time.monotonic() - time.time()
        head: dict[str, Any] = {"job_id": self._status.name, "run_id": "", "sequence": 0}
        if self._state.started is None:
            done = [chunk.id for chunk in chunks if chunk.state == "completed"]
            began = self._status.started_at
            started = JobStarted(
                **head, time=began, monotonic=began + now, total_chunks=len(chunks), completed_chunk_ids=done
            )
            self._state.apply(started)
        for chunk in chunks:
            known = self._state.chunks.get(chunk.id)
            if known is None or known.status == chunk.state or chunk.started_at is None:
                continue
            at: dict[str, Any] = {**head, "chunk_id": chunk.id, "attempt": chunk.attempts}
            times: dict[str, Any] = {"time": chunk.started_at, "monotonic": chunk.started_at + now}
            if chunk.state in ("running", "completed", "failed") and known.status != "running":
                self._state.apply(ChunkStarted(**at, **times, slot=0, command=""))
            if chunk.state == "completed":
                result = WorkerResult(chunk.exit_code or 0, duration=chunk.duration or 0.0, usage=chunk.usage)
                self._state.apply(ChunkFinished(**at, **times, result=result))
            elif chunk.state == "failed":
                error = ChunkFailedError(chunk.error or "it failed", chunk_id=chunk.id, attempts=chunk.attempts)
                self._state.apply(ChunkFailed(**at, **times, error=error))


async def _patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `ask` does, which is called again as long as no server answers: the events are patient, too."""
    while True:
        try:
            return await ask()
        except FarmServerError as error:
            if error.status is not None:
                raise
            await anyio.sleep(_PAUSE)


def _text_as_bytes(event: JobEvent) -> JobEvent:
    """Return the event with its output as the displays take it."""
    match event:
        case ChunkOutput(data=str() as text) | MergeOutput(data=str() as text):
            return replace(event, data=memoryview(text.encode(errors="replace")))
    return event
