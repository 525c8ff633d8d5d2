"""The lines of a log that tell why a command failed."""

from __future__ import annotations

import gzip
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from .._command.job import STREAMS
from .._command.result import WorkerResult
from ._data import AttemptReport, LogExcerpt

_WINDOW = 256 * 1024
"""How much of the end of a log is looked at, in bytes."""
_LAST = 12
"""So many lines at its end are shown."""
_AROUND = 2
"""So many before and after one that holds a reported error, further up."""
_LONGEST = 500
"""Of a line that is longer, in characters, the rest is left out."""
_MOST_DIGITS = 20
_PIECE = 1 << 16
_SUFFIXES = (".gz", "", ".tail-before", ".tail")
"""The parts of a log in their order; those at the end are of one with a limit whose host was killed."""


def excerpts_of_attempt(folder: Path, chunk_id: int, attempt: AttemptReport) -> list[LogExcerpt]:
    """Return what the logs of an attempt say, in the folder of its run.

    Logs that are not there, or cannot be read, say nothing; one that is damaged, what can be read before that.
    """
    # How many digits the id has there depends on the highest one of the job.
    for digits in range(1, _MOST_DIGITS):
        stem = folder / f"chunk-{chunk_id:0{digits}}-attempt-{attempt.attempt}"
        paths = {stream: Path(f"{stem}-{stream}.log") for stream in STREAMS}
        found = [_excerpt(stream, str(path), b"".join(_end_of(path)), attempt.errors) for stream, path in paths.items()]
        if any(found):
            return [excerpt for excerpt in found if excerpt is not None]
    return []


def excerpts_of_result(result: WorkerResult, errors: Collection[str]) -> list[LogExcerpt]:
    """Return the same of what a result holds."""
    streams: dict[Literal["stdout", "stderr"], bytes] = {"stdout": result.stdout_bytes, "stderr": result.stderr_bytes}
    excerpts = [_excerpt(stream, None, data[-_WINDOW:], errors) for stream, data in streams.items()]
    return [excerpt for excerpt in excerpts if excerpt is not None]


def _end_of(path: Path) -> Iterator[bytes]:
    """Yield the last bytes, of a file that may grow meanwhile."""
    kept: deque[bytes] = deque()
    size = 0
    for suffix in _SUFFIXES:
        for piece in _pieces(Path(f"{path}{suffix}")):
            kept.append(piece)
            size += len(piece)
            while size - len(kept[0]) >= _WINDOW:
                size -= len(kept.popleft())
    yield from kept


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                while piece := packed.read(_PIECE):
                    yield piece
            return
        with path.open("rb") as log:
            log.seek(max(log.seek(0, 2) - _WINDOW, 0))
            # What is written from now on is not waited for.
            for _ in range(_WINDOW // _PIECE):
                if piece := log.read(_PIECE):
                    yield piece
    except (OSError, EOFError, zlib.error):
        # It is not there, or was cut.
        return


def _excerpt(
    stream: Literal["stdout", "stderr"], path: str | None, data: bytes, errors: Collection[str]
) -> LogExcerpt | None:
    text = data.decode(errors="replace")
    lines = [line for part in text.split("\n") if (line := part.rstrip("\r").rpartition("\r")[2].rstrip())]
    if not lines:
        return None
    # Renderers report errors line by line, so that the first line of a message is in the log.
    reported = [first for error in errors if (first := error.partition("\n")[0].strip())]
    marked = {place for place, line in enumerate(lines) if any(error in line for error in reported)}
    shown = set(range(max(len(lines) - _LAST, 0), len(lines)))
    for place in sorted(marked)[:_LAST]:
        shown.update(range(max(place - _AROUND, 0), min(place + _AROUND + 1, len(lines))))
    places = sorted(shown)
    return LogExcerpt(
        stream=stream,
        path=path,
        lines=tuple(lines[place][:_LONGEST] for place in places),
        marked=_indices(places, marked),
        gaps=tuple(index for index, place in enumerate(places) if place - (places[index - 1] if index else -1) > 1),
    )


def _indices(places: Sequence[int], wanted: Collection[int]) -> tuple[int, ...]:
    return tuple(index for index, place in enumerate(places) if place in wanted)
