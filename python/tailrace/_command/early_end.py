"""Ending a command before its time, with its result."""

from __future__ import annotations

from collections.abc import Callable


class CommandEnding:
    """Ends a running command early, so that its result comes and no exception: the `ending` of one `WorkerJob`.

    Only adapters whose `Capabilities.ends_early` is True heed it.
    """

    __slots__ = ("_end", "_is_asked")

    def __init__(self) -> None:
        self._end: Callable[[], object] | None = None
        self._is_asked = False

    @property
    def is_asked(self) -> bool:
        """Whether `end` was called."""
        return self._is_asked

    def end(self) -> None:
        """Have the command and all that it started ended, as by a limit: asked to terminate, killed after `kill_grace`.

        Returns at once; `execute` then returns the result, with the exit code that this gave and all of the output. A
        command that has not begun is ended as soon as it has, or taken out of the queue that it waits in: its exit code
        is -9 then, as of one that was killed. One that is over stays as it is. A second call changes nothing. To be
        called in the event loop that runs the command.
        """
        self._is_asked = True
        if self._end is not None:
            self._end()

    def connect(self, end: Callable[[], object]) -> None:
        """For adapters: have `end` called when the command is to end, at once if that has been asked for.

        It may be called again, and when the command is over.
        """
        self._end = end
        if self._is_asked:
            end()

    def disconnect(self) -> None:
        """For adapters: call it no more."""
        self._end = None
