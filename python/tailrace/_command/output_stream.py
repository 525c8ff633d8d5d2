"""Where the output of one stream goes, for whoever hands it on in Python."""

from __future__ import annotations

from .capture import PythonCapture
from .job import Callback, WorkerJob
from .pieces import OutputSplitter


class OutputStream:
    """What is kept of a stream, the pieces that it is cut into, and the callback that gets them."""

    def __init__(self, job: WorkerJob, callback: Callback | None) -> None:
        """Take the job, and its callback for this stream."""
        self.capture = PythonCapture(job.capture)
        self.splitter = OutputSplitter(job.stream)
        self.callback = callback

    def call(self, piece: object) -> object:
        """Call the callback with a piece, and return what it returns; None if there is no callback."""
        return None if self.callback is None else self.callback(piece)
