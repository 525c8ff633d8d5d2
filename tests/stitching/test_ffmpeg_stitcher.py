"""Videos are joined frame for frame, or it is said in one line why not, and nothing half-done is left."""

from __future__ import annotations

import asyncio
import filecmp
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import ROOT, tunnel
from support.jobs import names_in
from support.loops import on_asyncio, on_one_loop
from support.processes import descendants_marked, wait_until_marked, wait_until_none_is_marked
from tailrace import (
    Callback,
    Chunk,
    FfmpegStitcher,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    LocalWorkerAdapter,
    MergeFailedError,
    MergeFinished,
    MergeOutput,
    StitchError,
    StreamMode,
)
from tailrace._frames.ffmpeg_report import difference, read_report
from tailrace._stitching.files import StitchFiles

pytestmark = pytest.mark.anyio

TAILRACE = (sys.executable, "-m", "tailrace", "job", "run")
FPS = 30
# The noise makes every frame another one, which a picture as small as this does not do by itself.
SOURCE = f"testsrc2=size=64x48:rate={FPS},noise=alls=20:allf=t:all_seed=1"
X264 = ("-c:v", "libx264", "-qp", "0")
SMALL = ("-pix_fmt", "yuv420p", "-c:v", "libx264")
CODECS = {
    "mp4": X264,
    "mov": X264,
    "mkv": X264,
    "ts": X264,
    "avi": ("-c:v", "ffv1"),
    "webm": ("-c:v", "libvpx-vp9", "-lossless", "1", "-deadline", "realtime"),
}
ODD_NAMES = [
    "two\nlines.mp4",
    'it\'s "quoted" \\ .mp4',
    "100%d %03d.mp4",
    "-y.mp4",
    "http:colon.mp4",
    " spaces .mp4",
    "# comment.mp4",
    os.fsdecode(b"latin \xe9.mp4"),
    "x" * 250 + ".mp4",
]


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    found = shutil.which("ffmpeg", path=tunnel.search_path())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def chunk(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of ten frames, with B-frames and without sound."""
    return encode(ffmpeg, tmp_path_factory.mktemp("chunk") / "chunk.mp4", 0, 10, *SMALL)


@pytest.fixture(scope="module", params=CODECS)
def renders(
    ffmpeg: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, list[Path]]:
    """Return the same fifty frames as one video, and as three, without loss."""
    folder, suffix, options = tmp_path_factory.mktemp("renders"), request.param, CODECS[request.param]
    parts = ((0, 20), (20, 17), (37, 13))
    return encode(ffmpeg, folder / f"whole.{suffix}", 0, 50, *options), [
        encode(ffmpeg, folder / f"{first}.{suffix}", first, count, *options) for first, count in parts
    ]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have temporary files made in a folder of the test's, and see that none is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert names_in(folder) == set()


@pytest.fixture
def place(tmp_path: Path, temporary: Path) -> Path:
    """Return an empty folder for the output."""
    del temporary
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def mark() -> Iterator[str]:
    """Return seconds to sleep which no other test sleeps; no process that does is left."""
    seconds = f"60.{uuid.uuid4().int}"
    yield seconds
    assert descendants_marked(seconds) == []


def encode(ffmpeg: str, path: Path, first: int, count: int, *options: str, source: str = SOURCE) -> Path:
    """Render frames to `path` and return that."""
    frames = f"{source},trim=start_frame={first}:end_frame={first + count},setpts=PTS-STARTPTS"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", frames, *options, "-y", f"file:{path}"], check=True)
    return path


def with_sound(ffmpeg: str, path: Path, *options: str) -> Path:
    """Render a second of picture and sound to `path` and return that."""
    inputs = ["-f", "lavfi", "-i", SOURCE, "-f", "lavfi", "-i", "sine=duration=1:sample_rate=48000"]
    subprocess.run([ffmpeg, "-v", "error", *inputs, *SMALL, "-c:a", "aac", "-t", "1", *options, path], check=True)
    return path


def program(path: Path, script: str) -> Path:
    """Write a shell script and return its path."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def packets(ffmpeg: str, path: Path, stream: str) -> list[list[str]]:
    """Return the columns of ffmpeg's table of a stream's packets: stream, dts, pts, duration, ..."""
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        f"0:{stream}",
        "-c",
        "copy",
        "-copyinkf",
        "-f",
        "framecrc",
        "-",
    ]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.replace(" ", "").split(",") for line in table.splitlines() if not line.startswith("#")]


def duration(ffmpeg: str, path: Path) -> str:
    """Return what ffmpeg says of how long a video is."""
    text = subprocess.run([ffmpeg, "-i", path], capture_output=True, text=True, check=False).stderr
    return text.partition("Duration: ")[2].partition(",")[0]


