"""The table of all chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ._data import AttemptReport, ChunkReport, JobReportData
from ._markup import Markup, element
from ._quantities import clock, counted, duration, exit_status, size
from ._sections import section

_MOST_ROWS = 1000


class _Column(NamedTuple):
    heading: str
    cell: Callable[[ChunkReport, AttemptReport | None], Markup]
    is_text: bool = False


def chunk_table(data: JobReportData) -> Markup | None:
    """Return a table with a row for each chunk; of very many those that failed, were repeated, or took longest."""
    if not data.chunks:
        return None
    shown: Sequence[ChunkReport] = data.chunks
    about = f"{counted(data.total_chunks, 'chunk')}; figures are of the last attempt."
    if len(shown) > _MOST_ROWS:
        shown = sorted(sorted(shown, key=_importance)[:_MOST_ROWS], key=lambda chunk: chunk.chunk_id)
        about = (
            f"{_MOST_ROWS:,} of {counted(data.total_chunks, 'chunk')}: those that failed, then the repeated ones, then"
            " the slowest. The CSV has all."
        )
    elif len(shown) < data.total_chunks:
        about = (
            f"{about} {counted(data.total_chunks - len(shown), 'chunk')} never began, and the log does not name them."
        )
    columns = list(_columns(data))
    head = element("tr", [element("th", c.heading, scope="col", class_="text" if c.is_text else None) for c in columns])
    rows = [element("tr", [column.cell(chunk, chunk.last) for column in columns]) for chunk in shown]
    table = element("table", element("thead", head), element("tbody", rows))
    # It scrolls to the side, which needs a place for the keyboard's focus.
    scrolled = element("div", table, class_="table", tabindex=0, role="region", aria_label="Table of chunks")
    return section("chunks", "Chunks", element("p", about, class_="about"), scrolled)


def _importance(chunk: ChunkReport) -> tuple[bool, int, float]:
    last = chunk.last
    return chunk.state == "completed", -len(chunk.attempts), -(0 if last is None else last.duration)


def _columns(data: JobReportData) -> Iterator[_Column]:
    attempts = [attempt for chunk in data.chunks for attempt in chunk.attempts]
    yield _Column("Chunk", lambda chunk, _: _number(chunk.chunk_id, str(chunk.chunk_id)))
    yield _Column(
        "State",
        lambda chunk, _: element("td", element("span", _state(chunk), class_=f"state {chunk.state}"), class_="text"),
        True,
    )
    yield _Column("Attempts", lambda chunk, _: _number(len(chunk.attempts), str(len(chunk.attempts) or "")))
    if len(data.runs) > 1:
        yield _Column("Run", _of(lambda last: last.run + 1, str))
    yield _Column("Began", _of(lambda last: last.began, _clock))
    yield _Column("Took", _of(lambda last: last.duration, duration))
    yield _Column("Slot", _of(lambda last: last.slot, str))
    if any(attempt.node for attempt in attempts):
        yield _Column(
            "Machine", lambda _, last: element("td", None if last is None else last.node, class_="text"), True
        )
    yield _Column("Exit", _of(lambda last: last.exit_code, lambda code: exit_status(int(code))))
    yield _Column("Memory", _of(lambda last: last.memory, size))
    yield _Column("Processor time", _of(lambda last: last.cpu, duration))
    if data.frames:
        yield _Column("Frames", lambda chunk, _: _number(chunk.frames, str(chunk.frames)))
    if any(_remark(chunk) for chunk in data.chunks):
        yield _Column("Remarks", lambda chunk, _: element("td", _remark(chunk), class_="text wide"), True)


def _state(chunk: ChunkReport) -> str:
    return "done before" if chunk.state == "completed" and not chunk.attempts else chunk.state


def _remark(chunk: ChunkReport) -> str | None:
    """Return why it failed, else what its renderer reported though it did not, else why it was repeated."""
    last = chunk.last
    if chunk.reason is not None or last is None:
        return chunk.reason
    if last.errors:
        return f"reported: {last.errors[0]}"
    before = next((attempt for attempt in reversed(chunk.attempts) if attempt.reason is not None), None)
    return None if before is None else f"attempt {before.attempt}: {before.reason}"


def _clock(seconds: float) -> str:
    """Return when an attempt began, to the second."""
    return clock(int(seconds))


def _of(
    value: Callable[[AttemptReport], float | None], show: Callable[[float], str]
) -> Callable[[ChunkReport, AttemptReport | None], Markup]:
    """Return what makes the cell of a figure of the last attempt; it is empty where that is not known."""

    def cell(_: ChunkReport, last: AttemptReport | None) -> Markup:
        figure = None if last is None else value(last)
        return element("td") if figure is None else _number(figure, show(figure))

    return cell


def _number(value: float, text: str) -> Markup:
    return element("td", text, data_value=f"{value:.6g}" if isinstance(value, float) else value)
