"""Several observers may be told of a job's events, each as if it were alone."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from support.jobs import job
from tailrace import (
    ChunkFailedError,
    ChunkFinished,
    ChunkStarted,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    JobStarted,
    LocalWorkerAdapter,
)

pytestmark = pytest.mark.anyio

executor = JobExecutor(LocalWorkerAdapter())


def names(events: list[JobEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_each_observer_is_called_with_every_event_and_after_on_event() -> None:
    calls: list[tuple[str, int]] = []
    options = JobExecutionOptions(
        on_event=lambda event: calls.append(("on_event", event.sequence)),
        observers=[
            lambda event: calls.append(("first", event.sequence)),
            lambda event: calls.append(("second", event.sequence)),
        ],
    )
    await executor.execute(job("echo a", "echo b"), options)
    last = calls[-1][1]
    assert last >= 6
    assert calls == [(who, number) for number in range(last + 1) for who in ("on_event", "first", "second")]


async def test_observers_of_both_kinds_get_one_event_at_a_time_in_order() -> None:
    seen: dict[str, list[int]] = {"slow": [], "sometimes": [], "plain": []}
    inside = 0

    async def wait(name: str, event: JobEvent) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await anyio.sleep(0.001 if event.sequence % 2 else 0)
        inside -= 1
        seen[name].append(event.sequence)

    options = JobExecutionOptions(
        concurrency=6,
        observers=[
            lambda event: wait("slow", event),
            # It waits only for what the one before it does not wait for long.
            lambda event: wait("sometimes", event) if event.sequence % 2 == 0 else None,
            lambda event: seen["plain"].append(event.sequence),
        ],
    )
    await executor.execute(job(*["echo a; echo b >&2"] * 12), options)
    last = seen["plain"][-1]
    assert last >= 2 + 12 * 3
    assert seen["plain"] == seen["slow"] == list(range(last + 1))
    assert seen["sometimes"] == list(range(0, last + 1, 2))


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_observer_that_raises_ends_the_job_and_the_others_still_get_the_last_event(is_async: bool) -> None:
    error = ValueError("of an observer")
    before: list[JobEvent] = []
    after: list[JobEvent] = []
    raised: list[JobEvent] = []

    def fail_at(event: JobEvent) -> None:
        raised.append(event)
        if isinstance(event, ChunkStarted):
            raise error

    async def fail_later(event: JobEvent) -> None:
        await anyio.lowlevel.checkpoint()
        fail_at(event)

    async def listen(event: JobEvent) -> None:
        await anyio.lowlevel.checkpoint()
        before.append(event)

    options = JobExecutionOptions(
        on_event=listen, observers=[fail_later if is_async else fail_at, after.append], concurrency=2
    )
    with pytest.raises(ValueError, match="of an observer") as caught:
        await executor.execute(job("sleep 60", "sleep 60"), options)
    assert caught.value is error
    assert names(raised)[-1] == "ChunkStarted"
    for events in (before, after):
        assert isinstance(events[-1], JobFinished)
        assert events[-1].error is error
        assert not any(isinstance(event, ChunkFinished) for event in events)
    # Of the event at which another raised, too.
    assert names(after)[:2] == ["JobStarted", "ChunkStarted"]


async def test_an_observer_that_raises_at_the_last_event_keeps_it_from_nobody() -> None:
    seen: list[JobEvent] = []

    def fail(event: JobEvent) -> None:
        if isinstance(event, JobFinished):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await executor.execute(job("true"), JobExecutionOptions(observers=[fail, seen.append]))
    assert isinstance(seen[-1], JobFinished)
    with anyio.move_on_after(0.3) as scope:
        await executor.execute(job("sleep 60"), JobExecutionOptions(observers=[seen.append, fail]))
    assert scope.cancelled_caught


async def test_a_note_names_the_observer_that_raised_when_the_end_was_told() -> None:
    def fail(event: JobEvent) -> None:
        if isinstance(event, JobFinished):
            raise ZeroDivisionError

    def refuse(*_: object) -> None:
        raise ValueError("of another callback")

    options = JobExecutionOptions(observers=[id, fail], on_progress=refuse)
    with pytest.raises(ValueError, match="of another callback") as caught:
        await executor.execute(job("true"), options)
    assert caught.value.__notes__ == ["observers[1] raised ZeroDivisionError() when it was told"]


async def test_an_observer_that_raises_at_the_last_event_does_not_replace_what_failed() -> None:
    def fail(event: JobEvent) -> None:
        if isinstance(event, JobFinished):
            raise ZeroDivisionError

    with pytest.raises(ChunkFailedError) as caught:
        await executor.execute(job("false"), JobExecutionOptions(observers=[fail]))
    assert caught.value.report is not None
    assert caught.value.__notes__ == ["observers[0] raised ZeroDivisionError() when it was told"]


async def test_cancelled_observers_that_wait_for_their_turn_leave_no_trace() -> None:
    async def listen(event: JobEvent) -> None:
        if not isinstance(event, JobStarted | JobFinished):
            await anyio.sleep(60)

    with anyio.move_on_after(0.3) as scope:
        await executor.execute(job(*["true"] * 4), JobExecutionOptions(concurrency=4, observers=[listen, listen]))
    assert scope.cancelled_caught


async def test_a_stream_of_events_is_one_observer_more() -> None:
    listened: list[JobEvent] = []
    observed: list[JobEvent] = []
    options = JobExecutionOptions(on_event=listened.append, observers=[observed.append])
    async with executor.stream(job("echo a", "echo b"), options) as events:
        iterated = [event async for event in events]
    assert iterated == listened == observed
    assert isinstance(iterated[-1], JobFinished)


async def test_an_observer_alone_has_the_progress_and_the_use_of_the_chunks_told() -> None:
    seen: list[JobEvent] = []
    options = JobExecutionOptions(observers=[seen.append])
    await executor.execute(
        job("echo 'Fra:12 Mem:49.06M (Peak 49.60M) | Time:00:27.91 | Sample 32/128'; sleep 1.5"), options
    )
    assert {"ChunkProgress", "ChunkUsage"} <= set(names(seen))


@pytest.mark.parametrize(
    ("observers", "message"),
    [
        (print, "observers must be a collection of callables, such as a list, not <built-in function print>"),
        (iter([print]), "observers must be a collection of callables, such as a list"),
        ([print, None], r"observers\[1\] must be callable, not None"),
        ("print", "observers must be a collection of callables, such as a list, not 'print'"),
    ],
    ids=["a function", "an iterator", "None in it", "a name"],
)
async def test_observers_that_cannot_be_called_are_refused(observers: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        JobExecutionOptions(observers=observers)
