"""Commands on this machine without the native core: the same contract on anyio alone, slower.

What differs is listed in docs/endings.md.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import anyio
import anyio.lowlevel
import anyio.to_thread

from .._command.ending import Limit, ProcessNote, make_result, warn_beside_an_error, warnings_about
from .._command.job import WorkerJob
from .._command.result import UsageSample, WorkerResult
from .._errors import WorkerSpawnError
from . import tree_ending, usage_sampler
from .activity import NOTHING_DONE, Activity
from .consumers import Consumers
from .early_ends import can_end_early, connect
from .event_fd import two_event_fds
from .process_exit import ProcessExit, collect, own_peak
from .process_files import describe
from .process_tree import Tree
from .python_limits import EarlyEnd, EarlyEnds
from .python_pipe import PausableClock, PipeReader
from .python_spawn import Start, not_started
from .tree_ending import Ending

_DRAIN = 2.0
"""How long a pipe is read after the command itself has ended, in seconds."""
_LOADING_PATIENCE = 0.5
"""How long a start that has been given up may take to stop, in seconds."""
_DESCRIBING_PATIENCE = 1.0
"""How long to look at what hangs while it is loaded, in seconds."""
_KEEPING_PATIENCE = 5.0
"""How long a temporary file may take for one piece of output when everything else is over, in seconds."""
_CANCEL_PATIENCE = 0.3
"""The same when nobody wants the output any more."""
_GLANCE = 0.05
"""How often to look at what cannot be waited for, in seconds."""

_running: set[_Execution] = set()


async def execute(job: WorkerJob) -> WorkerResult:
    """Run `job` to its end; see `LocalWorkerAdapter.execute`."""
    try:
        execution = _Execution(job)
    except OSError as error:
        raise not_started(job, error) from None
    _running.add(execution)
    disconnect = None
    try:
        if can_end_early(job):
            disconnect = connect(job, execution)
        await execution.run()
    except GeneratorExit:
        # The event loop is gone, and with it everything that could be waited for.
        raise
    except BaseException:
        await execution.end_at_once()
        raise
    finally:
        if disconnect is not None:
            disconnect()
        _running.discard(execution)
        execution.close()
    return execution.make_result()


def kill_all(patience: float) -> None:
    """Kill every command that runs. Returns when all is gone, or after `patience` seconds."""
    deadline = time.monotonic() + patience
    executions = list(_running)
    for execution in executions:
        execution.kill()
    endings = [ending for execution in executions if (ending := execution.kill_tree()) is not None]
    for ending in endings:
        ending.over.wait(max(0.0, deadline - time.monotonic()))


def _forget_all() -> None:
    # They are the parent's.
    for execution in _running:
        execution.forget()
    _running.clear()


os.register_at_fork(after_in_child=_forget_all)


class _Execution:
    """One command, from before its start."""

    def __init__(self, job: WorkerJob) -> None:
        self._is_of_parent = False
        self._job = job
        self._event_fd, self._stop = two_event_fds()
        self._start: Start | None = None
        self._tree: Tree | None = None
        self._consumers = Consumers(job)
        self._readers: list[PipeReader] = []
        self._early = EarlyEnds(job)
        self._drain = PausableClock()
        self._host_peak = 0
        self._is_held = self._has_exited = self._is_reaped = False
        self._limit: Limit | None = None
        self._endings: list[Ending] = []
        self._is_ended = False
        """Whether the whole tree was, not only what is left of the group."""
        self._left: list[ProcessNote] = []
        self._warnings: list[str] = []
        self._sample: UsageSample | None = None
        self._exit = ProcessExit(None, None)
        self._duration = 0.0

    async def run(self) -> None:
        """Return when everything is over; raise what a callback raised."""
        if not await self._begin():
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            tasks.start_soon(self._wait_for_exit)
            if self._job.on_started is not None:
                tasks.start_soon(self._consumers.announce)
            for stream in self._consumers.streams:
                if stream.callback is not None:
                    tasks.start_soon(self._consumers.deliver_all, stream)
            await self._supervise()
            tasks.cancel_scope.cancel()
        if self._consumers.error is not None:
            raise self._consumers.error
        await self._end_rest_of_group()

    async def end_at_once(self) -> None:
        """End what runs, whatever happens to this task meanwhile, and deliver nothing more."""
        if self._is_of_parent:
            return
        if not self._consumers.begin_last_words():
            for reader in self._readers:
                reader.discard()
        interruption = None
        if self._tree is None:
            interruption = await self._give_up_start()
        if self._tree is not None and not self._is_reaped:
            ending = self._end_tree()
            interruption = await self._see_through(ending.over.is_set, lambda: ending.latest) or interruption
            self._stop_reading()
            are_over = partial(self._are_read, _CANCEL_PATIENCE)
            interruption = await self._see_through(are_over, lambda: math.inf, _GLANCE) or interruption
            self._consumers.take_last_words()
            self._reap()
        warn_beside_an_error(self._job, [*self._warnings, *warnings_about(*self._left_and_unseen())])
        if interruption is not None:
            raise interruption

    def end_early(self) -> None:
        """End it with its result."""
        self._early.is_asked = True
        self._event_fd.set()

    def end_for_idleness(self) -> None:
        """End it by the limit for one that uses no processor."""
        self._early.is_idle = True
        self._event_fd.set()

    def activity(self) -> Activity:
        """Return what it has done so far."""
        return NOTHING_DONE if self._tree is None else self._tree.usage.activity()

    def kill(self) -> None:
        """Kill the command's group, or what is being started."""
        if self._tree is not None:
            self._tree.signal_group(signal.SIGKILL)
        elif self._start is not None:
            self._start.abandon()

    def kill_tree(self) -> Ending | None:
        """Kill all of the tree; None if nothing runs."""
        if self._tree is None or self._is_reaped:
            return None
        ending = Ending(self._tree, 0.0, self._event_fd.set, measures=False)
        tree_ending.end(ending)
        return ending

    def forget(self) -> None:
        """Leave it alone: this process is a fork of the one that it belongs to."""
        self._is_of_parent = True

    def close(self) -> None:
        """Give everything back."""
        if self._is_of_parent:
            return
        if self._tree is None and self._start is not None and not self._start.abandon():
            # What it is, if anything, was thrown away, or came when nobody could be told any more.
            with contextlib.suppress(BaseException):
                self._take_started()
        if self._tree is not None and not self._is_reaped:
            # Where nothing could be awaited any more: the event loop is gone.
            self.kill()
            self.kill_tree()
            self._reap()
        for reader in self._readers:
            if not reader.is_over:
                reader.discard()
                reader.leave()
        self._stop.set()
        self._event_fd.close()
        self._stop.close()
        if self._tree is not None and not self._exit.is_lost:
            self._tree.close()

    def make_result(self) -> WorkerResult:
        """Return the result, or raise the error that the ending means."""
        stdout, stderr = (stream.capture for stream in self._consumers.streams)
        left, unseen = self._left_and_unseen()
        fault = self._fault()
        is_cut = stdout.truncated or stderr.truncated or any(reader.is_abandoned for reader in self._readers)
        # What is left of the tasks may lead here for a while, and gigabytes are not to wait for that.
        self._consumers.streams, self._readers = [], []
        return make_result(
            self._job,
            exit_code=self._exit.code,
            stdout=stdout,
            stderr=stderr,
            duration=self._duration,
            usage=self._exit.usage,
            truncated=self._is_held or is_cut,
            pipe_held=self._is_held and fault is None,
            limit=self._limit,
            error=fault,
            memory=self._exit.memory,
            warnings=self._warnings,
            left=left,
            unseen=unseen,
        )

    async def _begin(self) -> bool:
        """Start the command; False if a limit came first."""
        try:
            tree_ending.prepare()
        except (RuntimeError, OSError) as error:
            raise not_started(self._job, error) from None
        self._start = Start(self._job, secrets.token_hex(12), self._event_fd.set)
        while not self._start.is_over:
            limit = self._early.due_limit(())
            if limit is not None and self._start.abandon():
                self._limit = limit
                interruption = await self._give_up_start()
                self._duration = time.monotonic() - self._early.began
                if interruption is not None:
                    raise interruption
                return False
            with anyio.move_on_after(max(0.0, self._next_deadline() - time.monotonic())):
                await anyio.wait_readable(self._event_fd.fd)
            self._event_fd.clear()
        self._take_started()
        return True

    def _take_started(self) -> None:
        assert self._start is not None  # noqa: S101
        started = self._start.take()
        tree = self._tree = Tree(started.pid, started.pidfd, self._start.mark)
        self._host_peak = own_peak()
        self._early.silence.restart()
        tree.usage.watched_since = self._early.silence.runs_since
        if self._job.on_usage is not None:
            tree.usage.on_sample = self._note_sample
        usage_sampler.add(tree)
        fds = [started.stdout, started.stderr]
        try:
            for stream in self._consumers.streams:
                stream.reader = PipeReader(
                    fds.pop(0),
                    stream.capture,
                    is_heard=stream.callback is not None,
                    silence=self._early.silence,
                    drain=self._drain,
                    stop=self._stop,
                    notify=self._event_fd.set,
                )
                stream.reader.start()
                self._readers.append(stream.reader)
        except RuntimeError as error:
            for fd in fds:
                os.close(fd)
            raise not_started(self._job, error) from None

    async def _give_up_start(self) -> BaseException | None:
        """Have what is being started killed; what was started meanwhile is to be ended as any other."""
        start = self._start
        if start is None:
            return None
        given_up_at = time.monotonic() + _LOADING_PATIENCE
        if not start.abandon() and self._limit is None:
            with contextlib.suppress(WorkerSpawnError):
                self._take_started()
            return None
        interruption = await self._see_through(lambda: start.is_over, lambda: given_up_at)
        if not start.is_over:
            described = threading.Event()

            def describe_it() -> None:
                self._left = describe(start.loading())
                described.set()
                self._event_fd.set()

            with contextlib.suppress(RuntimeError):
                threading.Thread(target=describe_it, name="tailrace-describe", daemon=True).start()
                until = time.monotonic() + _DESCRIBING_PATIENCE
                interruption = await self._see_through(described.is_set, lambda: until) or interruption
        return interruption

    async def _see_through(
        self, is_over: Callable[[], bool], deadline: Callable[[], float], glance: float = math.inf
    ) -> BaseException | None:
        """Wait until `is_over` or the deadline, whatever happens to this task; return what did."""
        interruption: BaseException | None = None
        with anyio.CancelScope(shield=True):
            while not is_over():
                self._consumers.take_last_words()
                now = time.monotonic()
                if now >= deadline():
                    self._note_waiting(now)
                    break
                try:
                    with anyio.move_on_after(min(glance, deadline() - now)):
                        await anyio.wait_readable(self._event_fd.fd)
                    self._event_fd.clear()
                except GeneratorExit:
                    # The event loop is gone.
                    raise
                except BaseException as error:  # noqa: BLE001
                    # `Task.cancel` reaches through the shield.
                    interruption = error
        return interruption

    def _note_waiting(self, now: float) -> None:
        if self._start is not None and self._start.is_over:
            self._warnings.append(f"gave up waiting for the end of the command after {now - self._early.began:.1f} s")

    # Each of these tasks keeps its exceptions: through the task group they would come out in an ExceptionGroup.

    async def _listen(self) -> None:
        while True:
            await anyio.wait_readable(self._event_fd.fd)
            self._event_fd.clear()
            sample, self._sample = self._sample, None
            if sample is not None and self._job.on_usage is not None and self._consumers.error is None:
                try:
                    self._job.on_usage(sample)
                except BaseException as error:  # noqa: BLE001
                    self._consumers.error = error
            self._consumers.notify()

    async def _supervise(self) -> None:
        while self._consumers.error is None and not (self._has_exited and self._consumers.are_done):
            reason = self._due()
            if reason is None:
                # What is due and has to wait for a reader comes soon.
                await self._consumers.wait_for_change(max(_GLANCE, self._next_deadline() - time.monotonic()))
                continue
            if reason == "held":
                self._is_held = True
            elif reason != "asked":
                self._limit = reason
                self._consumers.note_limit()
            ending = self._end_tree()
            while not ending.over.is_set():
                now = time.monotonic()
                if now >= ending.latest:
                    self._note_waiting(now)
                    break
                await self._consumers.wait_for_change(ending.latest - now)
            self._stop_reading()
            while self._consumers.error is None:
                are_read = self._are_read(_KEEPING_PATIENCE)
                if self._consumers.are_done:
                    return
                await self._consumers.wait_for_change(math.inf if are_read else _GLANCE)

    def _due(self) -> EarlyEnd | Literal["held"] | None:
        if self._fault() is not None:
            return "held"
        if self._early.is_asked and not self._is_ended:
            return "asked"
        if self._has_exited:
            held_at = self._drain.reaches(_DRAIN)
            if held_at is None:
                # A consumer, or a disk of ours, which may be slow but not hang.
                hangs = any(reader.is_keeping() and reader.is_stuck(_KEEPING_PATIENCE) for reader in self._readers)
                return "held" if hangs else None
            return "held" if time.monotonic() >= held_at else None
        return self._early.due_limit(self._readers)

    def _next_deadline(self) -> float:
        if self._has_exited:
            if any(reader.is_keeping() for reader in self._readers):
                return time.monotonic() + _GLANCE
            moment = self._drain.reaches(_DRAIN)
            return math.inf if moment is None else moment
        return self._early.next_deadline()

    def _fault(self) -> str | None:
        return next((reader.fault for reader in self._readers if reader.fault is not None), None)

    async def _wait_for_exit(self) -> None:
        tree = self._tree
        assert tree is not None  # noqa: S101
        try:
            if tree.pidfd is not None:
                await anyio.wait_readable(tree.pidfd)
            else:
                wait = partial(os.waitid, os.P_PID, tree.leader, os.WEXITED | os.WNOWAIT)
                # It takes a thread for as long as the command runs, and others are not to wait for one of forty.
                limiter = anyio.CapacityLimiter(math.inf)
                await anyio.to_thread.run_sync(wait, abandon_on_cancel=True, limiter=limiter)
        except ChildProcessError:
            # Somebody else has collected it already.
            pass
        except OSError as error:
            self._consumers.error = error
        self._drain.restart()
        self._has_exited = True
        for reader in self._readers:
            reader.note_exit()
        self._consumers.notify()

    def _note_sample(self, memory: int, cpu: float) -> None:
        self._sample = UsageSample(memory, cpu)
        self._event_fd.set()

    def _end_tree(self) -> Ending:
        """Have the whole tree ended; a second call changes nothing."""
        assert self._tree is not None  # noqa: S101
        if not self._is_ended:
            self._is_ended = True
            self._endings.append(Ending(self._tree, self._job.kill_grace, self._event_fd.set))
            tree_ending.end(self._endings[-1])
        return self._endings[-1]

    async def _end_rest_of_group(self) -> None:
        """Collect the command, and end what is left of its group."""
        tree = self._tree
        assert tree is not None  # noqa: S101
        if self._is_ended:
            self._reap()
            return
        if tree.can_signal_group():
            self._reap()
            if not tree.signal_group(0):
                return
        # Otherwise the command's zombie keeps the group's number, and only a look at /proc tells whether there is
        # anybody else.
        ending = Ending(tree, self._job.kill_grace, self._event_fd.set, only_group=True)
        self._endings.append(ending)
        tree_ending.end(ending)
        interruption = await self._see_through(ending.over.is_set, lambda: ending.latest)
        if interruption is not None:
            raise interruption
        self._reap()

    def _stop_reading(self) -> None:
        # Nobody of the tree is left to write: what stands in the pipes is all there will be.
        for reader in self._readers:
            reader.stop()
        self._stop.set()

    def _are_read(self, patience: float) -> bool:
        """Whether all pipes have been read; those whose threads are stuck are left to them."""
        for reader in self._readers:
            if not reader.is_over and reader.is_stuck(patience):
                reader.leave()
                self._consumers.notify()
        return all(reader.is_over for reader in self._readers)

    def _left_and_unseen(self) -> tuple[list[ProcessNote], list[ProcessNote]]:
        left = {note.pid: note for ending in self._endings for note in ending.left}
        unseen = {note.pid: note for ending in self._endings for note in ending.unseen}
        return [*self._left, *left.values()], list(unseen.values())

    def _reap(self) -> None:
        tree = self._tree
        if tree is None or self._is_reaped:
            return
        self._is_reaped = True
        self._duration = time.monotonic() - self._early.began
        usage_sampler.remove(tree)
        self._exit = collect(tree, host_peak=self._host_peak, was_ended=self._is_ended)
