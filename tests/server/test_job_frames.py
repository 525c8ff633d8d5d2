"""Which frames of a job are known: while it runs, and whatever is left of its logs."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from support.farm_servers import JSON, FarmServer, ended, serving
from support.farms import held, open_gate
from support.frame_files import noise, video
from support.frame_jobs import METADATA, add, copying, frames_job, rendered
from support.report_pages import EventLog
from support.workers import wait_until
from tailrace import Chunk, FrameFinished, FrameFlagged, JobSpec
from tailrace._spec.outputs import output_files, output_paths
from tailrace.server._frame_files import FrameFiles
from tailrace.server._frame_log import FrameLog


def frames(server: FarmServer, job_id: str, query: str = "") -> dict[str, Any]:
    """Return what is told of the frames of a job."""
    answer = server.send("GET", f"/api/v1/jobs/{job_id}/frames{query}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def numbers(found: dict[str, Any]) -> list[int]:
    return [frame["frame"] for frame in found["frames"]]


def test_frames_are_told_as_they_come_and_each_change_once(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    script = f"{copying(picture, 1, 2)}; {held(tmp_path, 'gate')}; {copying(picture, 3)}"
    with serving(tmp_path) as server:
        job_id = add(server, frames_job(script, frames=3), tmp_path / "job")
        wait_until(lambda: numbers(frames(server, job_id)) == [1])
        first = frames(server, job_id)
        assert first["frames"] == [
            {
                "frame": 1,
                "chunkId": 0,
                "span": None,
                "file": "shot.0001.png",
                "state": "finished",
                "reasons": [],
                "version": 1,
            }
        ]
        assert (first["goesOn"], first["hasMore"], first["lacks"]) == (False, False, [])
        nothing = frames(server, job_id, f"?after={first['next']}")
        assert (nothing["frames"], nothing["next"], nothing["goesOn"]) == ([], first["next"], True)
        open_gate(tmp_path, "gate")
        assert ended(server, job_id)["state"] == "completed"
        rest = frames(server, job_id, f"?after={first['next']}")
        assert set(numbers(rest)) == {2, 3}
        assert rest["goesOn"]


def test_many_frames_come_in_pages(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.start(1)
    for frame in range(1, 10_001):
        log.add(FrameFinished, frame, chunk_id=0, attempt=1, frame=frame, path="", duration=1.0)
    log.write()
    with serving(tmp_path) as server:
        spec = frames_job("touch never.0001.png", frames=10_000)
        job_id = rendered(server, spec, tmp_path / "job")
        shutil.copy(tmp_path / "events" / "job.ndjson", tmp_path / "logs" / job_id)
        found: list[int] = []
        after, began = "", time.monotonic()
        while True:
            page = frames(server, job_id, f"?after={after}&limit=3000")
            found += numbers(page)
            after = page["next"]
            if not page["hasMore"]:
                break
        assert found == [*range(1, 10_001)]
        assert time.monotonic() - began < 10


def test_frames_are_known_by_their_chunks_where_no_log_tells_of_them(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    with serving(tmp_path) as server:
        spec = frames_job(copying(picture, 1, 2), f"{copying(picture, 3)}; exit 3", frames=2)
        job_id = rendered(server, spec, tmp_path / "job", failFast=False)
        shutil.rmtree(tmp_path / "logs")
        found = frames(server, job_id)
        assert [(frame["frame"], frame["state"]) for frame in found["frames"]] == [(1, "finished"), (2, "finished")]
        # Chunks that are completed later are told, too.
        server.send("POST", f"/api/v1/jobs/{job_id}/mark-done", '{"chunkIds": [1]}', JSON)
        assert numbers(frames(server, job_id, f"?after={found['next']}")) == [3, 4]


def test_a_video_is_one_picture_of_all_its_frames(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    with serving(tmp_path) as server:
        spec = frames_job(f"cp {source} part_0.mp4", output_file="part_CHUNK.mp4", frames=25)
        (frame,) = frames(server, rendered(server, spec, tmp_path / "job"))["frames"]
    assert (frame["frame"], frame["span"], frame["file"]) == (25, "1-25", "part_0.mp4")


def test_frames_that_are_flagged_say_why_until_they_are_rendered_again(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:-5000])
    script = f"test -e {tmp_path / 'gate'} && cp {picture} shot.0001.png || cp {cut} shot.0001.png"
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(script), tmp_path / "job", checkFrames="whole")
        found = frames(server, job_id)
        (frame,) = found["frames"]
        assert (frame["state"], len(frame["reasons"])) == ("damaged", 1)
        assert frame["reasons"][0].startswith("is cut short")
        open_gate(tmp_path, "gate")
        server.send("POST", f"/api/v1/jobs/{job_id}/retry", "{}", JSON)
        assert ended(server, job_id)["state"] == "completed"
        (again,) = frames(server, job_id, f"?after={found['next']}")["frames"]
        assert (again["state"], again["reasons"]) == ("finished", [])


def test_another_server_of_the_farm_tells_all_anew(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(copying(picture, 1)), tmp_path / "job")
        known = frames(server, job_id)["next"]
    with serving(tmp_path) as server:
        found = frames(server, job_id, f"?after={known}")
        assert (numbers(found), found["goesOn"]) == ([1], False)
        for odd in ("x", "..", "-1", f"{found['next']}9999999999999999999"):
            assert (numbers(frames(server, job_id, f"?after={odd}"))) == [1]


def test_only_frames_of_the_specification_are_believed(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(copying(picture, 1)), tmp_path / "job")
        log = tmp_path / "logs" / job_id / "job.ndjson"
        lines = log.read_bytes()
        (told,) = (json.loads(line) for line in lines.splitlines() if b'"frame_finished"' in line)
        forged = [
            {**told, "frame": 7},
            {**told, "chunkId": 7},
            {**told, "path": "/etc/passwd"},
            {**told, "frame": None},
        ]
        log.write_bytes(lines + b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in forged))
        (frame,) = frames(server, job_id)["frames"]
        assert (frame["frame"], frame["file"]) == (1, "shot.0001.png")


@pytest.mark.parametrize(("query", "told"), [("?limit=0", "limit"), ("?limit=100000", "limit"), ("?nix=1", "nix")])
def test_a_question_that_cannot_be_answered_is_refused(tmp_path: Path, query: str, told: str) -> None:
    with serving(tmp_path) as server:
        assert server.send("GET", "/api/v1/jobs/nix/frames").status == 404
        job_id = add(server, frames_job("true"), tmp_path / "job")
        answer = server.send("GET", f"/api/v1/jobs/{job_id}/frames{query}")
        assert answer.status == 422
        assert told in answer.json()["error"]["message"]


def test_the_files_of_a_frame_are_those_of_the_specification(tmp_path: Path) -> None:
    shapes: list[dict[str, Any]] = [
        {"start_frame": 1, "frame_count": 3, "output_file": "a.####.png"},
        {
            "start_frame": -4,
            "frame_count": 2,
            "frame_step": 3,
            "output_files": ["log.txt", "b.%d.exr", "c_##/c.####.exr"],
        },
        {"frames": "9-1,20", "output_file": "d.####.tif"},
        {"start_frame": 0, "frame_count": 25, "output_files": ["e.mp4", "e.wav"]},
        {"frames": "5,3", "output_file": 'f "chunks":[.mov'},
    ]
    chunks = tuple(Chunk(id=3 * number, command="true", **shape) for number, shape in enumerate(shapes))
    odd: dict[str, Any] = {"more": '"chunks":[{', "mergeCommand": None}
    spec = JobSpec(id='"chunks":[', metadata=METADATA, chunks=chunks, **odd)
    files = FrameFiles(spec.model_dump_json(by_alias=True), str(tmp_path))
    for chunk in spec.chunks:
        by_frame: dict[int, list[str]] = {}
        for frame, path in output_files(chunk, tmp_path):
            if frame is not None:
                by_frame.setdefault(frame, []).append(str(path))
        if not by_frame:
            by_frame = {chunk.frames[-1]: [str(path) for path in output_paths(chunk, tmp_path)]}
            assert files.span(chunk.id) == str(chunk.frames)
        assert set(files.frames_of(chunk.id)) == set(by_frame)
        for frame, paths in by_frame.items():
            told = [files.path(chunk.id, frame, place, is_damaged=False) for place in range(len(paths))]
            assert told == paths
            assert [files.place_of(chunk.id, frame, path) for path in paths] == [*range(len(paths))]
            assert files.place_of(chunk.id, frame, "/etc/passwd") == 0
        assert not files.names(chunk.id, 1000)
    assert not files.names(1, 1)


def test_a_log_is_read_on_from_where_it_was_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.start(1)
    log.add(FrameFinished, 1, chunk_id=0, attempt=1, frame=1, path="a", duration=1.0)
    log.write()
    path = tmp_path / "job.ndjson"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    reader = FrameLog(tmp_path)
    assert list(reader.read_on()) == []
    path.write_bytes(whole)
    assert [event.frame for event in reader.read_on()] == [1]
    assert list(reader.read_on()) == []
    flagged = whole.splitlines(keepends=True)[-1].replace(b'"frame":1', b'"frame":2')
    with path.open("ab") as file:
        file.write(b"torn{\n" + flagged)
    assert [event.frame for event in reader.read_on()] == [2]
    # A new run sets it aside, after its last line.
    with path.open("ab") as file:
        file.write(flagged.replace(b'"frame":2', b'"frame":3'))
    (tmp_path / "run-1").mkdir()
    path.rename(tmp_path / "run-1" / "job.ndjson")
    path.write_bytes(whole)
    assert [event.frame for event in reader.read_on()] == [3, 1]


def test_a_frame_is_odd_as_long_as_the_same_attempt_tells_of_it(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.start(1)
    flag = {"chunk_id": 0, "path": "", "frame": 1, "level": "looks", "fatal": False}
    log.add(FrameFlagged, 1, attempt=1, reason="is black", **flag)
    log.add(FrameFinished, 2, chunk_id=0, attempt=1, frame=1, path="", duration=1.0)
    log.add(FrameFlagged, 3, attempt=1, reason="is large", **flag)
    log.write()
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job("false"), tmp_path / "job")
        told = tmp_path / "logs" / job_id / "job.ndjson"
        shutil.copy(tmp_path / "events" / "job.ndjson", told)
        (frame,) = frames(server, job_id)["frames"]
        assert (frame["state"], frame["reasons"]) == ("odd", ["is black", "is large"])
        finished = next(line for line in told.read_bytes().splitlines(keepends=True) if b"frame_finished" in line)
        with told.open("ab") as file:
            file.write(finished.replace(b'"attempt":1', b'"attempt":2'))
        (frame,) = frames(server, job_id)["frames"]
        assert (frame["state"], frame["reasons"]) == ("finished", [])
