"""Which frames are finished is told for each once, and progress does not fall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.progress import FileSaved, FrameRendered, Progress, ProgressParser, Renderer, Report, Rule

LOGS = Path(__file__).parent / "logs"


def _frames(reports: Iterable[Report]) -> list[int | None]:
    return [report.frame for report in reports if isinstance(report, FrameRendered)]


def _told(renderer: str | Renderer, text: str, frames: Sequence[int] | None) -> list[int | None]:
    """Return the frames that are told of, which must be the same in one read and line by line."""
    whole, lines = ProgressParser(renderer, frames=frames), ProgressParser(renderer, frames=frames)
    told = _frames(whole.feed(text) + whole.finish())
    by_line = [report for line in text.splitlines(keepends=True) for report in lines.feed(line)]
    assert _frames(by_line + lines.finish()) == told
    assert lines.progress == whole.progress
    return told


def _progress(renderer: str, lines: Iterable[str], frames: Sequence[int] | None) -> list[Progress]:
    parser = ProgressParser(renderer, frames=frames)
    told = []
    for line in lines:
        parser.feed(line + "\n")
        told.append(parser.progress)
    return told


def _is_rising(numbers: Iterable[float | None]) -> bool:
    return all(before <= after for before, after in pairwise(number or 0.0 for number in numbers))


LAYERS = [
    f"Fra:{frame} Mem:9M (Peak 10M) | Time:00:00.22 | Mem:1M, Peak:1M | Scene, {layer} | Sample {sample}/32"
    for frame in (4, 5)
    for layer in ("ViewLayer", "Second, with | things", "Third")
    for sample in (0, 16, 32)
]


def test_a_second_view_layer_neither_makes_progress_fall_nor_is_all_done_before_it() -> None:
    told = _progress("blender", [*LAYERS[:9], "Saved: '/p/f_0004.png'", *LAYERS[9:], "Saved: '/p/f_0005.png'"], [4, 5])
    assert [each.frame_fraction for each in told] == [
        # Nobody knows that there are three.
        *(0.0, 0.5, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 1.0),
        # Now it is known.
        *(0.0, 1 / 6, 1 / 3, 1 / 3, 0.5, 2 / 3, 2 / 3, 5 / 6, 0.99, 1.0),
    ]
    assert _is_rising(each.fraction for each in told)
    assert [each.fraction for each in told if each.frame_fraction == 1.0] == [0.5, 1.0]


def test_a_frame_with_more_passes_than_the_one_before_is_held() -> None:
    lines = ["Rendering frame 1 of 2", *(f"Rendered {n} of 4 pixels ({n * 25}%)" for n in (1, 4, 1, 4))]
    lines += ["Rendering frame 2 of 2", *(f"Rendered {n} of 4 pixels ({n * 25}%)" for n in (2, 4, 2, 4, 2, 4))]
    lines += ["POV-Ray finished"]
    told = [each.frame_fraction for each in _progress("povray", lines, range(1, 3))]
    assert told == [None, 0.25, 0.99, 0.99, 0.99, None, 0.25, 0.5, 0.75, 0.99, 0.99, 0.99, 0.99]


@pytest.mark.parametrize("renderer", ["redshift", "arnold", "vray", "renderman", "maya"])
def test_what_a_frame_has_reached_is_held_where_passes_are_not_told_apart(renderer: str) -> None:
    line = {
        "redshift": "[Redshift] Block {}/100 (7,4) rendered by GPU 0 in 2ms",
        "arnold": "12:34:56      32MB   |   {}% done - 23 rays/pixel",
        "vray": "[2021/Jul/8|06:41:38] Rendering image...:  {}% ",
        "renderman": "R90000   {}%",
        "maya": "[PROGRESS] {} percent",
    }[renderer]
    told = _progress(renderer, [line.format(part) for part in (30, 60, 10, 80)], [1])
    assert [each.fraction for each in told] == [0.3, 0.6, 0.6, 0.8]


def test_what_remained_of_a_frame_that_is_done_is_not_told() -> None:
    line = "Fra:1 Mem:1M | Time:00:01 | Remaining:00:08.10 | Mem:1M | Scene | Sample 3/4"
    before, after = _progress("blender", [line, "Saved: '/p/1.png'"], [1, 2])
    assert (before.remaining, after.remaining) == (8.1, None)


def test_frames_that_come_in_one_read_are_each_told() -> None:
    text = "".join(f"Rendering frame {place} of 12\nRendered 4 of 4 pixels (100%)\r" for place in range(1, 13))
    assert _told("povray", text + "POV-Ray finished\n", range(10, 34, 2)) == list(range(10, 34, 2))


def test_runs_that_follow_each_other_count_on() -> None:
    run = "".join(2 * f"Rendering frame {place} of 2\n" for place in (1, 2)) + "POV-Ray finished\n"
    frames = [7, 8, 20, 21]
    assert _told("povray", run * 2, frames) == frames
    parser = ProgressParser("povray", frames=frames)
    parser.feed(run)
    assert (parser.progress.fraction, parser.progress.frame, parser.progress.frames_done) == (0.5, 8, 2)
    parser.feed(run)
    assert (parser.progress.fraction, parser.progress.frame, parser.progress.frames_done) == (1.0, 21, 4)


def test_runs_that_tell_the_numbers_of_their_frames_count_on_too() -> None:
    def run(*frames: int) -> list[str]:
        lines = [f"Rendering frame {place} of {len(frames)} (#{frame})" for place, frame in enumerate(frames, 1)]
        return [*lines, "POV-Ray finished"]

    told = _progress("povray", [*run(2, 3), *run(7), *run(9)], [2, 3, 7, 9])
    assert _is_rising(each.fraction for each in told)
    assert [(each.fraction, each.frames_done) for each in told if each.fraction == 1.0] == [(1.0, 4)]


def test_husk_begins_the_next_frame_where_its_progress_begins_again() -> None:
    text = "".join(f"ALF_PROGRESS {percent}%\n" for _ in range(3) for percent in (0, 0, 40, 30, 100, 100))
    assert _told("karma", text, [1, 5, 9]) == [1, 5, 9]
    told = _progress("karma", text.splitlines(), [1, 5, 9])
    assert _is_rising(each.fraction for each in told)
    assert [each.frame for each in told[::6]] == [1, 5, 9]
    assert (told[-1].fraction, told[-1].frames_done) == (1.0, 2)


def test_of_mantra_the_name_of_the_picture_tells_the_frame() -> None:
    text = "".join(
        f"Generating Image: /p/v002/f.{frame:04}.exr (64x48)\nALF_PROGRESS 100%\nALF_PROGRESS 0%\nRender Time: 1.39u\n"
        for frame in (3, 4)
    )
    assert _told("karma", text, [3, 4]) == [3, 4]


def test_a_frame_of_several_files_is_told_once_with_the_first() -> None:
    parser = ProgressParser("blender", frames=range(1, 6))
    reports = parser.feed(
        "Fra:4 Mem:1M | Sample 4/4\nSaved: '/p/cam2_0004_L.png'\nSaved: '/p/cam2_0004_R.png'\n"
        " Time: 00:01.06 (Saving: 00:00.00)\n"
    )
    assert [report for report in reports if not isinstance(report, Progress)] == [
        FileSaved("/p/cam2_0004_L.png"),
        FrameRendered(4, "/p/cam2_0004_L.png"),
        FileSaved("/p/cam2_0004_R.png"),
    ]
    assert parser.progress.frames_done == 1


def test_a_film_has_frames_and_no_files() -> None:
    text = "".join(
        f"Fra:{n} Mem:1M | Sample 4/4\nAppend frame {n}\n Time: 00:01.82 (Saving: 00:00.44)\n\n" for n in (1, 2, 3)
    )
    assert _told("blender", text, range(1, 4)) == [1, 2, 3]


def test_a_frame_that_could_not_be_saved_is_not_told() -> None:
    text = (
        "Fra:1 Mem:1M | Sample 4/4\n"
        "Error: Render error (No space left on device) cannot save: '/p/0001.png'\n Time: 00:01.12 (Saving: 00:00.43)\n"
    )
    assert _told("blender", text + "Fra:2 Mem:1M | Sample 4/4\nSaved: '/p/0002.png'\n", range(1, 3)) == [2]


def test_the_last_frame_is_told_at_the_end_if_it_was_complete() -> None:
    begun = "[Redshift] Rendering frame 5 (1/2)\n[Redshift] Block 4/4 (1,1) rendered by GPU 0 in 2ms\n"
    assert _told("redshift", begun, [5, 6]) == [5]
    assert _told("redshift", begun + "[Redshift] Rendering frame 6 (2/2)\n", [5, 6]) == [5]
    assert _told("generic", "50 %\n100 %\n", [5, 6]) == [5, 6]
    assert _told("generic", "50 %\n99 %\n", [5, 6]) == []


def test_who_only_counts_frames_tells_them_by_their_place() -> None:
    assert _told("aftereffects", "PROGRESS:  0:00:00:03 (3): 0 Seconds\n", [8, 4, 6, 2]) == [8, 4, 6]
    assert _told("generic", "1/4 frames\n3/4 frames\n", [8, 4, 6, 2]) == [8, 4, 6]


def test_of_an_encoder_frames_are_counted_and_not_told() -> None:
    text = "frame=1000000 fps= 25 q=28.0 size= 1KiB time=00:00:01.00 bitrate=1kbits/s speed=1x\n"
    parser = ProgressParser("ffmpeg", frames=range(1_000_000))
    (progress,) = parser.feed(text) + parser.finish()
    assert isinstance(progress, Progress)
    assert progress.frames_done == 1_000_000


@pytest.mark.parametrize(
    ("path", "frames", "frame"),
    [
        ("/shots/0010/comp_v011.0012.exr", range(1, 20), 12),
        ("/p/beauty_0012_v3.exr", range(1, 20), 12),
        ("C:\\renders\\f_7.png", [5, 7], 7),
        ("/p/f_-003.exr", range(-5, 6), -3),
        ("/p/shot-003.exr", range(-5, 6), 3),
        ("/p/f.0099.exr", range(1, 20), None),
        ("/p/beauty.exr", [4], 4),
        ("/p/beauty.exr", None, None),
    ],
)
def test_the_name_of_a_file_tells_the_frame(path: str, frames: Sequence[int] | None, frame: int | None) -> None:
    parser = ProgressParser("renderman", frames=frames)
    reports = parser.feed(f'Writing "{path}" (mode = rgba)\n')
    assert [report for report in reports if isinstance(report, FrameRendered)] == [FrameRendered(frame, path)]


def test_frames_may_come_in_any_order_and_progress_rises() -> None:
    frames = [1, 10, 5, 3, 7]
    text = "".join(f"Fra:{n} Mem:1M | Sample 2/4\nSaved: '/p/{n:04}.png'\n" for n in (1, 3, 5, 7, 10))
    assert _told("blender", text, frames) == [1, 3, 5, 7, 10]
    told = _progress("blender", text.splitlines(), frames)
    assert _is_rising(each.fraction for each in told)
    assert told[-1].fraction == 1.0


def test_the_numbers_of_frames_that_are_none_of_the_commands_are_not_told() -> None:
    assert _told("blender", "Fra:1 Mem:1M\nFra:2 Mem:1M\nFra:3 Mem:1M\n", [2]) == [2]


@given(
    frames=st.lists(st.integers(-20, 200), min_size=1, max_size=30, unique=True),
    cuts=st.lists(st.integers(0, 5000), max_size=5),
    layers=st.integers(1, 3),
)
def test_every_frame_is_told_once_however_the_output_is_cut(frames: list[int], cuts: list[int], layers: int) -> None:
    text = "".join(
        "".join(f"Fra:{n} Mem:1M | Scene, {layer} | Sample {k}/3\n" for layer in range(layers) for k in range(4))
        + f"Saved: '/shot_02/f_{n:04}.png'\n"
        for n in frames
    )
    parser = ProgressParser("blender", frames=frames)
    reports, fractions = [], []
    for start, end in pairwise([0, *sorted(cuts), len(text)]):
        reports += parser.feed(text[start:end])
        fractions.append(parser.progress.fraction)
    reports += parser.finish()
    assert _frames(reports) == frames
    assert _is_rising(fractions)
    assert (parser.progress.fraction, parser.progress.frames_done) == (1.0, len(frames))


def test_a_renderer_of_the_users_own_says_what_a_fall_means() -> None:
    rules = [
        Rule(r"layer (?P<percent>\d+)%", "layer ", falls="frame"),
        Rule(r"end of (?P<frame_finished>\d+)", "end of "),
    ]
    assert _told(Renderer("own", rules), "layer 100%\nlayer 0%\nlayer 100%\n", [4, 8]) == [4, 8]
    assert _told(Renderer("own", rules), "end of 8\nend of 4\nend of 8\n", [4, 8]) == [8, 4]
    with pytest.raises(ValueError, match="no such meaning of a fall: 'layer'; use one of held, pass, frame"):
        Rule(r"layer (?P<percent>\d+)%", "layer ", falls="layer")  # type: ignore[arg-type]
