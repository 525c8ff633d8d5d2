"""The attempts that a worker runs, and those that it remembers."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import anyio

from ._attempt import Attempt
from ._chunk_request import ChunkRequest
from ._kept_output import KeptOutput
from ._output_log import OutputLog
from ._refused_error import RefusedError
from ._settings import WorkerSettings
from ._task import TaskFinder

_REMEMBERED = 1_000
"""How many ids of attempts that have ended are known."""
_REPLAYED = 32
"""How many of them, the last ones, can be replayed with their output."""


class Attempts:
    """Starts attempts, at most so many at a time, and none a second time."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._finder = TaskFinder(settings)
        self._slot_holders: list[Attempt] = []
        self._running: set[Attempt] = set()
        self._known: OrderedDict[str, tuple[Attempt, bytes]] = OrderedDict()
        self._kept_output = KeptOutput(settings.kept_output, self._drop_oldest_output)
        self._closing_reason: str | None = None

    def admit(self, request: ChunkRequest, *, needs_all: bool) -> tuple[Attempt, bool]:
        """Return the attempt that a request is about, and whether it is a new one, which the caller has to `run`.

        With `needs_all` its output has to be kept to the end. Raises `RefusedError` when there is no free place.
        """
        if request.attempt_id is not None and (known := self._known.get(request.attempt_id)) is not None:
            attempt, subject = known
            if subject != _subject(request):
                raise RefusedError(409, "attemptId is that of an attempt at something else")
            return attempt, False
        if self._closing_reason is not None:
            raise RefusedError(503, self._closing_reason, headers={"Retry-After": "5"})
        slot = next(iter(self._free_slots()), None)
        if slot is None:
            raise RefusedError(
                429, f"all {self._settings.concurrency} places of this worker are taken", headers={"Retry-After": "1"}
            )
        keeps = needs_all or request.attempt_id is not None
        attempt = Attempt(slot, OutputLog(self._kept_output if keeps else None))
        self._slot_holders.append(attempt)
        self._running.add(attempt)
        if request.attempt_id is not None:
            self._known[request.attempt_id] = attempt, _subject(request)
        return attempt, True

    def places(self) -> dict[str, object]:
        """Return the JSON that says how many attempts may run at a time, and how many more may begin now."""
        free = 0 if self._closing_reason is not None else len(self._free_slots())
        return {"places": self._settings.concurrency, "free": free}

    def _free_slots(self) -> list[int]:
        self._slot_holders = [attempt for attempt in self._slot_holders if attempt.holds_slot]
        taken = {attempt.slot for attempt in self._slot_holders}
        return [slot for slot in range(self._settings.concurrency) if slot not in taken]

    async def run(self, attempt: Attempt, request: ChunkRequest) -> None:
        """Run a new attempt to its end, for as long as anybody attends it: also when its first client is cancelled."""
        try:
            with anyio.CancelScope(shield=True):
                await attempt.run(self._finder, request)
        finally:
            self._running.remove(attempt)
            self._forget()

    def close(self, reason: str) -> None:
        """End what runs and start nothing more."""
        self._closing_reason = reason
        for attempt in self._running:
            attempt.end(reason)

    def _forget(self) -> None:
        ended = [(key, attempt) for key, (attempt, _) in self._known.items() if attempt not in self._running]
        for key, _ in ended[:-_REMEMBERED]:
            del self._known[key]
        for _, attempt in ended[:-_REPLAYED]:
            if not attempt.clients:
                attempt.log.close()

    def _drop_oldest_output(self) -> bool:
        for attempt, _ in self._known.values():
            if attempt.is_over.is_set() and not attempt.clients and attempt.log.is_on_disk:
                attempt.log.close()
                return True
        return False


def _subject(request: ChunkRequest) -> bytes:
    """Return what tells requests for different things apart, however long the addresses are."""
    return hashlib.sha256(f"{request.chunk_index} {request.job_path}".encode()).digest()