async def test_the_joined_video_equals_a_single_pass_frame_for_frame(
    ffmpeg: str, renders: tuple[Path, list[Path]], place: Path
) -> None:
    whole, inputs = renders
    output = place / f"out{whole.suffix}"
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch(inputs, output)
    joined = tunnel.frame_hashes(output, path=tunnel.search_path())
    assert joined == tunnel.frame_hashes(whole, path=tunnel.search_path())
    assert len(set(joined)) == 50
    assert duration(ffmpeg, output) == duration(ffmpeg, whole)


async def test_frames_keep_their_times_across_the_joints_though_they_are_stored_in_another_order(
    ffmpeg: str, chunk: Path, place: Path
) -> None:
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk] * 4, place / "out.mp4")
    rows = packets(ffmpeg, place / "out.mp4", "v")
    stored = [int(pts) for _, _, pts, *_ in rows]
    tick = sorted(stored)[1]
    assert stored != sorted(stored)
    assert sorted(stored) == [number * tick for number in range(40)]


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
async def test_inputs_and_output_may_have_any_name(ffmpeg: str, chunk: Path, place: Path, name: str) -> None:
    folder = place / name.removesuffix(".mp4")
    folder.mkdir()
    shutil.copyfile(chunk, folder / f"1{name}")
    shutil.copyfile(chunk, folder / f"2{name}")
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([folder / f"1{name}", folder / f"2{name}"], folder / name)
    shutil.copyfile(folder / name, place / "plain.mp4")
    assert len(tunnel.frame_hashes(place / "plain.mp4", path=tunnel.search_path())) == 20


async def test_names_may_be_relative(ffmpeg: str, chunk: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "ffmpeg").symlink_to(ffmpeg)
    shutil.copyfile(chunk, "-a:%d.mp4")
    await FfmpegStitcher(ffmpeg="./ffmpeg").stitch([Path("-a:%d.mp4")] * 2, Path("-o:%d.mp4"))
    assert names_in(place) == {"ffmpeg", "-a:%d.mp4", "-o:%d.mp4"}


@on_one_loop
async def test_two_hundred_inputs_are_joined(ffmpeg: str, chunk: Path, place: Path) -> None:
    inputs = [place / f"{number}.mp4" for number in range(200)]
    for path in inputs:
        path.symlink_to(chunk)
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch(inputs, place / "out.mp4")
    assert len(packets(ffmpeg, place / "out.mp4", "v")) == 2000


async def test_frames_before_the_first_key_frame_are_kept(ffmpeg: str, place: Path) -> None:
    headless = encode(ffmpeg, place / "a.mkv", 0, 10, *SMALL, "-bf", "0", "-bsf:v", "noise=drop='eq(n,0)'")
    assert len(packets(ffmpeg, headless, "v")) == 9
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([headless] * 2, place / "out.mkv")
    assert len(packets(ffmpeg, place / "out.mkv", "v")) == 18


async def test_the_pure_python_backend_joins_too(ffmpeg: str, chunk: Path, place: Path) -> None:
    stitcher = FfmpegStitcher(ffmpeg=ffmpeg, adapter=LocalWorkerAdapter(backend="python"))
    await stitcher.stitch([chunk] * 3, place / "out.mp4")
    assert len(packets(ffmpeg, place / "out.mp4", "v")) == 30


async def test_one_input_is_copied(ffmpeg: str, chunk: Path, place: Path) -> None:
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk], place / "out.mkv")
    assert len(packets(ffmpeg, place / "out.mkv", "v")) == 10


@on_one_loop
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_chunks_of_few_frames_can_be_joined_with_long_ones(
    ffmpeg: str, chunk: Path, place: Path, count: int
) -> None:
    few = encode(ffmpeg, place / "few.mp4", 0, count, *SMALL)
    for inputs in ([few, chunk], [chunk, few, chunk], [few, few]):
        await FfmpegStitcher(ffmpeg=ffmpeg).stitch(inputs, place / "out.mp4")
        expected = [frame for one in inputs for frame in tunnel.frame_hashes(one, path=tunnel.search_path())]
        assert tunnel.frame_hashes(place / "out.mp4", path=tunnel.search_path()) == expected


MISMATCHES: dict[str, tuple[Sequence[str], str, str]] = {
    "codec": (
        ("-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p"),
        SOURCE,
        "video codec is hevc, not h264",
    ),
    "size": (SMALL, "testsrc2=size=96x48:rate=30", "picture size is 96x48, not 64x48"),
    "rate": (SMALL, "testsrc2=size=64x48:rate=25", "frame rate is 25 fps, not 30 fps"),
    "format": (("-c:v", "libx264", "-pix_fmt", "yuv444p"), SOURCE, "pixel format is yuv444p, not yuv420p"),
    "profile": ((*SMALL, "-profile:v", "baseline"), SOURCE, "video profile is Constrained Baseline, not High"),
    "time base": ((*SMALL, "-video_track_timescale", "90000"), SOURCE, "time base is 90k tbn, not 15360 tbn"),
}


