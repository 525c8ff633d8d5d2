"""The errors in a command's output."""

from __future__ import annotations

from .progress import RenderError


class ReportedErrors:
    """Remembers of the errors that a renderer reports what explains the end of its command."""

    def __init__(self) -> None:
        self.fatal: RenderError | None = None
        """The first after which the frames cannot be right."""
        self._waited_for: RenderError | None = None

    def add(self, error: RenderError) -> None:
        """Take the next one."""
        if error.fatal and self.fatal is None:
            self.fatal = error
        elif error.category in ("licence", "memory"):
            self._waited_for = error

    @property
    def of_failure(self) -> RenderError | None:
        """What a failure is put down to.

        A renderer that goes on without a texture and fails later does not fail for that, as far as anybody knows; if it
        was short of memory or had no licence, it probably does, and to wait costs little where it does not.
        """
        return self.fatal or self._waited_for
