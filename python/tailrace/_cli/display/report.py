"""What is told of a job when it is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from tailrace import ChunkFailedError, ChunkState, JobState

from ..phrases import counted
from .message import frames_done
from .style import BOLD, DIM, RED, TerminalStyle
from .text import clock, latest_line, size

_PATIENCE = 1.0
"""How long the disk with the logs may take to list them, in seconds."""
_MOST_ROWS = 20
_MOST_FAILURES = 3
_MOST_LINES = 10
_LONGEST_LINE = 500
"""Of a line that is longer, in characters, the rest is left out."""

_HEADINGS = ("chunk", "attempts", "duration", "peak memory", "exit")


def summary_line(state: JobState, duration: float, *, interrupted: bool) -> str:
    """Return how the job went, in one line; `duration` is in seconds."""
    failed = sorted(chunk.chunk_id for chunk in state.chunks.values() if chunk.status == "failed")
    doubtful = sum(chunk.status == "completed" and chunk.reported_errors > 0 for chunk in state.chunks.values())
    parts = [f"{counted(state.completed, 'chunk')} done{f' ({doubtful} with errors)' if doubtful else ''}"]
    if state.done_before:
        parts.append(f"{state.done_before} done before")
    if failed:
        parts.append(f"{len(failed)} failed ({', '.join(map(str, failed))})")
    if state.skipped:
        parts.append(f"{state.skipped} skipped for {'it' if len(failed) == 1 else 'them'}")
    if state.retries:
        parts.append("1 retry" if state.retries == 1 else f"{state.retries} retries")
    if state.merge is not None:
        parts.append("merged" if state.merge.status == "completed" else "not merged")
    if state.incomplete_logs:
        parts.append(f"{counted(len(state.incomplete_logs), 'log')} incomplete")
    if interrupted:
        parts.append("interrupted")
    return ", ".join([*parts, *frames_done(state), f"{duration:.1f} s"])


def summary_table(chunks: Sequence[ChunkState], style: TerminalStyle, *, not_run: int) -> Iterator[str]:
    """Yield the lines of a table of how the chunks ended; `not_run` is how many were never started.

    Of many chunks only some are in it: those that failed, those with several attempts, and the slowest.
    """
    shown = chunks
    if len(chunks) > _MOST_ROWS:
        shown = sorted(chunks, key=_importance)[:_MOST_ROWS]
        yield style.paint("those that failed, then those that were retried, then the slowest:", DIM)
    rows = [_cells(chunk) for chunk in shown]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    yield style.paint(_join(_HEADINGS, widths), BOLD)
    for chunk, row in zip(shown, rows, strict=True):
        yield style.paint(_join(row, widths), RED if chunk.status == "failed" else "")
    if len(shown) < len(chunks):
        yield style.paint(f"{style.ellipsis} and {len(chunks) - len(shown)} more", DIM)
    if not_run:
        yield style.paint(f"{not_run} chunk{'s' * (not_run != 1)} not run", DIM)


def failure_report(
    chunks: Sequence[ChunkState],
    errors: Mapping[int, ChunkFailedError],
    command_for: Callable[[int], str] | None,
    log_dir: Path | None,
) -> Iterator[Sequence[str]]:
    """Yield what there is to know about each chunk that failed, as lines; of many chunks only about the first.

    `errors` are those of the chunks that failed, by id. `command_for` gives the command that runs a chunk alone,
    `log_dir` is the folder of the log files.
    """
    failed = [chunk for chunk in chunks if chunk.chunk_id in errors]
    for chunk in failed[:_MOST_FAILURES]:
        lines = list(_describe_failure(chunk, errors[chunk.chunk_id]))
        if log_dir is not None:
            lines += [
                f"{'stderr' if '-stderr.log' in path.name else 'stdout'} log of chunk {chunk.chunk_id}: {path}"
                for path in _logs_of(chunk, log_dir)
            ]
        if lines:
            yield lines
    if len(failed) > _MOST_FAILURES:
        yield [f"and {len(failed) - _MOST_FAILURES} more failed"]
    if failed and command_for is not None:
        yield [
            f"to run chunk {chunk.chunk_id} alone: {command_for(chunk.chunk_id)}" for chunk in failed[:_MOST_FAILURES]
        ]


def error_report(chunks: Sequence[ChunkState]) -> list[str]:
    """Return a line on each chunk that is done though its renderer reported errors; of many chunks on the first."""
    doubtful = [chunk for chunk in chunks if chunk.status == "completed" and chunk.reported_error is not None]
    lines = []
    for chunk in sorted(doubtful, key=lambda chunk: not chunk.has_fatal_error)[:_MOST_FAILURES]:
        others = f" (and {counted(chunk.reported_errors - 1, 'other error')})" if chunk.reported_errors > 1 else ""
        reported = latest_line((chunk.reported_error or "").encode(errors="replace")).lstrip()
        lines.append(f"chunk {chunk.chunk_id} is done, and reported: {reported}{others}")
    if len(doubtful) > _MOST_FAILURES:
        lines.append(f"and {counted(len(doubtful) - _MOST_FAILURES, 'other chunk')} reported errors")
    return lines


def _importance(chunk: ChunkState) -> tuple[bool, bool, float]:
    return chunk.status != "failed", chunk.attempts == 1, -(chunk.duration or 0)


def _cells(chunk: ChunkState) -> tuple[str, ...]:
    seconds = chunk.duration or 0
    return (
        str(chunk.chunk_id),
        str(chunk.attempts),
        f"{seconds:.1f} s" if seconds < 60 else clock(seconds),
        "-" if chunk.memory is None else size(chunk.memory),
        _exit(chunk),
    )


def _exit(chunk: ChunkState) -> str:
    """Return the exit status, or in a word what happened instead."""
    match chunk.ending:
        case "exit":
            return _status(chunk.exit_code or 0)
        case "error":
            return "failed"
        case (
            "progress timeout"
            | "idle timeout"
            | "cpu timeout"
            | "timeout"
            | "not started"
            | "not retried"
            | "cancelled"
        ):
            return chunk.ending
    return "running"


def _status(exit_code: int) -> str:
    try:
        return str(exit_code) if exit_code >= 0 else signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    *numbers, last = cells
    return "  ".join([*(cell.rjust(width) for cell, width in zip(numbers, widths, strict=False)), last])


def _describe_failure(chunk: ChunkState, error: ChunkFailedError) -> Iterator[str]:
    # The reason has been told when it came.
    if chunk.reported_error is not None and chunk.reported_error not in str(error):
        reported = latest_line(chunk.reported_error.encode(errors="replace")).lstrip()
        yield f"chunk {chunk.chunk_id} reported: {reported}"
    result = error.result
    if result is None:
        return
    streams = {"stdout": _last_lines(result.stdout_bytes), "stderr": _last_lines(result.stderr_bytes)}
    written = {name: lines for name, lines in streams.items() if lines}
    for name, lines in written.items():
        yield f"the last lines of chunk {chunk.chunk_id} on {name}:"
        for line in lines[-(_MOST_LINES // len(written)) :]:
            yield f"  {line}"


def _logs_of(chunk: ChunkState, log_dir: Path) -> list[Path]:
    # How many digits the chunk's id has there depends on the job.
    found = _files_within(_PATIENCE, log_dir, f"chunk-*-attempt-{chunk.attempts}-std*.log*")
    return sorted(path for path in found if int(path.name.split("-")[1]) == chunk.chunk_id)


def _files_within(seconds: float, folder: Path, pattern: str) -> list[Path]:
    """Return the files that match, none if that takes longer: the folder's disk may never answer."""
    found: SimpleQueue[list[Path]] = SimpleQueue()
    look = threading.Thread(target=lambda: found.put(list(folder.glob(pattern))), name="tailrace-disk", daemon=True)
    try:
        look.start()
        return found.get(timeout=seconds)
    except (RuntimeError, Empty):
        return []


def _last_lines(output: bytes) -> list[str]:
    """Return the last lines that are not blank, as a terminal shows them."""
    lines = [latest_line(line) for line in output.split(b"\n")[-10 * _MOST_LINES :]]
    return [line[:_LONGEST_LINE] for line in lines if line][-_MOST_LINES:]
