"""What is odd about a picture, by itself and beside others of its sequence."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from .kinds import SUFFIXES_OF_FORMATS
from .names import frame_in_name, sequence_of, suffix_of
from .result import FlatTile, FrameCheck, FrameStats

_DIGITS = re.compile(r"\d+")
_LEAST_FRAMES = 3
"""Fewer frames are no sequence that one could be unlike."""
_MOST_ODD = 1 / 3
"""How many frames may be unlike the rest and still be odd ones."""
_MOST_REPEATED = 0.1
"""How many frames may be like the one before by mistake; animation on twos has half of them so."""
_LEAST_CHANGE = 0.2
"""By how much a frame's mean brightness has to be beside its neighbours', as a part of the brightest of the three."""
_LEAST_RATIO = 6.0
"""How many times as large as the usual change that has to be, and the difference between the neighbours."""
_WINDOW = 8
"""The frames before and after whose changes are the usual ones."""
_LEAST_TILE = 32
"""Pixels: a smaller tile of one value that is not black may be anything."""


class Oddity(NamedTuple):
    """What is odd about a frame, to be read after its file's name."""

    frame: int
    reason: str


class _Picture(NamedTuple):
    frame: int
    check: FrameCheck
    stats: FrameStats


def look_alone(check: FrameCheck) -> tuple[str, ...]:
    """Return what is odd about a picture by itself."""
    return tuple(_alone(check, check.stats))


def _alone(check: FrameCheck, stats: FrameStats | None) -> Iterator[str]:
    suffix = suffix_of(check.path)
    if check.kind == "picture" and check.format is not None:
        suffixes = SUFFIXES_OF_FORMATS.get(check.format, suffix).split()
        if suffix and suffix not in suffixes:
            yield f"is a picture in the format {check.format}, in spite of its name"
    if stats is None:
        return
    if stats.nans:
        yield f"has {_count(stats.nans, 'value')} that {'is' if stats.nans == 1 else 'are'} no number (NaN)"
    if stats.infinities:
        yield f"has {_count(stats.infinities, 'infinite value')}"
    if stats.is_one_colour:
        yield "is of one colour" if stats.maximum else "is black"
    for tile in stats.flat_tiles:
        if tile.is_empty and tile.is_inside:
            yield f"{_where(tile)} is black or empty, with content around: a tile may be missing"
    # A version may stand behind the frame: "beauty.0001.v002.exr".
    numbers = [int(digits) for digits in _DIGITS.findall(check.name)]
    if stats.frame_number is not None and numbers and abs(stats.frame_number) not in numbers:
        yield f"says that it is frame {stats.frame_number}, in spite of its name"


def compare_looks(sequence: Iterable[tuple[int, FrameCheck]]) -> list[Oddity]:
    """Return what is odd about the pictures of a sequence beside each other, by frame.

    Each comes with its frame. Those without statistics (looked at less closely, damaged, no pictures) do not count.
    What is odd about one by itself is in its own `warnings`, and not told again.
    """
    pictures = sorted(
        (_Picture(frame, check, check.stats) for frame, check in sequence if check.stats is not None),
        key=lambda picture: picture.frame,
    )
    if len(pictures) < _LEAST_FRAMES:
        return []
    oddities = [*_unlike_the_rest(pictures), *_repeated(pictures), *_brightness(pictures), *_tiles(pictures)]
    return sorted(oddities, key=lambda oddity: oddity.frame)


_Describe: TypeAlias = Callable[[Any, Any], str]


def _unlike_the_rest(pictures: Sequence[_Picture]) -> Iterator[Oddity]:
    yield from _minority(
        pictures,
        [(picture.check.width, picture.check.height) for picture in pictures],
        lambda size, usual: f"has {size[0]} x {size[1]} pixels, where others have {usual[0]} x {usual[1]}",
    )
    yield from _minority(
        pictures,
        [picture.stats.channel_names for picture in pictures],
        lambda names, usual: f"has the channels {', '.join(names)}, where others have {', '.join(usual)}",
    )
    yield from _minority(
        pictures,
        [picture.stats.pixel_type for picture in pictures],
        lambda type_, usual: f"has values of the type {type_}, where others have {usual}",
    )