@on_one_loop
@pytest.mark.parametrize("kind", MISMATCHES)
async def test_a_video_that_does_not_match_is_named_with_what_differs(
    ffmpeg: str, chunk: Path, place: Path, kind: str
) -> None:
    options, source, message = MISMATCHES[kind]
    other = encode(ffmpeg, place / "other.mp4", 0, 10, *options, source=source)
    fault = await failure(ffmpeg, [chunk, chunk, other, chunk, other], place / "out.mp4")
    assert str(fault) == (
        f"{other} cannot follow {chunk}: its {message}:"
        " render all chunks with the same settings, or merge with a command that re-encodes"
    )
    assert names_in(place) == {"other.mp4"}


@on_one_loop
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-ar", "44100"), "sample rate is 44100 Hz, not 48000 Hz"),
        (("-ac", "2"), "channel layout is stereo, not mono"),
        (("-c:a", "libmp3lame"), "audio codec is mp3, not aac"),
        (("-map", "1:a", "-map", "0:v"), "streams are audio, video, not video, audio"),
        (("-map", "0:v"), "streams are video, not video, audio"),
        (("-map", "0:v", "-map", "1:a", "-map", "1:a"), "streams are video, audio, audio, not video, audio"),
    ],
)
async def test_sound_that_does_not_match_is_told_too(
    ffmpeg: str, place: Path, options: Sequence[str], message: str
) -> None:
    one, other = with_sound(ffmpeg, place / "one.mp4"), with_sound(ffmpeg, place / "other.mp4", *options)
    fault = await failure(ffmpeg, [one, other], place / "out.mp4")
    assert str(fault).startswith(f"{other} cannot follow {one}: its {message}: render all")


@on_one_loop
async def test_what_does_not_keep_videos_from_being_joined_may_differ(ffmpeg: str, chunk: Path, place: Path) -> None:
    options = (*SMALL, "-crf", "50", "-metadata", "title=Stream #0:9: Video: none", "-metadata:s:v", "language=fre")
    other = encode(ffmpeg, place / "other.mp4", 0, 33, *options)
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk, other], place / "out.mp4")
    expected = [frame for one in (chunk, other) for frame in tunnel.frame_hashes(one, path=tunnel.search_path())]
    assert tunnel.frame_hashes(place / "out.mp4", path=tunnel.search_path()) == expected


async def test_a_missing_or_empty_input_is_named(ffmpeg: str, chunk: Path, place: Path) -> None:
    (place / "empty.mp4").touch()
    for name, fault in (
        ("missing.mp4", "cannot be found: No such file or directory"),
        ("empty.mp4", "is empty"),
        (".", "is not a file"),
    ):
        error = await failure(ffmpeg, [chunk, place / name], place / "out.mp4")
        assert str(error) == f"{place / name} {fault}: render it again"
        assert error.result is None


def _text(path: Path, _: Path, __: str) -> None:
    path.write_text("frame,seconds\n1,2\n")


def _half(path: Path, chunk: Path, ffmpeg: str) -> None:
    # All that tells how long it is stands at the beginning: nothing but reading it to its end shows that it is cut.
    copy_whole(ffmpeg, chunk, path)
    os.truncate(path, path.stat().st_size // 2)


def _almost_all(path: Path, chunk: Path, ffmpeg: str) -> None:
    copy_whole(ffmpeg, chunk, path)
    os.truncate(path, path.stat().st_size - 20)


def _no_index(path: Path, chunk: Path, _: str) -> None:
    path.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])


def copy_whole(ffmpeg: str, source: Path, target: Path) -> None:
    """Copy a video, with what tells how long it is at its beginning."""
    options = ["-movflags", "+faststart"] if target.suffix == ".mp4" else []
    command = [ffmpeg, "-v", "error", "-i", str(source), "-c", "copy", *options, "-y", str(target)]
    subprocess.run(command, check=True)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("text.mp4", _text, "is not a video that ffmpeg can read: "),
        ("text.txt", _text, "is not a video that ffmpeg can read: "),
        ("no_index.mp4", _no_index, "is not a video that ffmpeg can read: "),
        ("half.mp4", _half, "is damaged: "),
        ("almost.mp4", _almost_all, "is damaged: "),
        ("half.mkv", _half, "is damaged: "),
    ],
)
async def test_a_broken_input_is_named_and_nothing_is_joined(
    ffmpeg: str, chunk: Path, place: Path, name: str, damage: Callable[[Path, Path, str], None], message: str
) -> None:
    damage(place / name, chunk, ffmpeg)
    whole = place / f"whole{Path(name).suffix}"
    if whole.suffix == ".txt":
        whole = chunk
    else:
        copy_whole(ffmpeg, chunk, whole)
    error = await failure(ffmpeg, [whole, whole, place / name, whole], place / "out.mp4")
    assert str(error).startswith(f"{place / name} {message}")
    assert len(str(error)) > len(f"{place / name} {message}")
    assert "\n" not in str(error)
    assert error.result is not None
    assert not (place / "out.mp4").exists()


