"""Commands in containers on this machine."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from ..._checks import check_collection, check_type
from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._errors import WorkerSpawnError
from .abilities import CAPABILITIES
from .container import Container
from .engine import Engine, new_name
from .exchange import Exchange, as_spawn_error, container_init
from .run_options import check_options, check_volumes, folder_of, run_options


class DockerAdapter:
    """Runs each command in a container of its own, with docker or podman on this machine, and streams its output.

    The job's folder is mounted at its own path, and is where the command runs, as the user and group of this process.
    The command has the variables of the image and those of the job, not this process's; there is no network unless
    `options` ask for one. Its needs (`cpus`, `memory`, `gpus`) are what the container is limited to.
    A container ends with all that runs in it when the command ends, and when this process does, even if it is killed.

    `async with` looks for the engine and the image, before the first command does; one adapter does so once.
    """

    streams = True
    capabilities = CAPABILITIES

    def __init__(
        self, image: str, *, engine: str = "docker", options: Sequence[str] = (), volumes: Sequence[str] = ()
    ) -> None:
        """Take an image that the engine has, and "docker", "podman" or the path of either.

        `options` are more of `docker run`, such as "--network=host", and win over those that are set here; `volumes`
        are more folders, as "/here:/there" or "/here:/there:ro". Paths in both are absolute. Raises `ImportError`
        without the native core, which has the container's first process, and `TypeError` or `ValueError` for what
        cannot be used.
        """
        container_init()
        for name, value in (("image", image), ("engine", engine)):
            check_type(name, value, str, "a str")
            if not value or value.startswith("-"):
                raise ValueError(f"{name} must be a name, not {value!r}")
        check_collection("options", options, str, "options of docker run")
        check_collection("volumes", volumes, str, "folders, such as /here:/there")
        check_options(options)
        check_volumes(volumes)
        self._engine = Engine(str(Path(engine).absolute()) if "/" in engine else engine, image)
        self._options = tuple(options)
        self._volumes = tuple(volumes)

    async def __aenter__(self) -> Self:
        """Raise `WorkerSpawnError` if the engine is not there, does not answer, or does not have the image."""
        await self._engine.get_to_know()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove what an engine has not removed of containers that have ended; it should have."""
        with anyio.CancelScope(shield=True):
            await self._engine.remove_ended()

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` in a container to its end; its limits count from when the command begins there.

        Raises `WorkerSpawnError` if the engine cannot make the container, this machine lacks what that takes, or the
        image has no such program, `WorkerLostError` if the engine or the container was lost, and what
        `LocalWorkerAdapter.execute` does.
        """
        if not Path(folder_of(job)).is_dir():  # noqa: ASYNC240
            raise WorkerSpawnError(errno.ENOENT, f"cannot start {job.command}: there is no folder {folder_of(job)}")
        await self._engine.get_to_know()
        with as_spawn_error(job):
            name = new_name()
            exchange = Exchange(name)
        with exchange:
            arguments = run_options(
                job,
                exchange.folder,
                name=name,
                image=self._engine.image,
                is_podman=self._engine.is_podman,
                options=self._options,
                volumes=self._volumes,
            )
            return await Container(name, job, self._engine, exchange).run(arguments)
