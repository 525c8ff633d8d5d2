"""What renderers print is understood the same, however it is cut."""

from __future__ import annotations

import time
import timeit
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.progress import (
    FileSaved,
    FrameRendered,
    Progress,
    ProgressParser,
    Renderer,
    RenderError,
    Report,
    Rule,
    _registry,
    _search,
    register_renderer,
    renderer_names,
)

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
    saved, rendered, progress = parser.feed("Saved: '/p/f_0012.exr'\n")
    assert saved == FileSaved("/p/f_0012.exr")
    assert rendered == FrameRendered(12, "/p/f_0012.exr")
    assert isinstance(progress, Progress)
    assert (progress.frame_fraction, progress.fraction, progress.frames_done) == (1.0, 0.3, 1)
    # What the renderer said remained of that frame.
    assert progress.remaining is None


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
    with pytest.raises(ValueError, match=r"no renderer is called 'rib'; known are: auto, .*blender, .*ffmpeg"):
        ProgressParser("rib")


def test_errors_have_their_class() -> None:
    reports: list[Report] = ProgressParser("blender").feed("Error: Cannot render, no camera\n")
    assert reports == [RenderError("Error: Cannot render, no camera", "scene", True)]


def test_a_renderer_of_the_users_own_needs_no_registration() -> None:
    own = Renderer("own", [Rule(r"step (?P<done>\d+) of (?P<total>\d+)", "step ", of="command")])
    parser = ProgressParser(own)
    assert parser.feed("step 3 of 4\n") == [Progress(fraction=0.75)]
    assert parser.renderer == "own"


def test_a_registered_renderer_is_known_by_name_program_and_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_renderers", dict(_registry._renderers))
    own = Renderer(
        "own",
        [Rule(r"layer (?P<done>\d+)/(?P<total>\d+)", "layer ")],
        programs=["ownrender"],
        signatures=["Own Render "],
    )
    register_renderer(own)
    assert own.name in renderer_names()
    assert ProgressParser("own").renderer == "own"
    assert ProgressParser(command="/opt/own/ownrender-2.1 scene").renderer == "own"
    parser = ProgressParser()
    parser.feed("Own Render 2.1\nlayer 1/4\n")
    assert (parser.renderer, parser.progress.frame_fraction) == ("own", 0.25)
    with pytest.raises(ValueError, match="there is a renderer 'own' already"):
        register_renderer(own)
    replacement = Renderer("own", own.rules, programs=["otherrender"])
    register_renderer(replacement, replace=True)
    assert ProgressParser(command="ownrender scene").renderer == "generic"
    assert ProgressParser(command="otherrender scene").renderer == "own"