async def test_the_first_input_at_fault_is_named_whichever_is_found_first(
    ffmpeg: str, chunk: Path, place: Path
) -> None:
    slow = program(place / "slow", f'case "$*" in *000001.mp4*) sleep 0.3;; esac; exec {shlex.quote(ffmpeg)} "$@"')
    for name in ("b.mp4", "c.mp4"):
        (place / name).write_text("no video")
    error = await failure(str(slow), [chunk, place / "b.mp4", place / "c.mp4"], place / "out.mp4")
    assert str(error).startswith(f"{place / 'b.mp4'} is not a video")


async def test_sound_alone_and_videos_without_frames_are_refused(ffmpeg: str, place: Path) -> None:
    sound = with_sound(ffmpeg, place / "sound.mp4", "-map", "1:a")
    assert str(await failure(ffmpeg, [sound], place / "out.mp4")) == f"{sound} holds no video"
    (place / "none.y4m").write_text("YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C420\n")
    error = await failure(ffmpeg, [place / "none.y4m"], place / "out.mp4")
    assert str(error) == f"{place / 'none.y4m'} holds no frames"


@pytest.mark.parametrize("name", ["frame_%04d.png", "frame_%04d.jpg", "frame_%04d.exr"])
async def test_pictures_are_refused_with_what_to_do_instead(ffmpeg: str, place: Path, name: str) -> None:
    encode(ffmpeg, place / name, 0, 3)
    inputs = [place / (name % number) for number in (1, 2, 3)]
    error = await failure(ffmpeg, inputs, place / "out.mp4")
    assert str(error).startswith(f"{inputs[0]} is a picture, and pictures cannot be joined without encoding them")


async def test_an_input_cannot_be_the_output(ffmpeg: str, chunk: Path, place: Path) -> None:
    shutil.copyfile(chunk, place / "a.mp4")
    (place / "b.mp4").symlink_to("a.mp4")
    for output in ("a.mp4", "b.mp4"):
        error = await failure(ffmpeg, [chunk, place / "a.mp4"], place / output)
        assert (
            str(error)
            == f"{place / 'a.mp4'} is to be joined, and cannot be the output too: choose another name for that"
        )
    assert filecmp.cmp(place / "a.mp4", chunk, shallow=False)


async def test_no_input_is_an_error(ffmpeg: str, place: Path) -> None:
    assert str(await failure(ffmpeg, [], place / "out.mp4")) == f"there is nothing to join into {place / 'out.mp4'}"


@pytest.mark.parametrize("output", ["/dev/null", "/tmp"])
async def test_nothing_but_a_file_is_replaced(ffmpeg: str, chunk: Path, temporary: Path, output: str) -> None:
    del temporary
    error = await failure(ffmpeg, [chunk], Path(output))
    assert str(error) == f"{output} is there and not a file: choose another name for the joined video"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out", "Unable to choose an output format for '{}'"),
        ("out.xyz", "Unable to choose an output format for '{}'"),
        ("out.webm", "Only VP8 or VP9 or AV1"),
    ],
)
async def test_a_format_that_cannot_be_written_is_an_error_that_names_the_output(
    ffmpeg: str, chunk: Path, place: Path, name: str, message: str
) -> None:
    error = await failure(ffmpeg, [chunk], place / name)
    assert str(error).startswith(f"{place / name} cannot be written: {message.format(place / name)}")
    assert names_in(place) == set()


async def test_the_folder_of_the_output_is_made_but_not_for_inputs_that_cannot_be_joined(
    ffmpeg: str, chunk: Path, place: Path
) -> None:
    (place / "broken.mp4").write_text("no video")
    await failure(ffmpeg, [place / "broken.mp4"], place / "a" / "b" / "out.mp4")
    assert not (place / "a").exists()
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk], place / "a" / "b" / "out.mp4")
    assert names_in(place / "a" / "b") == {"out.mp4"}


