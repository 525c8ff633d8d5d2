"""Chunks of any frames are planned where a command takes them, with a command for those that are not whole."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.tunnel import run_job, search_path
from tailrace import Chunk, JobSpec, SpecError, parse_command, plan_job
from tailrace._spec.retry_command import fill_in_frames

_BLENDER = ("blender", "--background", "--python-exit-code", "1", "a.blend")
_OUTPUT = (
    *("--python-expr", "import bpy; bpy.ops.file.report_missing_files()"),
    *("--render-output", "f_####.png", "--render-format", "PNG", "--use-extension", "1"),
)


def _words(chunk: Chunk) -> list[str]:
    command, args = parse_command(chunk.command)
    return [command, *args]


def _retry_words(chunk: Chunk, *frames: int) -> list[str]:
    """Return the command that renders some of a chunk's frames."""
    assert chunk.retry_command is not None
    command, args = parse_command(fill_in_frames(chunk.retry_command, frames))
    return [command, *args]


def _plan(template: str, frames: str, *, chunk_size: int = 100, **options: object) -> JobSpec:
    options = {"output": "f_####.png", **options}
    return plan_job(template, frames, chunk_size=chunk_size, **options)  # type: ignore[arg-type]


def _only(template: str, frames: str, **options: object) -> Chunk:
    (chunk,) = _plan(template, frames, **options).chunks  # type: ignore[arg-type]
    return chunk


# Lists


@pytest.mark.parametrize("template", ["r {frames}", "r {ranges:-}", "r {frames} {step}", "blender"])
def test_a_list_is_cut_into_chunks_by_the_number_of_frames_across_its_gaps(template: str) -> None:
    source = "a.blend" if template == "blender" else None
    spec = _plan(template, "1,3,7,20,21,40", chunk_size=4, source=source)
    assert [list(chunk.frames) for chunk in spec.chunks] == [[1, 3, 7, 20], [21, 40]]
    assert JobSpec.parse(spec.model_dump_json(by_alias=True)) == spec


@given(st.lists(st.integers(-30, 60), min_size=1, max_size=30, unique=True), st.integers(1, 12))
def test_chunks_of_a_list_come_in_the_order_that_was_asked_for(frames: list[int], chunk_size: int) -> None:
    spec = plan_job("r {frames}", frames, chunk_size=chunk_size, output="f_##")
    expected = [sorted(frames[place : place + chunk_size]) for place in range(0, len(frames), chunk_size)]
    assert [list(chunk.frames) for chunk in spec.chunks] == expected
    assert [_words(chunk)[1] for chunk in spec.chunks] == [",".join(map(str, chunk)) for chunk in expected]


@pytest.mark.parametrize(
    ("placeholder", "value"),
    [
        ("{frames}", "-4,-3,-2,1,3,7,20"),
        ("-f{ranges:..}", "-f-4..-2,1,3,7,20"),
        ("{ranges:to}", "-4to-2,1,3,7,20"),
        ("{start:04}", "-004"),
        ("{end}", "20"),
        ("{step}", "1"),
        ("{count}", "7"),
    ],
)
def test_a_command_may_say_its_frames_in_many_ways(placeholder: str, value: str) -> None:
    assert _words(_only(f"r {{frames}} {placeholder}", "20,-4--2,1,3,7"))[2] == value


def test_the_step_is_that_of_the_smallest_run_that_covers_a_list() -> None:
    assert _words(_only("r {frames} {start} {end} {step}", "2,8,14,26"))[2:] == ["2", "26", "6"]


@pytest.mark.parametrize("template", ["r {start} {end}", "r {start} {step}", "r {frame}"])
def test_a_command_of_ones_own_renders_frames_below_zero_too(template: str) -> None:
    spec = _plan(template, "-10--8", chunk_size=1, output="f_{start:04}.png")
    assert [chunk.output_file for chunk in spec.chunks] == ["f_-010.png", "f_-009.png", "f_-008.png"]
    assert [_words(chunk)[1] for chunk in spec.chunks] == ["-10", "-9", "-8"]


