"""A planned job renders the frames that were asked for, by the commands that were meant."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.pieces import probe, stream_of, times_off
from support.tunnel import frame_hashes, run_job, search_path
from tailrace import JobSpec, SpecError, parse_command, plan_job

NASTY_NAMES = ("-a b.x", 'it\'s "100%" {start}', "a:b", "$HOME;`x`\\", "two\nlines", "é 日本")


def _words(spec: JobSpec) -> list[list[str]]:
    return [[command, *args] for command, args in (parse_command(chunk.command) for chunk in spec.chunks)]


def _one(template: str, frames: str = "1-2", *, output: str = "f_####.png", **options: object) -> list[str]:
    """Return the only command of a job."""
    (words,) = _words(plan_job(template, frames, chunk_size=100, output=output, **options))  # type: ignore[arg-type]
    return words


# Chunks


def test_chunks_are_consecutive_parts_of_the_range_with_its_steps() -> None:
    spec = plan_job("r {start} {end} {step} {count}", "1-250x2,300", chunk_size=100, output="f_####")
    assert [(chunk.id, chunk.frames, chunk.frame_step) for chunk in spec.chunks] == [
        (0, range(1, 201, 2), 2),
        (1, range(201, 251, 2), 2),
        (2, range(300, 301), 1),
    ]
    assert [words[1:] for words in _words(spec)] == [
        ["1", "199", "2", "100"],
        ["201", "249", "2", "25"],
        ["300", "300", "1", "1"],
    ]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=5),
    st.integers(1, 40),
)
def test_every_frame_is_in_one_chunk_of_the_size_at_most(parts: list[tuple[int, int, int]], chunk_size: int) -> None:
    text = ",".join(f"{start}-{start + length}x{step}" for start, length, step in parts)
    named = [frame for start, length, step in parts for frame in range(start, start + length + 1, step)]
    spec = plan_job("r {start} {end} {step}", text, chunk_size=chunk_size, output="f_##")
    assert sorted(itertools.chain.from_iterable(chunk.frames for chunk in spec.chunks)) == sorted(set(named))
    assert all(chunk.frame_count <= chunk_size for chunk in spec.chunks)
    assert [chunk.id for chunk in spec.chunks] == list(range(len(spec.chunks)))
    assert spec.metadata.total_frames == len(set(named))
    for chunk, (_, start, end, step) in zip(spec.chunks, _words(spec), strict=True):
        assert chunk.frames == range(int(start), int(end) + 1, int(step))


def test_the_metadata_describes_the_video() -> None:
    spec = plan_job("r {start}", "1-48", chunk_size=48, output="a", job_id="shot")
    assert spec.id == "shot"
    assert spec.metadata.model_dump() == {
        "total_frames": 48,
        "fps": 24.0,
        "width": 1920,
        "height": 1080,
        "duration": 2.0,
    }
    spec = plan_job("r {start}", "1-30", chunk_size=30, output="a", fps=Fraction(30000, 1001), size=(64, 36))
    assert spec.metadata.fps == pytest.approx(29.97003)
    assert spec.metadata.duration == pytest.approx(1.001)
    assert (spec.metadata.width, spec.metadata.height) == (64, 36)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (23.976, "24000/1001"),
        (23.98, "24000/1001"),
        (29.97, "30000/1001"),
        (Fraction("59.94"), "60000/1001"),
        (Fraction(30000, 1001), "30000/1001"),
        (24, "24"),
        (12.5, "25/2"),
        (29.9, "299/10"),
    ],
)
def test_a_rate_of_few_decimals_is_the_fraction_that_is_meant(written: float | Fraction, meant: str) -> None:
    spec = plan_job("ffmpeg", "0-9", chunk_size=5, output="p_##.mp4", source="a.mov", fps=written)
    words = _words(spec)[0]
    assert words[words.index("-r") + 1] == meant
    assert spec.metadata.frame_rate == Fraction(meant)
    assert spec.metadata.duration == float(10 / Fraction(meant))
    assert spec.metadata.model_copy(update={"fps": float(written)}).frame_rate == Fraction(meant)


# Commands with placeholders


def test_placeholders_may_be_parts_of_words() -> None:
    words = _one("render --frames={start}-{end} 'out dir/{start:04}.png' {{{count}}} {output}", "7-9", output="a b")
    assert words == ["render", "--frames=7-9", "out dir/0007.png", "{3}", "a b"]


@pytest.mark.parametrize(
    ("command", "output", "written", "said"),
    [
        ("r {start} {output}", "f_####.png", "f_####.png", "f_####.png"),
        ("r {frame} {output}", "f_####.png", "f_####.png", "f_0007.png"),
        ("r {frame}", "d/{frame:06}.png", "d/000007.png", None),
        ("r {start} {output}", "part_{start:03}-{end:03}.mp4", "part_007-007.mp4", "part_007-007.mp4"),
        ("r {start} {output}", "{{{start}}}", "{7}", "{7}"),
    ],
)
def test_the_output_is_each_frames_or_the_chunks(command: str, output: str, written: str, said: str | None) -> None:
    spec = plan_job(command, "7", chunk_size=1, output=output)
    assert spec.chunks[0].output_file == written
    assert said is None or _words(spec)[0][-1] == said


def _file_names() -> st.SearchStrategy[str]:
    characters = st.characters(exclude_characters="\0/", exclude_categories=["Cs"])
    return st.text(characters, min_size=1, max_size=20)


@given(_file_names())
def test_any_file_name_is_one_argument_of_the_renderer(name: str) -> None:
    source = f"{name}.blend"
    operand = f"./{source}" if source.startswith("-") else source
    assert _one("blender", source=source)[4] == operand
    assert _one("blender", source=f"{name}.py")[2:6] == ["--python-exit-code", "1", "--python", f"{name}.py"]
    words = _one("ffmpeg", source=name, output="part.mp4", fps=25)
    assert words[words.index("-i") + 1] in (name, f"./{name}")


@given(_file_names().filter(lambda name: "##" not in name and "%" not in name))
def test_any_output_is_one_argument_of_the_command(name: str) -> None:
    escaped = name.replace("{", "{{").replace("}", "}}")
    spec = plan_job("render --to={output} {start} {output}", "1-2", chunk_size=2, output=escaped)
    assert _words(spec) == [["render", f"--to={name}", "1", name]]
    assert spec.chunks[0].output_file == name


@given(_file_names())
def test_any_word_of_a_command_stays_one_word(word: str) -> None:
    escaped = shlex.quote(word.replace("{", "{{").replace("}", "}}"))
    assert _one(f"render {escaped} {{start}}", output="a") == ["render", word, "1"]


@given(st.text(alphabet="{}:!04 startendoutput'\"", max_size=20))
def test_any_template_is_a_command_or_one_clear_error(text: str) -> None:
    try:
        plan_job(text, "1-2", chunk_size=1, output="f_##")
    except SpecError as error:
        assert len(str(error).splitlines()) == 1


# Renderers


def test_blender_is_told_everything_before_it_renders() -> None:
    spec = plan_job(
        "blender", "1-9x2", chunk_size=3, output="out/f_####.png", source="a b.blend", args=["-E", "CYCLES"]
    )
    fixed = [
        *("blender", "--background", "--python-exit-code", "1", "a b.blend", "-E", "CYCLES"),
        *("--python-expr", "import bpy; bpy.ops.file.report_missing_files()"),
        *("--render-output", "out/f_####.png", "--render-format", "PNG", "--use-extension", "1"),
    ]
    assert _words(spec) == [
        [*fixed, "--frame-start", "1", "--frame-end", "5", "--frame-jump", "2", "--render-anim"],
        [*fixed, "--frame-start", "7", "--frame-end", "9", "--frame-jump", "2", "--render-anim"],
    ]
    assert {chunk.output_file for chunk in spec.chunks} == {"out/f_####.png"}


def test_a_scene_of_blenders_may_be_made_by_a_script_with_arguments_of_its_own() -> None:
    words = _one("blender", source="make.py", args=["--threads", "2", "--", "--seed", "3"], size=(64, 36))
    assert words[:8] == ["blender", "--background", "--python-exit-code", "1", "--python", "make.py", "--threads", "2"]
    assert words[8:11] == ["--python-expr", "import bpy; bpy.ops.file.report_missing_files()", "--python-expr"]
    assert "= 64, 36, 100" in words[11]
    assert words[-4:] == ["--render-anim", "--", "--seed", "3"]


def test_a_format_of_blenders_may_be_named() -> None:
    words = _one("blender", source="a.blend", output="f_####.exr", args=["-F", "OPEN_EXR_MULTILAYER"])
    assert "--render-format" not in words


def test_povray_runs_its_clock_over_all_frames_and_renders_those_of_the_chunk() -> None:
    spec = plan_job(
        "povray", "1-20,30-100", chunk_size=15, output="out/f_####.png", source="s/a.pov", args=["+A0.3"], size=(64, 36)
    )
    assert _words(spec)[1] == [
        *("povray", "+Is/a.pov", "+Oout/f_0.png", "+FN", "+Ls", "+W64", "+H36", "-D"),
        *("+KFI1", "+KFF100", "+SF16", "+EF20", "+A0.3"),
    ]
    assert {chunk.output_file for chunk in spec.chunks} == {"out/f_####.png"}


def test_povray_gets_names_in_quotation_marks_where_it_would_misread_them() -> None:
    words = _one("povray", source="it's.pov", output='say "x"_#.tga'.replace("#", "##"))
    assert words[1:4] == ['+I"it\'s.pov"', "+O'say \"x\"_0.tga'", "+FT"]


def test_frames_with_a_step_are_chunks_of_one_where_a_renderer_has_no_steps() -> None:
    words = _words(plan_job("povray", "1-9x4", chunk_size=1, output="f_##.png", source="a.pov"))
    assert [argv[-4:] for argv in words] == [["+KFI1", "+KFF9", f"+SF{n}", f"+EF{n}"] for n in (1, 5, 9)]


def test_ffmpeg_begins_at_the_time_of_the_first_frame() -> None:
    spec = plan_job(
        "ffmpeg", "0-99", chunk_size=60, output="p_###.mp4", source="a.mov", args=["-crf", "20"], fps=25, size=(64, 36)
    )
    rest = ["-r", "25", "-s", "64x36", "-crf", "20", "-y"]
    start = ["ffmpeg", "-v", "warning", "-stats"]
    assert _words(spec) == [
        [*start, "-i", "a.mov", "-map", "0:v:0", "-frames:v", "60", *rest, "p_000.mp4"],
        [*start, "-ss", "2.390000", "-i", "a.mov", "-map", "0:v:0", "-frames:v", "40", *rest, "p_060.mp4"],
    ]
    assert [chunk.output_file for chunk in spec.chunks] == ["p_000.mp4", "p_060.mp4"]


# What cannot be planned


@pytest.mark.parametrize(
    ("template", "frames", "options", "message"),
    [
        ("blendr", "1", {}, "template: 'blendr' should be blender, ffmpeg, povray, or a command with placeholders"),
        ("r {strat}", "1", {}, "template: {strat} is not a placeholder: there are {start}, {end}, {step}, {count}, {f"),
        ("r {}", "1", {}, "template: {} is not a placeholder"),
        ("r {start!r}", "1", {}, "template: {start} is not a placeholder"),
        ("r {start", "1", {}, "template: a brace has no counterpart in 'r {start': write {{ and }} for braces"),
        ("r {start:x}", "1", {}, "template: {start:x} should be {start}, or {start:04} for four digits"),
        ("r {{}}", "1", {}, "template: 'r {{}}' has no placeholder: every chunk would run the same command"),
        ("r '{start}", "1", {}, "a quotation or an escape is not ended"),
        ("r {start}", "1", {"output": "{frme}"}, "output: {frme} is not a placeholder"),
        ("r {start}", "1", {"output": "a{output}"}, "output: {output} cannot be part of itself"),
        ("r {start}", "1-4", {"output": "a.mp4"}, "output: 'a.mp4' is the same file for several chunks: put #### in"),
        ("r {frame}", "1-4", {}, "chunk size: {frame} is the number of a single frame: use a chunk size of 1, or"),
        ("r {start}", "1-9x2", {}, "with a step takes a chunk size of 1, or {step} or {frames} in the c"),
        (
            "r {start}",
            "1",
            {"source": "a.x"},
            "source: 'a.x' is for blender, ffmpeg, povray: write it into the command",
        ),
        ("r {start}", "1", {"args": ["-v"]}, "source: '-v' is for blender, ffmpeg, povray: write it into the command"),
        ("r {start}", "1", {"output": "f_%04d.png"}, "output: %04d in 'f_%04d.png' should be ####, one # for each"),
        ("r {start}", "1", {"output": "##/f_##"}, "should have #### once, in the name of the file and not of its fold"),
        ("r {start}", "1", {"output": "##/f"}, "should have #### once, in the name of the file and not of its folder"),
        ("r {start:04x}", "1", {}, "template: {start:04x} should be {start}, or {start:04} for four digits"),
        ("r {frames:04}", "1", {}, "template: {frames:04} should be {frames}, or {start:04} for four digits"),
        ("r {ranges}", "1", {}, "template: {ranges} should say what is between the first and the last frame of a run"),
        ("r {ranges:,}", "1", {}, "template: {ranges:,} should say what is between the first and the last frame of a"),
        ("r {start}", [], {}, "frames: there should be one at least"),
        ("blender", "1048575", {"source": "a"}, "frames: Blender's last frame is 1048574: there is 1048575"),
        ("povray", "-3-5", {"source": "a"}, "frames: POV-Ray counts from 0: there is -3"),
        ("ffmpeg", "-3-5", {"source": "a", "fps": 24}, "frames: ffmpeg counts from 0: there is -3"),
        ("r {start}", "-3-1", {"video": "a", "chunk_size": 9}, "video: ffmpeg numbers the pictures of a video from 0"),
        ("r {start}", "1", {"chunk_size": 0}, "chunk size: 0 should be 1 or more"),
        ("r {start}", "1", {"fps": 0}, "fps: 0 should be more than 0"),
        ("r {start}", "1", {"fps": float("nan")}, "fps: nan should be more than 0"),
        ("r {start}", "1", {"video": "a", "merge_command": "b"}, "video: is made by a merge command of its own"),
        ("r {start}", "1-4,7", {"video": "a.mp4"}, "video: there are 5 frames between 1 and 7, and a video needs them"),
        (
            "r {start}",
            "1",
            {"output": "{start}.png", "video": "a.mp4"},
            "video: needs pictures whose output is named wi",
        ),
        ("blender", "1", {}, "source: is missing: name a .blend file, or a Python script that makes the scene"),
        ("blender", "1", {"source": "a", "output": "f.png"}, "output: 'f.png' needs #### for the number of the frame"),
        (
            "blender",
            "1",
            {"source": "a", "output": "f_####"},
            "output: 'f_####' should end in what Blender writes: .bmp",
        ),
        ("blender", "1", {"source": "a", "output": "f_##_#.png"}, "output: Blender takes the last # of 'f_##_#.png'"),
        ("blender", "1", {"source": "a", "output": "//f_##.png"}, "should not start with //"),
        ("blender", "1", {"source": "a", "output": "../f_##.png"}, "output: '../f_##.png' should have no .."),
        ("ffmpeg", "1", {"source": "a"}, "fps: ffmpeg finds a frame by its time: give the frames a second"),
        (
            "ffmpeg",
            "1",
            {"source": "a", "fps": 24},
            "output: 'f_####.png' is a single picture, and ffmpeg writes the frames of a chunk into one file: name",
        ),
        (
            "ffmpeg",
            "1-9x2",
            {"source": "a", "fps": 24, "output": "f_####.mp4"},
            "'ffmpeg' renders every frame of a chunk, so a range with a st",
        ),
        ("povray", "1-9x2", {"source": "a"}, "'povray' renders every frame of a chunk, so a range with a step takes a"),
        ("povray", "5", {"source": "a"}, "frames: POV-Ray needs two frames or more, over which its clock runs"),
        ("povray", "1-100", {"source": "a", "output": "f_##.png"}, "POV-Ray writes 3 digits for frame 100: write ###"),
        ("povray", "1-10", {"source": "a", "output": "f_##_x.png"}, "POV-Ray puts the frame's number last: write ##.p"),
        ("povray", "1-10", {"source": "a", "output": "d/##.png"}, "POV-Ray needs a name before the number: write fram"),
        ("povray", "1-10", {"source": "é.pov"}, "POV-Ray cannot open 'é.pov': its names are ASCII with one kind of"),
        ("povray", "1-10", {"source": "'\".pov"}, "its names are ASCII with one kind of quotation mark at most"),
    ],
)
def test_what_cannot_be_planned_is_one_line_that_names_the_remedy(
    template: str, frames: str | list[int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        plan_job(template, frames, **{"chunk_size": 3, "output": "f_####.png", **options})  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_more_chunks_than_one_command_can_join_are_refused() -> None:
    def plan(name: str) -> JobSpec:
        return plan_job("ffmpeg", "0-8999", chunk_size=1, output=name, source="a", fps=24, video="a.mp4")

    with pytest.raises(SpecError, match="9000 chunks are too many to be joined by one command: use a larger chunk"):
        plan(f"{'p' * 120}_####.mp4")
    assert plan("p_####.mp4").merge_command is not None


# Real runs


def _run(spec: JobSpec, folder: Path) -> None:
    (folder / "job.json").write_text(spec.model_dump_json(by_alias=True))
    done = run_job(folder, "--verify-output", "--concurrency", "2", path=search_path())
    assert done.returncode == 0, done.stderr


def _ffmpeg(folder: Path, *args: str) -> None:
    env = os.environ | {"PATH": search_path()}
    command = ["ffmpeg", "-v", "error", *args]
    subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, check=True, timeout=200)


def _distinct_frames(fps: str) -> str:
    """Return an input whose first 256 frames all differ, for `-f lavfi`."""
    return f"color=size=32x32:rate={fps},format=yuv420p,geq=lum='mod(N*37,256)':cb=128:cr=128"


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_a_planned_command_writes_its_output_whatever_its_name(name: str, tmp_path: Path) -> None:
    output = name.replace("{", "{{").replace("}", "}}") + "_{start}"
    spec = plan_job("""sh -c 'echo "$1" > "./$2"' sh {end} {output}""", "1-9", chunk_size=4, output=output)
    _run(spec, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.glob("*_[159]")} == {
        f"{name}_1": "4\n",
        f"{name}_5": "8\n",
        f"{name}_9": "9\n",
    }


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.mov", '-a:b it\'s "1".mp4'])
@pytest.mark.parametrize("fps", ["30000/1001", "25", "240"])
def test_chunks_of_a_video_joined_are_equal_to_a_single_pass(name: str, fps: str, tmp_path: Path) -> None:
    lossless = ["-c:v", "libx264", "-qp", "0"]
    # Each frame of another brightness; key frames far apart, frames between them that refer to later ones, and sound.
    _ffmpeg(
        tmp_path,
        *("-f", "lavfi", "-i", f"{_distinct_frames(fps)}", "-f", "lavfi", "-i", "sine"),
        *("-frames:v", "100", *lossless, "-g", "37", "-bf", "3", "-shortest", f"./{name}"),
    )
    spec = plan_job(
        "ffmpeg",
        "0-99",
        chunk_size=17,
        output=f"{name}.part_####.mp4",
        source=name,
        args=lossless,
        fps=Fraction(fps),
        video=f"{name}.joined.mp4",
    )
    _run(spec, tmp_path)
    _ffmpeg(tmp_path, "-i", f"./{name}", "-map", "0:v:0", *lossless, "single.mp4")
    joined = frame_hashes(tmp_path / f"{name}.joined.mp4", path=search_path())
    assert len(set(joined)) == 100
    assert joined == frame_hashes(tmp_path / "single.mp4", path=search_path())


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_the_chunks_of_a_plan_are_joined_at_their_exact_times_whatever_their_names(name: str, tmp_path: Path) -> None:
    output = name.replace("{", "{{").replace("}", "}}") + "_{start:03}.mp4"
    render = 'ffmpeg -v error -f lavfi -i "testsrc2=size=32x32:rate=30000/1001" -frames:v "$1" -y "file:$2"'
    # The rate is the videos' own, not the plan's.
    spec = plan_job(
        shlex.join(["sh", "-c", render.replace("{", "{{"), "sh", "{count}", "{output}"]),
        "0-99",
        chunk_size=7,
        output=output,
        video=f"{name}.mp4",
    )
    _run(spec, tmp_path)
    (tmp_path / f"{name}.mp4").rename(tmp_path / "out.mp4")
    assert times_off(tmp_path / "out.mp4", Fraction(30000, 1001)) == 0
    assert stream_of(probe(tmp_path / "out.mp4"), "video")["duration"] == "3.336667"


def test_a_part_of_a_video_is_exactly_the_frames_named(tmp_path: Path) -> None:
    lossless = ["-c:v", "libx264", "-qp", "0"]
    _ffmpeg(tmp_path, "-f", "lavfi", "-i", _distinct_frames("24"), "-frames:v", "60", *lossless, "in.mp4")
    spec = plan_job(
        "ffmpeg",
        "50-58,10-13",
        chunk_size=5,
        output="p_##.mp4",
        source="in.mp4",
        args=lossless,
        fps=24,
        video="out.mp4",
    )
    _run(spec, tmp_path)
    every = frame_hashes(tmp_path / "in.mp4", path=search_path())
    assert frame_hashes(tmp_path / "out.mp4", path=search_path()) == [*every[10:14], *every[50:59]]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_a_chunk_that_is_missing_or_broken_fails_the_join(suffix: str, tmp_path: Path) -> None:
    spec = plan_job("r {start} {output}", "0-2", chunk_size=1, output=f"it's {{start}}.{suffix}", video=f"all.{suffix}")
    parts = [tmp_path / chunk.output_file for chunk in spec.chunks]
    for part in parts:
        # The sound of one goes on after the next begins.
        _ffmpeg(
            tmp_path,
            *("-f", "lavfi", "-i", f"{_distinct_frames('25')}", "-f", "lavfi", "-i", "sine=duration=1.03"),
            *("-frames:v", "25", "-c:v", "mpeg4", "-bf", "2", "-c:a", "aac", f"{part}"),
        )

    def merged() -> bool:
        assert spec.merge_command is not None
        env = os.environ | {"PATH": search_path()}
        words = shlex.split(spec.merge_command)
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, timeout=200, check=False)
        return done.returncode == 0

    assert merged()
    video = tmp_path / f"all.{suffix}"
    _ffmpeg(tmp_path, "-i", f"{video}", "-an", "-fps_mode", "passthrough", "-c:v", "ffv1", "pictures.mkv")
    assert len(frame_hashes(tmp_path / "pictures.mkv", path=search_path())) == 75
    video.unlink()
    for part in parts:
        content = part.read_bytes()
        part.unlink()
        assert not merged()
        part.write_bytes(b"")
        assert not merged()
        part.write_bytes(content)
    assert not video.exists()


def test_single_frames_of_a_video_become_pictures(tmp_path: Path) -> None:
    _ffmpeg(tmp_path, "-f", "lavfi", "-i", _distinct_frames("24"), "-frames:v", "9", "-c:v", "ffv1", "in.mkv")
    _run(plan_job("ffmpeg", "3-5", chunk_size=1, output="f_##.png", source="in.mkv", fps=24), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["f_03.png", "f_04.png", "f_05.png"]


def test_pictures_become_a_video_of_those_frames_alone(tmp_path: Path) -> None:
    _ffmpeg(
        tmp_path,
        *("-f", "lavfi", "-i", _distinct_frames("25"), "-vf", "crop=31:25", "-frames:v", "20", "drawn_%04d.png"),
    )
    # Of an earlier, longer job.
    for frame in range(13, 21):
        shutil.copy(tmp_path / f"drawn_{frame:04}.png", tmp_path / f"50% f_{frame:04}.png")
    spec = plan_job(
        "cp drawn_{frame:04}.png {output}", "5-12", chunk_size=1, output="50% f_####.png", video="-o.mp4", fps=12
    )
    _run(spec, tmp_path)
    assert len(frame_hashes(tmp_path / "-o.mp4", path=search_path())) == 8


def test_a_picture_that_is_missing_fails_the_video(tmp_path: Path) -> None:
    spec = plan_job("r {frame} {output}", "1-5", chunk_size=1, output="-50% \\n$x_##.png", video="all.mp4")
    assert spec.merge_command is not None
    env = os.environ | {"PATH": search_path()}
    words = shlex.split(spec.merge_command)
    pattern = "./-50%% \\n$x_%02d.png"
    _ffmpeg(tmp_path, "-f", "lavfi", "-i", _distinct_frames("25"), "-frames:v", "5", pattern)
    for frame in range(1, 6):
        picture = tmp_path / (pattern % frame)
        content = picture.read_bytes()
        picture.unlink()
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode != 0
        assert done.stderr == f"./{picture.name} is missing\n"
        picture.write_bytes(content)
    subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, timeout=200, check=True)
    assert len(frame_hashes(tmp_path / "all.mp4", path=search_path())) == 5
