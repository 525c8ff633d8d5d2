"""What a run of a job has done, kept on disk so that a later one need not do it again."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from .._errors import TailraceError
from .._spec.model import Chunk, JobSpec
from .artifacts import Record, recorded_frames
from .folder import FILE_NAME, VERSION, job_folder
from .inspection import Fingerprint
from .job_outputs import JobOutputs
from .running_job import RunningJob

_SYNC_DELAY = 0.5
"""How long a line may wait for its way to the disk, in seconds; the promise is one second."""

_to_json = json.JSONEncoder(separators=(",", ":")).encode


class CompletionRecord:
    """The record of one run of a job; as long as it is open, nobody else can run that, or what writes the same files.

    A journal of JSON lines that is only ever appended to: whenever the process ends, at most its last line is torn,
    which costs one chunk. All methods block; `add` may be called by several threads.
    """

    def __init__(
        self,
        spec: JobSpec,
        job_dir: Path,
        state_dir: str | os.PathLike[str] | None = None,
        *,
        run_id: str,
        stitched: str | os.PathLike[str] | None = None,
    ) -> None:
        """Only say where, for which run, and what else than the chunks' output is written; `open` does the work.

        `close` is allowed at any time.
        """
        self._spec = spec
        self._job_dir = job_dir
        self._run_id = run_id
        self._stitched = stitched
        self._folder = job_folder(job_dir, spec.id, state_dir)
        self._path = self._folder / FILE_NAME
        self._mutex = threading.Lock()
        self._running: RunningJob | None = None
        self._fd = -1
        self._is_closed = False
        self._begins_line = False
        self._timer: threading.Timer | None = None
        self._failure: OSError | None = None
        self._earlier: Record | None = None

    def open(self) -> None:
        """Take the job for this run.

        Raises `JobLockedError` if another run has it or one of its files, `TailraceError` if the record cannot be kept.
        """
        with self._mutex:
            if self._is_closed:
                return
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                outputs = JobOutputs.of(self._spec, self._job_dir, self._stitched)
                self._running = RunningJob(self._folder, self._spec.id, outputs)
                self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
                _sync_folder(self._folder)
            except OSError as error:
                raise TailraceError(
                    f"the record of the job cannot be kept in {self._folder}: {error.strerror}; state_dir (--state-dir)"
                    " keeps it in another folder, record=False (--no-record) keeps none"
                ) from error

    def begin(self, chunk: Chunk, frames: Sequence[int]) -> None:
        """Record that the files of these of its frames are from now on written by the chunk's command.

        It may end in the middle. Raises `TailraceError` as `add` does.
        """
        self._write(self._line(chunk, frames, {"begunAt": time.time()}))

    def written(self, chunk: Chunk) -> Collection[int]:
        """Return the frames whose files were written by the chunk's command as it is now, in earlier runs.

        Raises `TailraceError` if the record cannot be read.
        """
        if self._earlier is None:
            # Of this run some lines are in it already: they are of the same commands.
            self._earlier = Record(self._path)
        return self._earlier.written_frames(chunk).keys()

    def add(self, chunk: Chunk, outputs: Fingerprint | None) -> None:
        """Record that the chunk is completed, with its files as they are; None are files that are not seen here.

        Raises `TailraceError` if that, or the way of earlier lines to the disk, failed.
        """
        self._write(self._line(chunk, chunk.frames, {"outputs": outputs, "recordedAt": time.time()}))

    def _line(self, chunk: Chunk, frames: Sequence[int], what: Mapping[str, object]) -> bytes:
        entry: dict[str, object] = {
            "version": VERSION,
            "runId": self._run_id,
            "chunk": chunk.id,
            "command": chunk.command,
            "frames": recorded_frames(chunk, frames),
            "outputFile": chunk.output_file,
            **what,
        }
        if len(chunk.output_files) > 1:
            entry["outputFiles"] = chunk.output_files
        return _to_json(entry).encode() + b"\n"

    def close(self) -> None:
        """Bring what was added to the disk and let other runs in; raises `TailraceError` if the first failed."""
        with self._mutex:
            if self._is_closed:
                return
            self._is_closed = True
            timer, self._timer = self._timer, None
            try:
                with ExitStack() as stack:
                    if self._running is not None:
                        stack.callback(self._running.release)
                    if self._fd >= 0:
                        stack.callback(os.close, self._fd)
                    if timer is not None:
                        timer.cancel()
                        os.fsync(self._fd)
                    if self._failure is not None:
                        raise self._failure
            except OSError as error:
                raise self._cannot_be_written(error) from error

    def _write(self, line: bytes) -> None:
        """Append the line, unless the record is closed, and see to its way to the disk."""
        with self._mutex:
            if self._is_closed:
                return
            try:
                if self._failure is not None:
                    raise self._failure
                self._append(line)
            except OSError as error:
                raise self._cannot_be_written(error) from error
            if self._timer is None:
                self._timer = threading.Timer(_SYNC_DELAY, self._sync)
                self._timer.daemon = True
                self._timer.start()

    def _append(self, line: bytes) -> None:
        if not self._begins_line:
            # What a killed run left of its last line must not swallow the first one of this run.
            end = os.fstat(self._fd).st_size
            if end and os.pread(self._fd, 1, end - 1) != b"\n":
                line = b"\n" + line
        # False while it is being written: after a failure there may be half a line.
        self._begins_line = False
        while line:
            line = line[os.write(self._fd, line) :]
        self._begins_line = True

    def _sync(self) -> None:
        with self._mutex:
            if self._timer is None:
                return
            self._timer = None
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._failure = error

    def _cannot_be_written(self, error: OSError) -> TailraceError:
        return TailraceError(f"the record {self._path} cannot be written: {error.strerror}")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