@pytest.mark.parametrize(
    ("pattern", "trigger", "options", "problem"),
    [
        (r"(\d+)%", "%", {}, r"rule '.*': no named group says what it means; use some of frame, "),
        (r"(?P<percentage>\d+)%", "%", {}, "no meaning is known for the group 'percentage'"),
        (r"(?P<percent>\d+", "%", {}, "not a regular expression"),
        (r"(?P<percent>\d+)%", "", {}, "the trigger must be a piece of a line"),
        (r"(?P<percent>\d+)%", "a\nb", {}, "the trigger must be a piece of a line"),
        (r"(?P<done>\d+) frames", "frames", {}, "'done' and 'total' mean something together only"),
        (r"(?P<percent>\d+)%", "%", {"category": "memory"}, "need the group 'error'"),
        (r"(?P<error>x)", "x", {"category": "network"}, "no such category: 'network'; use one of licence, "),
        (r"(?P<saved>x)", "x", {"whole": True}, "the group 'saved' counts in every line"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(pattern: str, trigger: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Rule(pattern, trigger, **options)


@pytest.mark.parametrize("name", ["", "auto"])
def test_a_renderer_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        Renderer(name, [])


def test_a_signature_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"renderer own: the signature '.*' is not a piece of a line"):
        Renderer("own", [], signatures=["a\n"])


@pytest.mark.parametrize(
    ("command", "renderer"),
    [
        ("blender -b a.blend -a", "blender"),
        (["/opt/blender-4.2.1/blender", "-b"], "blender"),
        ("blender-4.2 -b a.blend", "blender"),
        ("sh -c 'cd /tmp && exec blender -b a.blend -f 1 2>&1 | tee log'", "blender"),
        ("bash -c 'mkdir -p out;ffmpeg -i a.mp4 out/b.mp4'", "ffmpeg"),
        ("env OMP_NUM_THREADS=4 nice -n 10 xvfb-run -a timeout -k 5 600 blender -b a.blend", "blender"),
        (["env", "-u", "DISPLAY", "sh", "-c", "nice povray +Ia.pov"], "povray"),
        ("python3 /farm/scripts/blender_batch.py --frames 1-10", "blender"),
        ("docker run --rm -v /p:/p studio/image kick -i a.ass", "arnold"),
        ("/usr/autodesk/maya2024/bin/Render -r arnold a.mb", "maya"),
        ("Nuke15.1v2 -x comp.nk", "nuke"),
        ("husk -f 1 a.usd", "karma"),
        ("aerender -project a.aep", "aftereffects"),
        ("render --to 30", "generic"),
        ("cat blender", "generic"),
        ("sh -c 'if true; then FOO=1 povray +Ia.pov; fi'", "povray"),
        ("sh -c '(sleep 1;ffmpeg -i a.mp4 b.mp4)&wait'", "ffmpeg"),
        ("python3 convert.py --into /farm/blender", "generic"),
        ("sh -c 'python3 convert.py && blender -b a.blend'", "blender"),
        ("echo 'sh -c blender'", "generic"),
        ("sh -c 'an unterminated \" quotation; blender'", "blender"),
        ("env MAYA_LOCATION=/usr/autodesk/maya2024 kick -i x.ass", "arnold"),
        (["sh", "-c", "MAYA_LOCATION=/usr/autodesk/maya2024 kick -i x.ass"], "arnold"),
        ("FFMPEG=/opt/ffmpeg povray a.pov", "povray"),
        ("env LD_LIBRARY_PATH=/opt/ffmpeg povray a.pov", "povray"),
        (["env", "TITLE=a blender", "povray", "a.pov"], "povray"),
        ("sudo -u maya kick x.ass", "arnold"),
        ("sudo -u maya ./make_all", "maya"),
        ("rez-env ffmpeg nuke-13 -- Nuke13.0 -x a.nk", "nuke"),
        ("xvfb-run -a blender -b a.blend -a -- --engine povray", "blender"),
        ("docker run -v /opt/blender:/opt/blender img ffmpeg -i a.mp4 b.mp4", "ffmpeg"),
        ("docker run --mount type=bind,src=/opt/maya studio/blender:4.2 povray a.pov", "povray"),
        ("docker run --entrypoint blender img -b a.blend", "blender"),
        (["sh", "-c", "cd x\nblender -b a.blend -a"], "blender"),
        (["sh", "-c", "nice \\\n  blender -b a.blend"], "blender"),
        (["bash", "-c", "{ blender -b a.blend; }"], "blender"),
        (
            ["bash", "-lc", "if [ -d /opt/ffmpeg ]; then cp /opt/ffmpeg/x .; fi; while ! kick a.ass; do sleep 1; done"],
            "arnold",
        ),
        ("", "generic"),
        ([], "generic"),
    ],
)
def test_the_renderer_is_told_by_the_command(command: str | list[str], renderer: str) -> None:
    assert ProgressParser(command=command).renderer == renderer


def test_the_renderer_is_told_by_the_output_where_the_command_does_not() -> None:
    parser = ProgressParser("auto", command="./render.sh")
    assert parser.feed("starting, 10% of the disk is used\n") == [Progress(fraction=0.1)]
    assert parser.renderer == "generic"
    parser.feed("Blender 3.4.1\nFra:1 Mem:1.00M (Peak 1M) | Time:0 | Sample 1/4\n")
    assert parser.renderer == "blender"
    # What was made of the lines before is forgotten: they were not understood.
    assert parser.progress == Progress(frame=1, frame_fraction=0.25, memory=2**20, status="Sample")


@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_the_renderer_is_told_by_the_output_however_late(size: int) -> None:
    parser = ProgressParser()
    text = ("x" * 99 + "\n") * 1000 + "Blender 3.4.1\nFra:1 Mem:1.00M (Peak 1M) | Sample 1/4\n"
    for start in range(0, len(text), size):
        parser.feed(text[start : start + size])
    assert (parser.renderer, parser.progress.frame_fraction) == ("blender", 0.25)


@pytest.mark.parametrize(
    "command", ["./render.sh", "sh -c 'ffmpeg -version; ./render.sh'", "docker run ffmpeg ./render.sh"]
)
def test_a_guess_gives_way_to_what_the_output_tells(command: str) -> None:
    parser = ProgressParser(command=command)
    parser.feed("ffmpeg version 5.1.2 Copyright\n")
    assert parser.renderer == "ffmpeg"
    # Whatever comes in between.
    parser.feed("x\n" * 100_000)
    parser.feed("Blender 4.1.0\nFra:3 Mem:1M (Peak 2M) | Time:00:01 | Sample 32/128\n")
    assert (parser.renderer, parser.progress.frame_fraction) == ("blender", 0.25)
    parser.feed("Fra:3 Mem:1M (Peak 2M) | Time:00:01 | Sample 64/128\nffmpeg version 5.1.2 Copyright\nframe=7 fps=1 \n")
    assert (parser.renderer, parser.progress.frame) == ("ffmpeg", 7)


def test_a_program_that_runs_directly_and_a_renderer_that_is_named_are_certain() -> None:
    for parser in (ProgressParser(command=["blender", "-b", "a.blend"]), ProgressParser("blender")):
        parser.feed("ffmpeg version 5.1.2 Copyright\n")
        assert parser.renderer == "blender"


@pytest.mark.parametrize("line", ["[Redshift] Block 1/4 (1,1) rendered by GPU 0", "00:00:00 773MB | Arnold 7.2"])
@pytest.mark.parametrize("program", ["Commandline", "Render", "husk", "blender"])
def test_a_program_stays_the_renderer_whose_plug_in_renders(program: str, line: str) -> None:
    parser = ProgressParser(command=f"sh -c '{program} scene'")
    told = parser.renderer
    parser.feed(line + "\n")
    assert parser.renderer == told


def test_renderers_that_take_turns_all_the_time_cost_little() -> None:
    parser = ProgressParser()
    block = b"Blender 4.1.0\nffmpeg version 5\n" * 2000
    took = timeit.timeit(lambda: parser.feed(block), number=1)
    # Ten times what it has to be.
    assert took < 1


_DETECTED = [
    "",
    "Blender 3.4",
    "Fra:1 Mem:2M",
    "ffmpeg version 5",
    "frame=3 fps=1",
    "10%",
    "Blender 3.4 | Arnold ",
    "x" * 5000,
]


@given(
    lines=st.lists(st.tuples(st.sampled_from(_DETECTED), st.sampled_from(["\n", "\r", "\r\n"])), max_size=12),
    cuts=st.lists(st.integers(0, 10_000), max_size=5),
)
def test_detection_does_not_depend_on_how_the_output_is_cut(lines: list[tuple[str, str]], cuts: list[int]) -> None:
    text = "".join(line + end for line, end in lines)
    whole, pieces = ProgressParser(), ProgressParser()
    whole.feed(text)
    whole.finish()
    for start, end in pairwise([0, *sorted(cuts), len(text)]):
        pieces.feed(text[start:end])
    pieces.finish()
    assert (pieces.renderer, pieces.progress) == (whole.renderer, whole.progress)


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(
                [*_DETECTED, *BLENDER_LINES, "Error: no", "all is well", "x" * 70_000, "all is well\n" * 9000]
            ),
            st.sampled_from(["\n", "\r", "\r\n"]),
        ),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 300_000), max_size=3),
)
def test_what_is_skipped_would_have_told_nothing(lines: list[tuple[str, str]], cuts: list[int]) -> None:
    text = "".join(line + end for line, end in lines).encode()

    def read(parser: ProgressParser, pieces: list[bytes]) -> list[Report]:
        return [report for piece in pieces for report in parser.feed(memoryview(piece))] + parser.finish()

    pieces = [text[start:end] for start, end in pairwise([0, *sorted(cuts), len(text)])]
    quick = read(ProgressParser(), pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tailrace.progress._parser.search_for", lambda _: _search.EveryLine())
        assert read(ProgressParser(), pieces) == quick


def test_each_stream_has_its_own_line_and_characters() -> None:
    parser = ProgressParser("blender")
    assert parser.feed("Saved: '/é".encode()[:-1], "stdout") == []
    assert parser.feed("Saved: '/ü".encode()[:-1], "stderr") == []
    assert parser.feed("é".encode()[-1:] + b"1'\n", "stdout")[0] == FileSaved("/é1")
    assert parser.feed("ü".encode()[-1:] + b"2'\n", "stderr")[0] == FileSaved("/ü2")


def test_what_is_not_utf_8_is_replaced() -> None:
    reports = ProgressParser("blender").feed(b"Saved: '/\xff\xfe.exr'\n")
    assert reports[0] == FileSaved("/\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.exr")


@pytest.mark.parametrize("size", [1000, 10**7])
@pytest.mark.parametrize("length", [4097, 70_000, 200_000])
def test_of_a_line_longer_than_4_kib_both_ends_are_read(length: int, size: int) -> None:
    for start, end, told in (
        (b"Saved: '/early'", b"Saved: '/late'", ["/early"]),
        (b"", b"Saved: '/late'", ["/late"]),
        # Those that begin in what is not read.
        (b" " * 2045 + b"Saved: '/a'", b"Saved: '/b'" + b" " * 2040, []),
    ):
        line = start + b" " * (length - len(start) - len(end)) + end
        text = (line + b"\n") * 2
        parser = ProgressParser("blender")
        reports = [report for at in range(0, len(text), size) for report in parser.feed(text[at : at + size])]
        assert [report.path for report in reports if isinstance(report, FileSaved)] == told * 2


def test_a_line_of_4_kib_is_read_as_a_whole() -> None:
    report = ProgressParser("blender").feed(" " * 2040 + "Saved: '/p'".ljust(2056) + "\n")[0]
    assert report == FileSaved("/p")


def test_what_is_at_the_start_of_the_last_2_kib_is_not_at_the_start_of_the_line() -> None:
    assert ProgressParser("ffmpeg").feed("x" * 4000 + "progress=end".ljust(2048) + "\n") == []


def test_a_line_without_an_end_takes_little_memory() -> None:
    endless = ProgressParser("blender")
    tracemalloc.start()
    try:
        for _ in range(1000):
            endless.feed(b" " * 10_000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert FileSaved("/p") in endless.feed(b"Saved: '/p'\n")


def test_more_than_all_is_all() -> None:
    parser = ProgressParser("redshift", frames=range(1, 2))
    parser.feed("[Redshift] Block 49/48 (7,4) rendered by GPU 0 in 2ms\n")
    assert (parser.progress.frame_fraction, parser.progress.fraction) == (1.0, 1.0)


def test_a_frame_starts_anew_and_those_outside_of_the_range_tell_no_fraction() -> None:
    parser = ProgressParser("blender", frames=range(1, 250, 2))
    parser.feed("Fra:3 Mem:1M | Sample 3/4\n")
    assert parser.progress.fraction == 1.75 / 125
    parser.feed("Fra:5 Mem:1M | Synchronizing object | Cube\n")
    assert (parser.progress.frame_fraction, parser.progress.fraction) == (None, 2 / 125)
    parser.feed("Fra:6 Mem:1M | Sample 3/4\n")
    assert parser.progress.frame_fraction == 0.75
    assert parser.progress.fraction is None


def test_a_phase_without_samples_keeps_what_the_frame_has() -> None:
    parser = ProgressParser("blender")
    parser.feed("Fra:3 Mem:1M | Sample 4/4\n" + "Fra:3 Mem:1M | Finished\n" * 3)
    # Another view layer may follow.
    assert (parser.progress.frame_fraction, parser.progress.status) == (0.99, "Finished")


def test_ffmpeg_counts_frames_of_the_run_or_tells_the_time() -> None:
    counted = ProgressParser("ffmpeg", frames=range(101, 201))
    counted.feed("frame=   25 fps= 25 q=28.0 size= 1KiB time=00:00:01.00 bitrate=1kbits/s speed=1x\r", "stderr")
    assert (counted.progress.frame, counted.progress.fraction) == (25, 0.25)
    timed = ProgressParser("ffmpeg")
    timed.feed("  Duration: 00:00:02.00, start: 0\n  Duration: 00:01:40.00, start: 0\n", "stderr")
    timed.feed("frame=   25 fps= 25 q=28.0 size= 1KiB time=00:00:40.00 bitrate=1kbits/s speed=1x\r", "stderr")
    assert timed.progress.fraction == 0.4
    timed.feed("frame=50\nfps=25\nout_time=00:01:20.000000\nprogress=continue\n", "stdout")
    assert (timed.progress.frame, timed.progress.fraction) == (50, 0.8)
    timed.feed("progress=end\n")
    assert timed.progress.fraction == 1.0


def test_a_renderer_that_only_counts_is_at_the_frame_that_comes_at_that_place() -> None:
    parser = ProgressParser("povray", frames=range(10, 20, 2))
    parser.feed("Rendering frame 3 of 5\nRendered 1024 of 2048 pixels (50%)\r")
    assert (parser.progress.frame, parser.progress.fraction) == (14, 2.5 / 5)


def test_the_fraction_of_the_only_frame_is_that_of_the_command() -> None:
    parser = ProgressParser("karma", frames=range(7, 8))
    parser.feed("ALF_PROGRESS 50%\n")
    assert parser.progress.fraction == 0.5


def test_open_job_description_is_understood_whatever_the_renderer() -> None:
    parser = ProgressParser("blender", frames=range(10))
    parser.feed("openjd_progress: 30\nopenjd_status: Warming up\nFra:5 Mem:1M | Sample 1/2\n")
    assert (parser.progress.frame, parser.progress.fraction) == (5, 0.3)


def test_a_long_message_is_cut() -> None:
    (report,) = ProgressParser("blender").feed("Error: " + "x" * 1000 + "\n")
    assert isinstance(report, RenderError)
    assert len(report.message) == 300


def test_thousands_of_lines_in_a_block_cost_one_report() -> None:
    parser = ProgressParser("blender", frames=range(1, 11))
    block = "".join(f"Fra:{frame} Mem:1M | Sample {n}/400\n" for frame in range(1, 11) for n in range(1, 401))
    *rendered, progress = parser.feed(block)
    assert rendered == [FrameRendered(frame, None) for frame in range(1, 10)]
    assert progress == Progress(
        frame=10, frame_fraction=0.99, fraction=9.99 / 10, frames_done=9, memory=2**20, status="Sample"
    )


@pytest.mark.parametrize("renderer", [*renderer_names(), "auto"])
def test_text_of_no_interest_is_read_faster_than_it_is_split_into_lines(renderer: str) -> None:
    block = b"".join(
        b"%08d the quick brown fox jumps over the lazy dog and does so again and again\n" % n for n in range(12000)
    )
    parser = ProgressParser(renderer)
    parser.feed(block)
    ours = min(timeit.repeat(lambda: parser.feed(block), number=3, repeat=3))
    # Ten times what it has to be.
    assert len(block) * 3 / ours > 20e6


def test_many_lines_of_progress_in_a_block_cost_little_more_than_one() -> None:
    line = "Fra:12 Mem:49.06M (Peak 49.60M) | Time:00:27.91 | Sample {}/128\n"
    blocks = ["".join(line.format((block + n) % 128) for n in range(20)).encode() for block in range(100)]
    parser = ProgressParser("blender")
    # Not by the clock, which goes on while others have the processor.
    timer = timeit.Timer(lambda: [parser.feed(block) for block in blocks], timer=time.thread_time)
    took = min(timer.repeat(number=1, repeat=5))
    # Ten times what it has to be.
    assert took / (100 * 20) < 13e-6
