"""The connection to a Ray cluster: one for the whole process, and what each adapter needs there."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..._command.ending import describe_error
from ..._errors import WorkerError, WorkerLostError
from ..._version import installed_version
from .losses import excerpt
from .needs import Options, avoiding, lacking_everywhere, resources_of, tell_apart
from .remote_functions import make_command_task, make_endings, make_sweep

_SET_BY_RAY = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
_ANSWERS_WITHIN = 10.0
"""How long the head of a cluster may take to take a connection, in seconds."""
_WARNED_AGAIN = 300.0
"""How long after a warning of needs that no node can meet the same may be told again, in seconds."""

_process = threading.Lock()
_users = 0
_is_ours = False


class Cluster:
    """What an adapter does with a cluster. Its methods block: a moment, or seconds to connect and to leave."""

    def __init__(self, address: str, runtime_env: Mapping[str, Any] | None) -> None:
        """Take what `ray.init` is given, should nobody have called it before."""
        self._address = address
        self._runtime_env = None if runtime_env is None else dict(runtime_env)
        self._lock = threading.Lock()
        self._is_connected = False
        self._entered = 0
        self._task: Any = None
        self._endings: Any = None
        self._of_each: Options = {}
        self._version = installed_version()
        self._names: dict[str, str] = {}
        self._warned_at: dict[frozenset[tuple[str, float]], float] = {}

    @property
    def is_connected(self) -> bool:
        """Whether it is: Ray would start a cluster of its own for who is not."""
        import ray

        return self._is_connected and bool(ray.is_initialized())

    def enter(self) -> None:
        """Connect, and stay so until everybody who entered has left. Raises what `connect` does."""
        self.connect()
        with self._lock:
            self._entered += 1

    def connect(self) -> None:
        """Connect unless that is done. Raises `WorkerLostError` if there is no cluster."""
        with self._lock:
            if self.is_connected:
                return
            import ray

            # Should somebody else have ended the connection.
            self._is_connected = False
            try:
                _check_reachable(self._address)
                is_ours = _enter_process(self._address, self._runtime_env)
                self._endings = make_endings(ray.get_runtime_context().get_node_id())
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise _no_connection(self._address, error) from error
            # That of `ray.init` holds for all tasks, and may have folders of this machine.
            self._of_each = {} if is_ours or self._runtime_env is None else {"runtime_env": self._runtime_env}
            self._task = make_command_task()
            self._is_connected = True

    def leave(self) -> None:
        """Leave the cluster with the last, if nobody else in this process uses it and it was this that connected."""
        with self._lock:
            self._entered -= 1
            if self._entered or not self._is_connected:
                return
            self._is_connected = False
            import ray

            if ray.is_initialized():
                with suppress(ray.exceptions.RayError):
                    # What was asked of the actor before has been done then. It ends with its last handle.
                    ray.get(self._endings.end.remote(""), timeout=_ANSWERS_WITHIN)
                self._task = self._endings = None
                _leave_process()

    def avoiding(self, avoided: object) -> Options:
        """Return the options that keep a chunk from the nodes that are named. Asks the head, which may take long."""
        return avoiding({self._names.get(node_id, name): node_id for node_id, name in _names().items()}, avoided)

    def submit(self, order: bytes, options: Options) -> Any:
        """Have a node run a pickled `Order`, and return the generator of what it sends.

        Raises `WorkerError` for needs that Ray does not know.
        """
        try:
            task = self._task.options(**self._of_each, **options)
        except (TypeError, ValueError) as error:
            raise WorkerError(f"Ray cannot give what the chunk needs: {describe_error(error)}") from error
        return task.remote(self._version, order, self._endings)

    def end(self, key: str) -> None:
        """Have the command with this key end, wherever it runs; one that is over stays as it is."""
        if self.is_connected:
            self._endings.end.remote(key)

    def drop(self, items: Any) -> None:
        """Have a command not begin that waits; one that runs ends without a word."""
        import ray

        if ray.is_initialized():
            ray.cancel(items)

    def lacking(self, options: Options) -> str | None:
        """Return a warning if no node can meet these needs; for the same not again soon, unless they were met since.

        Asks the head, which may take long.
        """
        taken = resources_of(options)
        needs = frozenset(taken.items())
        try:
            nodes = _nodes()
        except Exception:  # noqa: BLE001 (what the head cannot tell now is no reason to lose a command that waits)
            return None
        # Without any node it is the connection that is lacking.
        lacking = lacking_everywhere(taken, [node["Resources"] for node in nodes]) if nodes else None
        with self._lock:
            now = time.monotonic()
            if lacking is None:
                self._warned_at.pop(needs, None)
            elif now - self._warned_at.get(needs, -math.inf) >= _WARNED_AGAIN:
                self._warned_at[needs] = now
                return f"waits for a node: none of the Ray cluster has what it needs: {lacking}"
            return None

    def learn_name(self, node_id: str) -> None:
        """Find out what a node is called. Asks the head, which may take long."""
        if node_id not in self._names:
            # What the head cannot tell now is no reason to lose what a node has done.
            with suppress(Exception):
                # Who is known already keeps the name, whoever has come with the same.
                self._names = {**_names(), **self._names}

    def name_of(self, node_id: str) -> str:
        """Return what a node is called: its name, which is its address where it was given none, or its id."""
        return self._names.get(node_id, node_id)

    def sweep(self, node_id: str, mark: str, seconds: float) -> bool:
        """Kill what has the mark in its environment there; return whether it is certain that nothing is left."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if not ray.is_initialized():
            # Asking would connect anew.
            return False
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        try:
            is_gone = ray.get(
                make_sweep().options(scheduling_strategy=there).remote(mark, seconds), timeout=seconds + 5
            )
        except Exception:  # noqa: BLE001 (nobody can look, for whatever reason)
            return False
        return bool(is_gone)


