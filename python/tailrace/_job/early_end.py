"""Ends a command before it exits by itself: when all is done and it lingers, or when nothing good can come any more."""

from __future__ import annotations

from collections.abc import Callable

from .._command.early_end import CommandEnding
from .._errors import ErrorCategory
from .._output.progress_watch import ProgressWatch
from .frame_watch import FrameWatch
from .options import JobExecutionOptions


class EarlyEnd:
    """What `finish_timeout` and `stop_on_error` are for one attempt; `check` is to be called now and then."""

    def __init__(
        self,
        options: JobExecutionOptions,
        watch: ProgressWatch | None,
        frames: FrameWatch | None,
        on_warning: Callable[[str], object],
    ) -> None:
        self.ending = CommandEnding()
        self.lingered = False
        """Whether the command was ended since all of its output was complete."""
        self.failure: str | None = None
        """Why it was ended as one that has failed, to be read after its name."""
        self.category: ErrorCategory | None = None
        """What kind of failure that is, where the output does not tell."""
        self._options = options
        self._watch = watch
        self._frames = frames
        self._on_warning = on_warning

    def check(self, now: float) -> None:
        """End the command if it is time; `now` is by `time.monotonic`."""
        if self.ending.is_asked:
            return
        if self._options.stop_on_error and self._watch is not None and self._watch.errors.fatal is not None:
            self.end("was ended at its first fatal error", None)
        elif self._lingers(now):
            self.lingered = True
            self._on_warning(
                f"its output has been complete for {self._options.finish_timeout:g} s and it did not exit: it was ended"
            )
            self.ending.end()

    def end(self, failure: str, category: ErrorCategory | None) -> None:
        """End the command as one that has failed."""
        if not self.ending.is_asked:
            self.failure, self.category = failure, category
            self.ending.end()

    def _lingers(self, now: float) -> bool:
        if self._options.finish_timeout is None or self._frames is None:
            return False
        since = self._frames.complete_since()
        if since is None or now - since < self._options.finish_timeout:
            return False
        return self._watch is None or self._watch.is_complete
