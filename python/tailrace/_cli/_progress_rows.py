"""How far a job is, as rows of a screen."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from rich.cells import cell_len
from rich.filesize import decimal

from ._job_progress import JobProgress, RunningCommand
from ._quantities import clock, rough_time
from ._screen_region import Row
from ._stream_output import MERGE
from ._terminal_style import BOLD, DIM, GREEN, TerminalStyle
from ._terminal_text import latest_line

_GAP = "  "
_LEFT = " left"
_LONGEST_BAR = 30
_LEAST_LATEST = 12
"""Where there is less room for the latest line of a chunk, in cells, it is left out."""

_COLUMNS = ("label", "bar", "percent", "frame", "time", "memory")
_LEFT_OUT_FIRST = ("memory", "frame", "bar", "time", "percent")


class ProgressRows:
    """Draws the progress of a job: one row for all of it, and one for each chunk that runs.

    A column never gets narrower, so that nothing jumps.
    """

    def __init__(self, progress: JobProgress, style: TerminalStyle) -> None:
        self._progress = progress
        self._style = style
        self._name = ""
        self._widths = dict.fromkeys(_COLUMNS, 0)
        self._has_estimates = False
        self._frame_digits = 0

    def make(self, size: os.terminal_size, now: float) -> Sequence[Row]:
        """Return the rows for a terminal of that size; `now` is by the clock of the events' `monotonic`."""
        # The last column stays free: a cursor that has reached it stands between two rows.
        width = max(1, size.columns - 1)
        commands = sorted(self._progress.running.items(), key=lambda item: item[1].slot)
        if self._progress.merge is not None:
            commands = [(MERGE, self._progress.merge)]
        room = _most_rows(size.lines) - 1
        shown = commands if len(commands) <= room else commands[: max(0, room - 1)]
        described = [(chunk_id, command, self._describe(chunk_id, command, now)) for chunk_id, command in shown]
        self._widen(width, [cells for _, _, cells in described])
        columns = self._columns_within(width)
        rows = [self._overall_row(width, now)]
        rows += [self._row(chunk_id, command, cells, columns, width) for chunk_id, command, cells in described]
        if shown is not commands and room > 0:
            more = f"{len(commands) - len(shown)} running"
            if shown:
                more = f"{self._style.ellipsis} and {len(commands) - len(shown)} more running"
            rows.append(self._to_row([(more, DIM)], width))
        return rows

    def _describe(self, chunk_id: int, command: RunningCommand, now: float) -> dict[str, str]:
        """Return what there is to say in the columns but for the bar, empty where nothing is known."""
        progress, remaining = command.progress, command.remaining(now)
        frame = memory = percent = ""
        if progress is not None:
            if progress.frame is not None:
                self._frame_digits = max(self._frame_digits, len(str(progress.frame)))
                frame = f"frame {progress.frame:{self._frame_digits}}"
            memory = "" if progress.memory is None else decimal(progress.memory)
            percent = "" if progress.fraction is None else _percent(progress.fraction)
        self._has_estimates |= remaining is not None
        if remaining is not None:
            time = clock(math.ceil(remaining)) + _LEFT
        else:
            time = clock(now - command.started) + " " * len(_LEFT) * self._has_estimates
        label = "merge" if chunk_id == MERGE else f"chunk {chunk_id}"
        return {"label": label, "percent": percent, "frame": frame, "time": time, "memory": memory}

    def _widen(self, width: int, rows: Sequence[dict[str, str]]) -> None:
        for row in rows:
            for column, text in row.items():
                self._widths[column] = max(self._widths[column], len(text))
        self._name = self._name or _plain(self._progress.job_id)
        name = min(cell_len(self._name), width // 6)
        self._widths["label"] = max(self._widths["label"], len("merge"), name)
        # There is nothing to draw before a chunk has told how far it is.
        self._widths["bar"] = min(max(width // 6, 5), _LONGEST_BAR) if self._widths["percent"] else 0

    def _columns_within(self, width: int) -> list[str]:
        columns = [column for column in _COLUMNS if self._widths[column]]
        for column in _LEFT_OUT_FIRST:
            if sum(self._widths[column] + len(_GAP) for column in columns) - len(_GAP) <= width:
                break
            if column in columns:
                columns.remove(column)
        return columns

    def _row(
        self, chunk_id: int, command: RunningCommand, cells: dict[str, str], columns: Sequence[str], width: int
    ) -> Row:
        style = self._style
        parts = []
        room = width
        for column in columns:
            cell = min(self._widths[column], room)
            if column == "label":
                parts.append((style.fit(cells["label"], cell), style.colour_of(chunk_id)))
            elif column == "bar" and command.fraction is not None:
                parts += style.bar(command.fraction, cell, style.colour_of(chunk_id))
            else:
                parts.append((cells.get(column, "").rjust(cell), ""))
            parts.append((_GAP, ""))
            room -= cell + len(_GAP)
        if room >= _LEAST_LATEST:
            latest = latest_line(command.tail) or _plain(command.progress.status if command.progress else None)
            parts.append((style.fit(latest.lstrip(), room), DIM))
        return self._to_row(parts, width)

    def _overall_row(self, width: int, now: float) -> Row:
        progress, style = self._progress, self._style
        label = self._widths["label"]
        bar = min(max(width // 6, 5), _LONGEST_BAR)
        parts = [(style.fit(self._name, label), BOLD), (_GAP, "")]
        if label + bar + len(_GAP) + _LEAST_LATEST <= width:
            parts += [*style.bar(progress.fraction, bar, GREEN), (_GAP, "")]
        parts += [(_percent(progress.fraction), BOLD), (_GAP, "")]
        counts = f"{progress.completed} of {progress.total} chunk{'s' * (progress.total != 1)}"
        if progress.failed:
            counts += f", {progress.failed} failed"
        if progress.retrying:
            counts += f", {len(progress.retrying)} to retry"
        times = clock(now - progress.started)
        remaining = progress.remaining(now)
        if remaining is not None:
            times += f", about {rough_time(remaining)} left"
        room = width - sum(cell_len(text) for text, _ in parts)
        parts.append((style.fit(f"{counts}{_GAP}{times}", max(0, room)), ""))
        return self._to_row(parts, width)

    def _to_row(self, parts: Sequence[tuple[str, str]], width: int) -> Row:
        painted = ""
        used = 0
        for text, colour in parts:
            shown = text if used + cell_len(text) <= width else self._style.fit(text, width - used)
            painted += self._style.paint(shown, colour)
            used += cell_len(shown)
        return Row(self._style.encode(painted), used)


def _most_rows(lines: int) -> int:
    """Return how many of a terminal's lines may be taken; the others are for the output, and one for the cursor."""
    return max(1, lines - 1 - max(2, lines // 5))


def _percent(fraction: float) -> str:
    # 100 % is what is done, not what is nearly done.
    return f"{int(min(max(fraction, 0), 1) * 100):3}%"


def _plain(text: str | None) -> str:
    return latest_line((text or "").encode(errors="replace"))