async def test_a_folder_that_cannot_be_made_is_an_error(ffmpeg: str, chunk: Path, place: Path) -> None:
    (place / "file").touch()
    error = await failure(ffmpeg, [chunk], place / "file" / "out.mp4")
    assert "Not a directory" in str(error)


async def test_an_output_that_is_there_is_replaced_and_a_link_stays_one(ffmpeg: str, chunk: Path, place: Path) -> None:
    (place / "disk").mkdir()
    (place / "disk" / "out.mp4").write_text("old")
    (place / "out.mp4").symlink_to("disk/out.mp4")
    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk], place / "out.mp4")
    assert (place / "out.mp4").is_symlink()
    assert len(packets(ffmpeg, place / "disk" / "out.mp4", "v")) == 10
    assert names_in(place / "disk") == {"out.mp4"}


async def test_a_full_disk_is_an_error_that_leaves_what_was_there(ffmpeg: str, place: Path) -> None:
    big = encode(ffmpeg, place / "big.mkv", 0, 60, "-c:v", "rawvideo")
    (place / "out.mkv").write_text("old")
    # A limit of 100 blocks of 512 bytes is as good as a disk that is full.
    limited = program(place / "limited", f"trap '' XFSZ; ulimit -f 100; exec {shlex.quote(ffmpeg)} \"$@\"")
    error = await failure(str(limited), [big, big], place / "out.mkv")
    assert str(error).startswith(f"{place / 'out.mkv'} cannot be written: ")
    assert str(error).endswith("File too large")
    assert error.result is not None
    assert (place / "out.mkv").read_text() == "old"
    assert names_in(place) == {"big.mkv", "limited", "out.mkv"}


async def test_an_ffmpeg_that_is_killed_is_an_error_that_leaves_nothing(ffmpeg: str, chunk: Path, place: Path) -> None:
    dying = program(
        place / "dying", f'case "$*" in *concat*) touch "$0.ran"; kill -9 $$;; esac; exec {shlex.quote(ffmpeg)} "$@"'
    )
    error = await failure(str(dying), [chunk], place / "out.mp4")
    assert str(error) == f"{place / 'out.mp4'} cannot be written: {dying} was ended by signal 9 (SIGKILL)"
    assert names_in(place) == {"dying", "dying.ran"}


@pytest.mark.parametrize("lost", ["-frames:v 15", "-t 0.1"])
async def test_frames_that_are_lost_without_an_error_are_found_missing(
    ffmpeg: str, chunk: Path, place: Path, lost: str
) -> None:
    losing = program(
        place / "losing",
        'case "$*" in *concat*) for argument; do shift; [ "$argument" = -copyinkf ] && set -- "$@" '
        f'{lost}; set -- "$@" "$argument"; done;; esac; exec {shlex.quote(ffmpeg)} "$@"',
    )
    error = await failure(str(losing), [chunk, chunk], place / "out.mp4")
    assert str(error).startswith(f"{place / 'out.mp4'} has ")
    assert str(error).endswith(" of 20 frames")
    assert names_in(place) == {"losing"}


@pytest.mark.parametrize(
    ("output", "chunk_output", "fault"),
    [
        ("out.exe", "0.mp4", "its ending stands for no format of a video that ffmpeg writes: use .mp4 or .mkv, say"),
        ("out.PNG", "0.mp4", "its ending stands for no format"),
        ("0.mp4", "0.mp4", "0.mp4 is what chunk 0 writes: choose another name"),
        ("folder", "0.mp4", "folder is there and not a file"),
        ("file/out.mp4", "0.mp4", "cannot be written: {place}/file is not a folder"),
        ("out.mp4", "frame_####.png", "chunk 0 renders pictures (frame_####.png), and only videos can be joined"),
    ],
)
async def test_what_cannot_be_joined_is_found_before_it_is_rendered(
    output: str, chunk_output: str, fault: str, ffmpeg: str, place: Path
) -> None:
    (place / "folder").mkdir()
    (place / "file").touch()
    spec = _spec(ffmpeg, 1)
    spec = spec.model_copy(update={"chunks": (spec.chunks[0].model_copy(update={"output_file": chunk_output}),)})
    with pytest.raises(StitchError, match=re.escape(fault.format(place=place))):
        await FfmpegStitcher(ffmpeg=ffmpeg).check(spec, place / output, place)
    for name in ("new.mp4", "new/folder/out.mkv", "folder/out.mov"):
        if chunk_output == "0.mp4":
            await FfmpegStitcher(ffmpeg=ffmpeg).check(spec, place / name, place)
    assert names_in(place) == {"folder", "file"}


async def test_a_check_without_ffmpeg_says_how_to_get_it(place: Path) -> None:
    with pytest.raises(StitchError, match="no-such-ffmpeg was not found: install ffmpeg"):
        await FfmpegStitcher(ffmpeg="no-such-ffmpeg").check(_spec("x", 1), place / "out.mp4", place)


