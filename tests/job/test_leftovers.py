"""What earlier attempts left is looked for ahead, and set aside all the same."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from support.jobs import job, names_in
from tailrace import Chunk, ChunkFailedError, JobExecutionOptions, JobExecutor, LocalWorkerAdapter
from tailrace._job import leftovers as module
from tailrace._job.leftovers import Leftovers
from tailrace._job.queue import QueuedChunk
from tailrace._job.slots import Slot
from tailrace._scheduling.places import Place

pytestmark = pytest.mark.anyio

SLOT = Slot(Place("here", 1), 0, None)


def _chunks(*names: str) -> list[Chunk]:
    return [
        Chunk(id=place, start_frame=place, frame_count=1, output_file=name, command="true")
        for place, name in enumerate(names)
    ]


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were looked at ahead."""
    names: list[str] = []
    is_missing = module._is_missing

    def note(path: Path) -> bool:
        names.append(path.name)
        return is_missing(path)

    monkeypatch.setattr(module, "_is_missing", note)
    return names


async def test_what_is_there_is_set_aside_whether_it_was_looked_at_ahead_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FRESH", 60.0)
    chunks = _chunks(*(f"{number:02}" for number in range(30)))
    leftovers = Leftovers(tmp_path)
    for number in (0, 1, 15, 29):
        (tmp_path / f"{number:02}").write_text("of an earlier run")
    for place, chunk in enumerate(chunks):
        await leftovers.set_aside(QueuedChunk(chunk, 1, SLOT))
        assert not (tmp_path / chunk.output_file).exists()
        if chunk.id % 3:
            leftovers.look_ahead(chunks[place + 1 : place + 3], chunk)
    assert names_in(tmp_path) == {"00.partial", "01.partial", "15.partial", "29.partial"}


async def test_what_the_attempt_before_has_written_is_set_aside(tmp_path: Path) -> None:
    first, second = _chunks("a", "b")
    leftovers = Leftovers(tmp_path)
    for attempt in (1, 2):
        leftovers.look_ahead([second], first)
        await leftovers.set_aside(QueuedChunk(second, attempt, SLOT))
        assert names_in(tmp_path) == (set() if attempt == 1 else {"b.partial"})
        (tmp_path / "b").write_text("half")


async def test_a_look_counts_for_its_chunk_alone_once_and_not_for_long(tmp_path: Path) -> None:
    first, second, third = _chunks("a", "b", "c")
    leftovers = Leftovers(tmp_path)
    for chunk, wait in ((third, 0), (second, 0), (second, 0.01)):
        leftovers.look_ahead([second], first)
        if chunk is second and not wait:
            await leftovers.set_aside(QueuedChunk(second, 1, SLOT))
        await anyio.sleep(wait)
        (tmp_path / chunk.output_file).write_text("of somebody else")
        await leftovers.set_aside(QueuedChunk(chunk, 1, SLOT))
        assert not (tmp_path / chunk.output_file).exists()


def test_no_chunk_waits_for_a_folder_that_it_does_not_write_to(tmp_path: Path, looked_at: list[str]) -> None:
    first, second, third = _chunks("here/a", "there/b", "here/c")
    leftovers = Leftovers(tmp_path)
    leftovers.look_ahead([second, third], first)
    assert looked_at == ["c"]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_what_another_chunk_has_written_is_no_output_of_the_next(concurrency: int, tmp_path: Path) -> None:
    spec = job(*["for n in 0 1 2 3 4 5 6; do echo x > chunk_$n; done; sleep 0.1"] * concurrency, "true", "true")
    options = JobExecutionOptions(job_dir=tmp_path, verify_output=True, fail_fast=False, concurrency=concurrency)
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    assert {failure.chunk_id for failure in caught.value.failures} >= {concurrency, concurrency + 1}
    assert "cannot be found" in str(caught.value.failures[-1])
