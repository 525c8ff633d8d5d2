"""What Ray is given to run on other machines.

The functions and the class are made inside of functions, so that Ray sends their code along: a node that has no
tailrace, or another version of it, can then say so.
"""

from __future__ import annotations

from typing import Any


def make_command_task() -> Any:
    """Return the remote function that runs a pickled `Order`."""
    import ray

    def tailrace_command(version: str, order: bytes, endings: Any) -> Any:
        import pickle

        import ray

        node_id = ray.get_runtime_context().get_node_id()
        try:
            import tailrace
            from tailrace._engines.ray.node_side import run_command
        except ImportError as error:
            yield (node_id, f"it has no tailrace that works ({error})")
            return
        if tailrace.__version__ != version:
            yield (node_id, f"it has tailrace {tailrace.__version__}, and this machine {version}")
            return
        # From one of these machines itself, as everything that Ray hands on.
        told = pickle.loads(order)  # noqa: S301
        try:
            yield from run_command(told, node_id, lambda: endings.wait.remote(told.key).future())
        finally:
            # That nobody waits for it any more.
            endings.end.remote(told.key)

    # A second attempt would be joined to what came of the first.
    return ray.remote(max_retries=0, num_returns="streaming", _generator_backpressure_num_objects=_AHEAD)(
        tailrace_command
    )


_AHEAD = 3
"""How many items a node sends before the first is taken."""


def make_endings(node_id: str) -> Any:
    """Start the actor on this node through which nodes are told that a command has to end, and return its handle.

    A cancellation by Ray would not do: after it nothing more comes, no result and no last words.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 100_000, "max_restarts": -1, "max_task_retries": -1}
    strategy = NodeAffinitySchedulingStrategy(node_id, soft=True)
    return ray.remote(endings_class()).options(scheduling_strategy=strategy, **options).remote()


def endings_class(remembered_for: float = 600.0) -> Any:
    """Return the class of that actor, which remembers so many seconds what nobody waited for when it came."""

    class TailraceEndings:
        def __init__(self) -> None:
            self._waiting: dict[str, Any] = {}
            self._asked: set[str] = set()

        async def wait(self, key: str) -> None:
            """Return when the command with this key has to end, or has ended."""
            import asyncio

            if key not in self._asked:
                event = self._waiting[key] = asyncio.Event()
                await event.wait()
                del self._waiting[key]

        async def end(self, key: str) -> None:
            """Have `wait` return, and if it comes soon too."""
            import asyncio

            if key in self._waiting:
                self._waiting[key].set()
            else:
                self._asked.add(key)
                asyncio.get_running_loop().call_later(remembered_for, self._asked.discard, key)

    return TailraceEndings


def make_sweep() -> Any:
    """Return the remote function that kills what has a mark in its environment, until nothing of it is left."""
    import ray

    def tailrace_sweep(mark: str, seconds: float) -> bool:
        import os
        import pathlib
        import signal
        import time

        deadline = time.monotonic() + seconds
        found = looked_again = True
        while time.monotonic() < deadline:
            looked_again, found = not found, False
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    if mark.encode() in (process / "environ").read_bytes():
                        found = True
                        os.kill(int(process.name), signal.SIGKILL)
                except OSError:
                    continue
            # Whoever was just being forked is seen a moment later.
            if not found and looked_again:
                return True
            time.sleep(0.1)
        return False

    return ray.remote(num_cpus=0, max_retries=0)(tailrace_sweep)
