"""Which files are outputs of which chunks is told by their names, in a time that no name can make long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import Chunk
from tailrace._spec.outputs import OutputNames, is_output_of, output_paths

NAMES = st.lists(
    st.sampled_from(["a", "1", "0", " ", ".", "/", "#", "##", "####", "%d", "%2d", "%03d", "%"]), min_size=1
)
FRAMES = st.sampled_from([range(5), range(9, 12), range(1, 30, 7), range(98, 1002, 100), range(123_456, 123_458)])


def chunk(name: str, frames: range = range(1)) -> Chunk:
    return Chunk(
        id=0,
        start_frame=frames.start,
        frame_count=len(frames),
        output_file=name,
        command="true",
        frame_step=frames.step,
    )


@given(NAMES, FRAMES, FRAMES)
def test_the_names_of_all_frames_are_found_and_no_others(parts: list[str], frames: range, others: range) -> None:
    name = "".join(parts)
    own, other = chunk(name, frames), chunk(name, others)
    names = OutputNames([own, chunk("b"), chunk("b_##")])
    own_paths, other_paths = ({os.path.normpath(path) for path in output_paths(one, Path())} for one in (own, other))
    for path in own_paths | other_paths:
        assert path in names
        assert is_output_of(own, path) is (path in own_paths)
        for near in (f"{path}x", f"{path}0", f"0{path}", path[:-1], path.replace("0", "00")):
            assert is_output_of(own, near) is (near in own_paths)


@pytest.mark.parametrize("name", ["%d" * 8 + "x", "####" * 8 + "x", "%d" * 400, "%d1" * 300, "#" * 900])
@pytest.mark.parametrize("file", ["1" * 60, "1" * 4001, "1" * 4001 + "x", "1212" * 900])
def test_no_name_is_compared_for_long(name: str, file: str) -> None:
    started = time.thread_time()
    names = OutputNames([chunk(name)])
    for _ in range(20):
        assert file not in names
        assert not is_output_of(chunk(name), file)
    assert time.thread_time() - started < 2


def test_names_of_many_chunks_are_told_apart_at_once() -> None:
    names = OutputNames([chunk(f"shot_{number}/{kind}") for number in range(10_000) for kind in ("####.png", "log")])
    started = time.thread_time()
    for number in range(1_000):
        assert f"shot_{number}/0007.png" in names
        assert f"shot_{number}/log" in names
        assert f"shot_{number}/007.png" not in names
        assert f"shot_x{number}/0007.png" not in names
    assert time.thread_time() - started < 2


def test_the_same_names_have_the_same_digest() -> None:
    assert OutputNames([chunk("a"), chunk("./b_##")]).digest == OutputNames([chunk("b_##"), chunk("a")]).digest
    assert OutputNames([chunk("a")]).digest != OutputNames([chunk("b")]).digest
