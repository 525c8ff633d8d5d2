"""What a chunk reads and writes on a worker, with a folder shared with whoever submits, and without."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import tunnel
from support.jobs import FRAMES as FRAMES_OF_A_CHUNK
from support.jobs import names_in, shell
from support.workers import FRAMES, Worker, read_frames, running_worker
from tailrace import JobSpec
from tailrace.worker import _file_state, _mirror, _working_folder


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with running_worker(tmp_path, concurrency=4, work_dir=tmp_path) as running:
        yield running


def write_job(folder: Path, *chunks: tuple[str, str], name: str = "job.json") -> str:
    """Write a job of chunks with these output files and scripts, and return its address."""
    metadata = {"totalFrames": 60, "fps": 30, "width": 640, "height": 360, "duration": 2.0}
    records = [
        {
            "id": number,
            "startFrame": number * FRAMES_OF_A_CHUNK,
            "frameCount": FRAMES_OF_A_CHUNK,
            "outputFile": output,
            "command": shell(script),
        }
        for number, (output, script) in enumerate(chunks)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"id": "attempts", "metadata": metadata, "chunks": records}))
    return str(folder / name)


def succeeds(worker: Worker, address: str, chunk: int = 0, **keys: Any) -> dict[str, Any]:
    """Run a chunk, fail unless it exits with 0, and return the answer."""
    body: dict[str, Any] = worker.ask(address, chunk, **keys).json()
    assert body["exitCode"] == 0, body
    return body


def test_output_appears_where_the_submitter_looks_for_it(worker: Worker, tmp_path: Path) -> None:
    address = write_job(tmp_path / "shot", ("chunk_0", "echo rendered > chunk_0"))
    succeeds(worker, address)
    assert (tmp_path / "shot" / "chunk_0").read_text() == "rendered\n"
    assert names_in(tmp_path / "shot") == {"job.json", "chunk_0"}
    assert names_in(tmp_path / "shot" / ".tailrace" / ".attempts") == set()


def test_the_address_may_be_relative_to_the_shared_folder(worker: Worker, tmp_path: Path) -> None:
    write_job(tmp_path / "shot", ("chunk_0", "echo rendered > chunk_0"))
    succeeds(worker, "shot/job.json")
    assert (tmp_path / "shot" / "chunk_0").exists()


def test_what_lies_beside_the_job_and_above_it_can_be_read(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "assets" / "deep").mkdir(parents=True)
    (tmp_path / "assets" / "deep" / "scene").write_text("scene\n")
    (tmp_path / "show" / "shot").mkdir(parents=True)
    (tmp_path / "show" / "shot" / "camera").write_text("camera\n")
    script = "cat camera ../../assets/deep/scene job.json > out/chunk_0"
    (tmp_path / "show" / "shot" / "out").mkdir()
    (tmp_path / "show" / "shot" / "out" / "mask").write_text("mask\n")
    address = write_job(tmp_path / "show" / "shot", ("out/chunk_0", f"cat out/mask && {script}"))
    assert succeeds(worker, address)["stdout"] == "mask\n"
    written = (tmp_path / "show" / "shot" / "out" / "chunk_0").read_text()
    assert written.startswith("camera\nscene\n{")


def test_nothing_of_an_attempt_that_failed_is_seen(worker: Worker, tmp_path: Path) -> None:
    address = write_job(tmp_path, ("out/chunk_0", "echo half > out/chunk_0; echo log > log; exit 1"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "chunk_0").write_text("earlier\n")
    assert worker.ask(address).json()["exitCode"] == 1
    assert (tmp_path / "out" / "chunk_0").read_text() == "earlier\n"
    assert names_in(tmp_path) == {"job.json", "out"}


def test_an_earlier_output_is_replaced_at_once_and_never_written_to(worker: Worker, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    script = f"ls; echo new > chunk_0; echo begun; while [ ! -e '{go_on}' ]; do sleep 0.01; done"
    address = write_job(tmp_path, ("chunk_0", script), ("chunk_1", "true"))
    for number in range(2):
        (tmp_path / f"chunk_{number}").write_text("earlier\n")
    with worker.asking(address, headers=FRAMES) as response:
        seen = b""
        for frame in (frames := read_frames(response)):
            seen += frame.payload
            if b"begun" in seen:
                break
        assert (tmp_path / "chunk_0").read_text() == "earlier\n"
        go_on.touch()
        list(frames)
    assert (tmp_path / "chunk_0").read_text() == "new\n"
    # No command finds an earlier output, which it could write to.
    assert seen.split() == [b"job.json", b"begun"]


def test_attempts_at_the_same_chunk_do_not_mix(worker: Worker, tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5; do echo $$ >> chunk_0; sleep 0.02; done"
    address = write_job(tmp_path, ("chunk_0", script))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(partial(succeeds, worker), [address] * 4))
    lines = (tmp_path / "chunk_0").read_text().splitlines()
    assert len(lines) == 5
    assert len(set(lines)) == 1


def test_numbered_frames_are_found_by_their_pattern(worker: Worker, tmp_path: Path) -> None:
    script = "for i in 0 1 2 3 4 5 6 7 8 9; do echo $i > frames/000$i.png; done; ls frames"
    address = write_job(tmp_path, ("frames/####.png", script), ("frames/%04d.png", "true"))
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0003.png").write_text("earlier")
    (tmp_path / "frames" / "palette").write_text("colours")
    names = {f"000{frame}.png" for frame in range(10)}
    assert set(succeeds(worker, address)["stdout"].split()) == names | {"palette"}
    assert names_in(tmp_path / "frames") == names | {"palette"}
    assert (tmp_path / "frames" / "0003.png").read_text() == "3\n"


def test_each_frame_may_have_a_folder_of_its_own(worker: Worker, tmp_path: Path) -> None:
    script = "for i in 0 1 2 3 4 5 6 7 8 9; do echo $i > frame_0$i/image; done"
    succeeds(worker, write_job(tmp_path, ("frame_##/image", script)))
    assert [(tmp_path / f"frame_0{frame}" / "image").read_text() for frame in range(10)] == [
        f"{frame}\n" for frame in range(10)
    ]


def test_what_else_was_written_comes_too_and_the_output_last(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    move = _working_folder.WorkingFolder._move

    def record(folder: _working_folder.WorkingFolder, path: Path) -> None:
        moved.append(path.name)
        move(folder, path)

    monkeypatch.setattr(_working_folder.WorkingFolder, "_move", record)
    script = (
        "echo a > zz; mkdir -p logs/deep; echo b > logs/deep/log; ln -s zz link; echo c > chunk_0; echo d > out.mp4"
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "earlier").touch()
    succeeds(worker, write_job(tmp_path, ("chunk_0", script)))
    assert (tmp_path / "zz").read_text() == "a\n"
    assert (tmp_path / "link").readlink() == Path("zz")
    assert names_in(tmp_path / "logs") == {"deep", "earlier"}
    assert moved[-1] == "chunk_0"


def test_folders_that_both_have_are_merged(worker: Worker, tmp_path: Path) -> None:
    script = "rm cache; mkdir cache; echo new > cache/new; echo c > chunk_0"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "old").touch()
    succeeds(worker, write_job(tmp_path, ("chunk_0", script)))
    assert names_in(tmp_path / "cache") == {"old", "new"}


def test_output_that_cannot_be_put_in_its_place_is_no_success(worker: Worker, tmp_path: Path) -> None:
    address = write_job(tmp_path, ("chunk_0", "echo c > chunk_0"))
    (tmp_path / "chunk_0").mkdir()
    (tmp_path / "chunk_0" / "something").touch()
    body = worker.ask(address).json()
    assert body["exitCode"] == 255
    assert body["error"]["kind"] == "internal"
    assert "the output could not be put in its place: " in body["error"]["message"]


@pytest.mark.parametrize(
    "output",
    ["../escaped", "/tmp/escaped", "a/../../escaped", ".tailrace/attempts", ".tailrace", ".", "a/..", "out/", "./"],
)
@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "alone"])
def test_an_output_outside_of_the_jobs_folder_is_refused(output: str, is_shared: bool, tmp_path: Path) -> None:
    with running_worker(tmp_path, work_dir=tmp_path if is_shared else None) as worker:
        answer = worker.ask(write_job(tmp_path / "shot", (output, "touch started")))
    assert answer.status == 403
    assert answer.message == f"outputFile of chunk 0 should be a file in the job's folder: {output!r}"
    assert not list(tmp_path.rglob("started"))


def test_an_output_that_a_link_leads_out_is_refused(worker: Worker, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name} elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out").symlink_to(elsewhere)
    answer = worker.ask(write_job(tmp_path, ("out/deep/chunk_0", "true")))
    assert (answer.status, answer.message) == (
        403,
        "outputFile of chunk 0 leads out of the working folder: 'out/deep/chunk_0'",
    )
    assert names_in(elsewhere) == set()


def test_an_output_that_is_a_link_goes_where_it_leads(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "earlier").write_text("earlier")
    for chunk, target in enumerate(("earlier", "none yet")):
        (tmp_path / f"chunk_{chunk}").symlink_to(f"disk/{target}")
    address = write_job(tmp_path, ("chunk_0", "echo c > chunk_0"), ("chunk_1", "echo d > chunk_1"))
    for chunk in range(2):
        succeeds(worker, address, chunk)
        assert (tmp_path / f"chunk_{chunk}").is_symlink()
    assert (tmp_path / "disk" / "earlier").read_text() == "c\n"
    assert (tmp_path / "disk" / "none yet").read_text() == "d\n"


def test_an_output_that_leads_out_is_replaced_and_what_it_leads_to_is_left(worker: Worker, tmp_path: Path) -> None:
    victim = tmp_path.parent / f"{tmp_path.name} victim"
    victim.write_text("untouched")
    address = write_job(tmp_path, ("chunk_0", "echo c > chunk_0"))
    (tmp_path / "chunk_0").symlink_to(victim)
    succeeds(worker, address)
    assert victim.read_text() == "untouched"
    assert (tmp_path / "chunk_0").read_text() == "c\n"
    assert not (tmp_path / "chunk_0").is_symlink()


def test_a_link_within_the_shared_folder_may_be_followed(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "shot").mkdir()
    (tmp_path / "shot" / "out").symlink_to(tmp_path / "disk")
    succeeds(worker, write_job(tmp_path / "shot", ("out/chunk_0", "echo c > out/chunk_0")))
    assert (tmp_path / "disk" / "chunk_0").read_text() == "c\n"
    assert (tmp_path / "shot" / "out").is_symlink()


def test_without_a_shared_folder_a_chunk_reads_beside_the_specification_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "scene").write_text("scene\n")
    address = write_job(specs, ("out/chunk_0", "cp scene out/chunk_0; cat out/chunk_0; touch log; pwd -P"))
    with running_worker(specs) as worker:
        lines = succeeds(worker, address)["stdout"].splitlines()
    assert lines[0] == "scene"
    assert Path(lines[1]).is_relative_to(temporary)
    assert names_in(temporary) == set()
    assert names_in(specs) == {"job.json", "scene"}


def test_a_folder_for_too_many_frames_is_refused(worker: Worker, tmp_path: Path) -> None:
    address = write_job(tmp_path, ("frame_##/image", "true"))
    spec = json.loads(Path(address).read_text())
    spec["chunks"][0]["frameCount"] = 2**31 - 1
    Path(address).write_text(json.dumps(spec))
    assert worker.ask(address).message == "the output of chunk 0 lies in more than 10000 folders"


def test_the_demo_is_rendered_by_a_worker_into_the_shared_folder(tmp_path: Path) -> None:
    path = tunnel.search_path()
    folder = tunnel.small_tunnel(tmp_path / "tunnel")
    spec = JobSpec.load(folder / "job.json")
    own_path = os.environ["PATH"]
    os.environ["PATH"] = path
    try:
        with running_worker(tmp_path, work_dir=tmp_path) as worker, ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda chunk: succeeds(worker, "tunnel/job.json", chunk.id), spec.chunks))
    finally:
        os.environ["PATH"] = own_path
    assert names_in(folder / "out") == {".gitignore", *(f"chunk_{number}.mp4" for number in range(6))}
    alone = tunnel.small_tunnel(tmp_path / "alone")
    assert tunnel.run_job(alone, "--no-merge", path=path).returncode == 0
    for number in range(6):
        name = f"out/chunk_{number}.mp4"
        assert tunnel.frame_hashes(folder / name, path=path) == tunnel.frame_hashes(alone / name, path=path)


def test_a_chunk_replaces_neither_what_other_chunks_write_nor_the_job(
    worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = "for name in out/0009.png out/0010.png job.json chunk_1 log; do rm -f $name; echo new > $name; done"
    record = "mkdir -p .tailrace/jobs; echo new > .tailrace/jobs/a"
    address = write_job(
        tmp_path, ("out/####.png", f"mkdir -p out; {script}; {record}"), ("out/####.png", ":"), ("chunk_1", ":")
    )
    job = Path(address).read_text()
    (tmp_path / "out").mkdir()
    for name in ("out/0009.png", "out/0010.png", "chunk_1", "log"):
        (tmp_path / name).write_text("earlier\n")
    succeeds(worker, address)
    new = {
        name for name in ("out/0009.png", "out/0010.png", "chunk_1", "log") if "new" in (tmp_path / name).read_text()
    }
    assert new == {"out/0009.png", "log"}
    assert Path(address).read_text() == job
    assert not (tmp_path / ".tailrace" / "jobs" / "a").exists()
    assert "chunk 0 wrote what is not its own, which is left out: chunk_1" in caplog.text


def test_chunks_that_make_the_same_folder_at_once_all_succeed(worker: Worker, tmp_path: Path) -> None:
    chunks = [
        (f"chunk_{number}", f"mkdir logs; echo {number} | tee logs/{number} > chunk_{number}") for number in range(4)
    ]
    for attempt in range(5):
        address = write_job(tmp_path / str(attempt), *chunks)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(partial(succeeds, worker, address), range(4)))
        assert names_in(tmp_path / str(attempt) / "logs") == {"0", "1", "2", "3"}


def test_folders_that_a_command_made_read_only_are_deleted_too(worker: Worker, tmp_path: Path) -> None:
    address = write_job(tmp_path, ("chunk_0", "mkdir -p a/b; touch a/b/c; chmod 500 a/b a; exit 1"))
    (tmp_path / "kept").mkdir(mode=0o500)
    assert worker.ask(address).json()["exitCode"] == 1
    assert names_in(tmp_path / ".tailrace" / ".attempts") == set()
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o500


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("a" * 300 + "/image", "outputFile of chunk 0 cannot be a file's name: 'a"),
        ("a/" * 3000 + "image", "outputFile of chunk 0 should have at most 1000 characters"),
    ],
)
def test_an_output_with_too_long_a_name_is_refused(output: str, message: str, worker: Worker, tmp_path: Path) -> None:
    answer = worker.ask(write_job(tmp_path, (output, "true")))
    assert answer.status == 422
    assert answer.message.startswith(message)
    assert not list(tmp_path.glob(".tailrace/.attempts/*"))


def test_a_name_that_would_be_compared_for_hours_holds_up_nobody(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / ("1" * 60)).touch()
    succeeds(worker, write_job(tmp_path, ("%d" * 8 + "x", "true")))


@pytest.mark.parametrize("folder", ["out", "."])
@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_command_that_puts_a_link_in_the_place_of_a_folder_moves_nothing_from_elsewhere(
    exit_code: int, folder: str, worker: Worker, tmp_path: Path
) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name} elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "precious").touch()
    (elsewhere / "deep").chmod(0o750)
    script = (
        f"cd {folder}; F=$(pwd -P); cd /; mv $F $F.away; ln -s '{elsewhere}' $F; echo x > $F/chunk_0; exit {exit_code}"
    )
    body = worker.ask(write_job(tmp_path / "shot", ("out/chunk_0", script))).json()
    assert names_in(elsewhere) == {"deep", "precious", "chunk_0"}
    assert (elsewhere / "deep").stat().st_mode & 0o777 == 0o750
    assert names_in(tmp_path / "shot") <= {"job.json", "out"}
    if folder == "out" and exit_code == 0:
        assert (body["exitCode"], body["error"]["message"]) == (
            255,
            "the output could not be put in its place: the command has put something else in the place of its folder"
            " shot/out",
        )


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have every folder kept, and return the list of the links that are made."""
    names: list[str] = []
    link = os.symlink

    def record(target: str, name: str, **keys: Any) -> None:
        names.append(name)
        link(target, name, **keys)

    monkeypatch.setattr(_mirror, "_WORTH_KEEPING", 1)
    monkeypatch.setattr(_file_state, "_SETTLED", -(10**12))
    monkeypatch.setattr(os, "symlink", record)
    return names


