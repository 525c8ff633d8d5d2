"""Videos are joined on the command line, with or without a job, and sound laid under them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.pieces import Pool, clicking_sound, heard_clicks, picture_hashes, times_off
from support.tunnel import search_path
from tailrace import Chunk, JobMetadata, JobSpec


def test_the_command_line_joins_videos_with_sound_under_them(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "mp4", "25")
    pieces = [pool.piece(50), pool.piece(41)]
    audio = clicking_sound(tmp_path, "a.wav")
    names = [piece.path.name for piece in pieces]
    done = _tailrace(tmp_path, "job", "join", "--to", "-out.mp4", "--audio", audio.name, "--", *names)
    assert done.returncode == 0, done.stderr
    assert "frame=   91" in done.stderr
    output = (tmp_path / "-out.mp4").rename(tmp_path / "out.mp4")
    assert times_off(output, pool.rate) == 0
    assert picture_hashes(output) == [frame for piece in pieces for frame in piece.hashes]
    assert len(heard_clicks(output)) == 2


def test_what_cannot_be_joined_on_the_command_line_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = _tailrace(tmp_path, "job", "join", "missing.mp4", "--to", "out.mp4")
    assert (done.returncode, done.stderr) == (
        1,
        "tailrace: missing.mp4 cannot be found: No such file or directory: render it again\n",
    )


def test_a_job_lays_sound_under_the_chunks_that_it_joins(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "mp4", "25")
    paths = [pool.piece(frames).path.name for frames in (50, 41)]
    clicking_sound(tmp_path, "a.wav")
    (tmp_path / "job.json").write_text(_copying(paths).model_dump_json(by_alias=True))
    done = _tailrace(tmp_path, "job", "run", "job.json", "--stitch", "out.mp4", "--audio", "a.wav")
    assert done.returncode == 0, done.stderr
    assert len(heard_clicks(tmp_path / "out.mp4")) == 2
    for options, message in (
        (["--audio", "a.wav"], "--audio is the sound of the video that --stitch joins: name that too"),
        (["--stitch", "x.mp4", "--audio", "no.wav"], "--stitch: the sound "),
        (["--stitch", "x.mp4", "--audio", paths[0]], f"{paths[0]} holds no sound: name a file with sound"),
    ):
        done = _tailrace(tmp_path, "job", "run", "job.json", *options)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def _copying(paths: Sequence[str]) -> JobSpec:
    """Return a job whose chunks copy these videos."""
    return JobSpec(
        id="copying",
        metadata=JobMetadata(total_frames=len(paths), fps=25, width=64, height=36, duration=len(paths)),
        chunks=tuple(
            Chunk(id=n, start_frame=n, frame_count=1, output_file=f"copy_{n}.mp4", command=f"cp {path} copy_{n}.mp4")
            for n, path in enumerate(paths)
        ),
    )


def _tailrace(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *words],
        cwd=folder,
        env=os.environ | {"PATH": search_path()},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
