"""A chunk whose node, engine or connection is lost is run again, and that is none of its attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from support.jobs import job
from tailrace import (
    ChunkFailedError,
    ChunkRetrying,
    ChunkWarning,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    WorkerJob,
    WorkerLostError,
    WorkerResult,
    event_from_json,
    event_to_json,
)
from tailrace._job.nodes import Nodes
from tailrace.testing import FakeAdapter, FakeExecution

pytestmark = pytest.mark.anyio

LOST = FakeExecution(error=WorkerLostError("node a-1 was lost", node="a-1"))


async def test_a_lost_worker_takes_no_retry_of_its_chunk() -> None:
    adapter = FakeAdapter([LOST, LOST, LOST, LOST, FakeExecution(exit_code=3), LOST, FakeExecution()])
    events: list[JobEvent] = []
    report = await JobExecutor(adapter).execute(
        job("render"), JobExecutionOptions(retries=1, retry_delay=0, on_event=events.append)
    )
    assert report.attempts == {0: 7}
    reasons = [event.reason for event in events if isinstance(event, ChunkRetrying)]
    assert reasons == [*["node a-1 was lost"] * 4, "sh exited with status 3", "node a-1 was lost"]


async def test_a_chunk_whose_worker_is_lost_five_times_in_a_row_has_failed() -> None:
    adapter = FakeAdapter(LOST)
    with pytest.raises(ChunkFailedError, match="chunk 0 failed after 5 attempts: node a-1 was lost") as caught:
        await JobExecutor(adapter).execute(job("render"), JobExecutionOptions(retries=100, retry_delay=0))
    assert isinstance(caught.value.__cause__, WorkerLostError)
    assert caught.value.__cause__.node == "a-1"


async def test_a_failure_after_lost_workers_uses_up_the_retries_it_had() -> None:
    adapter = FakeAdapter([LOST, LOST, FakeExecution(exit_code=1), FakeExecution()])
    with pytest.raises(ChunkFailedError, match="failed after 3 attempts, 2 of them lost: sh exited with status 1"):
        await JobExecutor(adapter).execute(job("render"), JobExecutionOptions(retry_delay=0))


async def test_a_failure_after_lost_workers_waits_no_longer_than_after_none() -> None:
    adapter = FakeAdapter([*[LOST] * 4, FakeExecution(exit_code=1), FakeExecution()])
    events: list[JobEvent] = []
    await JobExecutor(adapter).execute(
        job("render"), JobExecutionOptions(retries=1, retry_delay=0.01, on_event=events.append)
    )
    delays = [event.delay for event in events if isinstance(event, ChunkRetrying)]
    assert all(0.01 * 2**place <= delay <= 0.015 * 2**place for place, delay in enumerate(delays[:4]))
    assert 0.01 <= delays[4] <= 0.015


async def test_a_loss_among_other_errors_of_an_adapter_is_one() -> None:
    lost = ExceptionGroup("tasks", [ExceptionGroup("more", [WorkerLostError("gone", node="a")]), ConnectionError()])
    report = await JobExecutor(FakeAdapter([FakeExecution(error=lost), FakeExecution()])).execute(
        job("render"), JobExecutionOptions(retry_delay=0)
    )
    assert report.attempts == {0: 2}


async def test_a_lost_chunk_is_sent_elsewhere_until_it_ends_by_itself() -> None:
    avoided: list[object] = []
    outcomes = iter(
        [
            FakeExecution(error=WorkerLostError("gone", node="a")),
            FakeExecution(error=WorkerLostError("gone", node="b")),
            FakeExecution(exit_code=1),
            FakeExecution(),
        ]
    )

    def note(worker_job: WorkerJob) -> FakeExecution:
        avoided.append(worker_job.meta["avoid_nodes"])
        return next(outcomes)

    await JobExecutor(FakeAdapter(note)).execute(job("render"), JobExecutionOptions(retries=1, retry_delay=0))
    assert avoided == [(), ("a",), ("a", "b"), ()]


async def test_a_lost_command_that_may_still_run_is_told_of() -> None:
    lost = FakeExecution(error=WorkerLostError("gone", node="a", may_run=True))
    events: list[JobEvent] = []
    await JobExecutor(FakeAdapter([lost, LOST, FakeExecution()])).execute(
        job("render"), JobExecutionOptions(retry_delay=0, on_event=events.append)
    )
    (warning,) = [event.message for event in events if isinstance(event, ChunkWarning)]
    assert warning.startswith("it may still run on a, and write its files beside the next attempt")


async def test_the_node_that_was_lost_is_read_back_from_a_log() -> None:
    events: list[JobEvent] = []
    with pytest.raises(ChunkFailedError):
        await JobExecutor(FakeAdapter(LOST)).execute(
            job("render"), JobExecutionOptions(retry_delay=0, on_event=events.append)
        )
    (failed,) = [event for event in map(event_from_json, map(event_to_json, events)) if hasattr(event, "error")][:1]
    cause = failed.error.__cause__
    assert isinstance(cause, WorkerLostError) and cause.node == "a-1"


async def test_a_node_on_which_three_chunks_fail_in_a_row_is_left_out_and_told() -> None:
    avoided: dict[int, object] = {}

    def where(worker_job: WorkerJob) -> FakeExecution:
        chunk = worker_job.meta["chunk_id"]
        assert isinstance(chunk, int)
        avoided[chunk] = worker_job.meta["avoid_nodes"]
        lost = FakeExecution(error=WorkerLostError("gone", node="sick"))
        return lost if chunk in (1, 2, 3) and adapter.counts[chunk] == 1 else FakeExecution()

    adapter = CountingAdapter(where)
    events: list[JobEvent] = []
    await JobExecutor(adapter).execute(
        job(*["render"] * 6), JobExecutionOptions(retry_delay=0.3, on_event=events.append)
    )
    warnings = [event.message for event in events if isinstance(event, ChunkWarning)]
    assert warnings == ["node sick is left out for 10 minutes: chunks 1, 2 and 3 failed there one after another"]
    assert avoided == {0: (), 1: ("sick",), 2: ("sick",), 3: ("sick",), 4: ("sick",), 5: ("sick",)}


class CountingAdapter(FakeAdapter):
    """Counts the executions of each chunk, and says that those that succeed are on a node that is well."""

    def __init__(self, script: Callable[[WorkerJob], FakeExecution]) -> None:
        super().__init__(script)
        self.counts: Counter[object] = Counter()

    async def execute(self, job: WorkerJob) -> WorkerResult:
        self.counts[job.meta["chunk_id"]] += 1
        result = await super().execute(job)
        result.node = "well"
        return result


def test_a_node_is_tried_again_after_a_while_and_never_the_last_one_left_out() -> None:
    now = 0.0
    nodes = Nodes(lambda: now)
    assert [nodes.failed("only", chunk) for chunk in range(9)] == [None] * 9
    nodes.succeeded("other", 100)
    told = nodes.failed("only", 9)
    assert told is not None and nodes.to_avoid(100) == ("only",)
    # What was on its way there is told of no more, and puts off nothing.
    now = 300
    assert [nodes.failed("only", chunk) for chunk in range(9)] == [None] * 9
    # The other one is the last.
    assert [nodes.failed("other", chunk) for chunk in range(9)] == [None] * 9
    now = 601
    assert nodes.to_avoid(100) == ()
    assert nodes.failed(None, 1) is None


def test_one_chunk_that_fails_again_and_again_is_no_fault_of_its_node() -> None:
    nodes = Nodes()
    nodes.succeeded("other", 100)
    assert [nodes.failed("a", 1) for _ in range(9)] == [None] * 9
    assert nodes.failed("a", 2) is None
    nodes.succeeded("a", 100)
    assert [nodes.failed("a", 3), nodes.failed("a", 4)] == [None, None]