async def test_without_ffmpeg_it_is_said_how_to_get_it(chunk: Path, place: Path) -> None:
    error = await failure("no-such-ffmpeg", [chunk], place / "out.mp4")
    assert str(error) == (
        "no-such-ffmpeg was not found: install ffmpeg, for example with `apt install ffmpeg`, or put it into the PATH"
    )


@pytest.mark.parametrize("when", ["-f framecrc", "concat"], ids=["while looking", "while joining"])
async def test_a_cancellation_ends_ffmpeg_and_leaves_what_was_there(
    ffmpeg: str, chunk: Path, place: Path, mark: str, when: str
) -> None:
    hanging = _hanging(place, ffmpeg, when, mark)
    (place / "out.mp4").write_text("old")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(FfmpegStitcher(ffmpeg=hanging).stitch, [chunk] * 3, place / "out.mp4")
        await anyio.to_thread.run_sync(wait_until_marked, mark)
        tasks.cancel_scope.cancel()
    assert descendants_marked(mark) == []
    assert names_in(place) == {"out.mp4", "hanging"}
    assert (place / "out.mp4").read_text() == "old"


@on_asyncio
async def test_cancelling_a_task_twice_leaves_nothing_of_a_join_either(
    ffmpeg: str, chunk: Path, place: Path, mark: str
) -> None:
    hanging = _hanging(place, ffmpeg, "concat", mark)
    task = asyncio.create_task(FfmpegStitcher(ffmpeg=hanging).stitch([chunk], place / "out.mp4"))
    await anyio.to_thread.run_sync(wait_until_marked, mark)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descendants_marked(mark) == []
    assert names_in(place) == {"hanging"}


@on_asyncio
async def test_a_task_that_is_cancelled_again_while_its_files_wait_to_be_removed_leaves_none(
    ffmpeg: str, chunk: Path, place: Path, temporary: Path, mark: str
) -> None:
    hanging = _hanging(place, ffmpeg, "concat", mark)
    task = asyncio.create_task(FfmpegStitcher(ffmpeg=hanging).stitch([chunk], place / "out.mp4"))
    await anyio.to_thread.run_sync(wait_until_marked, mark)
    limiter = anyio.to_thread.current_default_thread_limiter()
    takers = [object() for _ in range(int(limiter.available_tokens))]
    for taker in takers:
        limiter.acquire_on_behalf_of_nowait(taker)
    task.cancel()
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark, limiter=anyio.CapacityLimiter(1))
    await asyncio.sleep(0.1)
    assert not task.done()
    assert names_in(temporary)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for taker in takers:
        limiter.release_on_behalf_of(taker)
    assert names_in(place) == {"hanging"}


def test_a_thread_that_comes_too_late_makes_nothing(chunk: Path, place: Path, temporary: Path) -> None:
    files = StitchFiles([chunk], place / "out.mp4")
    files.remove()
    files.prepare()
    assert names_in(temporary) == set()
    files = StitchFiles([chunk], place / "out.mp4")
    files.prepare()
    files.part.touch()
    files.remove()
    files.publish()
    assert names_in(place) == set()


@on_asyncio
async def test_a_task_that_is_cancelled_at_any_moment_leaves_nothing(
    ffmpeg: str, chunk: Path, place: Path, temporary: Path
) -> None:
    for turns in (0, 1, 2, 3, 5, 8, 13):
        task = asyncio.create_task(FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk] * 2, place / "out.mp4"))
        for _ in range(turns):
            await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.wait([task])
        assert names_in(place) - {"out.mp4"} == set()
        # A thread that had not begun yet finds out that it is too late.
        await asyncio.sleep(0.01)
        assert names_in(temporary) == set()


@pytest.mark.parametrize("mode", ["text", "lines", "bytes"])
async def test_ffmpegs_progress_is_streamed_in_every_mode(
    ffmpeg: str, chunk: Path, place: Path, mode: StreamMode
) -> None:
    pieces: list[str | memoryview] = []

    async def keep(piece: str | memoryview) -> None:
        await anyio.lowlevel.checkpoint()
        pieces.append(piece)

    await FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk] * 2, place / "out.mp4", stream=mode, on_stderr=keep)
    assert {type(piece) for piece in pieces} == {memoryview if mode == "bytes" else str}
    assert "frame=   20" in "".join(piece if isinstance(piece, str) else str(piece, "utf-8") for piece in pieces)


