"""A frame range names frames as render farms do."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Sequence
from typing import Any

import pytest
from fileseq import FrameSet  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from tailrace import FrameRange, SpecError
from tailrace._spec.frame_range import LARGEST_FRAME, MOST_FRAMES


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("300", [300]),
        ("0-3", [0, 1, 2, 3]),
        (" 1-3 , 7 ", [1, 2, 3, 7]),
        ("007-9", [7, 8, 9]),
        ("5-6x9", [5]),
        ("1-10x3", [1, 4, 7, 10]),
        ("1-10y3", [2, 3, 5, 6, 8, 9]),
        ("10-7", [10, 9, 8, 7]),
        ("10-1x4", [10, 6, 2]),
        ("-3-1", [-3, -2, -1, 0, 1]),
        ("-1--3", [-1, -2, -3]),
        ("1-9x4,1-5", [1, 5, 9, 2, 3, 4]),
        ("10-1y3", [9, 8, 6, 5, 3, 2]),
        ("-10--1y4", [-9, -8, -7, -5, -4, -3, -1]),
        ("-10-5x3", [-10, -7, -4, -1, 2, 5]),
        ("-1--10x4", [-1, -5, -9]),
        ("-0", [0]),
        ("1-10x20", [1]),
        ("1-10y20", [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("1-3,3-1", [1, 2, 3]),
        ("1-10y3,5-6,-1", [2, 3, 5, 6, 8, 9, -1]),
        ("1,3,7", [1, 3, 7]),
        ("5,5,4", [5, 4]),
    ],
)
def test_a_text_names_frames_in_their_order(text: str, frames: list[int]) -> None:
    assert list(FrameRange.parse(text)) == frames == [int(frame) for frame in FrameSet(text)]


_PARTS = st.tuples(
    st.integers(-40, 40),
    st.none() | st.integers(-40, 40),
    st.none() | st.tuples(st.sampled_from("xy"), st.integers(1, 9)),
)


def _text_of(start: int, end: int | None, pattern: tuple[str, int] | None) -> str:
    if end is None:
        return f"{start}"
    return f"{start}-{end}" if pattern is None else f"{start}-{end}{pattern[0]}{pattern[1]}"


def _frames_of(start: int, end: int | None, pattern: tuple[str, int] | None) -> list[int]:
    if end is None:
        return [start]
    every = list(range(start, end + 1) if start <= end else range(start, end - 1, -1))
    if pattern is None:
        return every
    kind, step = pattern
    return every[::step] if kind == "x" else [frame for place, frame in enumerate(every) if place % step]


@given(st.lists(_PARTS, min_size=1, max_size=5))
def test_each_part_adds_the_frames_that_no_part_before_it_has(parts: list[Any]) -> None:
    text = ",".join(_text_of(*part) for part in parts)
    expected = list(dict.fromkeys(frame for part in parts for frame in _frames_of(*part)))
    if expected:
        assert list(FrameRange.parse(text)) == expected
    else:
        with pytest.raises(SpecError, match="names no frame"):
            FrameRange.parse(text)


# Evenly spaced ones and single ones, as jobs have them.
_FRAMES = st.lists(
    st.builds(
        lambda start, count, step: list(range(start, start + count * step, step)),
        st.integers(-50, 50),
        st.integers(1, 5),
        st.integers(-4, 4).filter(bool),
    ),
    max_size=14,
).map(lambda runs: [frame for run in runs for frame in run])
_PLACES = st.none() | st.integers(-90, 90)


@given(_FRAMES)
def test_a_range_is_a_sequence_of_its_frames_each_once(frames: list[int]) -> None:
    range_ = FrameRange(frames)
    expected = list(dict.fromkeys(frames))
    assert list(range_) == expected
    assert list(reversed(range_)) == expected[::-1]
    assert len(range_) == len(expected)
    assert bool(range_) == bool(expected)
    assert [range_[place] for place in range(-len(expected), len(expected))] == expected * 2
    for place in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            range_[place]
    assert [frame for run in range_.ranges for frame in run] == expected
    assert all(range_.ranges)


@given(_FRAMES, _PLACES, _PLACES, st.none() | st.integers(-5, 5).filter(bool))
def test_a_slice_is_the_range_of_those_frames(
    frames: list[int], start: int | None, stop: int | None, step: int | None
) -> None:
    expected = list(dict.fromkeys(frames))[start:stop:step]
    sliced = FrameRange(frames)[start:stop:step]
    assert isinstance(sliced, FrameRange)
    assert list(sliced) == expected
    assert sliced == FrameRange(expected)


@given(_FRAMES, _PLACES, _PLACES)
def test_a_frame_is_found_where_a_list_has_it(frames: list[int], start: int | None, stop: int | None) -> None:
    range_ = FrameRange(frames)
    expected = list(dict.fromkeys(frames))
    for frame in range(-70, 71):
        assert (frame in range_) == (frame in expected)
        assert range_.count(frame) == expected.count(frame)
        bounds = slice(start, stop).indices(len(expected))[:2]
        if frame in expected[slice(*bounds)]:
            assert range_.index(frame, start or 0, stop) == expected.index(frame)
        else:
            with pytest.raises(ValueError, match=f"^{frame} is not among these frames$"):
                range_.index(frame, start or 0, stop)
    words: Sequence[object] = range_
    assert "1" not in words


@given(_FRAMES.filter(bool))
def test_the_text_of_a_range_reads_as_the_same_range(frames: list[int]) -> None:
    range_ = FrameRange(frames)
    read = FrameRange.parse(str(range_))
    assert list(read) == list(range_)
    assert read == range_
    assert str(read) == str(range_)
    assert eval(repr(range_), {"FrameRange": FrameRange}) == range_


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (range(1, 9), "1-8"),
        ([3], "3"),
        ([3, 1], "3,1"),
        ([2, 1], "2-1"),
        (range(-10, -1, 4), "-10--2x4"),
        (range(10, 0, -3), "10-1x3"),
        ([*range(1, 9), 11, *range(20, 31, 2)], "1-8,11,20-30x2"),
        ([1, 3, 4, 5, 9], "1,3-5,9"),
        ([1, 3, 7, 20], "1,3,7,20"),
        ([2, 3, 5, 6, 8, 9], "2-3,5-6,8-9"),
    ],
)
def test_the_text_is_as_people_write_it(frames: Sequence[int], text: str) -> None:
    assert str(FrameRange(frames)) == text


@given(_FRAMES, _FRAMES)
def test_ranges_are_equal_if_they_have_the_same_frames_in_the_same_order(one: list[int], other: list[int]) -> None:
    same = list(dict.fromkeys(one)) == list(dict.fromkeys(other))
    assert (FrameRange(one) == FrameRange(other)) == same
    assert FrameRange(one) == FrameRange(iter(one))
    assert hash(FrameRange(one)) == hash(FrameRange(iter(one)))
    assert FrameRange(one) != one


@pytest.mark.parametrize("frames", [range(0), range(7, 8), range(1, 9, 3), range(9, 1, -3), range(1, 10**9)])
def test_a_range_of_pythons_is_equal_to_the_same_frames(frames: range) -> None:
    assert FrameRange(frames) == frames
    assert hash(FrameRange(frames)) == hash(frames)
    assert FrameRange(frames) != range(2, 9)
    assert len(FrameRange(frames)) == len(frames)


@given(_FRAMES)
def test_a_range_survives_pickle_and_copies(frames: list[int]) -> None:
    range_ = FrameRange(frames)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(range_, protocol)) == range_
    assert copy.copy(range_) == copy.deepcopy(range_) == range_


def test_frames_are_whole_numbers() -> None:
    for wrong in ([1.0], ["1"], "1-3"):
        with pytest.raises(TypeError):
            FrameRange(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "frames: '' is not of the form 300, 1-250"),
        ("1,,2", "frames: '' is not of the form 300, 1-250"),
        ("1..10", "frames: '1..10' is not of the form"),
        ("1x2", "frames: '1x2' is not of the form"),
        ("\u0661", "frames: '\u0661' is not of the form"),
        ("1" * 5000, f"frames: '{'1' * 59}…' is not of the form"),
        (
            ",".join(["1-900000"] * 99),
            "frames: '1-900000,1-900000,1-900000,1-900000,1-900000,1-900000,1-900…' names more",
        ),
        ("99999999999999999999", f"frames: '99999999999999999999' goes beyond frame {LARGEST_FRAME}"),
        ("1-2147483648x9", f"goes beyond frame {LARGEST_FRAME}"),
        ("1 3 5", "frames: '1 3 5' is not of the form 300, 1-250, 1-250x2, 1-250y2 or several of them with commas: "),
        ("1-10:3", "write 1-10x3 for every frame that is 3 after another, or 1-10x3,1-10 for these first and then"),
        ("1-10y1", "frames: '1-10y1' names no frame: 1-10y3 is all but every third one"),
        ("1-10y1,4-4y1", "frames: '1-10y1,4-4y1' names no frame"),
        ("1-10:3", "or 1-10x3,1-10 for these first and then the others"),
        ("1-10:0", "frames: '1-10:0' has a step of 0"),
        ("1-10y0", "frames: '1-10y0' has a step of 0"),
        ("1-10y-2", "frames: '1-10y-2' has a step below 0"),
        (
            "1, 3 5",
            "frames: '3 5' is not of the form 300, 1-250, 1-250x2, 1-250y2 or several of them with commas: frames",
        ),
        ("1 - 10", "frames: '1 - 10' is not of the form"),
        ("1-10x0", "frames: '1-10x0' has a step of 0: with 1 it is every frame, with 2 every second one"),
        ("1-10x-2", "frames: '1-10x-2' has a step below 0: to go down, write the higher frame first"),
        ("2147483648", f"frames: '2147483648' goes beyond frame {LARGEST_FRAME}"),
        ("-2147483648", f"frames: '-2147483648' goes beyond frame -{LARGEST_FRAME}"),
        ("1-1000000,5-6", f"frames: '1-1000000,5-6' names more than {MOST_FRAMES} frames: plan several jobs"),
    ],
)
def test_what_is_not_a_range_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        FrameRange.parse(text)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(alphabet="0123456789-xy:, ", max_size=12))
def test_no_text_makes_anything_but_frames_or_one_clear_error(text: str) -> None:
    try:
        assert all(abs(frame) <= LARGEST_FRAME for run in FrameRange.parse(text).ranges for frame in (run[0], run[-1]))
    except SpecError as error:
        assert str(error).startswith("frames: ")


def test_as_many_frames_as_are_allowed_are_read() -> None:
    assert FrameRange.parse(f"1-{MOST_FRAMES}") == range(1, MOST_FRAMES + 1)


def test_frames_of_many_runs_are_found_as_fast_as_those_of_few() -> None:
    frames = FrameRange(frame for frame in range(60_000) if frame % 3)
    assert len(frames.ranges) == 20_000
    start = time.perf_counter()
    assert sum(frame in frames for frame in range(60_000)) == 40_000
    assert [frames.index(frame) for frame in frames] == list(range(40_000))
    # Each looked for in each run, it would take minutes.
    assert time.perf_counter() - start < 10


def test_a_text_in_place_of_numbers_is_an_error_that_names_what_reads_it() -> None:
    with pytest.raises(TypeError, match=r"FrameRange\.parse reads a text such as '1-10x2'"):
        FrameRange("1-10x2")  # type: ignore[arg-type]
