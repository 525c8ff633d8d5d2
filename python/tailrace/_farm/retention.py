"""What a farm forgets with time."""

from __future__ import annotations

import logging
import shutil
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from .._errors import RepositoryError, RepositoryUnavailableError
from .ledger import Ledger
from .repository.job_repository import JobRepository

_log = logging.getLogger("tailrace")
_LONGEST_PAUSE = 3600.0
_SHORTEST_PAUSE = 0.1


class Retention:
    """Forgets, now and then, jobs that ended and events that happened so many seconds ago, and the jobs' logs."""

    def __init__(
        self, seconds: float, repository: JobRepository, ledger: Ledger, log_dir: Path, one_at_a_time: anyio.Lock
    ) -> None:
        """Take how long they are kept, and where they are; who holds the lock may begin jobs again."""
        self._seconds = seconds
        self._repository = repository
        self._ledger = ledger
        self._log_dir = log_dir
        self._one_at_a_time = one_at_a_time

    async def run(self) -> None:
        """Do so until it is cancelled, or the repository is lost."""
        while True:
            try:
                await self.forget()
            except RepositoryUnavailableError as error:
                _log.warning("what is older than %g s is not forgotten yet: %s", self._seconds, error)
            except RepositoryError:
                # Whoever writes is told too.
                return
            await anyio.sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, self._seconds / 10)))

    async def forget(self) -> None:
        """Do so once."""
        before = time.time() - self._seconds
        async with self._one_at_a_time:
            # A job that begins again has to be seen as one.
            await self._ledger.flush()
            prune = partial(self._repository.prune, jobs_before=before, events_before=before)
            pruned = await anyio.to_thread.run_sync(prune)
            for job_id in pruned.job_ids:
                self._ledger.deleted(job_id)
        for job_id in pruned.job_ids:
            await anyio.to_thread.run_sync(partial(shutil.rmtree, self._log_dir / job_id, ignore_errors=True))