def test_blender_is_given_a_list_unless_the_frames_are_evenly_spaced() -> None:
    spec = _plan("blender", "1-9x4,12,14,20-22", chunk_size=5, source="a.blend", args=["--", "--seed", "3"])
    evenly_spaced = ("--frame-start", "20", "--frame-end", "22", "--frame-jump", "1", "--render-anim")
    assert [_words(chunk) for chunk in spec.chunks] == [
        [*_BLENDER, *_OUTPUT, "--render-frame", "1,5,9,12,14", "--", "--seed", "3"],
        [*_BLENDER, *_OUTPUT, *evenly_spaced, "--", "--seed", "3"],
    ]
    assert _words(_only("blender", "1,3,7-9", source="a.blend"))[-2:] == ["--render-frame", "1,3,7..9"]


def _rendered_by(script: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Run a script of Blender's; return the frames that it renders, with the names of their files."""
    rendered: list[tuple[int, str]] = []
    scene = SimpleNamespace(render=SimpleNamespace(filepath=""), frame=None)
    scene.frame_set = lambda frame: setattr(scene, "frame", frame)

    def render(*, write_still: bool) -> None:
        assert write_still
        rendered.append((scene.frame, scene.render.filepath))

    bpy = ModuleType("bpy")
    bpy.context = SimpleNamespace(scene=scene)  # type: ignore[attr-defined]
    bpy.ops = SimpleNamespace(render=SimpleNamespace(render=render))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    exec(script, {})
    return rendered


@pytest.mark.parametrize("name", ["f_{}.png", 'it\'s "100%"/{{frames}} é_{}.png', "\\{{{}}}.png"])
def test_blender_renders_frames_below_zero_into_the_files_that_the_job_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = _only("blender", "-2-1", source="a.blend", output=name.format("####"))
    *_, option, script = _words(chunk)
    assert option == "--python-expr"
    expected = [(frame, name.format(f"{frame:04}")) for frame in (-2, -1, 0, 1)]
    assert _rendered_by(script, monkeypatch) == expected
    assert _rendered_by(_retry_words(chunk, -2, 1)[-1], monkeypatch) == [expected[0], expected[3]]


# Retry commands


def test_blender_renders_again_what_is_not_whole_of_any_chunk() -> None:
    spec = _plan("blender", "1-8x2,9,20", chunk_size=4, source="a.blend", args=["-E", "{X}", "--", "{y}"])
    for chunk in spec.chunks:
        assert _retry_words(chunk, 3, 4, 5, 9) == [
            *(*_BLENDER, "-E", "{X}", *_OUTPUT),
            *("--render-frame", "3..5,9", "--", "{y}"),
        ]


def test_povray_renders_again_each_run_by_a_process_of_its_own() -> None:
    chunk = _only("povray", "1-12", source="a.pov", output="f_##.png", args=["+A{0.3}"])
    shell, option, script, name, runs, *words = _retry_words(chunk, 3, 4, 5, 9)
    assert (shell, option, name, runs) == ("sh", "-c", "sh", "3..5,9")
    assert words == [word for word in _words(chunk) if not word.startswith(("+SF", "+EF"))]
    assert '"$@"' in script


def test_a_command_that_takes_lists_is_its_own_retry_command() -> None:
    chunk = _only("r 'a b' -f{ranges:..} {{x}} {output} {start:04}", "1-4,7", output="it's {{y}} ####.png")
    assert _words(chunk) == ["r", "a b", "-f1..4,7", "{x}", "it's {y} ####.png", "0001"]
    assert _retry_words(chunk, 2, 7) == ["r", "a b", "-f2,7", "{x}", "it's {y} ####.png", "0002"]


@pytest.mark.parametrize(
    ("template", "options"),
    [
        # It would say how many frames the chunk has, and of a video there are no parts.
        ("r {frames} {count}", {}),
        ("r {frames} {output}", {"output": "part_{start}.mp4"}),
        ("r {start} {end}", {}),
        ("ffmpeg", {"source": "a.mov", "fps": 25, "output": "p_####.mp4"}),
    ],
)
def test_there_is_no_retry_command_where_none_is_known(template: str, options: dict[str, object]) -> None:
    assert _only(template, "1-4", **options).retry_command is None


@pytest.mark.parametrize("template", ["r {frames}", "blender", "r {frame}"])
def test_a_single_frame_needs_no_retry_command(template: str) -> None:
    options = {"source": "a.blend"} if template == "blender" else {}
    spec = _plan(template, "1,4", chunk_size=1, **options)
    assert [chunk.retry_command for chunk in spec.chunks] == [None, None]


def test_the_retry_command_of_another_command_is_filled_in_later_but_for_its_output() -> None:
    chunk = _only("r {start} {end}", "1-9", retry_command="r '{{a b}}' --only {frames} {start:03}-{end} {output}")
    assert _retry_words(chunk, 4, 6) == ["r", "{a b}", "--only", "4,6", "004-6", "f_####.png"]
    # A chunk of one frame is rendered as a whole.
    assert _plan("r {start}", "1-2", chunk_size=1, retry_command="r {frames}").chunks[0].retry_command is None


@pytest.mark.parametrize(
    ("template", "options", "message"),
    [
        ("r {start}", {"retry_command": "r {x}"}, "retry command: {x} is not a placeholder: there are {frames}, {ran"),
        ("r {start}", {"retry_command": "r"}, "retry command: should have {frames}, {ranges:..}, or {start} and {end}"),
        ("r {start}", {"retry_command": "r {end}"}, "retry command: has only one of {start} and {end}"),
        ("r {start}", {"retry_command": "r '{frames}"}, "retry command: a quotation or an escape is not ended"),
        ("r {start}", {"retry_command": "r {frames"}, "retry command: a brace has no counterpart in 'r {frames'"),
        (
            "r {start}",
            {"retry_command": "r {frames}", "output": "a.mp4"},
            "output: 'a.mp4' needs #### for the number of the frame, such as frame_####.png: the retry command is for",
        ),
        ("blender", {"source": "a", "retry_command": "b"}, "retry command: is for commands of your own: Blender has"),
        ("povray", {"source": "a", "retry_command": "b"}, "retry command: is for commands of your own: POV-Ray has"),
        (
            "ffmpeg",
            {"source": "a", "retry_command": "b"},
            "retry command: is for commands of your own: ffmpeg writes the frames of a chunk into one file",
        ),
    ],
)
def test_a_retry_command_that_cannot_be_used_is_refused_in_one_line(
    template: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        _plan(template, "1-4", **options)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_planned_job_renders_only_those_frames_again_that_are_not_whole(tmp_path: Path) -> None:
    (tmp_path / "render.sh").write_text(
        """
for frame in $(echo "$1" | tr , " "); do
    echo "$frame" >> rendered
    [ "$frame" = 7 ] && ! [ -e failed ] && touch failed && exit 1
    echo x > "f_$(printf %04d "$frame").png"
done
"""
    )
    spec = plan_job("sh render.sh {frames} {output}", "-3,1,3,7,20", chunk_size=9, output="f_####.png")
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    done = run_job(tmp_path, "--retries", "1", "--retry-delay", "0", path=search_path())
    assert done.returncode == 0, done.stderr
    rendered = (tmp_path / "rendered").read_text().split()
    # Of those that are there, the last one may have been cut off.
    assert rendered == ["-3", "1", "3", "7", "3", "7", "20"]
    names = [path.name for path in tmp_path.glob("f_*")]
    assert sorted(names) == ["f_-003.png", "f_0001.png", "f_0003.png", "f_0007.png", "f_0020.png"]
