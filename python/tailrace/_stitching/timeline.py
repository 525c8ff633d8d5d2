"""Where each video begins in the joined one, and what puts each frame at its exact time.

A container counts in ticks (Matroska: of a millisecond), and ffmpeg's list takes the lengths of files from there, each
a little off. With a constant rate the times are known better: frame n is shown at n / rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import NamedTuple

from .._spec.frame_rate import exact_frame_rate
from .packet_times import PacketTimes

_PRINTED_ROUNDING = Fraction(1, 100)
"""How far a rate may be from the one that ffmpeg prints of it, with two decimals."""
_RATE_OF_FFMPEG = Fraction(25)
"""What it takes for the rate of a stream that says nothing of it."""


class Timeline(NamedTuple):
    """The times of a joined video."""

    rate: Fraction | None
    """Frames a second; None where they are not all equally long."""
    starts: Sequence[Fraction]
    """Where each input begins, in seconds, and at the end the length of all."""
    delay: int
    """How many frames are stored before the time comes at which they are shown, for others refer to them."""

    @property
    def length(self) -> Fraction:
        """How long the joined video is, in seconds."""
        return self.starts[-1]

    def bitstream_filter(self, *, in_frames: bool) -> str | None:
        """Return what has ffmpeg put each frame at its time; None where the times are to stay as they are.

        With `in_frames` its times are then counted in frames, not in ticks of the inputs, which cannot be exact at
        every rate.
        """
        if self.rate is None:
            return None
        frame = f"({self.rate}*TB)"
        time_base = f"time_base={1 / self.rate}:" if in_frames else ""
        return (
            f"setts={time_base}pts=round(round(PTS*TB*{self.rate})/{frame})"
            f":dts=round((N-{self.delay})/{frame}):duration=round(1/{frame})"
        )


def make_timeline(inputs: Sequence[tuple[PacketTimes, Sequence[Fraction]]]) -> Timeline:
    """Return the times of inputs one after the other; each comes with what ffmpeg prints as its rates."""
    # Of a few frames it may guess any rate.
    longest, printed = max(inputs, key=lambda one: len(one[0].shown))
    every = [times for times, _ in inputs]
    rate = _common_rate(every, longest, printed)
    if rate is None:
        assumed = exact_frame_rate(printed[0]) if printed else _RATE_OF_FFMPEG
        lengths = [times.length if times.are_known else len(times.shown) / assumed for times in every]
        return Timeline(None, [Fraction(0), *accumulate(lengths)], 0)
    stored = shown = delay = 0
    starts = [0]
    for times in every:
        places = _places(times, rate)
        delay = max(delay, *(stored + number - (shown + place) for number, place in enumerate(places)))
        stored += len(places)
        shown += max(places) + 1
        starts.append(shown)
    return Timeline(rate, [start / rate for start in starts], delay)


def _common_rate(inputs: Sequence[PacketTimes], longest: PacketTimes, printed: Sequence[Fraction]) -> Fraction | None:
    if not all(times.are_known for times in inputs):
        return None
    counted = [] if (step := _step(longest)) is None else [exact_frame_rate(1 / (step * longest.time_base))]
    # In few and long ticks a few frames may seem equally long, at a rate that nobody meant.
    agreeing = [rate for rate in counted if not printed or abs(rate - printed[0]) <= _PRINTED_ROUNDING]
    candidates = [*agreeing, *map(exact_frame_rate, printed)]
    fitting = [rate for rate in candidates if all(_fits(times, rate) for times in inputs)]
    # Frames may be missing, but at twice the rate every second one would seem to be.
    return min(fitting, key=lambda rate: max(_places(longest, rate)), default=None)


def _step(times: PacketTimes) -> int | None:
    """Return how many ticks each frame lasts, or None if they do not all last as long."""
    steps = {after - before for before, after in pairwise(sorted(times.shown))} or {times.last_duration}
    step = steps.pop()
    return step if not steps and step > 0 else None


def _fits(times: PacketTimes, rate: Fraction) -> bool:
    places = _places(times, rate)
    if len(set(places)) != len(places):
        return False
    first = min(times.shown)
    # In whole numbers, for there may be millions: |ticks * time_base - place / rate| <= a tick.
    ticks, frames = (times.time_base * rate).as_integer_ratio()
    return all(
        abs((shown - first) * ticks - place * frames) <= ticks for shown, place in zip(times.shown, places, strict=True)
    )


def _places(times: PacketTimes, rate: Fraction) -> list[int]:
    """Return which frame each one is, counted from the first that is shown."""
    first = min(times.shown)
    ticks, frames = (times.time_base * rate).as_integer_ratio()
    return [((shown - first) * ticks * 2 + frames) // (2 * frames) for shown in times.shown]
