"""One kind of line that a renderer prints."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from .._errors import ErrorCategory
from ._frame_measure import Falls

GROUPS = {
    "frame": "the number of the frame being worked on",
    "frame_finished": "the number of a frame that is finished; any other text is the frame being worked on",
    "rendered": "how many frames this run has finished, shown as the frame",
    "frames_done": "how many of the command's frames are finished",
    "index": "which of the run's frames is being worked on, counted from 1; with `count`",
    "count": "how many frames the run has",
    "percent": "0 to 100",
    "fraction": "0 to 1",
    "done": "how many parts are done; with `total`",
    "total": "how many parts there are",
    "finished": "matches where all is done",
    "time": "how far into the film the run is, as hours, minutes and seconds",
    "duration": "how long the film is",
    "remaining": "time until the end, with colons, with units, or in seconds",
    "memory": "a size with its unit",
    "status": "what the renderer is busy with",
    "saved": "the path of a file that was written",
    "error": "matches in a line that tells of an error",
}
"""The named groups of a pattern, and what each says."""

_PAIRS = (("done", "total"), ("index", "count"))
_EVENTS = {"duration", "error", "finished", "frame_finished", "frames_done", "saved"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A line that `pattern` is found in says what the pattern's named groups matched; `GROUPS` lists the names.

    `trigger` is text that every such line contains: only lines that hold it are looked at, so the longer and the rarer
    it is, the faster. `of` says what `percent`, `fraction`, `done` and `finished` measure. `category` and `fatal` are
    those of the `RenderError` that the group `error` makes; with `after_traceback=True` its message is what Python
    raised before, if a traceback was printed.

    `falls` says what it means when how much of a frame is done begins again from below: nothing, so that what was
    reached is held; another pass over the same frame, after which more may follow, so that it is not complete before
    something else says so; or the next frame, if the one before was complete.

    With `whole=True` such lines state all there is, so that of many in one read only the newest needs to be
    understood: once one tells the frame (if any line of the renderer does) and how far it is, what earlier ones said
    counts no more, apart from the frames they told and how much of each was done.

    Raises `ValueError` for a pattern or a trigger that cannot work.
    """

    pattern: str
    trigger: str
    of: Literal["frame", "command"] = field(default="frame", kw_only=True)
    category: ErrorCategory | None = field(default=None, kw_only=True)
    fatal: bool = field(default=False, kw_only=True)
    whole: bool = field(default=False, kw_only=True)
    falls: Falls = field(default="held", kw_only=True)
    after_traceback: bool = field(default=False, kw_only=True)
    regex: re.Pattern[str] = field(init=False, repr=False, compare=False)
    """`pattern`, compiled."""

    def __post_init__(self) -> None:
        """Check what was given."""
        problem = self._problem()
        if problem is not None:
            raise ValueError(f"rule {self.pattern!r}: {problem}")

    def _problem(self) -> str | None:
        try:
            regex = re.compile(self.pattern)
        except re.error as error:
            return f"not a regular expression: {error}"
        object.__setattr__(self, "regex", regex)
        names = regex.groupindex.keys()
        if not names:
            return f"no named group says what it means; use some of {', '.join(GROUPS)}"
        if unknown := sorted(names - GROUPS.keys()):
            return f"no meaning is known for the group {unknown[0]!r}; use some of {', '.join(GROUPS)}"
        for pair in _PAIRS:
            if len(names & set(pair)) == 1:
                return f"the groups {pair[0]!r} and {pair[1]!r} mean something together only"
        if not self.trigger or "\n" in self.trigger or "\r" in self.trigger:
            return "the trigger must be a piece of a line"
        if self.falls not in get_args(Falls):
            return f"no such meaning of a fall: {self.falls!r}; use one of {', '.join(get_args(Falls))}"
        if self.category is not None and self.category not in get_args(ErrorCategory):
            return f"no such category: {self.category!r}; use one of {', '.join(get_args(ErrorCategory))}"
        if self.whole and (event := sorted(names & _EVENTS)):
            return f"the group {event[0]!r} counts in every line, which whole=True does not allow"
        if (self.category is not None or self.fatal or self.after_traceback) and "error" not in names:
            return "a category, fatal and after_traceback need the group 'error'"
        return None
