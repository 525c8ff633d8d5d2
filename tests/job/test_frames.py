"""Frames are counted while a chunk runs, and only those that are missing are rendered again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tailrace import (
    Chunk,
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkProgress,
    ChunkRetrying,
    ChunkStarted,
    ChunkWarning,
    FrameFinished,
    FrameFlagged,
    FrameRange,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    JobStarted,
    JobState,
    LocalWorkerAdapter,
    completed_chunk_ids,
    missing_frames,
)
from tailrace.progress import Renderer, Rule

pytestmark = pytest.mark.anyio

executor = JobExecutor(LocalWorkerAdapter())

RENDER = r"""
for frame in $(echo "$1" | tr , ' '); do
    [ "$frame" = "$2" ] && [ ! -e died ] && { touch died; kill -9 $$; }
    sleep "${3:-0}"
    printf x > "out_$(printf %04d "$frame").txt"
    [ -z "$4" ] || echo "saved out_$(printf %04d "$frame").txt"
done
"""
"""Writes the frames $1, but is killed in frame $2 the first time; takes $3 seconds for each, and tells with $4."""

TOY = Renderer("toy", [Rule(r"saved (?P<saved>.+)", "saved ")])


def job(folder: Path, frames: str = "1-8", *, arguments: str = "7", **fields: Any) -> JobSpec:
    (folder / "render.sh").write_text(RENDER)
    range_ = FrameRange.parse(frames)
    fields = {
        "output_file": "out_####.txt",
        "command": f"sh render.sh {','.join(map(str, range_))} {arguments}",
        "retry_command": f"sh render.sh {{frames}} {arguments}",
        **fields,
    }
    metadata = JobMetadata(total_frames=8, fps=24, width=1, height=1, duration=1)
    return JobSpec(metadata=metadata, chunks=(Chunk(id=3, frames=range_, **fields),))


async def events_of(spec: JobSpec, folder: Path, **options: Any) -> list[JobEvent]:
    events: list[JobEvent] = []
    options = {"job_dir": folder, "on_event": events.append, "retry_delay": 0.01, "progress": TOY, **options}
    try:
        await executor.execute(spec, JobExecutionOptions(**options))
    except ChunkFailedError:
        assert any(not isinstance(event, FrameFinished) for event in events)
    return events


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def texts_in(folder: Path) -> set[str]:
    return {path.read_text() for path in folder.glob("out_*.txt")}


def finished(events: list[JobEvent]) -> list[int]:
    return [event.frame for event in events if isinstance(event, FrameFinished)]


def commands(events: list[JobEvent]) -> list[str]:
    return [event.command for event in events if isinstance(event, ChunkStarted)]


async def test_each_frame_is_told_once_in_its_order_with_its_file_and_its_time(tmp_path: Path) -> None:
    events = await events_of(job(tmp_path, arguments="0 0.3"), tmp_path)
    assert finished(events) == [1, 2, 3, 4, 5, 6, 7, 8]
    frames = [event for event in events if isinstance(event, FrameFinished)]
    assert [Path(event.path) for event in frames] == [tmp_path / f"out_000{frame}.txt" for frame in range(1, 9)]
    assert all(0.2 < event.duration < 3 for event in frames)
    # While it runs, not only at its end.
    ended = next(event for event in events if isinstance(event, ChunkFinished))
    assert frames[0].monotonic < ended.monotonic - 0.5


async def test_frames_that_come_faster_than_anything_is_told_are_all_told(tmp_path: Path) -> None:
    events = await events_of(job(tmp_path, "1-300", arguments="0 0 tell"), tmp_path, stream="bytes")
    assert finished(events) == list(range(1, 301))


async def test_a_chunk_that_died_renders_only_what_is_missing(tmp_path: Path) -> None:
    state = JobState(job(tmp_path).chunks)
    events = await events_of(job(tmp_path, arguments="7 0 tell"), tmp_path, retries=1, observers=[state.apply])
    assert commands(events) == ["sh render.sh 1,2,3,4,5,6,7,8 7 0 tell", "sh render.sh 7,8 7 0 tell"]
    assert finished(events) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert state.frames_done == state.frames == 8
    assert not [name for name in names_in(tmp_path) if name.endswith(".partial")]


async def test_the_last_file_of_a_chunk_that_died_counts_only_if_something_says_that_it_is_whole(
    tmp_path: Path,
) -> None:
    events = await events_of(job(tmp_path), tmp_path, retries=1)
    # Frame 6 is there, and may be torn: no later frame was begun, and nobody said that it was saved.
    assert commands(events)[1] == "sh render.sh 6,7,8 7"
    assert finished(events) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_what_a_retry_renders_once_more_is_not_whole_any_more(tmp_path: Path) -> None:
    script = """
    for f in $(seq $1 $2); do
        [ $f = $3 ] && [ ! -e died$3 ] && { touch died$3; printf x > out_000$f.txt; kill -9 $$; }
        echo whole > out_000$f.txt
        echo saved out_000$f.txt
    done
    """
    (tmp_path / "run.sh").write_text(script)
    # Frames 3 and 7 are damaged at first; then it dies while it writes frame 5 once more.
    first = "sh -c 'sh run.sh 1 8 0; : > out_0003.txt; : > out_0007.txt; exit 1'"
    spec = job(tmp_path, command=first, retry_command="sh run.sh {start} {end} 5")
    events = await events_of(spec, tmp_path, retries=2)
    assert commands(events)[1:] == ["sh run.sh 3 7 5", "sh run.sh 5 7 5"]
    assert texts_in(tmp_path) == {"whole\n"}
    assert sorted(finished(events)) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_without_a_retry_command_the_whole_chunk_is_rendered_again(tmp_path: Path) -> None:
    events = await events_of(job(tmp_path, retry_command=None), tmp_path, retries=1)
    assert len(set(commands(events))) == 1
    assert sorted(finished(events)) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_frames_are_counted_on_while_a_chunk_waits_for_its_next_attempt(tmp_path: Path) -> None:
    spec = job(tmp_path, arguments="7 0 tell")
    state = JobState(spec.chunks)
    seen: list[tuple[type[JobEvent], int, float]] = []

    def observe(event: JobEvent) -> None:
        state.apply(event)
        seen.append((type(event), state.frames_done, state.progress))

    await events_of(spec, tmp_path, retries=1, on_event=observe)
    assert (ChunkRetrying, 6, 6 / 8) in seen
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert [progress for _, _, progress in seen] == sorted(progress for _, _, progress in seen)


async def test_progress_of_a_retry_is_that_of_the_whole_chunk(tmp_path: Path) -> None:
    renderer = Renderer(
        "toy", [Rule(r"saved (?P<saved>.+)", "saved "), Rule(r"(?P<percent>\d+) %", " %", of="command")]
    )
    script = f'{RENDER}\n[ -z "$died" ] || exit 1\necho 50 %; sleep 0.6'
    spec = job(tmp_path, arguments="7 0 tell")
    (tmp_path / "render.sh").write_text(script)
    events = await events_of(spec, tmp_path, retries=1, progress=renderer)
    fractions = [event.fraction for event in events if isinstance(event, ChunkProgress) and event.attempt == 2]
    assert fractions[-1] == pytest.approx(6 / 8 + 2 / 8 / 2)


async def test_some_frames_alone_are_rendered_where_that_is_asked_for(tmp_path: Path) -> None:
    spec = job(tmp_path, arguments="0")
    events = await events_of(spec, tmp_path, chunk_frames={3: "2-3,7"}, check_frames="exist", merge=False)
    assert commands(events) == ["sh render.sh 2,3,7 0"]
    assert finished(events) == [2, 3, 7]
    # The others were never rendered: the chunk is not done.
    assert completed_chunk_ids(spec, tmp_path) == frozenset()
    await events_of(spec, tmp_path, chunk_frames={3: "1,4-6,8"})
    assert completed_chunk_ids(spec, tmp_path) == {3}


async def test_frames_that_another_command_wrote_do_not_make_a_chunk_done(tmp_path: Path) -> None:
    for frame in range(1, 9):
        (tmp_path / f"out_000{frame}.txt").write_text("old")
    spec = job(tmp_path, arguments="0")
    await events_of(spec, tmp_path, chunk_frames={3: "2-4"})
    assert completed_chunk_ids(spec, tmp_path) == frozenset()
    # Of the last one that was written nothing says that it is whole.
    assert await missing_frames(spec, tmp_path, recorded=True) == {3: FrameRange([1, 4, 5, 6, 7, 8])}


async def test_of_a_part_that_died_the_frame_that_was_written_last_may_be_torn(tmp_path: Path) -> None:
    spec = job(tmp_path, arguments="0", retry_command="sh -c 'echo torn > out_0004.txt; kill -9 $$' {frames}")
    await events_of(spec, tmp_path)
    await events_of(spec, tmp_path, chunk_frames={3: "4"})
    assert await missing_frames(spec, tmp_path, recorded=True) == {3: FrameRange([4])}


async def test_of_a_chunk_that_was_done_the_frames_are_missing_that_have_changed_since(tmp_path: Path) -> None:
    spec = job(tmp_path, arguments="0")
    await events_of(spec, tmp_path)
    assert await missing_frames(spec, tmp_path, recorded=True) == {3: FrameRange()}
    (tmp_path / "out_0005.txt").write_text("cut off")
    (tmp_path / "out_0002.txt").unlink()
    assert await missing_frames(spec, tmp_path, recorded=True) == {3: FrameRange([2, 5])}


async def test_what_is_found_to_be_missing_can_be_asked_for_though_it_is_nothing(tmp_path: Path) -> None:
    spec = job(tmp_path, arguments="0")
    await events_of(spec, tmp_path)
    events = await events_of(spec, tmp_path, chunk_frames=await missing_frames(spec, tmp_path))
    assert commands(events) == []
    assert [event.completed_chunk_ids for event in events if isinstance(event, JobStarted)] == [(3,)]


async def test_frames_that_a_chunk_does_not_have_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"chunk_frames\[3\] has 9-10, and chunk 3 has only 1-8"):
        await events_of(job(tmp_path), tmp_path, chunk_frames={3: "7-10"})
    with pytest.raises(ValueError, match=r"chunk_frames\[3\]: 'all' is not of the form"):
        await events_of(job(tmp_path), tmp_path, chunk_frames={3: "all"})
    with pytest.raises(TypeError, match=r"chunk_frames\[3\] must be a text such as '1-8,11' or frames: 7"):
        await events_of(job(tmp_path), tmp_path, chunk_frames={3: 7})


async def test_a_video_is_never_rendered_in_part(tmp_path: Path) -> None:
    command = "sh -c 'echo {} > part.mp4'"
    fields = {"command": command.format("1-8"), "retry_command": command.format("{frames}")}
    spec = job(tmp_path, output_file="part.mp4", **fields)
    events = await events_of(spec, tmp_path, chunk_frames={3: "2-3"})
    assert (tmp_path / "part.mp4").read_text() == "1-8\n"
    assert commands(events) == [fields["command"]]
    assert completed_chunk_ids(spec, tmp_path) == {3}
    with pytest.raises(ValueError, match=r"chunk 3 writes all of its frames into part\.mp4"):
        spec.chunks[0].part([2, 3])


async def test_other_frames_of_a_chunk_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "out_0001.txt").write_text("mine")
    await events_of(job(tmp_path, arguments="0"), tmp_path, chunk_frames={3: [2]})
    assert (tmp_path / "out_0001.txt").read_text() == "mine"
    assert {name for name in names_in(tmp_path) if name.startswith("out")} == {"out_0001.txt", "out_0002.txt"}


async def test_a_frame_is_whole_when_all_of_its_files_are(tmp_path: Path) -> None:
    spec = job(tmp_path, "1-3", arguments="0", output_files=("out_####.txt", "mask_####.txt"))
    for frame in (1, 3):
        (tmp_path / f"mask_000{frame}.txt").write_text("x")
    command = {"command": "sh -c 'sh render.sh 1,2,3 0; cp out_0001.txt mask_0001.txt; cp out_0003.txt mask_0003.txt'"}
    spec = spec.model_copy(update={"chunks": tuple(chunk.model_copy(update=command) for chunk in spec.chunks)})
    events = await events_of(spec, tmp_path, check_frames="exist")
    assert finished(events) == [1, 3]
    (flagged,) = [event for event in events if isinstance(event, FrameFlagged)]
    assert (flagged.frame, flagged.level, flagged.fatal) == (2, "exist", True)
    assert flagged.path == str(tmp_path / "mask_0002.txt")


async def test_an_empty_frame_is_set_aside_and_rendered_again(tmp_path: Path) -> None:
    spec = job(tmp_path, "1-3", command="sh -c 'for f in 1 3; do echo x > out_000$f.txt; done; : > out_0002.txt'")
    events = await events_of(spec, tmp_path, check_frames="exist", retries=1)
    assert [type(event).__name__ for event in events if not isinstance(event, ChunkProgress)] == [
        "JobStarted",
        "ChunkStarted",
        "FrameFinished",
        "FrameFlagged",
        "FrameFinished",
        "ChunkRetrying",
        "ChunkStarted",
        "FrameFinished",
        "ChunkFinished",
        "JobFinished",
    ]
    assert finished(events) == [1, 3, 2]
    assert commands(events)[1] == "sh render.sh 2 7"
    assert (tmp_path / "out_0002.txt.damaged").exists()


async def test_negative_frames_have_names_and_are_counted(tmp_path: Path) -> None:
    events = await events_of(job(tmp_path, "-2-1", arguments="9"), tmp_path, check_frames="exist")
    assert finished(events) == [-2, -1, 0, 1]
    assert (tmp_path / "out_-002.txt").exists()


async def test_a_video_is_its_chunks_last_frame(tmp_path: Path) -> None:
    events = await events_of(
        job(tmp_path, "5-9", output_file="part.mp4", command="sh -c 'echo x > part.mp4'", retry_command=None), tmp_path
    )
    assert [(event.frame, event.path) for event in events if isinstance(event, FrameFinished)] == [
        (9, str(tmp_path / "part.mp4"))
    ]


async def test_files_that_were_there_before_are_not_told_as_finished(tmp_path: Path) -> None:
    for frame in range(1, 9):
        (tmp_path / f"out_000{frame}.txt").write_text("old")
    began = time.time()
    events = await events_of(job(tmp_path, arguments="0 0.3"), tmp_path)
    assert finished(events) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(event.time - began > 0.25 for event in events if isinstance(event, FrameFinished))


async def test_files_that_nobody_set_aside_do_not_pass_for_new_ones(tmp_path: Path) -> None:
    for frame in range(1, 9):
        (tmp_path / f"out_000{frame}.txt").write_text("old")
    events = await events_of(job(tmp_path, arguments="4"), tmp_path, record=False, retries=1)
    assert commands(events)[1] == "sh render.sh 3,4,5,6,7,8 4"
    assert finished(events) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert texts_in(tmp_path) == {"x"}


async def test_a_command_is_not_ended_for_files_that_were_there_before(tmp_path: Path) -> None:
    for frame in range(1, 4):
        (tmp_path / f"out_000{frame}.txt").write_text("old")
    events = await events_of(job(tmp_path, "1-3", arguments="0 0.7"), tmp_path, record=False, finish_timeout=0.1)
    (end,) = [event for event in events if isinstance(event, ChunkFinished)]
    assert end.result.exit_code == 0
    assert texts_in(tmp_path) == {"x"}


async def test_however_many_frames_are_whole_at_a_failure_they_are_not_rendered_again(tmp_path: Path) -> None:
    died = "sh -c 'for f in $(seq 1001 1650); do echo x > out_$f.txt; done; kill -9 $$'"
    spec = job(tmp_path, "1001-1700", arguments="9", command=died)
    events = await events_of(spec, tmp_path, retries=1)
    # Of the last one nothing says that it is whole.
    assert commands(events)[1].startswith("sh render.sh 1650,1651,")
    assert sorted(finished(events)) == list(range(1001, 1701))


@pytest.mark.parametrize(("number", "where"), [(4, "in frame 4"), (3, "after frame 3")])
async def test_a_failure_names_the_frame_and_what_is_missing(tmp_path: Path, number: int, where: str) -> None:
    renderer = Renderer("toy", [*TOY.rules, Rule(r"Frame (?P<frame>-?\d+)", "Frame ")])
    last = f"for f in 1 2 3; do echo saved out_000$f.txt; done; echo Frame {number}; kill -11 $$"
    (tmp_path / "late.sh").write_text(last)
    spec = job(tmp_path, "1-5", command="sh -c 'for f in 1 2 3; do echo x > out_000$f.txt; done; . ./late.sh'")
    events = await events_of(spec, tmp_path, retries=1, progress=renderer)
    reason = next(event.reason for event in events if isinstance(event, ChunkRetrying))
    assert reason == f"sh was ended by signal 11 (SIGSEGV) {where}, with frames 4-5 missing of 5"


async def test_a_command_that_cannot_start_has_neither_rendered_nor_missed_what_is_there(tmp_path: Path) -> None:
    spec = job(tmp_path, "1-5", command="./nope", retry_command=None)
    for frame in (1, 2, 3):
        (tmp_path / f"out_{frame:04}.txt").write_text("x")
    events: list[JobEvent] = []
    with pytest.raises(ChunkFailedError) as failure:
        await executor.execute(spec, JobExecutionOptions(job_dir=tmp_path, on_event=events.append))
    assert str(failure.value) == "chunk 3 failed: cannot start ./nope: no such file"
    assert finished(events) == []


async def test_a_command_that_is_done_and_does_not_exit_is_ended_and_its_chunk_has_succeeded(tmp_path: Path) -> None:
    spec = job(tmp_path, "1-3", command="sh -c 'sh render.sh 1,2,3 9; echo done; sleep 60'")
    events = await events_of(spec, tmp_path, finish_timeout=0.5)
    (end,) = [event for event in events if isinstance(event, ChunkFinished)]
    assert end.result.lingered
    assert end.result.exit_code < 0
    assert end.result.stdout == "done\n"
    assert finished(events) == [1, 2, 3]
    (warning,) = [event for event in events if isinstance(event, ChunkWarning)]
    assert warning.message == "its output has been complete for 0.5 s and it did not exit: it was ended"


async def test_a_video_that_does_not_change_any_more_is_done(tmp_path: Path) -> None:
    script = "for n in 1 2 3 4; do echo x >> part.mp4; sleep 0.5; done; sleep 60"
    spec = job(tmp_path, "1-3", output_file="part.mp4", command=f"sh -c '{script}'", retry_command=None)
    events = await events_of(spec, tmp_path, finish_timeout=1.5)
    assert (tmp_path / "part.mp4").read_text() == "x\n" * 4
    assert next(event for event in events if isinstance(event, ChunkFinished)).result.lingered


async def test_a_command_is_not_ended_while_its_progress_is_not_complete(tmp_path: Path) -> None:
    renderer = Renderer("toy", [Rule(r"(?P<percent>\d+) %", " %", of="command")])
    spec = job(tmp_path, "1-3", command="sh -c 'sh render.sh 1,2,3 9; echo 50 %; sleep 2.5; echo 100 %'")
    events = await events_of(spec, tmp_path, finish_timeout=0.2, progress=renderer)
    result = next(event for event in events if isinstance(event, ChunkFinished)).result
    assert (result.exit_code, result.lingered) == (0, False)


async def test_a_command_is_not_ended_before_the_file_of_all_frames_is_there_too(tmp_path: Path) -> None:
    command = "sh -c 'sh render.sh 1,2,3 9; sleep 2.5; echo x > part.mp4'"
    spec = job(tmp_path, "1-3", command=command, output_files=("out_####.txt", "part.mp4"))
    events = await events_of(spec, tmp_path, finish_timeout=0.2)
    result = next(event for event in events if isinstance(event, ChunkFinished)).result
    assert (result.exit_code, result.lingered) == (0, False)
    assert (tmp_path / "part.mp4").exists()


async def test_a_command_is_ended_at_its_first_fatal_error(tmp_path: Path) -> None:
    rule = Rule(r"(?P<error>bad scene)", "bad scene", category="scene", fatal=True)
    spec = job(tmp_path, "1-3", command="sh -c 'echo bad scene; sleep 60'")
    began = time.monotonic()
    events = await events_of(spec, tmp_path, stop_on_error=True, retries=3, progress=Renderer("toy", [rule]))
    assert time.monotonic() - began < 20
    (failed,) = [event for event in events if isinstance(event, ChunkFailed)]
    assert str(failed.error) == "chunk 3 failed: sh was ended at its first fatal error: bad scene"
    # It is not worth another attempt, though a signal has ended it.
    assert (failed.error.category, failed.error.attempts) == ("scene", 1)
