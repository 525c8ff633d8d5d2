"""A frame range names frames as render farms do."""

from __future__ import annotations

import pickle

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
        ("5,5,4", [5, 4]),
    ],
)
def test_a_text_names_frames_in_their_order(text: str, frames: list[int]) -> None:
    assert list(FrameRange.parse(text)) == frames == [int(frame) for frame in FrameSet(text)]


@given(st.lists(st.integers(-50, 50), max_size=40))
def test_a_range_is_a_sequence_of_its_frames_and_its_text_reads_as_the_same(frames: list[int]) -> None:
    range_ = FrameRange(frames)
    expected = list(dict.fromkeys(frames))
    assert list(range_) == expected
    assert len(range_) == len(expected)
    assert [range_[place] for place in range(-len(expected), len(expected))] == expected * 2
    assert [range_.index(frame) for frame in expected] == list(range(len(expected)))
    assert all((frame in range_) == (frame in expected) for frame in range(-60, 60))
    assert list(range_[1::2]) == expected[1::2]
    assert list(range_[::-1]) == expected[::-1]
    assert pickle.loads(pickle.dumps(range_)) == range_
    if expected:
        assert FrameRange.parse(str(range_)) == range_
        assert hash(FrameRange.parse(str(range_))) == hash(range_)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "frames: '' is not of the form 300, 1-250"),
        ("1,,2", "frames: '' is not of the form 300, 1-250"),
        ("1..10", "frames: '1..10' is not of the form"),
        ("1x2", "frames: '1x2' is not of the form"),
        ("\u0661", "frames: '\u0661' is not of the form"),
        ("1" * 5000, "is not of the form"),
        ("1 3 5", "frames: '1 3 5' is not of the form 300, 1-250, 1-250x2, 1-250y2 or several of them with commas: "),
        ("1-10:3", "write 1-10x3 for every frame that is 3 after another, or 1-10x3,1-10 for these first and then"),
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
