"""What a job needs of the machine is found before the first chunk, and nothing is told that is no fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

from support.jobs import names_in
from support.loops import on_every_loop
from support.sick_machine import SickMachine
from tailrace import Chunk, JobMetadata, JobSpec, MachineFault, check_machine
from tailrace._preflight import looks

pytestmark = pytest.mark.anyio

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a disk")


def spec_of(*commands: str, outputs: str = "out_{}", merge: str | None = None) -> JobSpec:
    return JobSpec(
        id="job-1",
        metadata=JobMetadata(total_frames=len(commands), fps=30, width=640, height=360, duration=1),
        chunks=tuple(
            Chunk(id=number, start_frame=number, frame_count=1, output_file=outputs.format(number), command=command)
            for number, command in enumerate(commands)
        ),
        merge_command=merge,
    )


async def test_a_job_that_has_all_it_needs_has_no_faults(tmp_path: Path) -> None:
    (tmp_path / "render.py").touch()
    spec = spec_of("python3 render.py", "true", outputs="made/later_{}", merge="cat")
    assert await check_machine(spec, tmp_path) == []
    assert names_in(tmp_path) == {"render.py"}


async def test_missing_programs_are_named_once_with_all_who_need_them(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "render").touch(mode=0o644)
    spec = spec_of(*["no-such-renderer 1"] * 3, "true", "bin/render", merge="no-such-renderer")
    faults = await check_machine(spec, tmp_path)
    assert [str(fault) for fault in faults] == [
        "there is no program no-such-renderer in the PATH, and chunks 0 to 2 and the merge need it:"
        " install it, or correct the command",
        "there is no program bin/render, and chunk 4 needs it: install it, or correct the command",
    ]
    assert faults[0].chunk_ids == (0, 1, 2)
    assert faults[0].affects_merge
    (tmp_path / "bin" / "render").chmod(0o755)
    assert await check_machine(spec, tmp_path, chunk_ids=[3, 4], merge=False) == []


async def test_an_input_that_is_nowhere_is_named_unless_a_chunk_writes_it(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to("nowhere.py")
    commands = ["python3 scene.py", "python3 link.py", "python3 made_0003.py", "python3 ./out_3.py"]
    spec = spec_of(*commands, outputs="out_{}.py")
    spec = spec.model_copy(
        update={
            "chunks": (
                *spec.chunks[:-1],
                spec.chunks[-1].model_copy(update={"output_files": ("made_####.py", "out_3.py")}),
            )
        }
    )
    faults = await check_machine(spec, tmp_path)
    assert [(fault.reason, fault.chunk_ids) for fault in faults] == [
        (f"{tmp_path}/scene.py cannot be read (No such file or directory)", (0,)),
        (f"{tmp_path}/link.py cannot be read (No such file or directory)", (1,)),
    ]


async def test_a_folder_that_is_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fault, _ = await check_machine(spec_of("true", "true", outputs="file/sub_{}/x.png"), tmp_path)
    assert fault.reason == f"{tmp_path}/file/sub_0 cannot be written (Not a directory)"


@needs_root
def test_a_disk_that_is_read_only_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=True)
    try:
        faults = anyio.run(check_machine, spec_of("true", "true", outputs="disk/new/{}.png"), tmp_path)
    finally:
        subprocess.run(["umount", folder], check=True)
    assert faults == [
        MachineFault(
            f"{folder}/new cannot be written (Read-only file system)",
            (0, 1),
            affects_merge=False,
            remedy="write to another folder, or have this one made writable",
        )
    ]


@pytest.mark.parametrize("outputs", ["frames/out_{}.png", "frames/{}/out.png"])
async def test_ten_thousand_chunks_are_checked_at_once(outputs: str, tmp_path: Path) -> None:
    (tmp_path / "shot.blend").touch()
    commands = [f"blender -b shot.blend -o //out_#### -s {n} -e {n} -a" for n in range(10_000)]
    spec = spec_of(*commands, outputs=outputs)
    began = time.process_time()
    faults = await check_machine(spec, tmp_path)
    # A tenth of that on the machine it was written on, and less where the folders are one.
    assert time.process_time() - began < 3
    assert all("no program blender" in fault.reason for fault in faults)


HANGS = """
import anyio, json, sys, time
from tailrace import JobSpec, check_machine
began = time.monotonic()
faults = anyio.run(check_machine, JobSpec.load(sys.argv[1]), backend=sys.argv[2])
print(json.dumps([time.monotonic() - began, *map(str, faults)]))
"""


@pytest.mark.stress
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_disk_that_does_not_answer_is_named_and_holds_up_nobody(tmp_path: Path, loop: str) -> None:
    with SickMachine(tmp_path) as machine:
        disk = machine.hung_disk(scene=b"x")
        disk.fall_silent()
        spec = spec_of("python3 disk/scene.py", "python3 disk/other.py", "python3 missing.py")
        (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
        host = machine.start(sys.executable, "-c", HANGS, str(tmp_path / "job.json"), loop)
        assert host.ends(15) == 0, host.stderr
        seconds, *lines = json.loads(host.stdout)
    assert 5 <= seconds < 9
    assert lines == [
        f"{disk.path} does not answer for 5 s, and chunks 0 to 1 need it: look after this disk, or do without it",
        f"{tmp_path}/missing.py cannot be read (No such file or directory), and chunk 2 needs it:"
        " put it there, or correct the command",
    ]


@on_every_loop
async def test_many_folders_that_links_lead_to_a_hung_disk_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(looks, "PATIENCE", 0.2)
    monkeypatch.setitem(looks._LOOKS, "folder", lambda path: answers.wait(60) and None)
    began = time.monotonic()
    found = await looks.look_at(looks.Look("folder", f"/nowhere/{number}/out") for number in range(100))
    answers.set()
    assert time.monotonic() - began < 5
    assert len(found) == 100
    assert 1 <= len([finding for finding in found.values() if isinstance(finding, looks.Hung)]) < 10


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tailrace", *args], capture_output=True, text=True, timeout=60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.json"


def test_validate_lists_what_the_machine_lacks_when_asked(path: Path) -> None:
    path.write_text(spec_of("no-such-renderer", "true").model_dump_json(by_alias=True))
    assert run("job", "validate", str(path)).returncode == 0
    result = run("job", "validate", "--machine", str(path))
    assert result.returncode == 1
    assert result.stderr == (
        "tailrace: there is no program no-such-renderer in the PATH, and chunk 0 needs it:"
        " install it, or correct the command\n"
    )


def test_a_job_of_which_no_chunk_can_succeed_is_not_started(path: Path) -> None:
    path.write_text(spec_of("touch started", "python3 missing.py").model_dump_json(by_alias=True))
    result = run("job", "run", str(path), "--chunk", "1")
    assert result.returncode == 2
    assert "missing.py cannot be read (No such file or directory), and chunk 1 needs it" in result.stderr
    assert "--no-machine-check" in result.stderr
    assert sorted(each.name for each in path.parent.iterdir()) == ["job.json"]
    assert run("job", "run", str(path), "--chunk", "1", "--no-machine-check").returncode == 1


def test_what_some_chunks_lack_is_a_warning(path: Path) -> None:
    path.write_text(spec_of("touch started", "python3 missing.py").model_dump_json(by_alias=True))
    result = run("job", "run", str(path), "--quiet")
    assert result.returncode == 1
    assert "tailrace: warning: " in result.stderr
    assert "missing.py cannot be read" in result.stderr
    assert (path.parent / "started").exists()