async def test_what_a_callback_raises_comes_out_bare_and_nothing_is_left(ffmpeg: str, chunk: Path, place: Path) -> None:
    error = StitchError("of the callback")

    def fail(_: object) -> None:
        raise error

    with pytest.raises(StitchError) as caught:
        await FfmpegStitcher(ffmpeg=ffmpeg).stitch([chunk], place / "out.mp4", on_stderr=fail)
    assert caught.value is error
    assert error.__cause__ is None
    assert names_in(place) == set()


async def test_the_chunks_of_a_job_are_joined_in_place_of_the_merge_command(ffmpeg: str, place: Path) -> None:
    events: list[JobEvent] = []
    options = JobExecutionOptions(
        job_dir=place,
        concurrency=2,
        stitcher=FfmpegStitcher(ffmpeg=ffmpeg),
        output_file="out/joined.mp4",
        on_event=events.append,
    )
    report = await JobExecutor(LocalWorkerAdapter()).execute(_spec(ffmpeg, 3), options)
    assert report.merge_result is None
    whole = encode(ffmpeg, place / "whole.mp4", 0, 30, *X264)
    joined = tunnel.frame_hashes(place / "out" / "joined.mp4", path=tunnel.search_path())
    assert joined == tunnel.frame_hashes(whole, path=tunnel.search_path())
    merged = [event for event in events if isinstance(event, MergeOutput)]
    assert "frame=   30" in "".join(str(event.data) for event in merged if event.stream == "stderr")
    assert isinstance(events[-2], MergeFinished)


async def test_a_join_that_fails_is_a_failed_merge_with_its_reason_and_output(ffmpeg: str, place: Path) -> None:
    options = JobExecutionOptions(job_dir=place, stitcher=FfmpegStitcher(ffmpeg=ffmpeg), output_file="out.webm")
    with pytest.raises(MergeFailedError, match=r"^the merge failed: .*out\.webm cannot be written: Only VP8") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(_spec(ffmpeg, 2), options)
    assert isinstance(caught.value.__cause__, StitchError)
    assert caught.value.result is not None
    assert "Only VP8" in caught.value.result.stderr
    assert caught.value.result.exit_code != 0


async def test_what_on_event_raises_about_a_stitchers_output_comes_out_as_it_is(ffmpeg: str, place: Path) -> None:
    error = ValueError("of the callback")

    def fail(event: JobEvent) -> None:
        if isinstance(event, MergeOutput):
            raise error

    for stitcher in (FfmpegStitcher(ffmpeg=ffmpeg), Wrapping(), Swallowing()):
        options = JobExecutionOptions(job_dir=place, stitcher=stitcher, output_file="out.mp4", on_event=fail)
        with pytest.raises(ValueError, match="of the callback") as caught:
            await JobExecutor(LocalWorkerAdapter()).execute(_spec(ffmpeg, 2), options)
        assert caught.value is error
        assert error.__cause__ is None
    assert "out.mp4" not in names_in(place)


def test_the_command_line_joins_in_place_of_the_merge_command(ffmpeg: str, place: Path) -> None:
    (place / "job.json").write_text(_spec(ffmpeg, 3).model_dump_json(by_alias=True))
    (place / "elsewhere").mkdir()
    result = _job_run(place, "--stitch", "out.mp4", cwd=place / "elsewhere")
    assert result.returncode == 0, result.stderr
    assert "frame=   30" in result.stderr
    assert "3 chunks done, merged" in result.stderr
    assert len(packets(ffmpeg, place / "elsewhere" / "out.mp4", "v")) == 30


def test_a_join_that_fails_on_the_command_line_is_one_line_and_status_1(ffmpeg: str, place: Path) -> None:
    (place / "job.json").write_text(_spec(ffmpeg, 2).model_dump_json(by_alias=True))
    result = _job_run(place, "--stitch", "out.webm", cwd=place)
    assert result.returncode == 1
    assert f"tailrace: the merge failed: {place / 'out.webm'} cannot be written: Only VP8" in result.stderr
    assert "Traceback" not in result.stderr


def test_options_that_exclude_a_join_and_a_missing_ffmpeg_are_told_before_anything_runs(
    ffmpeg: str, place: Path
) -> None:
    (place / "job.json").write_text(_spec(ffmpeg, 2).model_dump_json(by_alias=True))
    for options in (["--no-merge"], ["--chunk", "0"]):
        result = _job_run(place, "--stitch", "out.mp4", *options, cwd=place)
        assert result.returncode == 2
        assert "--stitch joins all chunks at the end: use it without --no-merge, --chunk and --frames" in result.stderr
    result = _job_run(place, "--stitch", "out.mp4", cwd=place, path="/nowhere")
    assert result.returncode == 2
    assert "tailrace: --stitch: ffmpeg was not found: install ffmpeg" in result.stderr
    assert names_in(place) == {"job.json"}


