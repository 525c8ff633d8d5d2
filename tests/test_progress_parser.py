"""What renderers print is understood the same, however it is cut."""

from __future__ import annotations

import pytest

from tailrace.progress import FileSaved, Progress, ProgressParser, Renderer, RenderError, Report, Rule

BLENDER_LINES = [
    "Blender 3.4.1",
    "Fra:12 Mem:8.44M (Peak 10.19M) | Time:00:00.00 | Mem:0.00M, Peak:0.00M | Scene, ViewLayer | Initializing",
    "Fra:12 Mem:49.06M (Peak 49.60M) | Time:00:27.91 | Remaining:00:08.10 | Mem:0.86M | Scene | Sample 32/128",
    "Saved: '/p/f_0012.exr'",
]


def test_of_the_frames_of_a_command_those_before_and_the_part_of_this_one_are_done() -> None:
    parser = ProgressParser("blender", frames=range(10, 20))
    assert parser.feed("\n".join(BLENDER_LINES[:3]) + "\n") == [
        Progress(
            frame=12,
            frame_fraction=0.25,
            fraction=(2 + 0.25) / 10,
            remaining=8.1,
            memory=int(49.06 * 2**20),
            status="Sample",
        )
    ]
    saved, progress = parser.feed("Saved: '/p/f_0012.exr'\n")
    assert saved == FileSaved("/p/f_0012.exr")
    assert isinstance(progress, Progress)
    assert (progress.frame_fraction, progress.fraction) == (1.0, 0.3)


def test_the_state_is_reported_once_for_many_lines_and_only_if_it_changed() -> None:
    parser = ProgressParser("blender")
    lines = "".join(f"Fra:1 Mem:1M | Sample {n}/100\n" for n in range(1, 51))
    assert [report.frame_fraction for report in parser.feed(lines) if isinstance(report, Progress)] == [0.5]
    assert parser.feed("Fra:1 Mem:1M | Sample 50/100\nof no interest\n") == []
    assert parser.progress.frame_fraction == 0.5


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_each_end_of_a_line_completes_it(end: str) -> None:
    parser = ProgressParser("blender")
    assert parser.feed("Saved: '/a'") == []
    assert parser.feed(end)[0] == FileSaved("/a")


def test_a_last_line_without_an_end_is_read_at_the_end() -> None:
    parser = ProgressParser("blender")
    assert parser.feed(b"Saved: '/a'", "stderr") == []
    assert parser.finish()[0] == FileSaved("/a")
    assert parser.finish() == []


def test_an_unknown_renderer_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(ValueError, match=r"no renderer is called 'rib'; known are: auto, .*blender, ffmpeg"):
        ProgressParser("rib")


def test_errors_have_their_class() -> None:
    reports: list[Report] = ProgressParser("blender").feed("Error: Cannot render, no camera\n")
    assert reports == [RenderError("Error: Cannot render, no camera", "scene", True)]


def test_a_renderer_of_the_users_own_needs_no_registration() -> None:
    own = Renderer("own", [Rule(r"step (?P<done>\d+) of (?P<total>\d+)", "step ", of="command")])
    parser = ProgressParser(own)
    assert parser.feed("step 3 of 4\n") == [Progress(fraction=0.75)]
    assert parser.renderer == "own"
