"""The thread that writes to a repository, for any number of tasks at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

import anyio

from ..._concurrency.calls_from_threads import CallSoon, calls_into_this_loop
from ..._errors import RepositoryError, RepositoryLostError, RepositoryUnavailableError
from .changes import Change
from .job_repository import JobRepository

_MOST_AT_ONCE = 5000
"""How many changes one transaction takes, so that nobody waits long for those of others."""
_ROOM = 20_000
"""How many changes may wait."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_PATIENCE = 10.0
"""How long what still waits at the end is tried, in seconds."""
_SILENCE = 5.0
"""How long a transaction may take before nothing is expected to be written, in seconds."""
_GLANCE = 0.5
"""How often it is looked how long one takes, in seconds."""
_HANGS = "the repository does not answer"


class Writer:
    """Writes what tasks of one event loop submit, all that waits in one transaction: each costs a way to the disk.

    What fails for a reason that may pass is tried until it goes through, and nothing overtakes it. What hangs, as with
    a dead disk or a server that stands still, is waited for; another thread notices it, for it raises nothing.
    """

    def __init__(
        self,
        repository: JobRepository,
        *,
        on_trouble: Callable[[str | None], object] = lambda reason: None,
        room: int = _ROOM,
        patience: float = _PATIENCE,
    ) -> None:
        """Take a repository that has just been opened; it is neither opened nor closed here.

        The event loop calls `on_trouble` with the reason when nothing can be written, and with None when it can again.
        `room` is how many changes may wait, `patience` how long those are tried, in seconds, that wait at the end.
        """
        self._repository = repository
        self._on_trouble = on_trouble
        self._room = room
        self._patience = patience
        self._mutex = threading.Lock()
        self._news = threading.Condition(self._mutex)
        self._queue: deque[_Submission] = deque()
        self._queued = 0
        """How many changes the queue holds."""
        self._outside: deque[_Submission] = deque()
        """Those for which there is no room in the queue."""
        self._deadline: float | None = None
        """When to give up: None as long as nobody is in a hurry."""
        self._is_closing = False
        self._end: RepositoryError | None = None
        """Why nothing is written any more."""
        self._trouble: str | None = None
        self._batch: Sequence[_Submission] = ()
        self._since: float | None = None
        """When the transaction began that is under way."""
        self.hangs = False
        """Whether it ended while a transaction did not return: the repository cannot be closed."""

    async def __aenter__(self) -> Self:
        self._call_soon: CallSoon = calls_into_this_loop()
        self._has_ended = anyio.Event()
        self._is_over = threading.Event()
        for name, target in (("tailrace-writer", self._run), ("tailrace-writer-watch", self._watch)):
            threading.Thread(target=target, name=name, daemon=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Return when all has been written, or been given up."""
        self.hurry()
        with self._mutex:
            self._is_closing = True
            self._news.notify()
        with anyio.CancelScope(shield=True):
            await self._has_ended.wait()

    def hurry(self) -> None:
        """Try what cannot be written for no longer than `patience` from now on, the first time this is called.

        Then all that waits is given up, with a `RepositoryUnavailableError`, and nothing is written any more.
        """
        with self._mutex:
            if self._deadline is None:
                self._deadline = time.monotonic() + self._patience
                self._news.notify()

    async def submit(self, changes: Iterable[Change]) -> None:
        """Return when the changes are durable; they are written together, in the order of the calls.

        A cancellation leaves them in the queue: they are written all the same. Only where that is full, which it is
        if nothing could be written for long, are they dropped by it.

        Raises `RepositoryLostError` if another owner came; `RepositoryError` if the writer was closed before they went
        through; and what the repository raises for changes that can never be written, of which none is then.
        """
        submission = _Submission(tuple(changes))
        with self._mutex:
            if self._end is not None or self._is_closing:
                raise another_like(self._end or RepositoryError("the writer of the repository is closed"))
            self._outside.append(submission)
            self._let_in()
            self._news.notify()
        try:
            await submission.is_over.wait()
        finally:
            if not submission.is_over.is_set():
                self._drop(submission)
        if submission.error is not None:
            raise submission.error

    def _drop(self, submission: _Submission) -> None:
        """Drop it if it is not in the queue."""
        with self._mutex, contextlib.suppress(ValueError):
            self._outside.remove(submission)

    def _let_in(self) -> None:
        while self._outside and (not self._queue or self._queued + self._outside[0].size <= self._room):
            submission = self._outside.popleft()
            self._queue.append(submission)
            self._queued += submission.size

    def _run(self) -> None:
        end = RepositoryError("the writer of the repository is closed")
        try:
            while self._take():
                self._write(self._batch)
        except RepositoryError as error:
            end = error
        with self._mutex:
            self._finish(end)

    def _watch(self) -> None:
        """Tell of a transaction that does not return, and give it up where that is due."""
        while not self._is_over.wait(_GLANCE):
            with self._mutex:
                now = time.monotonic()
                if self._since is None or now - self._since <= _SILENCE:
                    continue
                self._set_trouble(_HANGS)
                # Between two tries it would be given up there.
                if self._deadline is not None and now > self._deadline:
                    self.hangs = True
                    self._finish(RepositoryUnavailableError(_HANGS))

    def _finish(self, end: RepositoryError) -> None:
        """Write nothing any more, and tell that all who wait; whoever calls this holds the mutex."""
        if self._end is not None:
            return
        self._end = end
        left = [*(submission for submission in self._batch if not submission.is_told), *self._queue, *self._outside]
        self._queue.clear()
        self._outside.clear()
        self._is_over.set()
        for submission in left:
            submission.error = another_like(end)
        self._wake(left)
        self._call_soon(self._has_ended.set)

    def _take(self) -> bool:
        """Take the submissions that are written next, as soon as there are some; return False once it is closed."""
        with self._mutex:
            self._news.wait_for(lambda: self._queue or self._is_closing or self._end is not None)
            batch: list[_Submission] = []
            size = 0
            while self._queue and (not batch or size + self._queue[0].size <= _MOST_AT_ONCE):
                submission = self._queue.popleft()
                size += submission.size
                batch.append(submission)
            self._queued -= size
            self._let_in()
            self._batch = batch
            return bool(batch)

    def _write(self, batch: Sequence[_Submission]) -> None:
        """Write them and tell who waits. Raises `RepositoryError` when nothing can be written any more."""
        try:
            self._write_until_through([change for submission in batch for change in submission.changes])
        except RepositoryError:
            raise
        except Exception as error:  # noqa: BLE001
            # The changes of one of them cannot be written at all: it is told, and the others are none the worse.
            if len(batch) > 1:
                for submission in batch:
                    self._write([submission])
                return
            batch[0].error = error
        self._tell(batch)

    def _write_until_through(self, changes: Sequence[Change]) -> None:
        pause = _FIRST_PAUSE
        again = False
        while True:
            try:
                self._write_once(changes, again=again)
            except RepositoryUnavailableError as error:
                again = True
                with self._mutex:
                    self._set_trouble(str(error))
                    self._news.wait_for(lambda: self._deadline is not None, timeout=pause)
                    if self._deadline is not None:
                        if time.monotonic() > self._deadline:
                            raise
                        # The news that it is being closed has been heard.
                        self._news.wait(_FIRST_PAUSE)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                with self._mutex:
                    self._set_trouble(None)
                return

    def _write_once(self, changes: Sequence[Change], *, again: bool) -> None:
        with self._mutex:
            self._since = time.monotonic()
        try:
            self._repository.write(changes, again=again)
        finally:
            with self._mutex:
                self._since = None

    def _set_trouble(self, reason: str | None) -> None:
        if reason != self._trouble and self._end is None:
            self._trouble = reason
            self._call_soon(partial(self._on_trouble, reason))

    def _tell(self, batch: Sequence[_Submission]) -> None:
        with self._mutex:
            if self._end is not None:
                # It was given up, and the event loop may be gone.
                return
            for submission in batch:
                submission.is_told = True
        self._wake(batch)

    def _wake(self, batch: Sequence[_Submission]) -> None:
        """Wake who waits, in order, by one call: the way into the event loop costs as much as a change."""

        def wake() -> None:
            for submission in batch:
                submission.is_over.set()

        self._call_soon(wake)


class _Submission:
    """Changes that are written together, and who waits for that."""

    __slots__ = ("changes", "error", "is_over", "is_told", "size")

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes
        self.size = len(changes)
        self.error: Exception | None = None
        self.is_told = False
        """Whether the event loop has been asked to set `is_over`."""
        self.is_over = anyio.Event()


def another_like(error: Exception) -> RepositoryError:
    """Return another error that says the same: each task that raises one adds to it where that was."""
    kind = type(error) if isinstance(error, RepositoryLostError | RepositoryUnavailableError) else RepositoryError
    return kind(str(error))
