"""One command on a node, seen from here."""

from __future__ import annotations

import inspect
import math
import os
import pickle
import uuid
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from ..._command.callbacks import begin_last_words
from ..._command.ending import NO_STATUS, limit_error, warn, warn_beside_an_error
from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._concurrency.loop_clock import LoopClock
from ..._errors import WorkerError, WorkerLostError, WorkerTimeoutError
from .bell import Bell
from .cluster import Cluster
from .delivery import Delivery
from .item_reader import ItemReader
from .needs import Options
from .words import Begun, Ended, Lost, Order, Used, Warned

MARK = "TAILRACE_RAY_COMMAND"
"""The variable by which what a command leaves behind is found when its worker has died."""

_PATIENCE = 20.0
"""How long after the grace a command that has to end may take to be over, in seconds, as for local ones."""
_ON_ITS_WAY = 2.0
"""How long the news that a limit has ended a command may take, in seconds."""
_SWEEP = 5.0
"""How long to look for what a dead worker has left, in seconds: its watchdog ends that at once."""


class RemoteCommand:
    """Runs the command of a job once."""

    def __init__(self, job: WorkerJob, cluster: Cluster, options: Options) -> None:
        self._job = job
        self._cluster = cluster
        self._key = str(uuid.uuid4())
        self._delivery = Delivery(job)
        self._bell = Bell(self._set_deadline)
        self._clock = LoopClock()
        order = Order(
            key=self._key,
            command=job.command,
            args=list(job.args),
            env={**(job.env or {}), MARK: self._key},
            cwd=os.fspath(Path(job.cwd or ".").absolute()),
            timeout=job.timeout,
            cpu_idle_timeout=job.cpu_idle_timeout,
            kill_grace=job.kill_grace,
            merge_window=job.merge_window,
            wants_usage=job.on_usage is not None,
        )
        self._items = cluster.submit(pickle.dumps(order), options)
        self._reader = ItemReader(
            self._items, job.timeout, self._bell.ring, cluster.learn_name, partial(cluster.lacking, options)
        )
        self._node_id: str | None = None
        self._began_at = math.inf
        self._heard_at = math.inf
        """When it wrote last, or a callback was busy with that, by the clock."""
        self._asked_at = math.inf
        """When it was asked to end before its time."""
        self._is_silent = False

    async def run(self) -> WorkerResult:
        """Return the result, or raise what has come of it."""
        ending = self._job.ending
        try:
            if ending is not None:
                ending.connect(self._ask_to_end)
            last = await self._deliver()
        except GeneratorExit:
            self._stop()
            raise
        except BaseException:
            listens = begin_last_words(self._job.on_stdout, self._job.on_stderr)
            self._stop()
            await self._until_over(listens=listens)
            raise
        finally:
            if ending is not None:
                ending.disconnect()
        if isinstance(last, Lost):
            raise await self._lost(last)
        return self._conclude(last)

    async def _deliver(self) -> Ended | Lost:
        while True:
            item = self._reader.take()
            if isinstance(item, bytes | list):
                await self._delivery.take(item)
                self._heard_at = self._clock.now()
            elif isinstance(item, Begun):
                await self._begin(item)
            elif isinstance(item, Warned):
                warn(self._job, [item.message])
            elif isinstance(item, Used):
                if self._job.on_usage is not None:
                    self._job.on_usage(item.sample)
            elif item is not None:
                await self._delivery.finish()
                last: Ended | Lost = item
                return last
            else:
                await self._wait()

    async def _begin(self, begun: Begun) -> None:
        self._node_id = begun.node_id
        self._began_at = anyio.current_time()
        self._set_deadline()
        if self._asked_at < math.inf:
            self._cluster.end(self._key)
        started = None if self._job.on_started is None else self._job.on_started()
        if inspect.isawaitable(started):
            await self._delivery.wait_for(started)
        self._heard_at = self._clock.now()

    async def _wait(self) -> None:
        """Wait for more; at the limit of its silence the command is asked to end."""
        limit = self._job.idle_timeout
        if limit is None or self._is_silent or self._heard_at == math.inf:
            await self._bell.wait()
        else:
            await self._clock.wait(self._bell.wait, self._heard_at + limit - self._clock.now())
            if self._clock.now() >= self._heard_at + limit and not self._reader.has_come:
                self._is_silent = True
                self._ask_to_end()
        self._delivery.rested()

    def _ask_to_end(self) -> None:
        if self._asked_at == math.inf:
            self._asked_at = anyio.current_time()
            self._set_deadline()
            if self._node_id is not None:
                self._cluster.end(self._key)

    def _stop(self) -> None:
        """Have it end, or never begin."""
        self._reader.hurry()
        self._cluster.end(self._key)
        if self._node_id is None:
            self._cluster.drop(self._items)

    def _set_deadline(self) -> None:
        """Give callbacks as long, once a limit has ended the command, as it has itself."""
        last = self._reader.last
        until = self._asked_at
        if self._job.timeout is not None:
            until = min(until, self._began_at + self._job.timeout)
        if isinstance(last, Ended) and not isinstance(last.outcome, WorkerTimeoutError) and self._asked_at == math.inf:
            until = math.inf
        on_its_way = _ON_ITS_WAY if last is None else 0
        if self._asked_at < math.inf:
            self._reader.hurry()
        self._delivery.allow_until(until + self._job.kill_grace + on_its_way)

    async def _until_over(self, *, listens: bool) -> None:
        # As for a local command: nothing may come out before it is gone, whoever cancels this again meanwhile.
        interruption: BaseException | None = None
        last: Ended | Lost | None = None
        deadline = anyio.current_time() + self._job.kill_grace + _PATIENCE
        with anyio.CancelScope(shield=True, deadline=deadline):
            while last is None and anyio.current_time() < deadline:
                try:
                    item = self._reader.take()
                    if item is None and self._reader.last is not None:
                        # It had been taken before.
                        last = self._reader.last
                    elif item is None:
                        await self._bell.wait()
                    elif isinstance(item, bytes | list):
                        if listens:
                            self._delivery.take_last_words(item)
                    elif isinstance(item, Ended | Lost):
                        last = item
                except anyio.get_cancelled_exc_class():
                    continue
                except BaseException as error:  # noqa: BLE001
                    # Ctrl-C, on trio.
                    interruption = error
        if last is None:
            told = f"was to be ended, but nothing was heard of it for {self._job.kill_grace + _PATIENCE:g} s"
            warn_beside_an_error(self._job, [f"{self._job.command} {told}"])
        elif isinstance(last, Lost) and not last.is_seen_ended:
            warn_beside_an_error(self._job, [f"{self._where()}: {last.reason}: it is not known what still runs there"])
        if interruption is not None:
            raise interruption

    async def _lost(self, lost: Lost) -> WorkerLostError:
        self._node_id = lost.node_id or self._node_id
        # Its task cannot say that nobody waits for it any more; and should it still run, it has to end.
        self._cluster.end(self._key)
        is_gone = lost.is_seen_ended
        if not is_gone and self._node_id is not None:
            sweep = partial(self._cluster.sweep, self._node_id, f"{MARK}={self._key}", _SWEEP)
            with anyio.CancelScope(shield=True):
                is_gone = await anyio.to_thread.run_sync(sweep)
        result = self._delivery.result(WorkerResult(NO_STATUS), is_cut=True)
        message = f"{self._where()}: {lost.reason}"
        return WorkerLostError(message, result, node=self._node(), may_run=not is_gone)

    def _conclude(self, ended: Ended) -> WorkerResult:
        if isinstance(ended.outcome, WorkerError):
            error = ended.outcome
            if error.result is not None:
                error.result = self._with_output(error.result, ended)
            raise error
        result = self._with_output(ended.outcome, ended)
        if self._is_silent:
            raise limit_error(self._job, result, "idle")
        return result

    def _with_output(self, told: WorkerResult, ended: Ended) -> WorkerResult:
        result = self._delivery.result(told, is_cut=ended.is_cut)
        result.node = self._node()
        return result

    def _node(self) -> str | None:
        return None if self._node_id is None else self._cluster.name_of(self._node_id)

    def _where(self) -> str:
        node = self._node()
        return "Ray" if node is None else f"node {node}"
