"""`tailrace job plan`, as its users run it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.jobs import names_in
from support.tunnel import frame_hashes, search_path
from support.workers import wait_until
from tailrace import JobSpec, parse_command

COMMAND = """sh -c 'echo "$1" > "$2"' sh {start}-{end} {output}"""
ARGS = ("--frames", "1-6", "--chunk-size", "4", "--output", "out/part_{start:02}")


def _tailrace(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", "job", *args],
        cwd=cwd,
        env=os.environ | {"PATH": search_path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def _plan(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    planned = _tailrace("plan", *args, cwd=cwd)
    assert planned.returncode == 0, planned.stderr
    return planned


def test_a_job_file_is_written_and_the_command_that_runs_it_is_shown(tmp_path: Path) -> None:
    planned = _plan(COMMAND, *ARGS, "--to", "my job.json", cwd=tmp_path)
    assert planned.stdout == ""
    assert planned.stderr == (
        "tailrace: wrote my job.json: 6 frames in 2 chunks; to render them: tailrace job run 'my job.json'\n"
    )
    assert names_in(tmp_path) == {"my job.json", "out"}
    assert _tailrace("run", "my job.json", "--verify-output", cwd=tmp_path).returncode == 0
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "part_01": "1-4\n",
        "part_05": "5-6\n",
    }
    # The job has the file's name.
    assert (tmp_path / ".tailrace" / "my job").is_dir()


def test_without_a_file_the_job_goes_to_standard_output(tmp_path: Path) -> None:
    planned = _plan(COMMAND, *ARGS, cwd=tmp_path)
    assert planned.stderr == (
        "tailrace: planned 6 frames in 2 chunks; from a file, they are rendered by: tailrace job run FILE\n"
    )
    assert [chunk.output_file for chunk in JobSpec.parse(planned.stdout).chunks] == ["out/part_01", "out/part_05"]
    # A line for each chunk.
    assert sum('"command"' in line for line in planned.stdout.splitlines()) == 2
    assert "null" not in planned.stdout
    assert names_in(tmp_path) == set()


def test_one_frame_in_one_chunk_is_said_so(tmp_path: Path) -> None:
    assert "planned 1 frame in 1 chunk;" in _plan(COMMAND, *ARGS, "--frames", "7", cwd=tmp_path).stderr


def test_every_option_finds_its_way_into_the_job(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    options = ("--size", "64x36", "--fps", "30000/1001", "--merge", "cat 'a b' {x}")
    own = ("r {start}", "--frames", "1-4", "--chunk-size", "4", "--output", "f_##.png")
    spec = JobSpec.parse(_plan(*own, "--retry-command", "r {frames} '{{x}}'", cwd=tmp_path).stdout)
    assert spec.chunks[0].retry_command == "r {frames} {{x}}"
    planned = _plan("blender", "a.py", *ARGS[:4], "--output", "é_##.png", *options, "--", "-t", "2", cwd=tmp_path)
    assert "é" in planned.stdout
    spec = JobSpec.parse(planned.stdout)
    assert spec.metadata.fps == pytest.approx(29.97003)
    assert (spec.metadata.width, spec.metadata.height) == (64, 36)
    assert spec.merge_command == "cat 'a b' {x}"
    _, args = parse_command(spec.chunks[0].command)
    assert args[:6] == ["--background", "--python-exit-code", "1", "--python", "a.py", "-t"]
    assert "resolution_x, r.resolution_y, r.resolution_percentage = 64, 36, 100" in args[10]


def _make_film(folder: Path, name: str, *, frames: int = 20, rate: str = "30000/1001") -> None:
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=48x32:rate={rate}", "-frames:v", str(frames), "-c:v", "mpeg4"]
    subprocess.run(
        ["ffmpeg", "-v", "error", *picture, name],
        cwd=folder,
        env=os.environ | {"PATH": search_path()},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=200,
    )


def test_what_the_source_says_of_itself_is_asked_for(tmp_path: Path) -> None:
    _make_film(tmp_path, "film.mov")
    fixed = ("ffmpeg", "film.mov", "--chunk-size", "8", "--output", "p_##.mp4")
    spec = JobSpec.parse(_plan(*fixed, "--frames", "auto", "--fps", "auto", "--size", "auto", cwd=tmp_path).stdout)
    assert [list(chunk.frames) for chunk in spec.chunks] == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]
    assert spec.metadata.fps == pytest.approx(29.97003)
    assert (spec.metadata.width, spec.metadata.height) == (48, 32)
    assert "-r 30000/1001 -s 48x32" in spec.chunks[0].command
    spec = JobSpec.parse(_plan(*fixed, "--frames", "3-5", "--fps", "auto", cwd=tmp_path).stdout)
    assert [list(chunk.frames) for chunk in spec.chunks] == [[3, 4, 5]]
    assert "-s " not in spec.chunks[0].command


def test_ctrl_c_ends_the_program_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ffmpeg"
    program.write_text("#!/bin/sh\necho $$ > pid.new\nmv pid.new pid\nexec sleep 600\n")
    program.chmod(0o755)
    (tmp_path / "film.mov").touch()
    fixed = ("ffmpeg", "film.mov", "--chunk-size", "8", "--output", "p_##.mp4", "--frames", "auto", "--fps", "25")
    with subprocess.Popen(
        [sys.executable, "-m", "tailrace", "job", "plan", *fixed],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{program.parent}:{search_path()}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as planning:
        wait_until((tmp_path / "pid").exists)
        planning.send_signal(signal.SIGINT)
        stdout, stderr = planning.communicate(timeout=60)
    assert planning.returncode == 130
    assert stdout == stderr.strip() == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_names_are_seen_from_the_folder_of_the_job_file(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "else where"
    for folder in (here / "scenes", here / "new" / "folder", elsewhere / "deep" / "er"):
        folder.mkdir(parents=True)
    (here / "jobs").symlink_to(elsewhere / "deep" / "er")
    lossless = ["-c:v", "libx264", "-qp", "0"]
    picture = ["-f", "lavfi", "-i", "color=size=32x32,format=yuv420p,geq=lum='mod(N*37,256)':cb=128:cr=128"]
    subprocess.run(
        ["ffmpeg", "-v", "error", *picture, "-frames:v", "30", *lossless, "scenes/in put.mp4"],
        cwd=here,
        env=os.environ | {"PATH": search_path()},
        check=True,
        timeout=200,
    )
    names = ("--output", "parts/p_##.mp4", "--video", str(here / "all.mp4"))
    frames = ("--frames", "0-29", "--chunk-size", "8", "--fps", "25")
    for job_file in ("new/folder/job.json", "jobs/job.json", "job.json"):
        _plan("ffmpeg", "scenes/in put.mp4", *frames, *names, "--to", job_file, "--", *lossless, cwd=here)
        assert names_in(here / "parts") == set()
        done = _tailrace("run", str(here / job_file), "--verify-output", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert names_in(here / "parts") == {f"p_{start:02}.mp4" for start in (0, 8, 16, 24)}
        path = search_path()
        assert frame_hashes(here / "all.mp4", path=path) == frame_hashes(here / "scenes" / "in put.mp4", path=path)
        for part in (here / "parts").iterdir():
            part.unlink()
        (here / "all.mp4").unlink()


def test_a_job_file_is_not_overwritten_unless_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("precious")
    (tmp_path / "job.json").symlink_to("real.json")
    refused = _tailrace("plan", COMMAND, *ARGS, "--to", "job.json", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("tailrace: --to job.json: exists already: --force overwrites it")
    assert (tmp_path / "real.json").read_text() == "precious"
    assert names_in(tmp_path) == {"job.json", "real.json"}
    _plan(COMMAND, *ARGS, "--to", "job.json", "--force", cwd=tmp_path)
    assert (tmp_path / "job.json").is_symlink()
    assert len(JobSpec.load(tmp_path / "real.json").chunks) == 2
    assert names_in(tmp_path) == {"job.json", "real.json", "out"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("blender", "missing.blend", *ARGS), "File 'missing.blend' does not exist"),
        (("blender", *ARGS), "SOURCE: is missing: name a .blend file, or a Python script"),
        (("blendr", "x.blend", *ARGS), "'blendr' should be blender, ffmpeg, povray, or a command with placeholders"),
        ((COMMAND, *ARGS, "--frames", "9 1"), "--frames: '9 1' is not of the form 300, 1-250"),
        ((COMMAND, *ARGS, "--frames", "1-9:2"), "write 1-9x2 for every frame that is 2 after another"),
        ((COMMAND, *ARGS, "--frames", "auto"), "does not say what its frames are, only Blender and ffmpeg do: give"),
        (("povray", "plain", *ARGS, "--size", "auto"), "'povray' does not say what its frames are, only Blender and"),
        (("ffmpeg", "plain", *ARGS, "--fps", "auto"), "ffmpeg cannot read 'plain': "),
        ((COMMAND, *ARGS, "--retry-command", "r"), "--retry-command: should have {frames}, {ranges:..}, or {start}"),
        ((COMMAND, *ARGS, "--size", "640"), "'640' is not of the form 1920x1080, nor auto"),
        ((COMMAND, *ARGS, "--fps", "1/0"), "'1/0' is not a number such as 25, 29.97 or 30000/1001"),
        ((COMMAND, *ARGS, "--fps", "-1"), "--fps: -1 should be more than 0"),
        ((COMMAND, *ARGS, "--chunk-size", "0"), "0 is not in the range x>=1"),
        ((COMMAND, *ARGS, "--output", "plain/part/p"), "--output: 'plain/part/p' is the same file for several chunks"),
        ((COMMAND, *ARGS[2:]), "Missing option '--frames'"),
        ((COMMAND, *ARGS, "--to", "none/job.json"), "--to none/job.json: there is no folder "),
        ((COMMAND, *ARGS, "--to", "/dev/null", "--force"), "--to /dev/null: is not a file"),
        ((COMMAND, *ARGS, "--output", "plain/p_{start}"), "plain cannot be created: File exists"),
    ],
)
def test_what_cannot_be_planned_is_one_line_and_writes_nothing(
    args: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "plain").touch()
    refused = _tailrace("plan", "--to", "job.json", *args, cwd=tmp_path)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert names_in(tmp_path) == {"plain"}


def test_folders_with_braces_in_their_names_are_not_taken_for_placeholders(tmp_path: Path) -> None:
    here = tmp_path / "{count}"
    here.mkdir()
    _plan(COMMAND, *ARGS, "--to", "job.json", cwd=here)
    (tmp_path / "scene.pov").touch()
    _plan("povray", "../scene.pov", *ARGS[:4], "--output", "f_##.png", "--to", "../job.json", cwd=here)
    assert JobSpec.load(tmp_path / "job.json").chunks[0].output_file == "{count}/f_##.png"
    refused = _tailrace("plan", COMMAND, *ARGS, "--to", "../other.json", cwd=here)
    assert refused.returncode == 2
    assert "--output out/part_{start:02}: " in refused.stderr
    assert "{count}/out/part_{start:02} has a folder with braces" in refused.stderr


def test_a_job_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    long_name = "j" * 250 + ".json"
    refused = _tailrace("plan", COMMAND, *ARGS, "--to", long_name, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == f"tailrace: --to {long_name}: cannot be written: File name too long\n"
    assert names_in(tmp_path) == {"out"}


def test_the_examples_of_the_help_can_be_planned(tmp_path: Path) -> None:
    for name in ("scene.blend", "scene.pov"):
        (tmp_path / name).touch()
    _make_film(tmp_path, "film.mov")
    text = _tailrace("plan", "--help", cwd=tmp_path).stdout.replace("\\\n", " ")
    examples = [shlex.split(line) for line in text.splitlines() if line.strip().startswith("tailrace job plan ")]
    assert len(examples) == 4
    for example in examples:
        _plan("--force", *example[3:], cwd=tmp_path)
        assert JobSpec.load(tmp_path / "job.json").chunks
