"""What is told of a job when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tailrace._concurrency.disk_threads import within

from ..._events.outcomes import ChunkOutcome
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


def summary_table(outcomes: Sequence[ChunkOutcome], style: TerminalStyle, *, not_run: int) -> Iterator[str]:
    """Yield the lines of a table of how the chunks ended; `not_run` is how many were never started.

    Of many chunks only some are in it: those that failed, those with several attempts, and the slowest.
    """
    shown = outcomes
    if len(outcomes) > _MOST_ROWS:
        shown = sorted(outcomes, key=_importance)[:_MOST_ROWS]
        yield style.paint("those that failed, then those that were retried, then the slowest:", DIM)
    rows = [_cells(outcome) for outcome in shown]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    yield style.paint(_join(_HEADINGS, widths), BOLD)
    for outcome, row in zip(shown, rows, strict=True):
        yield style.paint(_join(row, widths), RED if outcome.has_failed else "")
    if len(shown) < len(outcomes):
        yield style.paint(f"{style.ellipsis} and {len(outcomes) - len(shown)} more", DIM)
    if not_run:
        yield style.paint(f"{not_run} chunk{'s' * (not_run != 1)} not run", DIM)


def failure_report(
    outcomes: Sequence[ChunkOutcome], command_for: Callable[[int], str] | None, log_dir: Path | None
) -> Iterator[Sequence[str]]:
    """Yield what there is to know about each chunk that failed, as lines; of many chunks only about the first.

    `command_for` gives the command that runs a chunk alone, `log_dir` is the folder of the log files.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed[:_MOST_FAILURES]:
        lines = list(_describe_failure(outcome))
        if log_dir is not None:
            lines += [f"log of chunk {outcome.chunk_id}: {path}" for path in _logs_of(outcome, log_dir)]
        if lines:
            yield lines
    if len(failed) > _MOST_FAILURES:
        yield [f"and {len(failed) - _MOST_FAILURES} more failed"]
    if failed and command_for is not None:
        yield [
            f"to run chunk {outcome.chunk_id} alone: {command_for(outcome.chunk_id)}"
            for outcome in failed[:_MOST_FAILURES]
        ]


def _importance(outcome: ChunkOutcome) -> tuple[bool, bool, float]:
    return not outcome.has_failed, outcome.attempts == 1, -(outcome.duration or 0)


def _cells(outcome: ChunkOutcome) -> tuple[str, ...]:
    seconds = outcome.duration or 0
    return (
        str(outcome.chunk_id),
        str(outcome.attempts),
        f"{seconds:.1f} s" if seconds < 60 else clock(seconds),
        "-" if outcome.memory is None else size(outcome.memory),
        outcome.exit,
    )


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    *numbers, last = cells
    return "  ".join([*(cell.rjust(width) for cell, width in zip(numbers, widths, strict=False)), last])


def _describe_failure(outcome: ChunkOutcome) -> Iterator[str]:
    assert outcome.error is not None  # noqa: S101 - the caller has chosen those.
    # The reason has been told when it came.
    if outcome.reported is not None and outcome.reported not in str(outcome.error):
        yield f"chunk {outcome.chunk_id} reported: {latest_line(outcome.reported.encode(errors='replace')).lstrip()}"
    result = outcome.error.result
    if result is None:
        return
    streams = {"stdout": _last_lines(result.stdout_bytes), "stderr": _last_lines(result.stderr_bytes)}
    written = {name: lines for name, lines in streams.items() if lines}
    for name, lines in written.items():
        yield f"the last lines of chunk {outcome.chunk_id} on {name}:"
        for line in lines[-(_MOST_LINES // len(written)) :]:
            yield f"  {line}"


def _logs_of(outcome: ChunkOutcome, log_dir: Path) -> list[Path]:
    # How many digits the chunk's id has there depends on the job.
    pattern = f"chunk-*-attempt-{outcome.attempts}-std*.log*"
    found: list[Path] = within(_PATIENCE, lambda: list(log_dir.glob(pattern)), [])
    return sorted(path for path in found if int(path.name.split("-")[1]) == outcome.chunk_id)


def _last_lines(output: bytes) -> list[str]:
    """Return the last lines that are not blank, as a terminal shows them."""
    lines = [latest_line(line) for line in output.split(b"\n")[-10 * _MOST_LINES :]]
    return [line[:_LONGEST_LINE] for line in lines if line][-_MOST_LINES:]
