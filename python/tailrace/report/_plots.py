"""Charts in SVG as wide as there is room: places across are percentages, so that text and dots keep their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from ._markup import Markup, element, join
from ._quantities import ticks

_HEIGHT = 170
_TOP, _BOTTOM = 14, 22
"""Pixels above the highest value, for its label, and below 0, for the axis."""
_MOST_DOTS = 1500
"""Of more values, those between the outliers are drawn as columns."""
_COLUMNS = 240
_MOST_OUTLIERS = 300
_MOST_LABELS = 3
_LEAST_VALUES = 5
"""Of fewer nobody can say what is usual."""
_FAR = 5.0
_LEAST_SPREAD = 0.1
"""Values that lie closely together are no outliers for a tenth of their size."""
_LEAST_HEIGHT = 18
_LEAST_SHARE = 0.5
"""A point is named if it is so many pixels above or below the median, and at least so far as the farthest one; among
others the name could not be read."""
_DOT, _DIGIT = 4.0, 2.5
"""How many percent of the width a dot and a digit of its number take on a narrow screen."""


class Point(NamedTuple):
    """A value of a chunk or a frame."""

    number: int
    value: float
    is_bad: bool = False
    """Whether it failed, or is damaged or odd."""
    chunk_id: int | None = None


class Outliers(NamedTuple):
    """What is usual among values, and what is not."""

    usual: float | None
    """The median."""
    points: Sequence[Point]
    """Farthest from it first."""


def find_outliers(points: Sequence[Point]) -> Outliers:
    """Return those that are further from the median than five times what would be the standard deviation without them.

    That is 1.4826 times the median distance (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993).
    """
    if not points:
        return Outliers(None, ())
    middle = median(point.value for point in points)
    if len(points) < _LEAST_VALUES:
        return Outliers(middle, ())
    spread = 1.4826 * median(abs(point.value - middle) for point in points)
    limit = _FAR * max(spread, _LEAST_SPREAD * middle)
    far = [point for point in points if abs(point.value - middle) > limit]
    return Outliers(middle, sorted(far, key=lambda point: -abs(point.value - middle)))


def scatter(
    points: Sequence[Point],
    *,
    noun: str,
    told: str,
    show: Callable[[float], str],
    count: Callable[[float, int], list[float]] = ticks,
) -> Markup:
    """Return a chart of values by the number of their chunk or frame (`noun`), outliers marked and named.

    `told` is what a screen reader says of it, `show` makes text of a value, `count` the marks of its axis.
    """
    outliers = find_outliers(points)
    scale = _Scale(points, count)
    parts = [
        *_grid(scale, outliers.usual),
        *_dots(points, outliers.points, scale, noun, show),
        *_labels(outliers, scale),
    ]
    axis = [element("text", show(tick), x=58, y=str(scale.y(tick) + 4), text_anchor="end") for tick in scale.ticks]
    return chart(join(axis), join([*parts, *_number_axis(scale)]), height=_HEIGHT, told=told)


def chart(axis: Markup, plot: Markup, *, height: int, told: str) -> Markup:
    """Return the labels of an axis, 64 pixels wide, beside a plot that takes the room that there is."""
    return element(
        "div",
        element("svg", axis, class_="axis", width=64, height=height, aria_hidden="true"),
        element("svg", plot, class_="plot", width="100%", height=height, aria_hidden="true"),
        class_="chart",
        role="img",
        aria_label=told,
    )


def percent(share: float) -> str:
    """Return a share of the width, as an attribute."""
    return f"{100 * share:.2f}%"


class _Scale:
    def __init__(self, points: Sequence[Point], count: Callable[[float, int], list[float]]) -> None:
        self.first = min(point.number for point in points)
        self.last = max(point.number for point in points)
        self.ticks = count(max(point.value for point in points), 4)

    def x(self, number: float) -> float:
        """Return a share of the width; dots at the ends are not cut."""
        return 0.01 + 0.98 * (number - self.first) / ((self.last - self.first) or 1)

    def y(self, value: float) -> float:
        share = value / self.ticks[-1]
        return round(_TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _grid(scale: _Scale, usual: float | None) -> Iterator[Markup]:
    for tick in scale.ticks:
        yield element("line", x1="0", x2="100%", y1=str(scale.y(tick)), y2=str(scale.y(tick)), class_="grid")
    if usual is not None:
        yield element("line", x1="0", x2="100%", y1=str(scale.y(usual)), y2=str(scale.y(usual)), class_="usual")


def _dots(
    points: Sequence[Point], outliers: Sequence[Point], scale: _Scale, noun: str, show: Callable[[float], str]
) -> Iterator[Markup]:
    far = set(outliers[:_MOST_OUTLIERS])
    others = points
    if len(points) > _MOST_DOTS:
        yield from _columns(points, scale)
        others = outliers[:_MOST_OUTLIERS]
    # The outliers come last, above the others.
    for point in sorted(others, key=lambda point: point in far):
        kind = "bad" if point.is_bad else "far" if point in far else "dot"
        yield element(
            "circle",
            element("title", f"{noun} {point.number}: {show(point.value)}"),
            cx=percent(scale.x(point.number)),
            cy=str(scale.y(point.value)),
            r=4 if kind != "dot" else 3,
            class_=kind,
            data_chunk=point.chunk_id,
        )


def _columns(points: Iterable[Point], scale: _Scale) -> Iterator[Markup]:
    """Yield of each of many narrow columns a line from the least to the largest value."""
    ranges: dict[int, tuple[float, float]] = {}
    for point in points:
        column = round(scale.x(point.number) * _COLUMNS)
        least, most = ranges.get(column, (point.value, point.value))
        ranges[column] = min(least, point.value), max(most, point.value)
    for column, (least, most) in sorted(ranges.items()):
        top, bottom = scale.y(most), scale.y(least)
        x = percent(column / _COLUMNS)
        yield element("line", x1=x, x2=x, y1=str(top - 1), y2=str(bottom + 1), class_="column")


def _labels(outliers: Outliers, scale: _Scale) -> Iterator[Markup]:
    taken: list[float] = []
    middle = scale.y(outliers.usual or 0)
    highest = max((abs(scale.y(point.value) - middle) for point in outliers.points), default=0)
    room = _DOT + _DIGIT * len(str(scale.last))
    for point in outliers.points:
        x = 100 * scale.x(point.number)
        if len(taken) == _MOST_LABELS:
            return
        y = scale.y(point.value)
        height = abs(y - middle)
        if height > max(_LEAST_HEIGHT, _LEAST_SHARE * highest) and all(abs(x - other) > room for other in taken):
            taken.append(x)
            is_right = x + room > 100
            yield element(
                "text",
                point.number,
                x=percent(x / 100),
                dx=-8 if is_right else 8,
                y=str(y + 4),
                text_anchor="end" if is_right else "start",
                class_="name",
            )


def _number_axis(scale: _Scale) -> Iterator[Markup]:
    numbers = sorted(
        {scale.first, scale.last, *(round(scale.first + (scale.last - scale.first) * n / 4) for n in (1, 2, 3))}
    )
    for number in numbers:
        anchor = "start" if number == scale.first else "end" if number == scale.last else "middle"
        yield element("text", number, x=percent(scale.x(number)), y=_HEIGHT - 4, text_anchor=anchor)
