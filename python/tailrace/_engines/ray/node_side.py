"""Runs a command inside a task of Ray's, on the node that Ray has chosen."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..._command.capture import PythonCapture
from ..._command.early_end import CommandEnding
from ..._command.ending import describe_error
from ..._command.job import WorkerJob
from ..._command.result import Capture, WorkerResult
from ..._errors import WorkerError
from ..._local.blocking import blocking
from .gathering import Gathering
from .words import Begun, Ended, Lost, Order, Used, Warned

_MERGED = 0.005
"""How long the core waits for more of little output, in seconds: an item costs far more than a line in it."""
_JUDGED = 64 * 1024
"""How many bytes the core keeps of each stream, to tell whether it lost some."""

_OF_RAY = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
"""What Ray sets in a worker that began without them: the one keeps renderers to one thread, the other wants Ray."""


def run_command(order: Order, node_id: str, wait_for_end: Callable[[], Future[Any]]) -> Iterator[object]:
    """Yield `Begun`, then the output in items of `output_items` and other words, at last `Ended` or `Lost`.

    The future that `wait_for_end` returns ends the command when it is done: because that is asked for, or with an
    exception, where whoever could ask is gone. So does a cancellation by Ray, after which nothing can be yielded: all
    of the command is gone then before the next item is tried.
    """
    ending, gathering = CommandEnding(), Gathering()
    words: deque[object] = deque()
    warnings: list[str] = []
    lost: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        words.append(Warned(message))

    def end(asked: Future[Any]) -> None:
        error = asked.exception()
        if error is not None:
            lost.append(describe_error(error))
        ending.end()

    def cancel() -> None:
        gathering.discard()
        ending.end()

    with _on_interrupt(cancel), _without_variables_of_ray():
        yield Begun(node_id)
        wait_for_end().add_done_callback(end)
        try:
            job = WorkerJob(
                order.command,
                order.args,
                env=order.env,
                cwd=order.cwd,
                timeout=order.timeout,
                cpu_idle_timeout=order.cpu_idle_timeout,
                kill_grace=order.kill_grace,
                stream="bytes",
                merge_window=max(order.merge_window, _MERGED),
                capture=Capture.tail(_JUDGED),
                ending=ending,
                on_stdout=partial(gathering.add, 0),
                on_stderr=partial(gathering.add, 1),
                on_warning=warn,
                on_usage=(lambda sample: words.append(Used(sample))) if order.wants_usage else None,
            )
            with blocking(job) as command:
                while not command.is_finished:
                    command.deliver()
                    if gathering.patience == 0:
                        yield gathering.take()
                    while words and not gathering.is_discarding:
                        yield words.popleft()
                    command.wait(gathering.patience)
            outcome: WorkerResult | WorkerError = command.result()
        except WorkerError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 (whatever it is has to be told)
            yield Lost(f"the node failed at it: {describe_error(error)}")
            return
        if gathering.patience is not None:
            yield gathering.take()
        # Not `yield from`: what Ray asks a generator for, an iterator over these does not have.
        while words:
            yield words.popleft()
        yield Lost(f"it could not be told any more to end: {lost[0]}", True) if lost else _ended(outcome, warnings)


def _ended(outcome: WorkerResult | WorkerError, warnings: list[str]) -> Ended:
    result = outcome.result if isinstance(outcome, WorkerError) else outcome
    if result is None:
        return Ended(outcome, is_cut=False)
    is_cut = _is_cut(result, warnings)
    # The output is there already.
    result = result.wrapped(lambda _: PythonCapture(Capture.none()))
    if isinstance(outcome, WorkerError):
        outcome.result = result
        return Ended(outcome, is_cut)
    return Ended(result, is_cut)


def _is_cut(result: WorkerResult, warnings: list[str]) -> bool:
    """Whether output was lost: where it is more than is kept, that is known by what is told of it alone."""
    is_all_kept = max(len(result.stdout_bytes), len(result.stderr_bytes)) < _JUDGED
    return result.truncated and (is_all_kept or bool(warnings))


@contextmanager
def _on_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """Have Ray's cancellation, which is a SIGINT of Python's own, call this and raise nothing."""
    before = signal.signal(signal.SIGINT, lambda *_: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _without_variables_of_ray() -> Iterator[None]:
    began_with = {entry.partition(b"=")[0].decode() for entry in Path("/proc/self/environ").read_bytes().split(b"\0")}
    taken = {name: os.environ.pop(name) for name in _OF_RAY if name in os.environ and name not in began_with}
    try:
        yield
    finally:
        os.environ.update(taken)
