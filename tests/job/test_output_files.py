"""Only output that is there and of this attempt counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.jobs import count_lines, job, names_in
from tailrace import (
    Chunk,
    ChunkFailedError,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    LocalWorkerAdapter,
    SpecError,
    WorkerJob,
    WorkerRemoteError,
    WorkerResult,
)
from tailrace._concurrency.slices import at_once
from tailrace._spec.outputs import chunks_sharing_outputs, output_paths, set_leftovers_aside

pytestmark = pytest.mark.anyio


def _chunk(
    output_file: str,
    *,
    id: int = 0,  # noqa: A002
    start: int = 0,
    count: int = 1,
    step: int = 1,
    command: str = "true",
) -> Chunk:
    return Chunk(id=id, start_frame=start, frame_count=count, output_file=output_file, command=command, frame_step=step)


def _spec(*chunks: Chunk) -> JobSpec:
    return job("true").model_copy(update={"chunks": chunks})


async def _run(spec: JobSpec, job_dir: Path, *, verify: bool = True, retries: int = 0) -> int:
    options = JobExecutionOptions(job_dir=job_dir, verify_output=verify, retries=retries, retry_delay=0)
    report = await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    return report.attempts[spec.chunks[0].id]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.mp4", ["a.mp4"]),
        ("a_####.png", ["a_0009.png", "a_0010.png"]),
        ("a_##.png", ["a_09.png", "a_10.png"]),
        ("a_%04d.png", ["a_0009.png", "a_0010.png"]),
        ("a_%d.png", ["a_9.png", "a_10.png"]),
        ("%03d/####.exr", ["009/0009.exr", "010/0010.exr"]),
        ("shot#1_100%.mp4", ["shot#1_100%.mp4"]),
    ],
)
def test_a_pattern_stands_for_each_frame_of_the_chunk(pattern: str, names: list[str]) -> None:
    assert list(output_paths(_chunk(pattern, start=9, count=2), Path("/j"))) == [Path("/j") / name for name in names]


def test_a_pattern_leaves_out_the_frames_that_a_step_passes_over() -> None:
    paths = output_paths(_chunk("a_##", start=7, count=3, step=2), Path("/j"))
    assert [path.name for path in paths] == ["a_07", "a_09", "a_11"]


def test_frames_beyond_the_width_of_the_pattern_keep_all_digits() -> None:
    assert list(output_paths(_chunk("##", start=12345), Path("/j"))) == [Path("/j/12345")]


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("true", "its output {} cannot be found: No such file or directory"),
        ("touch chunk_0", "its output {} is empty"),
        ("mkdir chunk_0", "its output {} is not a file"),
    ],
)
async def test_a_missing_or_empty_output_fails_the_attempt(script: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await _run(job(script), tmp_path)
    assert str(caught.value) == f"chunk 0 failed: {fault.format(tmp_path / 'chunk_0')}"
    assert caught.value.result is not None
    assert caught.value.result.exit_code == 0


async def test_a_missing_output_is_tried_again(tmp_path: Path) -> None:
    assert await _run(job("echo x >> tries; [ $(wc -l < tries) -lt 3 ] || echo > chunk_0"), tmp_path, retries=2) == 3


async def test_one_missing_frame_fails_the_attempt(tmp_path: Path) -> None:
    command = "sh -c 'echo > f_0009; echo > f_0011'"
    with pytest.raises(ChunkFailedError, match=r"f_0010 cannot be found"):
        await _run(_spec(_chunk("f_####", start=9, count=3, command=command)), tmp_path)
    assert await _run(_spec(_chunk("f_%04d", start=9, count=1, command="sh -c 'echo > f_0009'")), tmp_path) == 1


async def test_an_output_outside_the_folder_is_verified_too(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    outside = tmp_path / "out"
    spec = _spec(_chunk(str(outside), command=f"sh -c 'echo > {outside}'"))
    assert await _run(spec, tmp_path / "job") == 1


@pytest.mark.parametrize("verify", [False, True])
async def test_a_leftover_is_set_aside_before_an_attempt_so_that_it_cannot_pass_for_its_output(
    verify: bool, tmp_path: Path
) -> None:
    (tmp_path / "chunk_0").write_text("of an earlier run")
    second = "[ ! -e chunk_0 ] && cp chunk_0.partial seen && echo good > chunk_0"
    script = f"if [ -e once ]; then {second}; else touch once; echo half > chunk_0; exit 1; fi"
    assert await _run(job(script), tmp_path, verify=verify, retries=1) == 2
    assert (tmp_path / "chunk_0").read_text() == "good\n"
    assert (tmp_path / "seen").read_text() == "half\n"


async def test_leftovers_are_deleted_once_the_chunk_has_succeeded_also_those_of_earlier_runs(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("f_01.partial", "disk/f_02", "f_03", "f_04.partial"):
        (tmp_path / name).write_text("of an earlier run")
    (tmp_path / "f_02").symlink_to("disk/f_02")
    command = "sh -c '[ -e f_03.partial ] && [ -e disk/f_02.partial ] && echo | tee f_01 f_02 f_03'"
    await _run(_spec(_chunk("f_##", start=1, count=3, command=command)), tmp_path, verify=False)
    assert names_in(tmp_path) == {"f_01", "f_02", "f_03", "f_04.partial", "disk"}
    assert names_in(tmp_path / "disk") == {"f_02"}


async def test_a_leftover_in_place_of_which_there_is_no_new_output_is_kept(tmp_path: Path) -> None:
    # As where the command ran on another machine.
    (tmp_path / "chunk_0").write_text("of an earlier run")
    assert await _run(job("true"), tmp_path, verify=False) == 1
    assert names_in(tmp_path) == {"chunk_0.partial"}


@pytest.mark.parametrize("is_remote", [False, True])
async def test_what_lies_there_keeps_its_name_where_no_command_began(is_remote: bool, tmp_path: Path) -> None:
    class Unreachable:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            assert (tmp_path / "disk/f_02.partial").exists()
            raise WorkerRemoteError("no connection", nothing_began=True)

    (tmp_path / "disk").mkdir()
    for name in ("f_01", "disk/f_02"):
        (tmp_path / name).write_text("of an earlier run")
    (tmp_path / "f_02").symlink_to("disk/f_02")
    spec = _spec(_chunk("f_##", start=1, count=3, command="/no/such/renderer"))
    adapter = Unreachable() if is_remote else LocalWorkerAdapter()
    with pytest.raises(ChunkFailedError):
        await JobExecutor(adapter).execute(spec, JobExecutionOptions(job_dir=tmp_path, retries=1, retry_delay=0))
    assert {path.read_text() for path in (tmp_path / "f_01", tmp_path / "f_02")} == {"of an earlier run"}
    assert names_in(tmp_path) == {"f_01", "f_02", "disk"}
    assert names_in(tmp_path / "disk") == {"f_02"}


async def test_what_another_chunk_writes_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    spec = _spec(
        _chunk("./a.partial", id=0, command="sh -c 'echo whole > a.partial'"),
        _chunk("a", id=1, command="sh -c 'echo > a'"),
    )
    for _ in range(2):
        await _run(spec, tmp_path)
        assert (tmp_path / "a.partial").read_text() == "whole\n"


async def test_a_leftover_cannot_pass_for_the_output_of_a_command_that_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "chunk_0").write_text("of an earlier run")
    with pytest.raises(ChunkFailedError, match="cannot be found"):
        await _run(job("true"), tmp_path)
    assert (tmp_path / "chunk_0.partial").read_text() == "of an earlier run"


def test_every_frame_of_the_chunk_and_no_other_is_set_aside(tmp_path: Path) -> None:
    for frame in range(5):
        (tmp_path / f"f_{frame:04}").write_text("x")
    at_once(set_leftovers_aside(_chunk("f_####", start=1, count=3), tmp_path))
    assert names_in(tmp_path) == {"f_0000", "f_0001.partial", "f_0002.partial", "f_0003.partial", "f_0004"}


def test_the_target_of_a_link_is_set_aside_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_text("x")
    (tmp_path / "a").symlink_to("disk/a")
    at_once(set_leftovers_aside(_chunk("a"), tmp_path))
    assert (tmp_path / "a").is_symlink()
    assert names_in(tmp_path / "disk") == {"a.partial"}


def test_devices_and_folders_stay_where_they_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "missing", "/dev/null"):
        at_once(set_leftovers_aside(_chunk(name), tmp_path))
    assert names_in(tmp_path) == {"pipe", "folder"}
    assert Path("/dev/null").exists()


async def test_a_folder_that_cannot_be_used_is_a_failure_of_the_chunk(tmp_path: Path) -> None:
    (tmp_path / "chunk_0").write_text("x")
    (tmp_path / "chunk_0.partial").mkdir()
    with pytest.raises(ChunkFailedError, match=r"chunk 0 failed: .*Is a directory") as caught:
        await _run(job("touch ran"), tmp_path, retries=3)
    assert isinstance(caught.value.__cause__, OSError)
    assert count_lines(tmp_path / "ran") == 0


async def test_files_are_left_alone_when_nothing_is_verified_or_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chunk_0").write_text("x")
    await JobExecutor(LocalWorkerAdapter()).execute(job("true"))
    assert names_in(tmp_path) == {"chunk_0"}


@pytest.mark.parametrize(
    ("chunks", "sharing"),
    [
        ([_chunk("a", id=0), _chunk("b", id=1)], set()),
        ([_chunk("a", id=0), _chunk("b", id=1), _chunk("./a", id=2)], {0, 2}),
        ([_chunk("f_##", id=0, start=0, count=5), _chunk("f_##", id=1, start=5, count=5)], set()),
        ([_chunk("f_##", id=0, start=0, count=6), _chunk("f_##", id=1, start=5, count=5)], {0, 1}),
        (
            [
                _chunk("f_##", id=0, start=0, count=9),
                _chunk("f_##", id=1, start=1, count=1),
                _chunk("f_##", id=2, start=8, count=1),
                _chunk("f_##", id=3, start=9, count=1),
            ],
            {0, 1, 2},
        ),
        ([_chunk("f_##", id=0, start=1, count=9, step=2), _chunk("f_##", id=1, start=2, count=9, step=2)], set()),
        ([_chunk("f_##", id=0, start=1, count=9, step=2), _chunk("f_##", id=1, start=2, count=9, step=3)], {0, 1}),
    ],
)
def test_chunks_that_write_the_same_file_are_found(chunks: list[Chunk], sharing: set[int]) -> None:
    assert chunks_sharing_outputs(chunks) == sharing


_NAMES = ("a_##", "a_%02d", "./a_%2d", "a_%d", "a_###", "a_##_%d", "a_##_%03d", "a_7", "a_007", "a_45", "a_12_12")


@given(
    st.lists(
        st.tuples(st.sampled_from(_NAMES), st.integers(0, 60), st.integers(1, 12), st.integers(1, 12)),
        min_size=1,
        max_size=12,
    )
)
def test_chunks_share_output_if_a_file_of_theirs_is_the_same_however_it_is_written(
    parts: list[tuple[str, int, int, int]],
) -> None:
    chunks = [
        _chunk(name, id=id_, start=start, count=count, step=step)
        for id_, (name, start, count, step) in enumerate(parts)
    ]
    paths = {chunk.id: set(output_paths(chunk, Path())) for chunk in chunks}
    assert chunks_sharing_outputs(chunks) == {
        id_ for id_, own in paths.items() if any(own & other for other_id, other in paths.items() if other_id != id_)
    }


async def test_shared_output_cannot_be_verified(tmp_path: Path) -> None:
    spec = _spec(_chunk("a", id=3, command="touch ran"), _chunk("a", id=5, command="touch ran"))
    with pytest.raises(SpecError, match=r"^job job-1: chunks 3, 5 share output files"):
        await _run(spec, tmp_path)
    assert names_in(tmp_path) == set()


async def test_shared_output_is_not_set_aside(tmp_path: Path) -> None:
    spec = _spec(*[_chunk("a", id=number, command="sh -c 'echo x >> a'") for number in range(3)])
    await _run(spec, tmp_path, verify=False)
    assert names_in(tmp_path) == {"a"}
    assert count_lines(tmp_path / "a") == 3
