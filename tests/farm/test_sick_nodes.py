"""A node on which chunks of several jobs fail one after another is left out, told, and tried again later."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from support.farms import until
from support.jobs import job
from tailrace import JobManager, JobSettings, Node, WorkerJob
from tailrace._farm.sick_nodes import LEFT_OUT, SickNodes
from tailrace.testing import FakeAdapter, FakeExecution

now = 0.0


def sick(*names: str) -> SickNodes:
    return SickNodes(names, clock=lambda: now)


def test_three_failures_in_a_row_of_several_jobs_leave_a_node_out() -> None:
    nodes = sick("a", "b")
    assert [nodes.failed("a", job_id, number) for job_id, number in (("x", 1), ("x", 2), ("x", 3))] == [None] * 3
    told = nodes.failed("a", "y", 1)
    assert told == "node a is left out for 10 minutes: 4 chunks of jobs x, y failed there one after another"
    assert ("a" in nodes, "b" in nodes) == (True, False)
    # The last one is kept.
    assert [nodes.failed("b", job_id, 1) for job_id in "wxyz"] == [None] * 4


def test_what_succeeds_or_fails_again_is_no_row() -> None:
    nodes = sick("a", "b")
    for job_id in ("x", "y"):
        nodes.failed("a", job_id, 1)
    assert nodes.failed("a", "y", 1) is None
    nodes.succeeded("a")
    assert [nodes.failed("a", job_id, 1) for job_id in ("x", "y")] == [None, None]


def test_it_is_tried_again_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = sick("a", "b")
    for job_id in "xyz":
        nodes.failed("a", job_id, 1)
    monkeypatch.setitem(globals(), "now", LEFT_OUT - 1)
    assert nodes.well_again() == []
    monkeypatch.setitem(globals(), "now", LEFT_OUT)
    assert (nodes.well_again(), nodes.well_again()) == (["a"], [])


@pytest.mark.anyio
async def test_nothing_more_is_started_on_a_sick_node_until_it_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace._farm.sick_nodes.LEFT_OUT", 1.0)
    is_sick = True

    def on_bad(job: WorkerJob) -> FakeExecution:
        return FakeExecution(exit_code=1 if is_sick else 0, duration=0.02)

    nodes = {
        "bad": Node(adapter=FakeAdapter(on_bad), slots=1),
        "good": Node(adapter=FakeAdapter(FakeExecution(duration=0.2)), slots=1),
    }
    settings = JobSettings(retries=50, retry_delay=0)
    with caplog.at_level(logging.WARNING, "tailrace"):
        async with JobManager(repository=tmp_path / "farm.db", nodes=nodes) as manager:
            ids = [await manager.submit(job(*["true"] * 4), settings) for _ in range(2)]
            await until(lambda: "node bad is left out" in caplog.text)
            is_sick = False
            (bad,) = [node for node in await manager.list_nodes() if node.name == "bad"]
            assert (bad.is_open, bad.is_left_out) == (False, True)
            await until(lambda: time_is_over(manager))
            # A change has it looked at again, as the clock does now and then.
            await manager.submit(job("true"), not_before=2e9)
            await until(lambda: "node bad is tried again" in caplog.text)
            (bad,) = [node for node in await manager.list_nodes() if node.name == "bad"]
            assert (bad.is_open, bad.is_left_out) == (True, False)
            assert [(await manager.wait(job_id)).state for job_id in ids] == ["completed"] * 2
            last = await manager.wait(await manager.submit(job(*["true"] * 4)))
            assert "bad" in {chunk.node for chunk in await manager.chunks(last.id)}


def time_is_over(manager: JobManager) -> bool:
    sick_nodes = manager._farm.nodes._sick
    return all(until <= sick_nodes._clock() for until in sick_nodes._left_out.values())
