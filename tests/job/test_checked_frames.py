"""What the renderer has written is looked at, and what is damaged is rendered again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tailrace import (
    Chunk,
    ChunkFailedError,
    ChunkStarted,
    FrameFinished,
    FrameFlagged,
    FrameLevel,
    FrameRange,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    LocalWorkerAdapter,
    TailraceError,
    missing_frames,
)

pytestmark = pytest.mark.anyio

executor = JobExecutor(LocalWorkerAdapter())

RENDER = r"""
for frame in $(echo "$1" | tr , ' '); do
    cp "pictures/$frame.png" "out_$(printf %04d "$frame").png"
    [ "$frame" = "$2" ] && [ ! -e cut ] && { touch cut; truncate -s -40 "out_$(printf %04d "$frame").png"; }
    [ "$frame" = "$3" ] && [ ! -e died ] && { touch died; kill -9 $$; }
done
exit 0
"""
"""Writes the frames $1, cuts frame $2 once, and is killed after frame $3 once."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None, "ffmpeg is missing: make .venv/bin/ffmpeg"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x36:rate=8:duration=1"]
    subprocess.run([ffmpeg, "-v", "error", *source, str(tmp_path / "pictures" / "%d.png")], check=True)
    (tmp_path / "render.sh").write_text(RENDER)
    return tmp_path


def job(arguments: str) -> JobSpec:
    frames = FrameRange.parse("1-8")
    chunk = Chunk(
        id=0,
        frames=frames,
        output_file="out_####.png",
        command=f"sh render.sh {','.join(map(str, frames))} {arguments}",
        retry_command=f"sh render.sh {{frames}} {arguments}",
    )
    return JobSpec(metadata=JobMetadata(total_frames=8, fps=8, width=64, height=36, duration=1), chunks=(chunk,))


async def events_of(spec: JobSpec, folder: Path, level: FrameLevel, **options: Any) -> list[JobEvent]:
    events: list[JobEvent] = []
    options = {"retries": 1, "retry_delay": 0.01, **options}
    await executor.execute(
        spec, JobExecutionOptions(job_dir=folder, on_event=events.append, check_frames=level, **options)
    )
    return events


def last_words(events: list[JobEvent]) -> list[str]:
    return [event.command.split()[2] for event in events if isinstance(event, ChunkStarted)]


async def test_a_frame_that_is_cut_is_set_aside_told_and_rendered_again_alone(folder: Path) -> None:
    events = await events_of(job("5 0"), folder, "whole")
    assert last_words(events) == ["1,2,3,4,5,6,7,8", "5"]
    (flagged,) = [event for event in events if isinstance(event, FrameFlagged)]
    assert (flagged.frame, flagged.level, flagged.fatal) == (5, "whole", True)
    assert flagged.path == str(folder / "out_0005.png")
    assert (folder / "out_0005.png.damaged").exists()
    told = [event.frame for event in events if isinstance(event, FrameFinished)]
    assert sorted(told) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert told[-1] == 5
    assert (folder / "out_0005.png").read_bytes() == (folder / "pictures" / "5.png").read_bytes()


async def test_what_is_not_installed_to_look_at_frames_is_told_before_a_chunk_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace._frames.answers.lacking", lambda *_: ["OpenImageIO: pip install it"])
    with pytest.raises(TailraceError, match=r"not installed: OpenImageIO: pip install it"):
        await events_of(job("0 0"), folder, "whole")
    assert not (folder / "out_0001.png").exists()
    with pytest.raises(TailraceError, match="not installed"):
        await missing_frames(job("0 0"), folder, check_frames="looks")


async def test_the_last_frame_before_a_death_counts_if_its_content_is_whole(folder: Path) -> None:
    assert last_words(await events_of(job("0 6"), folder, "whole")) == ["1,2,3,4,5,6,7,8", "7,8"]


