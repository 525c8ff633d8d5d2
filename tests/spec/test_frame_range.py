"""A frame range names frames as render farms do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import SpecError
from tailrace._spec.frame_range import MOST_FRAMES, parse_frame_range


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("300", [range(300, 301)]),
        ("0-3", [range(4)]),
        ("1-250x2,300", [range(1, 251, 2), range(300, 301)]),
        (" 1-3 , 7 ", [range(1, 4), range(7, 8)]),
        ("007-9", [range(7, 10)]),
        ("5-5", [range(5, 6)]),
        ("5-6x9", [range(5, 6)]),
    ],
)
def test_a_range_is_a_frame_all_from_one_to_another_or_every_nth(text: str, ranges: list[range]) -> None:
    assert parse_frame_range(text) == ranges


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("1-10,11-20", [range(1, 21)]),
        ("1,2,3,5", [range(1, 4), range(5, 6)]),
        ("1-9x2,11,13-15x2", [range(1, 16, 2)]),
        ("1-9x2,10", [range(1, 10, 2), range(10, 11)]),
    ],
)
def test_ranges_that_continue_each_other_become_one(text: str, ranges: list[range]) -> None:
    assert parse_frame_range(text) == ranges


def test_a_frame_that_is_named_again_is_left_out_and_the_order_is_kept() -> None:
    assert parse_frame_range("5,5,5") == [range(5, 6)]
    assert parse_frame_range("1-10,5-20") == [range(1, 21)]
    assert parse_frame_range("8-9,1-10") == [range(8, 10), range(1, 8), range(10, 11)]
    assert parse_frame_range("1-12x4,1-12") == [
        range(1, 10, 4),
        range(2, 5),
        range(6, 9),
        range(10, 13),
    ]


_PARTS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=6)


@given(_PARTS)
def test_the_frames_are_those_named_each_once_in_their_order(parts: list[tuple[int, int, int]]) -> None:
    text = ",".join(f"{start}-{start + length}x{step}" for start, length, step in parts)
    named = [frame for start, length, step in parts for frame in range(start, start + length + 1, step)]
    ranges = parse_frame_range(text)
    assert list(itertools.chain.from_iterable(ranges)) == list(dict.fromkeys(named))
    assert all(len(frames) > 0 for frames in ranges)
    again = ",".join(f"{frames[0]}-{frames[-1]}x{frames.step}" for frames in ranges)
    assert parse_frame_range(again) == ranges


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "frames: '' is not of the form 300, 1-250 or 1-250x2"),
        ("1,,2", "frames: '' is not of the form 300, 1-250 or 1-250x2"),
        ("1..10", "frames: '1..10' is not of the form 300, 1-250 or 1-250x2"),
        ("1x2", "frames: '1x2' is not of the form 300, 1-250 or 1-250x2"),
        ("\u0661", "frames: '\u0661' is not of the form 300, 1-250 or 1-250x2"),
        ("1" * 5000, "is not of the form"),
        ("-5-10", "frames: '-5-10' is not of the form 300, 1-250 or 1-250x2, and there are no frames below 0"),
        ("10-1", "frames: '10-1' ends before it starts: write the lower frame first"),
        ("1-10x0", "frames: '1-10x0' has a step of 0: with 1 it is every frame, with 2 every second one"),
        ("2147483648", "frames: '2147483648' goes beyond frame 2147483647"),
        ("1-1000000,5-6", f"frames: '1-1000000,5-6' names more than {MOST_FRAMES} frames: plan several jobs"),
    ],
)
def test_what_is_not_a_range_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_frame_range(text)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(alphabet="0123456789-x, ", max_size=12))
def test_no_text_makes_anything_but_frames_or_one_clear_error(text: str) -> None:
    try:
        assert all(frames[0] >= 0 for frames in parse_frame_range(text))
    except SpecError as error:
        assert str(error).startswith("frames: ")


def test_as_many_frames_as_are_allowed_are_read() -> None:
    assert parse_frame_range(f"1-{MOST_FRAMES}") == [range(1, MOST_FRAMES + 1)]
