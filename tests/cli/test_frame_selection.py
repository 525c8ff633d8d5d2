"""A command line may ask for some frames alone, for those that are missing, and for some of them again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

RENDER = r"""
for frame in $(echo "$1" | tr , ' '); do
    [ "$frame" = 6 ] && [ -e deadly ] && { rm deadly; kill -9 $$; }
    echo "$frame" >> rendered
    printf x > "out_$(printf %04d "$frame").txt"
done
"""


def tailrace(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", "job", "run", "job.json", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "render.sh").write_text(RENDER)
    chunks = [
        {
            "id": number,
            "frames": f"{first}-{first + 3}",
            "outputFile": "out_####.txt",
            "command": f"sh render.sh {','.join(map(str, range(first, first + 4)))}",
            "retryCommand": "sh render.sh {frames}",
        }
        for number, first in enumerate((1, 5, 9))
    ]
    fields = {
        "metadata": {"totalFrames": 12, "fps": 24, "width": 1, "height": 1, "duration": 0.5},
        "chunks": chunks,
        "mergeCommand": "sh -c 'cat out_*.txt > all.txt'",
    }
    (tmp_path / "job.json").write_text(json.dumps(fields))
    return tmp_path


def rendered(folder: Path) -> list[int]:
    """Return the frames that were rendered since the last call."""
    path = folder / "rendered"
    frames = sorted(map(int, path.read_text().split())) if path.exists() else []
    path.unlink(missing_ok=True)
    return frames


def test_some_frames_are_rendered_alone_and_nothing_is_merged(folder: Path) -> None:
    result = tailrace(folder, "--frames", "3-6")
    assert (result.returncode, rendered(folder)) == (0, [3, 4, 5, 6]), result.stderr
    assert "2 chunks done, 4 of 4 frames" in result.stderr
    assert not (folder / "all.txt").exists()


def test_what_is_missing_is_found_without_a_record(folder: Path) -> None:
    assert tailrace(folder, "--no-record").returncode == 0
    assert rendered(folder) == list(range(1, 13))
    for frame in (2, 7):
        (folder / f"out_{frame:04}.txt").unlink()
    (folder / "out_0011.txt").write_text("")
    listed = tailrace(folder, "--missing", "--dry-run").stdout.splitlines()
    assert listed == [f"chunk {id_}: to be run, frame {frame} alone" for id_, frame in enumerate((2, 7, 11))]
    result = tailrace(folder, "--missing")
    assert (result.returncode, rendered(folder)) == (0, [2, 7, 11]), result.stderr
    assert "3 chunks done, merged, 12 of 12 frames" in result.stderr
    again = tailrace(folder, "--missing")
    assert (again.returncode, rendered(folder)) == (0, []), again.stderr
    assert "0 chunks done, 3 done before, merged" in again.stderr


def test_frames_are_rendered_again_and_merged_anew(folder: Path) -> None:
    assert tailrace(folder).returncode == 0
    rendered(folder)
    (folder / "all.txt").unlink()
    result = tailrace(folder, "--again", "7,12")
    assert (result.returncode, rendered(folder)) == (0, [7, 12]), result.stderr
    assert (folder / "all.txt").read_text() == "x" * 12
    assert tailrace(folder, "--resume", "--dry-run").stdout.count("done") == 3


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_frames_that_no_chunk_has_are_named(folder: Path, more: tuple[str, ...]) -> None:
    result = tailrace(folder, "--again", "3,12-14", *more)
    assert result.returncode == 0
    assert "note: no chunk has the frames 13-14" in result.stderr


def test_frames_whose_chunk_depends_on_one_that_was_never_done_are_rendered_and_that_is_said(folder: Path) -> None:
    fields = json.loads((folder / "job.json").read_text())
    fields["chunks"][1]["dependsOn"] = [0]
    (folder / "job.json").write_text(json.dumps(fields))
    note = "note: chunk 1 runs without chunk 0, which it depends on: not done, and not asked for"
    done = tailrace(folder, "--frames", "5-6")
    assert done.returncode == 0 and rendered(folder) == [5, 6]
    assert note in done.stderr
    assert tailrace(folder).returncode == 0
    assert "depends on" not in tailrace(folder, "--again", "5-6").stderr


def test_a_resumed_chunk_goes_on_in_its_middle(folder: Path) -> None:
    (folder / "deadly").touch()
    assert tailrace(folder, "--keep-going", "--no-merge").returncode == 1
    assert rendered(folder) == [1, 2, 3, 4, 5, 9, 10, 11, 12]
    (folder / "out_0005.txt").rename(folder / "kept")
    for frame in (5, 6, 7):
        (folder / f"out_{frame:04}.txt").write_text("x")
    # Frame 7 is the last that is there, and may be torn.
    result = tailrace(folder, "--resume")
    assert (result.returncode, rendered(folder)) == (0, [7, 8]), result.stderr
    assert "1 chunk done, 2 done before, merged, 12 of 12 frames" in result.stderr


def test_a_chunk_whose_command_has_changed_is_rendered_from_its_start(folder: Path) -> None:
    (folder / "deadly").touch()
    assert tailrace(folder, "--keep-going", "--no-merge").returncode == 1
    rendered(folder)
    for frame in (5, 6, 7):
        (folder / f"out_{frame:04}.txt").write_text("x")
    text = (folder / "job.json").read_text().replace("sh render.sh 5,6,7,8", "sh ./render.sh 5,6,7,8")
    (folder / "job.json").write_text(text)
    assert tailrace(folder, "--resume").returncode == 0
    assert rendered(folder) == [5, 6, 7, 8]


def test_without_a_retry_command_the_whole_chunk_is_rendered_and_that_is_said(folder: Path) -> None:
    text = (folder / "job.json").read_text()
    (folder / "job.json").write_text(text.replace('"retryCommand"', '"other"'))
    result = tailrace(folder, "--again", "7")
    assert rendered(folder) == [5, 6, 7, 8]
    assert "note: all frames of chunk 1 are rendered: no retryCommand renders some" in result.stderr


@pytest.mark.parametrize(
    "words", [("--frames", "6"), ("--again", "6"), ("--missing",), ("--again=6", "--check-frames=exist")]
)
def test_the_commands_that_a_failure_names_can_be_run(folder: Path, words: tuple[str, ...]) -> None:
    (folder / "deadly").touch()
    result = tailrace(folder, *words, "--keep-going")
    assert result.returncode == 1
    named = [line.partition(": tailrace job run ")[2] for line in result.stderr.splitlines()]
    commands = [shlex.split(command) for command in named if command]
    assert commands, result.stderr
    for command in commands:
        command.remove("job.json")
        again = tailrace(folder, *command)
        assert again.returncode == 0, again.stderr


def test_of_a_video_all_frames_are_rendered_and_that_is_said(folder: Path) -> None:
    text = (folder / "job.json").read_text()
    (folder / "job.json").write_text(text.replace("out_####.txt", "out_0001.txt"))
    result = tailrace(folder, "--frames", "2")
    assert rendered(folder) == [1, 2, 3, 4]
    assert "note: all frames of chunk 0 are rendered: no retryCommand renders some" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--frames", "1", "--again", "2"), "--frames and --again each say what is run: use one of them"),
        (("--frames", "1", "--chunk", "2"), "--frames and --chunk each say what is run: use one of them"),
        (("--missing", "--resume"), "--missing looks at the files alone, --resume at the record too"),
        (("--again", "1", "--resume"), "--again renders frames whatever there is"),
        (("--frames", "30-40"), "job.json has none of the frames 30-40"),
        (("--frames", "1 2"), "frames are listed with commas"),
        (("--frames", "1", "--merge-timeout", "3"), "--merge-timeout is for the merge: use it without"),
    ],
)
def test_what_does_not_go_together_is_one_line(folder: Path, words: tuple[str, ...], message: str) -> None:
    result = tailrace(folder, *words)
    assert result.returncode == 2
    assert message in result.stderr
    assert rendered(folder) == []


def test_errors_of_a_chunk_that_is_done_are_shown_at_the_end_and_counted(folder: Path) -> None:
    fields = json.loads((folder / "job.json").read_text())
    fields["chunks"][0]["command"] = "sh -c 'echo \"Error: Cannot read image: wood.png\"; echo Error: no camera'"
    (folder / "job.json").write_text(json.dumps(fields))
    result = tailrace(folder, "--progress", "blender", "--no-merge", "-q")
    assert result.returncode == 0
    assert "chunk 0 is done, and reported: Error: " in result.stderr
    assert "(and 1 other error)" in result.stderr
    assert "3 chunks done (1 with errors)" in result.stderr
