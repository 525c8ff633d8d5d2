"""`tailrace frames` says which frames are damaged, missing or odd, and shows them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.frame_files import noise, numpy_picture
from support.terminal import InTerminal
from support.tunnel import search_path
from tailrace import Chunk, JobMetadata, JobSpec

_QUESTION = b"\x1b[c"
_KITTY, _SIXEL = b"\x1b_Ga=T,", re.compile(rb"\x1bP[0-9;]*q")
_ITERM2 = b"\x1b]1337;File=inline=1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three frames and a text."""
    for frame in (1, 2, 3):
        noise(tmp_path / f"a.{frame:04}.png", seed=frame)
    (tmp_path / "notes.txt").write_text("no frame")
    return tmp_path


def test_a_folder_of_whole_frames_is_told_in_a_line_and_status_0(folder: Path) -> None:
    done = _tailrace(folder, ".")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "./a.####.png  1-3  160 x 96, 3 channels, png\n3 files: all whole\n",
        "",
    )


def test_a_damaged_frame_is_named_with_what_is_wrong_and_status_1(folder: Path) -> None:
    (folder / "a.0002.png").write_bytes((folder / "a.0002.png").read_bytes()[:2000])
    done = _tailrace(folder, "a.####.png")
    assert done.returncode == 1
    first, fault, total = done.stdout.splitlines()
    assert first == "a.####.png  1-3  160 x 96, 3 channels, png"
    assert re.fullmatch(r"  frame 2: is .+", fault)
    assert total == "3 files: 1 damaged or missing, 2 whole"


def test_frames_of_a_sequence_that_have_no_file_are_told_and_are_no_fault(folder: Path) -> None:
    noise(folder / "a.0007.png", seed=7)
    done = _tailrace(folder, ".")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (
        0,
        ["  there is no file of frames 4-6", "4 files: all whole"],
    )


def test_a_frame_that_is_named_by_itself_and_by_its_job_counts_once(folder: Path) -> None:
    _job(folder, "true")
    done = _tailrace(folder, "a.0001.png", ".", "job.json", "--check", "exist", "--json")
    assert [check["frame"] for check in json.loads(done.stdout)] == [1, 2, 3, 4, 5, 6]


def test_an_odd_frame_is_told_and_is_no_fault(folder: Path) -> None:
    numpy_picture(folder / "a.0002.png", "pixels[:] = 0", type_="uint8")
    (folder / "a.0003.png").unlink()
    done = _tailrace(folder, ".", "--check", "looks")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (
        0,
        ["  frame 2: is black", "2 files: all whole, 1 of them odd"],
    )


def test_json_has_an_object_for_each_frame(folder: Path) -> None:
    (folder / "a.0003.png").write_bytes(b"")
    done = _tailrace(folder, "a.0001.png", "a.0003.png", "--json")
    whole, empty = json.loads(done.stdout)
    assert done.returncode == 1
    assert whole == {
        "path": "a.0001.png",
        "frame": 1,
        "level": "whole",
        "ok": True,
        "reason": None,
        "warnings": [],
        "kind": "picture",
        "format": "png",
        "width": 160,
        "height": 96,
        "channels": 3,
        "frames": None,
    }
    assert (empty["ok"], empty["reason"]) == (False, "is empty")


def test_of_a_job_the_frames_that_are_missing_are_told_together(folder: Path) -> None:
    _job(folder, "true")
    done = _tailrace(folder.parent, f"{folder.name}/job.json", "--check", "exist")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [
        "  frames 4-6: cannot be found: No such file or directory",
        "6 files: 3 damaged or missing, 3 there",
    ]


def test_of_the_logs_of_a_job_the_frames_that_were_rendered_are_meant_and_what_was_found_then(folder: Path) -> None:
    black = numpy_picture(folder / "black.png", "pixels[:] = 0", type_="uint8")
    _job(folder, f"sh -c 'cp {black.name} a.0004.png; cp a.0001.png a.0005.png; head -c 100 a.0002.png > a.0006.png'")
    ran = _run(folder, "job", "run", "job.json", "-q", "--log-dir", "logs", "--check-frames", "looks", "--retries", "0")
    assert ran.returncode == 1, ran.stderr
    done = _tailrace(folder, "logs", "--check", "exist", "--json")
    frames = {check["frame"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 1
    assert sorted(frames) == [4, 5, 6]
    assert frames[4]["warnings"] == ["is black"]
    assert frames[5]["ok"] and not frames[5]["warnings"]
    assert not frames[6]["ok"] and "damaged" in frames[6]["reason"] + frames[6]["path"]
    # The files as they are now, without what the log says.
    assert _tailrace(folder, "logs/job.ndjson", "--check", "exist").returncode == 1


def test_a_contact_sheet_is_written_and_replaces_no_frame(folder: Path) -> None:
    done = _tailrace(folder, ".", "--check", "exist", "--to", "sheet.jpg")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "sheet.jpg: all frames")
    assert (folder / "sheet.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    before = (folder / "a.0001.png").read_bytes()
    refused = _tailrace(folder, ".", "--check", "exist", "--to", f"{folder}/a.0001.png")
    assert refused.returncode == 2
    assert "would replace one of the frames" in refused.stderr
    assert (folder / "a.0001.png").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "there is no picture and no video among what was named"),
        ("b.####.png", "there is no file like b.####.png"),
        ("job.ndjson", "job.ndjson tells of no frame that is finished"),
        ("broken.json", "broken.json: "),
    ],
)
def test_what_holds_no_frames_is_one_line_and_status_2(folder: Path, name: str, message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "job.ndjson").write_text("")
    (folder / "broken.json").write_text("{}")
    done = _tailrace(folder, name)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[0]


