"""Commands on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from ..._checks import check_type
from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._extras import missing_extra
from .abilities import CAPABILITIES
from .cluster import Cluster, take_back_sigterm
from .needs import to_options


class RayAdapter:
    """Runs commands on the nodes of a Ray cluster, and streams their output as `LocalWorkerAdapter` does here.

    Each command is a task of Ray's, which chooses the node: by what the chunk needs (`meta["needs"]`), or else by what
    was given here. Until then it waits, and no limit counts. On the node the same core runs it as here, so that limits,
    endings and results are the same; a node must have tailrace in this version, and the job's folder under the same
    path.

    It connects at the first command, or with `async with`, which leaves the cluster at the end of the block. Where the
    program has called `ray.init` itself, that connection is used and left alone.
    """

    streams = True
    remote = True
    capabilities = CAPABILITIES

    def __init__(
        self,
        address: str = "auto",
        *,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: int | None = None,
        resources: Mapping[str, float] = {},
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the cluster's address, and what of it a chunk takes that does not say itself what it needs.

        The address is `ray.init`'s: "auto" for the cluster that runs on this machine, "HOST:6379" for its head,
        "local" for one that is started here and ends with the connection. `num_cpus` is 1 if it is None; `memory` is
        bytes. `runtime_env` is Ray's: it may install tailrace on the nodes (`{"pip": ["tailrace"]}`).

        Raises `ImportError` if Ray is missing, `ValueError` or `TypeError` for values that cannot be used.
        """
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise missing_extra(type(self).__name__, "ray", error) from error
        check_type("address", address, str, "a str")
        if "://" in address:
            raise ValueError(f"address: output cannot be streamed through Ray Client ({address}): give HOST:PORT")
        check_type("resources", resources, Mapping, "a mapping of names to amounts")
        if runtime_env is not None:
            check_type("runtime_env", runtime_env, Mapping, "a mapping, as of ray.init")
        self._defaults = {
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "memory": memory,
            "resources": dict(resources),
        }
        to_options(self._defaults, {})
        self._cluster = Cluster(address, runtime_env)

    async def __aenter__(self) -> Self:
        await self._connect(self._cluster.enter)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._cluster.leave)

    async def _connect(self, connect: Callable[[], None]) -> None:
        await anyio.to_thread.run_sync(connect)
        take_back_sigterm()

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` on a node to its end.

        Raises `WorkerLostError` if the cluster, the node or what runs the command there is lost, and else what
        `LocalWorkerAdapter.execute` does. What a callback raises comes out unchanged.
        """
        from .remote_command import RemoteCommand

        if not self._cluster.is_connected:
            await self._connect(self._cluster.connect)
        needs = job.meta.get("needs")
        options = to_options(self._defaults, needs if isinstance(needs, Mapping) else {})
        avoided = job.meta.get("avoid_nodes")
        if avoided:
            options |= await anyio.to_thread.run_sync(self._cluster.avoiding, avoided)
        return await RemoteCommand(job, self._cluster, options).run()
