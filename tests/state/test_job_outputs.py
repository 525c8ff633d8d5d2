"""What two jobs write is compared exactly, and however many files it is, quickly."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.jobs import job
from tailrace import Chunk, JobSpec
from tailrace._spec.frame_set import FrameSet
from tailrace._spec.outputs import output_paths
from tailrace._state.job_outputs import JobOutputs

RANGES = st.builds(
    lambda start, count, step: range(start, start + count * step, step),
    st.integers(0, 40),
    st.integers(1, 8),
    st.integers(1, 6),
)


def _spec(*outputs: tuple[str, range]) -> JobSpec:
    chunks = [
        Chunk(
            id=id_,
            start_frame=frames.start,
            frame_count=len(frames),
            frame_step=frames.step,
            output_file=name,
            command="true",
        )
        for id_, (name, frames) in enumerate(outputs)
    ]
    return job("true").model_copy(update={"chunks": tuple(chunks)})


def _frames(sets: FrameSet | list[range]) -> set[int]:
    return {frame for frames in sets for frame in frames}


@given(st.lists(RANGES), st.lists(RANGES), st.integers(0, 60))
def test_sets_of_frames_have_in_common_what_they_should(first: list[range], second: list[range], least: int) -> None:
    assert _frames(FrameSet(first)) == _frames(first)
    expected = {frame for frame in _frames(first) & _frames(second) if frame >= least}
    found = FrameSet(first).common_frame(FrameSet(second), least)
    assert found in expected if expected else found is None
    assert all((frame in FrameSet(first)) == (frame in _frames(first)) for frame in range(60))


def test_frames_that_go_on_are_one_range_in_whatever_order_they_come() -> None:
    parts = [range(start, start + 20, 2) for start in (20, 0, 40, 10)]
    assert list(FrameSet(parts)) == [range(0, 60, 2)]


NAMES = st.sampled_from(
    ["f_##", "f_%02d", "f_###", "f_%d", "f_%3d", "f_7", "f_07", "f_ 12", "./f_012", "f_##_%d", "g_##"]
)
OUTPUTS = st.lists(st.tuples(NAMES, RANGES), min_size=1, max_size=4)


@given(OUTPUTS, OUTPUTS)
def test_jobs_share_output_if_a_file_of_one_has_the_name_of_one_of_the_other(
    first: list[tuple[str, range]], second: list[tuple[str, range]]
) -> None:
    specs = [_spec(*first), _spec(*second)]
    one, other = ({os.path.normpath(p) for c in spec.chunks for p in output_paths(c, Path())} for spec in specs)
    outputs = [JobOutputs.from_json(JobOutputs.of(spec, Path("/j")).to_json()) for spec in specs]
    for shared in (outputs[0].shared_with(outputs[1]), outputs[1].shared_with(outputs[0])):
        assert shared in one & other if one & other else shared is None


def test_numbers_that_overflow_their_width_are_the_same_in_every_width() -> None:
    first, second = (JobOutputs.of(_spec((name, range(990, 1010))), Path("/j")) for name in ("f_##", "f_####"))
    assert first.shared_with(second) == "f_1000"


def test_a_file_is_the_same_by_whatever_way_its_folder_is_called(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "job" / "out").symlink_to(tmp_path / "disk")
    by_link, in_full = (
        JobOutputs.of(_spec((f"{folder}/f_##.png", range(9))), tmp_path / "job")
        for folder in ("out", tmp_path / "disk")
    )
    assert by_link.shared_with(in_full) == "../disk/f_00.png"
    stitched = JobOutputs.of(_spec(("a", range(9))), tmp_path / "job", tmp_path / "disk" / "f_03.png")
    assert by_link.shared_with(stitched) == "../disk/f_03.png"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": 3, "frames": {}}', '{"files": [], "frames": {"a": [[1]]}}']
)
def test_what_is_no_list_of_outputs_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of outputs"):
        JobOutputs.from_json(text)


@pytest.mark.parametrize("kind", ["names", "ranges", "interleaved"])
def test_sixteen_times_the_chunks_take_less_than_forty_eight_times_as_long(kind: str) -> None:
    def outputs(count: int, shift: int) -> JobOutputs:
        # Of every other chunk, so that none goes on where another ends.
        if kind == "names":
            return JobOutputs([f"part_{number}_{shift}" for number in range(count)], {f"part_%d_{shift}x": [range(9)]})
        starts = range(10 * shift, 20 * count, 20) if kind == "ranges" else range(shift, 2 * count, 2)
        step = 1 if kind == "ranges" else 2 * count
        return JobOutputs([], {"f_%04d": [range(start, start + 10 * step, step) for start in starts]})

    def seconds(count: int) -> float:
        # The collector would go through all that earlier tests have left, the more often the more there is to do.
        gc.disable()
        began = time.process_time()
        assert outputs(count, 0).shared_with(JobOutputs.from_json(outputs(count, 1).to_json())) is None
        seconds = time.process_time() - began
        gc.enable()
        return seconds

    assert min(seconds(8000) for _ in range(4)) < 48 * min(seconds(500) for _ in range(5))


def test_billions_of_frames_are_compared_without_looking_at_each() -> None:
    frames = range(0, 2**31 - 2, 2)
    one, other = JobOutputs.of(_spec(("f_####", frames)), Path()), JobOutputs.of(_spec(("f_####", frames[-1:])), Path())
    assert one.shared_with(other) == f"f_{frames[-1]}"
