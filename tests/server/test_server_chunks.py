"""What is told of the chunks of a job, of which there may be a hundred thousand."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from support.farm_servers import TOKEN, FarmServer, ended, serving, submit
from support.farms import held, open_gate
from support.workers import wait_until
from tailrace import connect
from tailrace._client import remote_farm
from tailrace._farm.repository.rows import CHUNK_STATES, ChunkStates
from tailrace.server._chunks import _grid


def test_the_states_of_all_chunks_are_a_letter_each(tmp_path: Path) -> None:
    with serving(tmp_path, slots=1) as server:
        job_id = submit(server, "true", "exit 1", held(tmp_path, "go"), "true", settings={"failFast": False})
        wait_until(lambda: _states(server, job_id) == "cfrp")
        found = server.send("GET", f"/api/v1/jobs/{job_id}/grid").json()
        assert found["ids"] == [[0, 3]]
        # The job was added and began; the chunks began, and two of them have ended.
        assert found["lastEvent"] == 7
        open_gate(tmp_path, "go")
        ended(server, job_id)
        assert _states(server, job_id) == "cfcc"
        assert server.send("GET", "/api/v1/jobs/nix/grid").status == 404


def test_all_chunks_come_in_parts_and_some_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_farm, "MOST_CHUNKS", 2)
    with serving(tmp_path) as server:
        job_id = submit(server, *["true"] * 5)
        ended(server, job_id)
        assert _ids(server, f"{job_id}/chunks?limit=2") == [0, 1]
        assert _ids(server, f"{job_id}/chunks?limit=2&after=1") == [2, 3]
        assert _ids(server, f"{job_id}/chunks?ids=4,2") == [2, 4]
        assert server.send("GET", f"/api/v1/jobs/{job_id}/chunks?limit=5001").status == 422
        assert server.send("GET", f"/api/v1/jobs/{job_id}/chunks?ids=four").status == 422

        async def ask(limit: int | None) -> list[int]:
            async with connect(server.url, TOKEN) as farm:
                return [chunk.id for chunk in await farm.chunks(job_id, limit=limit)]

        for limit, ids in ((None, range(5)), (4, range(4)), (3, range(3)), (1, range(1))):
            assert anyio.run(ask, limit) == list(ids)


def test_ids_that_rise_by_one_are_told_as_one_run() -> None:
    ids = [4, 5, 6, 9, 2, 3, 1]
    found = _grid(ChunkStates(17, ids, ["pending"] * len(ids)))
    assert (found.ids, found.states) == (((4, 6), (9, 9), (2, 3), (1, 1)), "p" * len(ids))
    assert _grid(ChunkStates(0, [], [])).ids == ()


def test_each_state_has_a_letter_of_its_own() -> None:
    letters = _grid(ChunkStates(0, range(len(CHUNK_STATES)), CHUNK_STATES)).states
    assert len(set(letters)) == len(CHUNK_STATES)


def _states(server: FarmServer, job_id: str) -> str:
    states: str = server.send("GET", f"/api/v1/jobs/{job_id}/grid").json()["states"]
    return states


def _ids(server: FarmServer, path: str) -> list[int]:
    return [chunk["id"] for chunk in server.send("GET", f"/api/v1/jobs/{path}").json()["chunks"]]