@pytest.mark.parametrize("output", ["chunk_0", "out/chunk_0"])
def test_files_beside_the_job_cost_nothing_the_next_time(
    output: str, linked: list[str], worker: Worker, tmp_path: Path
) -> None:
    (tmp_path / output).parent.mkdir(exist_ok=True)
    for number in range(5):
        (tmp_path / f"texture {number}").touch()
    address = write_job(tmp_path, (output, f"echo $$ > {output}; ls"), ("chunk_1", "true"))
    for _ in range(3):
        succeeds(worker, address)
    assert sorted(linked) == ["job.json", *(f"texture {number}" for number in range(5))]


def test_a_folder_that_is_kept_looks_like_the_job_does_now(linked: list[str], worker: Worker, tmp_path: Path) -> None:
    for name in ("changed", "gone", "moved"):
        (tmp_path / name).write_text("earlier\n")
    mess = "rm changed gone; echo mess > changed; mkdir gone new; touch new/file; mv moved elsewhere; ln -s / link"
    address = write_job(tmp_path, ("chunk_0", f"{mess}; exit 1"), ("chunk_1", "ls; cat changed moved added; exit 0"))
    assert worker.ask(address).json()["exitCode"] == 1
    assert (tmp_path / "changed").read_text() == "earlier\n"
    (tmp_path / "changed").write_text("changed\n")
    (tmp_path / "gone").unlink()
    (tmp_path / "added").write_text("added\n")
    seen = succeeds(worker, address, 1)["stdout"].split()
    assert seen == ["added", "changed", "job.json", "moved", "changed", "earlier", "added"]
    assert len(list((tmp_path / ".tailrace" / ".attempts").iterdir())) == 1
    # A job that writes other files has a folder of its own.
    write_job(tmp_path, ("added", "ls"), ("chunk_1", "true"))
    assert "added" not in succeeds(worker, address)["stdout"].split()


def test_folders_that_are_kept_are_deleted_with_the_worker(linked: list[str], tmp_path: Path) -> None:
    with running_worker(tmp_path, concurrency=2, work_dir=tmp_path) as worker:
        for shot in range(4):
            succeeds(worker, write_job(tmp_path / "shots", ("chunk_0", "true"), name=f"{shot}.json"))
            write_job(tmp_path / "shots", (f"chunk_{shot}", "true"))
        attempts = tmp_path / "shots" / ".tailrace" / ".attempts"
        assert len(list(attempts.iterdir())) <= 2
    del worker
    gc.collect()
    assert list(attempts.iterdir()) == []


def test_a_folder_whose_command_changed_its_mode_is_not_used_again(
    linked: list[str], worker: Worker, tmp_path: Path
) -> None:
    address = write_job(tmp_path, ("out/chunk_0", "touch out/chunk_0; chmod 500 out; stat -c %a out"))
    (tmp_path / "texture").touch()
    for _ in range(2):
        succeeds(worker, address)
    assert list((tmp_path / ".tailrace" / ".attempts").iterdir()) == []
