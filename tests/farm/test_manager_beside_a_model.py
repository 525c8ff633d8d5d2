"""Whatever is asked of a manager, in any order and with crashes between, it does what a plain model of it does."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from support.jobs import job
from tailrace import Capabilities, JobManager, JobSettings, WorkerJob, WorkerResult
from tailrace._errors import JobStateError, RepositoryLostError
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.repository.sqlite import SqliteFile

SLOTS = 2
MERGES = min(SLOTS, len(os.sched_getaffinity(0)))
MERGE = -1
"""In place of the id of a chunk."""
LIVE, PAUSED, FINAL = "live", "paused", ("completed", "failed", "cancelled")
SECONDS = st.sampled_from([0.0, 0.001, 0.005, 0.02])
"""How long something is under way before the manager dies."""


class Command:
    """One that runs."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.exit_code = 0


class Gated:
    """Runs commands that end when they are told how."""

    streams = True
    capabilities = Capabilities(streams=True)

    def __init__(self) -> None:
        self.running: dict[tuple[str, int], Command] = {}

    async def execute(self, job: WorkerJob) -> WorkerResult:
        key = (Path(str(job.cwd)).name, int(str(job.meta.get("chunk_id", MERGE))))
        assert key not in self.running, "it runs twice at a time"
        command = self.running[key] = Command()
        try:
            await command.ended.wait()
        finally:
            del self.running[key]
        return WorkerResult(command.exit_code, "", "", duration=0.0)

    def end(self, key: tuple[str, int], exit_code: int) -> None:
        self.running[key].exit_code = exit_code
        self.running[key].ended.set()


class Mortal(SqlRepository):
    """Can be made to write nothing more."""

    is_dead = False

    def write(self, *arguments: Any, **named: Any) -> None:
        if self.is_dead:
            raise RepositoryLostError("it died")
        super().write(*arguments, **named)


@dataclass
class Model:
    """A job as it should be."""

    chunks: dict[int, Literal["pending", "completed", "failed", "cancelled", "skipped"]]
    depends_on: Mapping[int, Collection[int]]
    after: tuple[str, ...]
    merges: bool
    state: str = LIVE
    was_ready: bool = False
    """Whether it might have begun: from then on what it comes after may be deleted, or retried."""

    def may_run(self, chunk_id: int) -> bool:
        return all(self.chunks[other] == "completed" for other in self.depends_on[chunk_id])

    def end(self, chunk_id: int, *, fails: bool) -> None:
        if chunk_id == MERGE:
            self.state = "failed" if fails else "completed"
            return
        self.chunks[chunk_id] = "failed" if fails else "completed"
        given_up = {chunk_id} if fails else set()
        # A chunk depends on those before it.
        for other, state in self.chunks.items():
            if state == "pending" and given_up.intersection(self.depends_on[other]):
                self.chunks[other] = "skipped"
                given_up.add(other)
        self.settle()

    def could_run(self) -> list[int]:
        if self.is_rendered and self.merges:
            return [MERGE]
        return [chunk_id for chunk_id, state in self.chunks.items() if state == "pending" and self.may_run(chunk_id)]

    def settle(self) -> None:
        if self.state == LIVE and "pending" not in self.chunks.values():
            if not self.is_rendered:
                self.state = "failed"
            elif not self.merges:
                self.state = "completed"

    @property
    def is_rendered(self) -> bool:
        return set(self.chunks.values()) == {"completed"}

    def cancel(self) -> None:
        self.state = "cancelled"
        self.chunks = {id_: "cancelled" if state == "pending" else state for id_, state in self.chunks.items()}


class ManagerBesideAModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.jobs: dict[str, Model] = {}
        self.deleted: set[str] = set()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal())
        self.start()

    def start(self) -> None:
        self.adapter = Gated()
        self.repository = Mortal(SqliteFile(self.folder / "farm.db"))
        self.manager = JobManager(self.adapter, self.repository, slots=SLOTS, log_dir=self.folder / "logs")
        self.manager._farm.job_folders = self.folder / "jobs"
        self.block = self.portal.wrap_async_context_manager(self.manager)
        self.block.__enter__()

    def teardown(self) -> None:
        self.block.__exit__(None, None, None)
        self.stack.close()
        shutil.rmtree(self.folder)

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        async def call() -> Any:
            with anyio.fail_after(20):
                return await getattr(self.manager, method)(*arguments, **named)

        return self.portal.call(call)

    def allowed(self, job_id: str, states: tuple[str, ...], method: str, *arguments: Any, **named: Any) -> bool:
        """Call a method that is allowed in these states alone; return whether it was."""
        if self.jobs[job_id].state in states:
            self.call(method, job_id, *arguments, **named)
            return True
        with pytest.raises(JobStateError, match=job_id):
            self.call(method, job_id, *arguments, **named)
        return False

    def a_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.jobs, key=list(self.jobs).index)))

    def running(self) -> list[tuple[str, int]]:
        return sorted(self.adapter.running, key=lambda key: (list(self.jobs).index(key[0]), key[1]))

    @rule(data=st.data(), count=st.integers(1, 3), priority=st.integers(0, 2), merges=st.booleans())
    def submit(self, data: st.DataObject, count: int, priority: int, merges: bool) -> None:
        after = data.draw(st.lists(st.sampled_from(list(self.jobs)), max_size=1)) if self.jobs else []
        depends_on = {
            chunk_id: data.draw(st.sets(st.integers(0, chunk_id - 1), max_size=1)) if chunk_id else ()
            for chunk_id in range(count)
        }
        spec = job(*["true"] * count, merge="true" if merges else None)
        chunks = [chunk.model_copy(update={"depends_on": tuple(depends_on[chunk.id])}) for chunk in spec.chunks]
        spec = spec.model_copy(update={"chunks": tuple(chunks)})
        job_id = self.call("submit", spec, JobSettings(fail_fast=False), priority=priority, after=after)
        self.jobs[job_id] = Model(dict.fromkeys(range(count), "pending"), depends_on, tuple(after), merges)

    @precondition(lambda self: self.adapter.running)
    @rule(data=st.data(), fails=st.booleans())
    def end_a_chunk(self, data: st.DataObject, fails: bool) -> None:
        key = data.draw(st.sampled_from(self.running()))
        self.portal.call(self.adapter.end, key, 1 if fails else 0)
        self.jobs[key[0]].end(key[1], fails=fails)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), now=st.booleans())
    def pause(self, data: st.DataObject, now: bool) -> None:
        job_id = self.a_job(data)
        is_merging = (job_id, MERGE) in self.adapter.running
        if self.allowed(job_id, (PAUSED,) if is_merging and not now else (LIVE, PAUSED), "pause", now=now):
            self.jobs[job_id].state = PAUSED

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        job_id = self.a_job(data)
        model = self.jobs[job_id]
        if model.state == LIVE:
            try:
                self.call("resume", job_id)
            except JobStateError:
                # It may have begun a moment ago.
                assert self.call("get", job_id).state in ("running", "merging")
            else:
                model.after = ()
        elif model.state == PAUSED:
            self.call("resume", job_id)
            model.state = LIVE
            model.settle()
        else:
            self.allowed(job_id, (), "resume")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = self.a_job(data)
        if self.allowed(job_id, (LIVE, PAUSED), "cancel"):
            self.jobs[job_id].cancel()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), single=st.booleans(), done=st.booleans())
    def retry(self, data: st.DataObject, single: bool, done: bool) -> None:
        job_id = self.a_job(data)
        model = self.jobs[job_id]
        chunk_id = data.draw(st.sampled_from(sorted(model.chunks)))
        asked = [chunk_id] if single else None
        if single:
            may = (model.chunks[chunk_id] != "completed" or done) and model.may_run(chunk_id)
        else:
            may = model.state != "completed"
        if self.allowed(job_id, FINAL if may else (), "retry", asked, done=done):
            again = [chunk_id] if single else [id_ for id_, state in model.chunks.items() if state != "completed"]
            model.chunks |= dict.fromkeys(again, "pending")
            model.state = LIVE
            model.was_ready = False
            model.settle()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = self.a_job(data)
        runs = any(key[0] == job_id for key in self.adapter.running)
        if self.jobs[job_id].state == LIVE or runs:
            return
        self.call("delete", job_id)
        del self.jobs[job_id]
        self.deleted.add(job_id)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), priority=st.integers(0, 2))
    def set_priority(self, data: st.DataObject, priority: int) -> None:
        self.allowed(self.a_job(data), (LIVE, PAUSED), "set_priority", priority)

    @rule()
    def leave_and_come_back(self) -> None:
        self.block.__exit__(None, None, None)
        self.start()

    @rule()
    def crash(self) -> None:
        self.repository.is_dead = True
        with pytest.raises(RepositoryLostError):
            self.call("submit", job("true"))
        with pytest.raises(RepositoryLostError):
            self.block.__exit__(None, None, None)
        self.start()

    @rule(data=st.data(), seconds=SECONDS)
    def crash_while_chunks_end(self, data: st.DataObject, seconds: float) -> None:
        ended = {key: data.draw(st.booleans()) for key in self.running() if data.draw(st.booleans())}
        for key, fails in ended.items():
            self.portal.call(self.adapter.end, key, 1 if fails else 0)
        time.sleep(seconds)
        self.crash()
        for (job_id, chunk_id), fails in ended.items():
            if chunk_id == MERGE:
                state = self.call("get", job_id).state
            else:
                (state,) = [chunk.state for chunk in self.call("chunks", job_id) if chunk.id == chunk_id]
            # What was not written down any more is run again.
            if state not in ("pending", "running", "merging"):
                assert state == ("failed" if fails else "completed")
                self.jobs[job_id].end(chunk_id, fails=fails)
        self.begin_anew()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), seconds=SECONDS)
    def crash_while_a_job_is_cancelled(self, data: st.DataObject, seconds: float) -> None:
        job_id = self.a_job(data)
        if self.jobs[job_id].state not in (LIVE, PAUSED):
            return
        cancelling = self.portal.start_task_soon(self.manager.cancel, job_id)
        time.sleep(seconds)
        self.crash()
        has_returned = cancelling.exception(20) is None
        # What has returned holds; what has not may.
        is_cancelled = self.call("get", job_id).state == "cancelled"
        assert is_cancelled or not has_returned
        if is_cancelled:
            self.jobs[job_id].cancel()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Have all jobs end, and delete them: how they are now is a matter of moments, and what is drawn may not be."""
        self.wait_until_it_is_as_it_should_be()
        while self.adapter.running:
            for key in self.running():
                self.portal.call(self.adapter.end, key, 0)
                self.jobs[key[0]].end(key[1], fails=False)
            self.wait_until_it_is_as_it_should_be()
        for job_id in self.jobs:
            self.call("delete", job_id)
        self.jobs = {}

    @invariant()
    def wait_until_it_is_as_it_should_be(self) -> None:
        deadline = time.monotonic() + 10
        while (difference := self.difference()) is not None:
            assert time.monotonic() < deadline, difference
            time.sleep(0.002)
        assert self.repository.check() == []

    def difference(self) -> str | None:
        found = {status.id: status for status in self.call("list")}
        if found.keys() != self.jobs.keys():
            return f"jobs {sorted(found)} in place of {sorted(self.jobs)}"
        running = self.portal.call(lambda: set(self.adapter.running))
        could: set[tuple[str, int]] = set()
        for job_id, model in self.jobs.items():
            state = LIVE if found[job_id].state in ("pending", "running", "merging") else found[job_id].state
            if state != model.state:
                return f"job {job_id} is {found[job_id].state} in place of {model.state}: {found[job_id].error}"
            chunks = {chunk.id: chunk.state for chunk in self.call("chunks", job_id)}
            expected = {id_: "running" if (job_id, id_) in running else one for id_, one in model.chunks.items()}
            if chunks != expected:
                return f"chunks of job {job_id} are {chunks} in place of {expected}"
            is_ready = all(other in self.jobs and self.jobs[other].state == "completed" for other in model.after)
            model.was_ready |= is_ready and model.state == LIVE
            has_begun = found[job_id].started_at is not None
            if has_begun and not model.was_ready:
                return f"job {job_id} has begun before those that it comes after"
            if model.state == LIVE and (is_ready or has_begun):
                could |= {(job_id, id_) for id_ in model.could_run()}
        draining = {key for key in running if self.jobs[key[0]].state == PAUSED}
        if not running <= could | draining:
            return f"{running - could - draining} run, and should not"
        merges = {key for key in could if key[1] == MERGE}
        wanted = min(SLOTS, len((could | draining) - merges)) + min(MERGES, len(merges))
        return None if len(running) == wanted else f"{len(running)} commands run in place of {wanted}: {could}"


def test_a_manager_does_what_its_model_does() -> None:
    some = settings(max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(ManagerBesideAModel, settings=some)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_a_manager_does_what_its_model_does_for_long() -> None:
    many = settings(max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(ManagerBesideAModel, settings=many)