async def test_a_frame_that_is_damaged_after_it_was_told_is_told_and_rendered_again(folder: Path) -> None:
    spec = job("0 0")
    later = "[ -e cut ] || { touch cut; until [ -e told ]; do sleep 0.1; done; truncate -s -40 out_0003.png; }"
    command = f"sh -c 'sh render.sh 1,2,3,4,5,6,7,8 0 0; {later}'"
    spec = spec.model_copy(update={"chunks": (spec.chunks[0].model_copy(update={"command": command}),)})

    def observe(event: JobEvent) -> None:
        if isinstance(event, FrameFinished) and event.frame == 3:
            (folder / "told").touch()

    events = await events_of(spec, folder, "whole", observers=[observe])
    told = [(type(event), event.frame) for event in events if isinstance(event, FrameFinished | FrameFlagged)]
    assert [kind for kind, frame in told if frame == 3] == [FrameFinished, FrameFlagged, FrameFinished]
    assert last_words(events)[1] == "3"


async def test_a_frame_that_is_still_written_is_not_set_aside_though_later_ones_are_there(folder: Path) -> None:
    script = "head -c 300 pictures/1.png > out_0001.png; sh render.sh 2,3,4,5,6,7,8 0 0; sleep 3"
    command = f"sh -c '{script}; tail -c +301 pictures/1.png >> out_0001.png'"
    spec = job("0 0")
    spec = spec.model_copy(update={"chunks": (spec.chunks[0].model_copy(update={"command": command}),)})
    events = await events_of(spec, folder, "whole", retries=0)
    assert not [event for event in events if isinstance(event, FrameFlagged)]
    assert len([event for event in events if isinstance(event, FrameFinished)]) == 8


async def test_a_chunk_whose_frames_stay_damaged_has_failed_with_the_reason(folder: Path) -> None:
    (folder / "pictures" / "3.png").write_text("no picture")
    with pytest.raises(ChunkFailedError, match=r"its output \S+/out_0003.png is ") as caught:
        await events_of(job("0 0"), folder, "whole")
    assert caught.value.attempts == 2


async def test_a_frame_that_looks_odd_is_told_and_the_chunk_is_done(folder: Path) -> None:
    shutil.copy(folder / "pictures" / "4.png", folder / "pictures" / "5.png")
    events = await events_of(job("0 0"), folder, "looks")
    flagged = [event for event in events if isinstance(event, FrameFlagged)]
    assert [(event.frame, event.level, event.fatal) for event in flagged] == [(5, "looks", False)]
    assert len([event for event in events if isinstance(event, FrameFinished)]) == 8


async def test_frames_that_cannot_be_looked_at_are_told_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr("tailrace._frames.decoder_pool.Decoder", fail)
        events = await events_of(job("0 0"), folder, "whole")
        # As frames of which nothing is known.
        missing = await missing_frames(job("0 0"), folder, check_frames="whole")
    assert last_words(events) == ["1,2,3,4,5,6,7,8"]
    flagged = [event for event in events if isinstance(event, FrameFlagged)]
    assert {(event.frame, event.level, event.fatal) for event in flagged} == {
        (frame, "whole", False) for frame in range(1, 9)
    }
    assert flagged[0].reason.startswith("was not looked at: the process that decodes frames could not be started: Res")
    assert len([event for event in events if isinstance(event, FrameFinished)]) == 8
    assert not (folder / "out_0001.png.damaged").exists()
    assert missing == {0: FrameRange.parse("1-8")}


async def test_damaged_frames_are_among_the_missing_ones_where_content_is_looked_at(folder: Path) -> None:
    spec = job("0 0")
    await events_of(spec, folder, "whole")
    (folder / "out_0007.png").write_bytes((folder / "out_0007.png").read_bytes()[:-40])
    (folder / "out_0002.png").unlink()
    assert await missing_frames(spec, folder) == {0: FrameRange([2])}
    assert await missing_frames(spec, folder, check_frames="whole") == {0: FrameRange([2, 7])}
