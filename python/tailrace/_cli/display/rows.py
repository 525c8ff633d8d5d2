"""How far a job is, as rows of a screen."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from rich.cells import cell_len

from tailrace import JobState, RunningCommand

from ..phrases import counted
from .lines import MERGE
from .message import frames_done
from .region import Row
from .style import BOLD, DIM, GREEN, TerminalStyle
from .text import clock, latest_line, rough_time, size

_GAP = "  "
_LEFT = " left"
_LONGEST_BAR = 30
_LEAST_LATEST = 12
"""Where there is less room for the latest line of a chunk, in cells, it is left out."""

_COLUMNS = {
    "label": len("merge"),
    "bar": 0,
    "percent": len("100%"),
    "elapsed": len("10:00"),
    "left": len("10:00 left"),
    "frame": len("frame 100"),
    "memory": len("100.0 MiB"),
}
"""In their order, with the least width of each, but for the bar's, which depends on that of the terminal."""
_ALWAYS_KNOWN = ("label", "bar", "percent", "elapsed")
_LEFT_OUT_FIRST = ("frame", "bar", "elapsed", "left", "percent")
"""The memory goes before all of these, to make room for the latest line."""


class ProgressRows:
    """Draws the progress of a job: one row for all of it, and one for each chunk that runs.

    The rows are in the order of the slots and so stay where they are, and no column moves or gets narrower: nothing
    jumps. Of a chunk that has told nothing yet the latest line takes the place of what it may tell.
    """

    def __init__(self, state: JobState, style: TerminalStyle) -> None:
        self._state = state
        self._style = style
        self._name = ""
        self._widths = dict(_COLUMNS)
        self._knows_memory = False

    def make(self, size: os.terminal_size, now: float) -> Sequence[Row]:
        """Return the rows for a terminal of that size; `now` is by the clock of the events' `monotonic`."""
        # The last column stays free: a cursor that has reached it stands between two rows.
        width = max(1, size.columns - 1)
        commands = sorted(self._state.running.items(), key=lambda item: item[1].slot)
        if (merge := self._state.merge) is not None and merge.command is not None:
            commands = [(MERGE, merge.command)]
        room = _most_rows(size.lines) - 1
        waiting = self._waiting(now) if room > 1 else ""
        if waiting:
            room -= 1
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
        if waiting:
            rows.append(self._to_row([(waiting, DIM)], width))
        return rows

    def _waiting(self, now: float) -> str:
        """Return what there is to say of the chunks that wait for their next attempt, or nothing if none does."""
        waiting = self._state.waiting
        if not waiting:
            return ""
        first = min(waiting, key=lambda chunk_id: waiting[chunk_id])
        seconds = math.ceil(waiting[first] - now)
        when = f"in {clock(seconds)}" if seconds > 0 else "as soon as another ends"
        if len(waiting) == 1:
            return f"chunk {first}{_GAP}next attempt {when}"
        return f"{len(waiting)} chunks wait for their next attempt{_GAP}chunk {first} {when}"

    def _describe(self, chunk_id: int, command: RunningCommand, now: float) -> dict[str, str]:
        """Return what there is to say in the columns but for the bar, empty where nothing is known."""
        progress, remaining = command.progress, command.remaining(now)
        frame = percent = ""
        if progress is not None:
            if progress.frame is not None:
                frame = f"frame {progress.frame}"
            percent = "" if progress.fraction is None else _percent(progress.fraction)
        chunk = self._state.chunks.get(chunk_id)
        if chunk is not None and chunk.frames > 1:
            digits = len(str(chunk.frames))
            frame = f"{chunk.frames_done:{digits}} of {chunk.frames} frames"
        return {
            "label": "merge" if chunk_id == MERGE else f"chunk {chunk_id}",
            "percent": percent,
            "frame": frame,
            "elapsed": clock(now - command.started),
            "left": "" if remaining is None else clock(math.ceil(remaining)) + _LEFT,
            "memory": "" if command.memory is None else size(command.memory),
        }

    def _widen(self, width: int, rows: Sequence[dict[str, str]]) -> None:
        for row in rows:
            self._knows_memory |= bool(row["memory"])
            for column, text in row.items():
                self._widths[column] = max(self._widths[column], len(text))
        self._name = self._name or _plain(self._state.job_id)
        self._widths["label"] = max(self._widths["label"], min(cell_len(self._name), width // 6))
        self._widths["bar"] = min(max(width // 6, 5), _LONGEST_BAR)

    def _columns_within(self, width: int) -> list[str]:
        columns = list(_COLUMNS)
        if self._width_of(columns) + len(_GAP) + _LEAST_LATEST > width:
            columns.remove("memory")
        for column in _LEFT_OUT_FIRST:
            if self._width_of(columns) <= width:
                break
            columns.remove(column)
        return columns

    def _first_columns(self, columns: Sequence[str], width: int) -> list[str]:
        """Return the columns of a command that has told nothing yet."""
        first = [column for column in columns if column in _ALWAYS_KNOWN]
        with_memory = [*first, "memory"] if self._knows_memory else first
        has_room = self._width_of(with_memory) + len(_GAP) + _LEAST_LATEST <= width
        return with_memory if has_room else first

    def _width_of(self, columns: Sequence[str]) -> int:
        return sum(self._widths[column] + len(_GAP) for column in columns) - len(_GAP)

    def _row(
        self, chunk_id: int, command: RunningCommand, cells: dict[str, str], columns: Sequence[str], width: int
    ) -> Row:
        style = self._style
        parts = []
        room = width
        if command.progress is None:
            columns = self._first_columns(columns, width)
        for column in columns:
            cell = min(self._widths[column], room)
            if column == "label":
                parts.append((style.fit(cells["label"], cell), style.colour_of(chunk_id)))
            elif column == "bar":
                parts += style.bar(command.fraction or 0, cell, style.colour_of(chunk_id))
            else:
                parts.append((cells.get(column, "").rjust(cell), ""))
            parts.append((_GAP, ""))
            room -= cell + len(_GAP)
        if room >= _LEAST_LATEST:
            parts.append((style.fit(_latest(command), room), DIM))
        return self._to_row(parts, width)

    def _overall_row(self, width: int, now: float) -> Row:
        progress, style = self._state.progress, self._style
        label = self._widths["label"]
        bar = self._widths["bar"]
        parts = [(style.fit(self._name, label), BOLD), (_GAP, "")]
        if label + bar + len(_GAP) + _LEAST_LATEST <= width:
            parts += [*style.bar(progress, bar, GREEN), (_GAP, "")]
        parts += [(_percent(progress), BOLD), (_GAP, "")]
        room = max(0, width - sum(cell_len(text) for text, _ in parts))
        texts = self._overall_texts(now)
        parts.append((style.fit(next((text for text in texts if len(text) <= room), texts[-1]), room), ""))
        return self._to_row(parts, width)

    def _overall_texts(self, now: float) -> list[str]:
        """Return the numbers of chunks and the times, the longest form first."""
        state = self._state
        failed = f", {state.failed} failed" if state.failed else ""
        short = f"{state.done}/{state.total}{failed}"
        long = f"{state.done} of {counted(state.total, 'chunk')}{failed}"
        forms = [*(f"{long}, {frames}" for frames in frames_done(state)), long, short]
        elapsed = clock(0 if state.started is None else now - state.started)
        remaining = state.remaining(now)
        if remaining is None:
            return [f"{counts}{_GAP}{elapsed}" for counts in forms]
        left = f"{rough_time(remaining)}{_LEFT}"
        return [*(f"{counts}{_GAP}{elapsed}, about {left}" for counts in forms), f"{short}{_GAP}{left}"]

    def _to_row(self, parts: Sequence[tuple[str, str]], width: int) -> Row:
        painted = ""
        used = 0
        for text, colour in parts:
            text = self._style.drawable(text)
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


def _latest(command: RunningCommand) -> str:
    """Return what a command is doing: in its renderer's words where they are understood, else its latest line."""
    progress = command.progress
    status = "" if progress is None or progress.renderer == "generic" else _plain(progress.status)
    return (status or latest_line(command.tail)).lstrip()


def _plain(text: str | None) -> str:
    return latest_line((text or "").encode(errors="replace"))
