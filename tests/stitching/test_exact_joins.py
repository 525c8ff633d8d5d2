"""Joined videos are as long as their frames, each frame has its exact time, and the sound stays with the picture."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import anyio
import pytest

from support.jobs import names_in
from support.loops import on_asyncio
from support.pieces import (
    X264,
    Piece,
    Pool,
    clicking_sound,
    ffmpeg,
    heard_clicks,
    picture_hashes,
    probe,
    stream_of,
    times_off,
)
from support.tunnel import search_path
from tailrace import FfmpegStitcher, StitchError
from tailrace._stitching.packet_times import PacketTimes
from tailrace._stitching.timeline import make_timeline

RATES = ("24", "24000/1001", "25", "30000/1001", "60000/1001", "60")
SOUNDS = {"mp4": "aac", "mov": "pcm_s16le", "mkv": "flac", "webm": "libopus"}
KINDS = [("mp4", 0), ("mp4", 3), ("mov", 0), ("mov", 3), ("mkv", 0), ("mkv", 3), ("webm", 0)]
"""Formats, with how many B-frames follow each other; VP9 has none."""
EXACT = ("mp4", "mov")
"""Formats that hold every time exactly; the others count in milliseconds."""


def join(pieces: Sequence[Piece | Path], output: Path, audio: Path | None = None) -> None:
    """Join videos by the ffmpeg in the PATH of the tests."""
    paths = [piece.path if isinstance(piece, Piece) else piece for piece in pieces]
    anyio.run(FfmpegStitcher(ffmpeg=_ffmpeg(), audio=audio).stitch, paths, output)


def _ffmpeg() -> str:
    found = shutil.which("ffmpeg", path=search_path())
    assert found is not None
    return found


def assert_exact(pool: Pool, pieces: Sequence[Piece], output: Path) -> None:
    """Check times, length, rates and frames of a joined video."""
    frames = sum(piece.frames for piece in pieces)
    answer = probe(output)
    picture = stream_of(answer, "video")
    is_exact = pool.suffix in EXACT
    assert times_off(output, pool.rate) <= (0 if is_exact else Fraction(1, 2))
    assert float(picture["start_time"]) == 0
    if is_exact:
        assert picture["duration_ts"] * Fraction(picture["time_base"]) == frames / pool.rate
    else:
        hours, minutes, seconds = picture["tags"]["DURATION"].split(":")
        length = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
        assert abs(length - frames / pool.rate) <= Fraction(1, 1000)
    of_piece = stream_of(probe(pool.piece(40).path), "video")
    for rate in ("r_frame_rate", "avg_frame_rate"):
        assert picture[rate] == of_piece[rate]
    assert picture_hashes(output) == [frame for piece in pieces for frame in piece.hashes]


def assert_in_time(pool: Pool, pieces: Sequence[Piece], output: Path) -> None:
    """Check that the sound clicks with the frames that it clicked with in the pieces."""
    heard, wanted = heard_clicks(output), pool.clicks(pieces)
    assert len(heard) == len(wanted)
    assert max(abs(one - other) for one, other in zip(heard, wanted, strict=True)) < 1


@pytest.mark.parametrize("rate", ["24000/1001", "60000/1001"])
@pytest.mark.parametrize(("suffix", "b_frames"), KINDS)
def test_each_frame_of_joined_pieces_has_its_exact_time(suffix: str, rate: str, b_frames: int, tmp_path: Path) -> None:
    pool = Pool(tmp_path, suffix, rate, b_frames=b_frames)
    pieces = pool.uneven(21)
    join(pieces, tmp_path / f"out.{suffix}")
    assert_exact(pool, pieces, tmp_path / f"out.{suffix}")


def test_lengths_that_containers_round_do_not_add_up(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "mkv", "24000/1001")
    # Matroska has 42 ms for a frame of 41.7: after these it would be 35 ms too late.
    pieces = [pool.piece(1)] * 120
    join(pieces, tmp_path / "out.mkv")
    assert_exact(pool, pieces, tmp_path / "out.mkv")


def test_a_piece_with_a_track_but_no_sample_of_sound_is_silent(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "mkv", "60000/1001", sound="flac")
    # Such as one that ends with its only frame, before the first block of sound is full.
    empty = tmp_path / "empty.mkv"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x36:rate=60000/1001")
    sound = ("-f", "lavfi", "-i", "sine=r=48000,atrim=end_sample=801")
    coding = (*X264, "-bf", "0", "-pix_fmt", "yuv420p", "-c:a", "flac", "-sample_fmt", "s32")
    ffmpeg(*picture, *sound, "-frames:v", "1", *coding, str(empty))
    packets = probe(empty, "-show_packets")["packets"]
    assert {packet["codec_type"] for packet in packets} == {"video"}
    piece = Piece(empty, 1, picture_hashes(empty))
    pieces = [piece, pool.piece(40), piece, pool.piece(41)]
    join(pieces, tmp_path / "out.mkv")
    assert_exact(pool, pieces, tmp_path / "out.mkv")
    assert_in_time(pool, pieces, tmp_path / "out.mkv")


@pytest.mark.parametrize(("suffix", "joined"), [("mkv", "mp4"), ("ts", "mp4"), ("mp4", "mkv"), ("avi", "mov")])
def test_pieces_may_be_joined_into_another_format(suffix: str, joined: str, tmp_path: Path) -> None:
    pool = Pool(tmp_path, suffix, "24000/1001", b_frames=0 if suffix == "avi" else 3)
    pieces = pool.uneven(15)
    output = tmp_path / f"out.{joined}"
    join(pieces, output)
    assert times_off(output, pool.rate) <= (0 if joined in EXACT else Fraction(1, 2))
    assert picture_hashes(output) == [frame for piece in pieces for frame in piece.hashes]
    assert stream_of(probe(output), "video")["avg_frame_rate"] == "24000/1001"


@pytest.mark.parametrize("suffix", SOUNDS)
def test_the_sound_of_joined_pieces_stays_with_their_picture(suffix: str, tmp_path: Path) -> None:
    # At this rate a piece of one frame has less sound than an encoder takes at a time.
    pool = Pool(tmp_path, suffix, "60000/1001", b_frames=3, sound=SOUNDS[suffix])
    pieces = pool.uneven(16)
    output = tmp_path / f"out.{suffix}"
    join(pieces, output)
    assert_exact(pool, pieces, output)
    assert_in_time(pool, pieces, output)
    assert names_in(tmp_path) == {output.name, *(piece.path.name for piece in pieces), f"40.{suffix}"}


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("has_sound", [False, True], ids=["silent", "sound"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("suffix", "b_frames"), KINDS)
def test_three_hundred_pieces_are_joined_exactly(
    suffix: str, rate: str, b_frames: int, has_sound: bool, tmp_path: Path
) -> None:
    pool = Pool(tmp_path, suffix, rate, b_frames=b_frames, sound=SOUNDS[suffix] if has_sound else None)
    pieces = pool.uneven(300)
    output = tmp_path / f"out.{suffix}"
    join(pieces, output)
    assert_exact(pool, pieces, output)
    if has_sound:
        assert_in_time(pool, pieces, output)


@pytest.mark.parametrize(
    ("name", "coding", "suffix", "codec"),
    [
        ("a.wav", (), "mp4", None),
        ("a.wav", (), "mov", "pcm_s16le"),
        ("a.wav", (), "webm", None),
        ("a.flac", (), "mkv", "flac"),
        ("a.m4a", (), "mp4", "aac"),
        ("a.m4a", (), "mov", "aac"),
        ("a.m4a", (), "mkv", "aac"),
        ("a.m4a", (), "webm", None),
        ("a.mka", ("-c:a", "aac"), "mp4", "aac"),
        ("a.mp3", (), "mp4", "mp3"),
        ("a.opus", (), "webm", "opus"),
        ("a.opus", (), "mkv", "opus"),
        ("a.ogg", ("-c:a", "libvorbis"), "mp4", "aac"),
    ],
)
def test_a_piece_of_sound_begins_and_ends_with_the_joined_picture(
    name: str, coding: Sequence[str], suffix: str, codec: str | None, tmp_path: Path
) -> None:
    pool = Pool(tmp_path, suffix, "30000/1001")
    pieces = [pool.piece(50), pool.piece(41), pool.piece(7), pool.piece(2)]
    output = tmp_path / f"out.{suffix}"
    join(pieces, output, clicking_sound(tmp_path, name, *coding))
    assert_exact(pool, pieces, output)
    sound = stream_of(probe(output), "audio")
    assert codec is None or sound["codec_name"] == codec
    heard = heard_clicks(output)
    assert len(heard) == 2
    assert abs(heard[0] - 1000) < 1
    assert abs(heard[1] - 3000) < 1
    if suffix in EXACT:
        assert abs(float(sound["duration"]) - 100 * 1.001 / 30) < 0.001


def test_a_piece_of_sound_that_fits_is_copied_and_takes_the_place_of_the_pieces_own(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "mp4", "25", sound="aac")
    audio = clicking_sound(tmp_path, "a.m4a")
    join([pool.piece(50), pool.piece(25)], tmp_path / "out.mp4", audio)

    def hashes(path: Path) -> list[str]:
        # Sizes and contents, not times.
        table = ffmpeg("-i", str(path), "-map", "0:a", "-c", "copy", "-f", "framemd5", "-").decode()
        return [line.split(",")[5] for line in table.splitlines() if not line.startswith("#")]

    copied = hashes(tmp_path / "out.mp4")
    assert copied == hashes(audio)[: len(copied)]
    assert len(copied) > 100


def test_sound_that_is_shorter_than_the_picture_leaves_the_rest_silent(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "mp4", "25")
    join([pool.piece(50)] * 3, tmp_path / "out.mp4", clicking_sound(tmp_path, "a.wav", seconds=2))
    assert_exact(pool, [pool.piece(50)] * 3, tmp_path / "out.mp4")
    assert len(heard_clicks(tmp_path / "out.mp4")) == 1


def test_what_is_no_sound_is_told_in_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "mp4", "25")
    silent, text, missing = pool.piece(7).path, tmp_path / "text.wav", tmp_path / "missing.wav"
    text.write_text("no sound")
    for audio, message in (
        (silent, f"{silent} holds no sound: name a file with sound"),
        (text, f"{text} is not sound that ffmpeg can read: "),
        (missing, f"the sound {missing} cannot be found: No such file or directory: name a file with sound"),
    ):
        with pytest.raises(StitchError) as caught:
            join([pool.piece(12)], tmp_path / "out.mp4", audio)
        assert str(caught.value).startswith(message)
        assert len(str(caught.value).splitlines()) == 1
    assert names_in(tmp_path) == {"7.mp4", "12.mp4", "text.wav"}


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_colours_and_timecode_are_kept(suffix: str, tmp_path: Path) -> None:
    one = _tagged(tmp_path, suffix)
    join([one, one], tmp_path / f"out.{suffix}")
    answer, of_piece = probe(tmp_path / f"out.{suffix}"), probe(one)
    for name in ("color_range", "color_space", "color_transfer", "color_primaries"):
        assert stream_of(answer, "video")[name] == stream_of(of_piece, "video")[name] != "unknown"
    assert "01:00:00:00" in str(answer)


def test_videos_of_other_colours_are_refused(tmp_path: Path) -> None:
    one, other = _tagged(tmp_path, "mp4"), _tagged(tmp_path, "mp4", "bt470bg")
    with pytest.raises(StitchError, match="its colour is tv, bt470bg/bt709/bt709, not tv, bt709: render"):
        join([one, other], tmp_path / "out.mp4")


@on_asyncio
@pytest.mark.anyio
async def test_a_timecode_that_the_format_cannot_hold_is_told_to_be_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, output = _tagged(tmp_path, "mov"), tmp_path / "out.ts"
    told: list[str] = []
    stitcher = FfmpegStitcher(ffmpeg=_ffmpeg())
    await stitcher.stitch([one], output, stream="lines", on_stderr=lambda line: told.append(str(line)))
    message = f"{output} holds no timecode: that of the chunks, 01:00:00:00, is lost"
    assert f"[warning] {message}" in [line.rstrip("\n") for line in told]
    with caplog.at_level(logging.WARNING, "tailrace"):
        await stitcher.stitch([one], output)
    assert message in caplog.messages


def _tagged(folder: Path, suffix: str, space: str = "bt709") -> Path:
    """Return a video with colour tags and a timecode."""
    path = folder / f"{space}.{suffix}"
    tags = f"setparams=color_primaries=bt709:color_trc=bt709:colorspace={space}:range=tv"
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x36:rate=24", "-frames:v", "12", "-vf", tags)
    ffmpeg(*picture, "-pix_fmt", "yuv420p", "-c:v", codec, "-timecode", "01:00:00:00", str(path))
    return path


def test_frames_that_are_not_equally_long_keep_their_times(tmp_path: Path) -> None:
    one = tmp_path / "one.mp4"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x36:rate=30", "-frames:v", "12")
    ffmpeg(*picture, "-vf", "setpts=PTS+N*N*0.1/TB/30", "-fps_mode", "vfr", "-c:v", "libx264", str(one))
    packets = ("-select_streams", "v:0", "-show_packets")
    before = sorted(packet["pts"] for packet in probe(one, *packets)["packets"])
    join([one, one], tmp_path / "out.mp4")
    after = sorted(packet["pts"] for packet in probe(tmp_path / "out.mp4", *packets)["packets"])
    assert after[:12] == before
    assert [pts - after[12] for pts in after[12:]] == before


@pytest.mark.parametrize(
    ("tick", "shown", "printed", "rate"),
    [
        (Fraction(1, 15360), [0, 512, 1024], "30", "30"),
        (Fraction(1, 24000), [0, 1001, 2002], "23.98", "24000/1001"),
        (Fraction(1, 1000), [0, 42], "23.98", "24000/1001"),
        (Fraction(1, 1000), [0, 33, 67, 100], "29.97", "30000/1001"),
        (Fraction(1, 1000), [0, 17, 33, 50], "60", "60"),
        (Fraction(1, 1000), [0, 80, 160], "12.5", "25/2"),
        (Fraction(1, 90000), [0, 3754, 7508, 11261], "23.98", "24000/1001"),
        (Fraction(1, 1000), [0, 40, 100], "25", None),
        (Fraction(1, 1000), [0, 40, 40], "25", None),
    ],
)
def test_the_rate_is_found_whatever_the_container_counts_in(
    tick: Fraction, shown: list[int], printed: str, rate: str | None
) -> None:
    times = PacketTimes(tick, shown, shown[1])
    timeline = make_timeline([(times, [Fraction(printed)])] * 2)
    assert timeline.rate == (None if rate is None else Fraction(rate))
    if rate is not None:
        assert timeline.starts == [0, len(shown) / Fraction(rate), 2 * len(shown) / Fraction(rate)]