def _nodes() -> list[dict[str, Any]]:
    """Return what Ray tells of the nodes that are there."""
    import ray

    # Asking would connect anew.
    return [node for node in ray.nodes() if node["Alive"]] if ray.is_initialized() else []


def _names() -> dict[str, str]:
    return tell_apart({node["NodeID"]: node["NodeName"] for node in _nodes()})


def _no_connection(address: str, error: Exception) -> WorkerLostError:
    # What Ray says of "auto" is about options that nobody has here.
    is_none_there = address == "auto" and type(error) is ConnectionError
    reason = "none runs on this machine" if is_none_there else excerpt(error)
    return WorkerLostError(
        f"no connection to the Ray cluster {address!r}: {reason}: give HOST:PORT of its head with --ray-address"
        " (RayAdapter(address)), and make this machine a node of it: ray start --address HOST:PORT"
    )


def _enter_process(address: str, runtime_env: dict[str, Any] | None) -> bool:
    """Count a user of Ray in this process, and connect it if it is not connected; return whether this did."""
    import ray

    global _users, _is_ours
    with _process:
        is_first = not ray.is_initialized()
        if is_first:
            with _environment_kept():
                _silence()
                ray.init(address, runtime_env=runtime_env, log_to_driver=False, logging_level="ERROR")
            _users, _is_ours = 0, True
        _users += 1
        return is_first


def take_back_sigterm() -> None:
    """Have SIGTERM do what the program wants, and nothing else; to be called by the thread that may, the main one.

    Ray's C++ part writes a stack trace first, as if that were a fault.
    """
    if _is_ours and threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    """Raise `OSError` where nobody listens: Ray would try for minutes. Raise `ValueError` for Ray Client."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    if "://" in address:
        raise ValueError(f"output cannot be streamed through Ray Client (RAY_ADDRESS={address})")
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN).close()


def _silence() -> None:
    """Have Ray not write to the terminal what it has to say of tasks: it comes out as an error of theirs."""
    from ray._private import worker

    # There is no other way: `log_to_driver` is about what tasks print.
    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = False


def _leave_process() -> None:
    import ray

    global _users, _is_ours
    with _process:
        _users -= 1
        if _users <= 0 and _is_ours:
            _is_ours = False
            ray.shutdown()


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Put back what Ray sets for itself, which commands of this process would inherit."""
    before = {name: os.environ.get(name) for name in _SET_BY_RAY}
    try:
        yield
    finally:
        for name in _SET_BY_RAY:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})
