"""Which files are frames of one sequence, by their names."""

from __future__ import annotations

import pytest

from tailrace import FrameCheck
from tailrace._frames.looks import compare_looks
from tailrace._frames.names import frame_in_name, sequence_of


def test_fewer_than_three_frames_are_no_sequence() -> None:
    assert compare_looks([]) == []
    assert compare_looks([(1, FrameCheck(path="a.png", level="looks", kind="picture"))] * 5) == []


@pytest.mark.parametrize(
    ("path", "frame", "sequence"),
    [
        ("a/shot_v02.0101.exr", 101, "a/shot_v02.#.exr"),
        ("f_0007.png", 7, "f_#.png"),
        ("f.-0007.png", -7, "f.#.png"),
        ("shot-12.png", 12, "shot#.png"),
        ("0001.png", 1, "#.png"),
        ("render.0042", 42, "render.#."),
        ("beauty.png", None, None),
        ("v2/beauty.png", None, None),
    ],
)
def test_the_number_that_stands_last_in_a_name_is_the_frames(
    path: str, frame: int | None, sequence: str | None
) -> None:
    assert (frame_in_name(path), sequence_of(path)) == (frame, sequence)
