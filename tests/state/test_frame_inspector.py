"""Files of chunks are compared with those of the chunks beside them."""

from __future__ import annotations

import time
from pathlib import Path

from tailrace._frames.result import FrameCheck, FrameStats
from tailrace._state.inspection import FrameInspector, OutputFile

STATS = FrameStats(
    pixel_type="half",
    channel_names=("R", "G", "B"),
    mean=0.5,
    minimum=0.0,
    maximum=1.0,
    pixel_hash="0",
    nans=0,
    infinities=0,
    is_one_colour=False,
    flat_tiles=(),
    frame_number=None,
)


def file_of(frame: int) -> OutputFile:
    return OutputFile(Path(f"/f.{frame:07}.exr"), frame, (1, 1), None)


def inspector_of_frames(count: int, odd: int) -> FrameInspector:
    """Return one that has looked at so many frames, of which one has another size than the others."""
    inspector = FrameInspector(Path("/"), "looks")
    inspector._sequences["/f.#.exr"] = {
        frame: FrameCheck(
            path=str(file_of(frame).path), level="looks", kind="picture", width=9 if frame == odd else 8, stats=STATS
        )
        for frame in range(count)
    }
    return inspector


def test_a_frame_is_compared_with_those_around_it_and_told_once() -> None:
    inspector = inspector_of_frames(300, odd=150)
    ((file, finding),) = inspector.compare([file_of(150)])
    assert (file.frame, finding.fatal) == (150, False)
    assert inspector.compare([file_of(149), file_of(150)]) == []
    # Between the two there are a million frames that nobody has rendered.
    assert inspector.compare([file_of(0), file_of(1_000_000)]) == []


def test_a_comparison_costs_no_more_the_more_frames_a_job_has() -> None:
    def cost(count: int) -> float:
        inspector = inspector_of_frames(count, odd=-1)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            inspector.compare([file_of(100)])
            times.append(time.perf_counter() - began)
        return min(times)

    assert cost(200_000) < 4 * cost(200)
