"""How much of one frame is done, which a renderer may go through several times."""

from __future__ import annotations

from typing import Literal, TypeAlias

Falls: TypeAlias = Literal["held", "pass", "frame"]
"""What it means when the measure of a frame begins again from below."""

ALMOST_ALL = 0.99
"""What a frame is shown to have at most while another pass may follow."""


class FrameMeasure:
    """The part of the current frame that is done: it never falls before the next frame.

    A renderer with several passes (view layers, a preview, the pretrace of radiosity) counts each from the start, and
    only the end of a frame tells how many there were. So the first frame is held at what its first pass reached, and of
    those that follow each pass is an equal part.
    """

    def __init__(self) -> None:
        self.fraction: float | None = None
        """None before the first measure."""
        self._of_pass = 0.0
        self._pass = 0
        self._passes = 1

    @property
    def is_complete(self) -> bool:
        """Whether all of the frame is done."""
        return self.fraction == 1.0

    def begin(self) -> None:
        """Go on to the next frame."""
        if self.fraction is not None:
            self._passes = self._pass + 1
        self.fraction = None
        self._of_pass = 0.0
        self._pass = 0

    def reach(self, part: float, falls: Falls) -> None:
        """Take what was measured, 0 to 1 of the frame or of a pass over it."""
        if falls == "pass":
            if part < self._of_pass:
                self._pass += 1
            self._of_pass = part
            # More passes than the frame before had: nobody knows how many are still to come.
            part = min((self._pass + part) / self._passes if self._pass < self._passes else 0.0, ALMOST_ALL)
        self.fraction = max(self.fraction or 0.0, part)

    def finish(self) -> None:
        """Have all of the frame done."""
        self.fraction = 1.0
