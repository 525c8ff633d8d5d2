"""The time line of a run: which chunk ran in which slot, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from ._data import AttemptReport, MergeReport, RunReport
from ._markup import Markup, element, join
from ._plots import chart, percent
from ._quantities import clock, counted, duration, time_ticks

_MOST_LANES = 64
_MOST_BARS = 1500
"""With more of them, bars that are next to each other are drawn as one."""
_COLUMNS = 500
_AXIS = 22
_LETTER, _MARGIN = 6.5, 6.0
"""Pixels that a digit takes, and the space around a number."""
_WIDE, _NARROW = 950.0, 260.0
"""How wide the plot is on a screen and on a telephone, in pixels."""
_LEAST_SEAM = 0.006
"""The share of the width from which bars have a seam between them; narrower ones it would hide."""
_WORST_FIRST = ("failed", "retried", "unfinished", "running", "cancelled", "completed")


class Bar(NamedTuple):
    """An attempt, and the chunk that it is one at."""

    chunk_id: int
    attempt: AttemptReport


class _Lane(NamedTuple):
    name: str
    bars: Sequence[Bar]


def time_line(run: RunReport, bars: Iterable[Bar]) -> Markup:
    """Return the chart of a run, and below it what is left out of it, if anything is."""
    by_slot: defaultdict[int, list[Bar]] = defaultdict(list)
    count = 0
    for bar in bars:
        by_slot[bar.attempt.slot].append(bar)
        count += 1
    end = max(
        run.duration, *(bar.attempt.began + bar.attempt.duration for lane in by_slot.values() for bar in lane), 1e-3
    )
    lanes = [_Lane(f"slot {slot}", lane) for slot, lane in sorted(by_slot.items())[:_MOST_LANES]]
    height = 24 if len(lanes) <= 12 else 16 if len(lanes) <= 32 else 10
    rows: list[Markup] = []
    for place, lane in enumerate(lanes):
        draw = _single if count <= _MOST_BARS else _merged
        rows += draw(lane, place * height, height, end)
    bottom = len(lanes) * height
    if run.merge is not None:
        rows.append(_merge_bar(run.merge, bottom, height, end))
        bottom += height
    told = (
        f"Time line of {counted(count, 'attempt')} in {counted(len(by_slot), 'slot')} over {duration(end)}; the table"
        " of all chunks has the figures."
    )
    drawn = chart(
        join(_names(lanes, height, has_merge=run.merge is not None)),
        join([*_time_axis(end, bottom), *rows]),
        height=bottom + _AXIS,
        told=told,
    )
    if len(by_slot) <= _MOST_LANES:
        return drawn
    return join(
        [drawn, element("p", f"{counted(len(by_slot) - _MOST_LANES, 'further slot')} not shown.", class_="note")]
    )


def _names(lanes: Sequence[_Lane], height: int, *, has_merge: bool) -> Iterator[Markup]:
    every = 1 if height >= 16 else 4
    named = [lane.name if place % every == 0 else None for place, lane in enumerate(lanes)]
    for place, name in enumerate([*named, *(["merge"] if has_merge else [])]):
        if name is not None:
            yield element("text", name, x=58, y=str(place * height + height / 2 + 4), text_anchor="end")


def _time_axis(end: float, bottom: int) -> Iterator[Markup]:
    for tick in time_ticks(end, 6):
        x = percent(tick / end)
        yield element("line", x1=x, x2=x, y1=0, y2=bottom, class_="grid")
        anchor = "start" if tick == 0 else "end" if tick > 0.95 * end else "middle"
        yield element("text", clock(tick), x=x, y=bottom + 16, text_anchor=anchor)


def _single(lane: _Lane, top: int, height: int, end: float) -> Iterator[Markup]:
    for chunk_id, attempt in sorted(lane.bars, key=lambda bar: bar.attempt.state != "completed"):
        share = attempt.duration / end
        yield _rectangle(
            attempt.state,
            _tell(chunk_id, attempt),
            attempt.began / end,
            share,
            top,
            height,
            chunk_id,
        )
        room = _LETTER * len(str(chunk_id)) + _MARGIN
        if height >= 16 and share * _WIDE >= room:
            yield element(
                "text",
                chunk_id,
                x=percent((attempt.began + attempt.duration / 2) / end),
                y=str(top + height / 2 + 4),
                text_anchor="middle",
                class_="number" if share * _NARROW >= room else "number spacious",
                data_chunk=chunk_id,
            )


def _tell(chunk_id: int, attempt: AttemptReport) -> str:
    again = f", attempt {attempt.attempt}" if attempt.attempt > 1 else ""
    node = f" on {attempt.node}" if attempt.node else ""
    reason = f": {attempt.reason}" if attempt.reason else ""
    return f"chunk {chunk_id}{again}: {attempt.state}, {duration(attempt.duration)}{node}{reason}"


def _merged(lane: _Lane, top: int, height: int, end: float) -> Iterator[Markup]:
    """Yield bars of whole columns, each of the worst that happened in it."""
    columns: dict[int, str] = {}
    for _, attempt in lane.bars:
        first = int(attempt.began / end * (_COLUMNS - 1))
        last = int((attempt.began + attempt.duration) / end * (_COLUMNS - 1))
        for column in range(first, last + 1):
            columns[column] = min(columns.get(column, "completed"), attempt.state, key=_WORST_FIRST.index)
    numbered = enumerate(sorted(columns.items()))
    # Of columns that follow one another the difference stays the same.
    for (state, _), group in groupby(numbered, key=lambda one: (one[1][1], one[1][0] - one[0])):
        places = [column for _, (column, _) in group]
        told = f"{lane.name}: {state}"
        yield _rectangle(state, told, places[0] / _COLUMNS, len(places) / _COLUMNS, top, height)


def _merge_bar(merge: MergeReport, top: int, height: int, end: float) -> Markup:
    state = "merge" if merge.state == "completed" else merge.state
    return _rectangle(
        state, f"merge: {merge.state}, {duration(merge.duration)}", merge.began / end, merge.duration / end, top, height
    )


def _rectangle(
    kind: str, told: str, begin: float, share: float, top: int, height: int, chunk_id: int | None = None
) -> Markup:
    # What is too short to be seen would be missed, a failure above all.
    least = 0.0015 if kind == "completed" else 0.004
    return element(
        "rect",
        element("title", told),
        x=percent(begin),
        width=percent(max(share, least)),
        y=top + 2,
        height=height - 4,
        class_=f"{kind} seam" if share >= _LEAST_SEAM else kind,
        data_chunk=chunk_id,
    )
