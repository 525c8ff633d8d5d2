"""Runs a command inside a task of Ray's, on the node that Ray has chosen."""

from __future__ import annotations

import os
import signal
import threading
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
from ..._local.run import run
from .outbox import Outbox
from .output_items import pack
from .words import Begun, Ended, Lost, Order, Used, Warned

_GLANCE = 0.1
"""How often to look for a cancellation by Ray, in seconds: it interrupts nothing that waits."""
_GATHER = 0.005
"""How long output may be gathered, in seconds: an item costs far more than a line in it."""
_JUDGED = 64 * 1024
"""How many bytes the core keeps of each stream, to tell whether it lost some."""

_OF_RAY = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
"""What Ray sets in a worker that began without them: the one keeps renderers to one thread, the other wants Ray."""


def run_command(order: Order, node_id: str, wait_for_end: Callable[[], Future[Any]]) -> Iterator[object]:
    """Yield `Begun`, then the output in `bytes` of `output_items` and other words, at last `Ended` or `Lost`.

    The future that `wait_for_end` returns ends the command when it is done: because that is asked for, or with an
    exception, where whoever could ask is gone. So does a cancellation by Ray, after which nothing can be yielded: all
    of the command is gone then before the next item is tried.
    """
    ending, outbox = CommandEnding(), Outbox[Ended | Lost]()
    lost: list[str] = []

    def end(asked: Future[Any]) -> None:
        error = asked.exception()
        if error is not None:
            lost.append(describe_error(error))
        ending.end()

    def cancel() -> None:
        outbox.discard()
        ending.end()

    with _on_interrupt(cancel), _without_variables_of_ray():
        yield Begun(node_id)
        runner = threading.Thread(target=_run, args=(order, ending, outbox), name="tailrace-command", daemon=True)
        runner.start()
        try:
            wait_for_end().add_done_callback(end)
            while True:
                pieces, words, ended = outbox.take(_GLANCE)
                if pieces:
                    yield pack(pieces)
                # Not `yield from`: what Ray asks a generator for, an iterator over a list does not have.
                for word in words:  # noqa: UP028
                    yield word
                if ended is not None:
                    yield Lost(f"it could not be told any more to end: {lost[0]}", True) if lost else ended
                    return
        finally:
            # Whoever does not want it any more, nothing of it may be left when the task ends.
            cancel()
            runner.join()


def _run(order: Order, ending: CommandEnding, outbox: Outbox[Ended | Lost]) -> None:
    warnings: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        outbox.note(Warned(message))

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
            merge_window=max(order.merge_window, _GATHER),
            capture=Capture.tail(_JUDGED),
            ending=ending,
            on_stdout=partial(outbox.put, 0),
            on_stderr=partial(outbox.put, 1),
            on_warning=warn,
            on_usage=(lambda sample: outbox.note(Used(sample))) if order.wants_usage else None,
        )
        result: WorkerResult | None = run(job)
        raised: WorkerError | None = None
    except WorkerError as error:
        raised, result = error, error.result
    except BaseException as error:  # noqa: BLE001 (whatever it is has to be told)
        outbox.finish(Lost(f"the node failed at it: {describe_error(error)}"))
        return
    is_cut = result is not None and _is_cut(result, warnings)
    if result is not None:
        # The output is there already.
        result = result.wrapped(lambda _: PythonCapture(Capture.none()))
    if raised is not None:
        raised.result = result
    outcome = raised or result
    assert outcome is not None  # noqa: S101
    outbox.finish(Ended(outcome, is_cut))


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
