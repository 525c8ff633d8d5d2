"""What earlier attempts left is looked for ahead, and set aside all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import names_in
from tailrace import Chunk
from tailrace import _leftovers as module
from tailrace._chunk_queue import ChunkQueue, Turn
from tailrace._leftovers import Leftovers

pytestmark = pytest.mark.anyio


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


async def test_each_chunk_is_looked_at_once_and_what_is_there_is_set_aside(
    tmp_path: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIME_AHEAD", 60.0)
    monkeypatch.setattr(module, "_FRESH", 60.0)
    queue = ChunkQueue(_chunks(*(f"{number:03}" for number in range(100))))
    leftovers = Leftovers(tmp_path, queue.upcoming)
    for number in (0, 1, 50, 99):
        (tmp_path / f"{number:03}").write_text("of an earlier run")
    for _ in range(100):
        turn = await queue.get()
        assert turn is not None
        await leftovers.set_aside(turn)
        assert not (tmp_path / turn.chunk.output_file).exists()
    assert names_in(tmp_path) == {"000.partial", "001.partial", "050.partial", "099.partial"}
    assert len(looked_at) == len(set(looked_at)) > 90


async def test_what_the_attempt_before_has_written_is_set_aside(tmp_path: Path) -> None:
    chunks = _chunks("a", "b")
    leftovers = Leftovers(tmp_path, lambda _: chunks[1:])
    await leftovers.set_aside(Turn(chunks[0], 1))
    for attempt in (1, 2):
        await leftovers.set_aside(Turn(chunks[1], attempt))
        assert names_in(tmp_path) == (set() if attempt == 1 else {"b.partial"})
        (tmp_path / "b").write_text("half")


async def test_a_look_that_was_long_ago_counts_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FRESH", 0.0)
    chunks = _chunks("a", "b")
    leftovers = Leftovers(tmp_path, lambda _: chunks[1:])
    await leftovers.set_aside(Turn(chunks[0], 1))
    (tmp_path / "b").write_text("of somebody else")
    await leftovers.set_aside(Turn(chunks[1], 1))
    assert names_in(tmp_path) == {"b.partial"}


async def test_no_chunk_waits_for_a_folder_that_it_does_not_write_to(tmp_path: Path, looked_at: list[str]) -> None:
    chunks = _chunks("here/a", "there/b", "here/c")
    leftovers = Leftovers(tmp_path, lambda _: chunks[1:])
    await leftovers.set_aside(Turn(chunks[0], 1))
    assert looked_at == ["c"]