def test_the_example_in_the_documentation_runs(place: Path) -> None:
    text = (ROOT / "docs" / "stitching.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    folder = tunnel.small_tunnel(place / "examples" / "tunnel")
    environment = os.environ | {"PATH": tunnel.search_path()}
    subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=place, env=environment, check=True)
    assert len(tunnel.frame_hashes(folder / "joined.mp4", path=tunnel.search_path())) == 240


def test_ctrl_c_during_a_join_ends_ffmpeg_and_leaves_nothing(
    ffmpeg: str, place: Path, temporary: Path, mark: str
) -> None:
    (place / "job.json").write_text(_spec(ffmpeg, 2).model_dump_json(by_alias=True))
    (place / "bin").mkdir()
    _hanging(place / "bin", ffmpeg, "concat", mark).rename(place / "bin" / "ffmpeg")
    environment = os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(temporary)}
    command = [*TAILRACE, str(place / "job.json"), "--stitch", str(place / "out.mp4")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until_marked(mark)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert names_in(place) == {"job.json", "bin", "0.mp4", "1.mp4"}


@given(st.lists(st.text(" #0:1[]()x,/.kfpstbnHzVideoAu\r\n\té", max_size=60), max_size=4), st.booleans())
def test_whatever_ffmpeg_may_say_of_a_stream_can_be_read_and_compared(texts: list[str], sound: bool) -> None:
    kind = "Audio" if sound else "Video"
    report = read_report("".join(f"[info]   Stream #0:{n}: {kind}: {text}\n" for n, text in enumerate(texts)))
    assert {stream.kind for stream in report.streams} <= {"audio", "video"}
    assert difference(report, report) is None


def test_frame_rates_that_were_estimated_may_differ_a_little() -> None:
    line = "[info]   Stream #0:0: Video: h264 (High), yuv420p, 64x48, {} fps, 30 tbr, 1k tbn\n"
    reports = {rate: read_report(line.format(rate)) for rate in ("30", "29.97", "30.3", "25", "1k", "1000")}
    assert difference(reports["29.97"], reports["30"]) is None
    assert difference(reports["30.3"], reports["30"]) is None
    assert difference(reports["1k"], reports["1000"]) is None
    assert difference(reports["25"], reports["30"]) == "its frame rate is 25 fps, not 30 fps"


async def failure(ffmpeg: str, inputs: Sequence[Path], output: Path) -> StitchError:
    """Return the error that joining ends in."""
    with pytest.raises(StitchError) as caught:
        await FfmpegStitcher(ffmpeg=ffmpeg).stitch(inputs, output)
    return caught.value


class Wrapping:
    """Makes an error of its own of what a callback raises."""

    streams = True

    async def stitch(
        self,
        inputs: Sequence[Path],
        output: Path,
        *,
        stream: StreamMode = "text",
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> None:
        del inputs, output, stream, on_stderr
        assert on_stdout is not None
        try:
            pending = on_stdout("x")
            assert pending is None
        except ValueError as error:
            self.fail(error)
        await anyio.lowlevel.checkpoint()

    def fail(self, error: ValueError) -> None:
        raise RuntimeError("wrapped") from error


class Swallowing(Wrapping):
    """Keeps to itself what a callback raises."""

    def fail(self, error: ValueError) -> None:
        del error


def _job_run(place: Path, *options: str, cwd: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TAILRACE, str(place / "job.json"), *options],
        cwd=cwd,
        env=os.environ | {"PATH": tunnel.search_path() if path is None else path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def _hanging(place: Path, ffmpeg: str, when: str, seconds: str) -> Path:
    """Return an ffmpeg that does its work, and does not end when it was called with `when`."""
    script = f'{shlex.quote(ffmpeg)} "$@"; case "$*" in *"{when}"*) sleep {seconds};; esac'
    return program(place / "hanging", script)


def _spec(ffmpeg: str, chunks: int) -> JobSpec:
    frames = f"{SOURCE},trim=start_frame={{}}:end_frame={{}},setpts=PTS-STARTPTS"
    commands = [
        shlex.join(
            [ffmpeg, "-v", "error", "-f", "lavfi", "-i", frames.format(10 * n, 10 * n + 10), *X264, "-y", f"{n}.mp4"]
        )
        for n in range(chunks)
    ]
    return JobSpec(
        id="stitched",
        metadata=JobMetadata(total_frames=10 * chunks, fps=FPS, width=64, height=48, duration=chunks / 3),
        chunks=tuple(
            Chunk(id=n, start_frame=10 * n, frame_count=10, output_file=f"{n}.mp4", command=command)
            for n, command in enumerate(commands)
        ),
        merge_command="false",
    )
