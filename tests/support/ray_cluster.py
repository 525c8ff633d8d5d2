"""A Ray cluster of two nodes on this machine, each of some processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NODES = ("a", "b")


class RayCluster:
    """A cluster that runs; `address` is what `ray.init` takes."""

    def __init__(self, nodes: dict[str, Any], address: str) -> None:
        self.address = address
        self._nodes = nodes

    def kill_node(self, name: str) -> None:
        """Kill all that a node is made of, its workers too, but nothing that these have started."""
        own = {started.process.pid for kind in self._nodes[name].all_processes.values() for started in kind}
        for pid in own | {child for child, parent in _parents().items() if parent in own}:
            os.kill(pid, signal.SIGKILL)


def _parents() -> dict[int, int]:
    """Return the parents of all processes."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def refuse_outside_of_own_network() -> None:
    """Raise `RuntimeError` where others could reach what Ray opens: it listens on all addresses, for everybody."""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        raise RuntimeError(f"Ray would listen on {', '.join(others)}: use `make test-ray`")


@contextmanager
def running_ray_cluster(*, cpus: int = 4) -> Iterator[RayCluster]:
    """Run a cluster with the nodes `NODES` and connect this process to it.

    Adapters leave that connection alone; one for each test would take a second of each.
    """
    refuse_outside_of_own_network()
    # It would tell its makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What an earlier connection left behind would be the nodes' own.
    os.environ.pop("PYTHONBREAKPOINT", None)
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        nodes = {
            name: cluster.add_node(
                node_name=name,
                num_cpus=cpus,
                resources={name: 100},
                object_store_memory=256 * 2**20,
                include_dashboard=False,
            )
            for name in NODES
        }
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        yield RayCluster(nodes, cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
