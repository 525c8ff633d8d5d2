"""What a farm forgets with time."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from .._errors import RepositoryError, RepositoryUnavailableError
from .ledger import Ledger
from .repository.job_repository import JobRepository
from .repository.rows import FINAL_JOB_STATES, JobRow
from .retention import Retention

_log = logging.getLogger("tailrace")
_LONGEST_PAUSE = 3600.0
_LONGEST_FOR_SIZE = 600.0
"""How long logs may grow unseen, in seconds: to look at those of ten thousand jobs takes some."""
_SHORTEST_PAUSE = 0.1
_PAGE = 1000


class Forgetting:
    """Forgets, now and then, jobs that ended and events that happened beyond what is to be kept, and the jobs' logs."""

    def __init__(
        self,
        retention: Retention,
        repository: JobRepository,
        ledger: Ledger,
        log_dir: Path,
        one_at_a_time: anyio.Lock,
    ) -> None:
        """Take what is kept, and where it is; who holds the lock may begin jobs again."""
        self._retention = retention
        self._repository = repository
        self._ledger = ledger
        self._log_dir = log_dir
        self._one_at_a_time = one_at_a_time

    async def run(self) -> None:
        """Do so until it is cancelled, or the repository is lost."""
        pause = _LONGEST_PAUSE if self._retention.log_bytes is None else _LONGEST_FOR_SIZE
        if self._retention.seconds is not None:
            pause = min(pause, max(_SHORTEST_PAUSE, self._retention.seconds / 10))
        while True:
            try:
                await self.forget()
            except RepositoryUnavailableError as error:
                _log.warning("what is not to be kept is not forgotten yet: %s", error)
            except RepositoryError:
                # Whoever writes is told too.
                return
            await anyio.sleep(pause)

    async def forget(self) -> None:
        """Do so once."""
        too_old = None if self._retention.seconds is None else time.time() - self._retention.seconds
        too_much = await anyio.to_thread.run_sync(self._end_of_what_is_too_much)
        ended_before = max((limit for limit in (too_old, too_much) if limit is not None), default=None)
        if ended_before is None:
            return
        async with self._one_at_a_time:
            # A job that begins again has to be seen as one.
            await self._ledger.flush()
            prune = partial(self._repository.prune, jobs_before=ended_before, events_before=too_old)
            pruned = await anyio.to_thread.run_sync(prune)
            for job_id in pruned.job_ids:
                self._ledger.deleted(job_id)
        for job_id in pruned.job_ids:
            await anyio.to_thread.run_sync(partial(shutil.rmtree, self._log_dir / job_id, ignore_errors=True))

    def _end_of_what_is_too_much(self) -> float | None:
        """Return a time: of the jobs that ended since, the logs take no more room than they may. None: all may stay."""
        if self._retention.log_bytes is None:
            return None
        left = self._retention.log_bytes
        for row in sorted(self._ended_jobs(), key=_end, reverse=True):
            left -= _size_of(self._log_dir / row.id)
            if left < 0:
                return math.nextafter(_end(row), math.inf)
        return None

    def _ended_jobs(self) -> Iterator[JobRow]:
        place: int | None = None
        while rows := self._repository.jobs(FINAL_JOB_STATES, limit=_PAGE, before=place):
            yield from rows
            place = rows[-1].place


def _end(row: JobRow) -> float:
    return row.finished_at or 0.0


def _size_of(folder: Path) -> int:
    """Return how many bytes the files in a folder have."""
    size = 0
    for path in folder.rglob("*"):
        # It may be gone by now.
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
    return size