def _minority(
    pictures: Sequence[_Picture], values: Sequence[Hashable], describe: Callable[[Any, Any], str]
) -> Iterator[Oddity]:
    counts = Counter(values)
    (usual, count), *_ = counts.most_common(1)
    if len(pictures) - count > _MOST_ODD * len(pictures):
        return
    for picture, value in zip(pictures, values, strict=True):
        if value != usual:
            yield Oddity(picture.frame, describe(value, usual))


def _repeated(pictures: Sequence[_Picture]) -> Iterator[Oddity]:
    pairs = list(pairwise(pictures))
    repeated = [
        (before, picture)
        for before, picture in pairs
        if before.stats.pixel_hash == picture.stats.pixel_hash
        and before.check.width == picture.check.width
        and not picture.stats.is_one_colour
    ]
    if len(repeated) <= max(1, _MOST_REPEATED * len(pairs)):
        for before, picture in repeated:
            yield Oddity(picture.frame, f"has the same pixels as frame {before.frame}, where others differ")


def _brightness(pictures: Sequence[_Picture]) -> Iterator[Oddity]:
    means = [picture.stats.mean for picture in pictures]
    last = len(means) - 1

    def neighbours(place: int) -> tuple[float, float]:
        # The first and the last one are seen beside the two that are next to them.
        low = min(max(place - 1, 0), last - 2)
        one, two = (index for index in range(low, low + 3) if index != place)
        return means[one], means[two]

    changes = [abs(mean - sum(neighbours(place)) / 2) for place, mean in enumerate(means)]
    for place, picture in enumerate(pictures):
        before, after = neighbours(place)
        # Its own change shows in those of its neighbours.
        around = [
            changes[index]
            for index in range(max(place - _WINDOW, 0), min(place + _WINDOW, last) + 1)
            if abs(index - place) > 1
        ]
        usual = statistics.median(around) if around else 0.0
        change = changes[place]
        scale = max(abs(means[place]), abs(before), abs(after))
        if change > _LEAST_CHANGE * scale and change > _LEAST_RATIO * max(usual, abs(before - after)):
            what = "darker" if means[place] < before else "brighter"
            is_ = f"a mean of {means[place]:.3g} beside {(before + after) / 2:.3g}"
            yield Oddity(picture.frame, f"is much {what} than the frames beside it: {is_}")


def _tiles(pictures: Sequence[_Picture]) -> Iterator[Oddity]:
    """Tell of tiles that no frame close by has: what a scene holds does not come and go within a frame."""
    for place, picture in enumerate(pictures):
        beside = [*pictures[max(place - 2, 0) : place], *pictures[place + 1 : place + 3]]
        others = [tile for other in beside for tile in other.stats.flat_tiles]
        for tile in picture.stats.flat_tiles:
            if tile.is_empty and tile.is_inside:
                continue
            is_large = min(tile.width, tile.height) >= _LEAST_TILE
            if is_large and not any(_overlap(tile, other) for other in others):
                reason = f"{_where(tile)} is of one value, as in no frame beside it: a tile may be missing"
                yield Oddity(picture.frame, reason)


def _overlap(tile: FlatTile, other: FlatTile) -> bool:
    return (
        tile.x < other.x + other.width
        and other.x < tile.x + tile.width
        and tile.y < other.y + other.height
        and other.y < tile.y + tile.height
    )


def _where(tile: FlatTile) -> str:
    return f"a part of {tile.width} x {tile.height} pixels, {tile.x} from the left and {tile.y} from the top,"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def by_sequence(checks: Iterable[FrameCheck]) -> dict[str, list[tuple[int, int]]]:
    """Return the checks of each sequence of pictures: the frames, and the places of their checks."""
    sequences: dict[str, dict[int, int]] = defaultdict(dict)
    for place, check in enumerate(checks):
        name, frame = sequence_of(check.path), frame_in_name(check.path)
        if name is not None and frame is not None and check.stats is not None:
            sequences[name].setdefault(frame, place)
    return {name: sorted(places.items()) for name, places in sequences.items()}
