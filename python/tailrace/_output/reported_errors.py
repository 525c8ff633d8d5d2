"""The errors in a command's output."""

from __future__ import annotations

from ..progress import RenderError

_MOST_TOLD = 1000


class ReportedErrors:
    """Remembers of the errors that a renderer reports what explains the end of its command."""

    def __init__(self) -> None:
        self.fatal: RenderError | None = None
        """The first after which the frames cannot be right."""
        self._waited_for: RenderError | None = None
        self._told: set[RenderError] = set()

    def add(self, error: RenderError) -> bool:
        """Take the next one; return whether it is worth telling: not once more, and not after so many others.

        A texture that is missing may be told of for each of a million samples.
        """
        if error.fatal and self.fatal is None:
            self.fatal = error
        elif error.category in ("licence", "memory"):
            self._waited_for = error
        if error in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(error)
        return True

    @property
    def of_failure(self) -> RenderError | None:
        """What a failure is put down to.

        A renderer that goes on without a texture and fails later does not fail for that, as far as anybody knows; if it
        was short of memory or had no licence, it probably does, and to wait costs little where it does not.
        """
        return self.fatal or self._waited_for