def test_a_terminal_that_says_nothing_shows_the_frames_in_blocks_with_their_names(folder: Path) -> None:
    for frame in (1, 2, 3):
        numpy_picture(folder / f"a.{frame:04}.png", f"pixels[:] = {frame / 3}", type_="uint8")
    with _in_terminal(folder, "--check", "exist") as terminal:
        screen = terminal.wait_until(lambda lines: any("a.0003.png" in line for line in lines))
        assert terminal.wait() == 0
    # Three frames, each of one grey.
    assert len(terminal.backgrounds()) >= 3
    (names,) = [line for line in screen if "a.0001.png" in line]
    assert names.split() == ["a.0001.png", "a.0002.png", "a.0003.png"]
    assert screen.index(names) > 8


@pytest.mark.parametrize(
    ("answer", "shown"),
    [(b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", _KITTY), (b"\x1b[?62;4;22c", b"\x1bP"), (b"\x1b[?62;22c", None)],
    ids=["kitty", "sixel", "neither"],
)
def test_a_terminal_is_asked_for_what_it_can_show(folder: Path, answer: bytes, shown: bytes | None) -> None:
    with _in_terminal(folder, "--check", "exist") as terminal:
        _wait_for(terminal, _QUESTION)
        terminal.type(answer)
        assert terminal.wait() == 0
    after = terminal.written.partition(_QUESTION)[2]
    assert [mark for mark in (_KITTY, b"\x1bP", _ITERM2) if mark in after] == ([] if shown is None else [shown])
    if shown == b"\x1bP":
        assert _SIXEL.search(after)


def test_iterm2_is_known_by_what_it_sets(folder: Path) -> None:
    with _in_terminal(folder, "--check", "exist", TERM_PROGRAM="iTerm.app") as terminal:
        assert terminal.wait() == 0
    assert _ITERM2 in terminal.written
    assert _QUESTION not in terminal.written


def test_no_pictures_are_shown_to_who_does_not_want_them_or_reads_through_a_pipe(folder: Path) -> None:
    with _in_terminal(folder, "--check", "exist", "--pictures", "off") as terminal:
        assert terminal.wait() == 0
    assert _QUESTION not in terminal.written
    assert "\x1b" not in _tailrace(folder, ".", "--check", "exist").stdout


def _job(folder: Path, command: str) -> None:
    """Write a job of which the first three frames are there, and the others are what the command makes of them."""
    there = Chunk(id=0, start_frame=1, frame_count=3, command="true", output_file="a.####.png")
    others = Chunk(id=1, start_frame=4, frame_count=3, command=command, output_file="a.####.png")
    chunks = (there, others) if command == "true" else (others,)
    frames = 3 * len(chunks)
    metadata = JobMetadata(total_frames=frames, fps=24, width=160, height=96, duration=frames / 24)
    (folder / "job.json").write_text(JobSpec(id="j", metadata=metadata, chunks=chunks).model_dump_json(by_alias=True))


def _in_terminal(folder: Path, *options: str, **environment: str) -> InTerminal:
    command = [sys.executable, "-m", "tailrace", "frames", str(folder), *options]
    return InTerminal(
        command, environment={"PATH": search_path(), "TERM_PROGRAM": "", "LC_TERMINAL": "", **environment}
    )


def _wait_for(terminal: InTerminal, data: bytes) -> None:
    deadline = time.monotonic() + 30
    while data not in terminal.written:
        assert time.monotonic() < deadline, terminal.written
        time.sleep(0.01)


def _tailrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(folder, "frames", *arguments)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": search_path()},
        capture_output=True,
        text=True,
        timeout=120,
    )
