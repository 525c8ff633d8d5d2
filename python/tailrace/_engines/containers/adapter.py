"""Commands in containers on this machine."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..._checks import check_type
from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._errors import WorkerSpawnError
from ..._local.adapter import LocalWorkerAdapter
from .abilities import CAPABILITIES
from .container import ENGINE_TIME, Container
from .engine import Engine, new_name
from .exchange import Exchange, container_init
from .run_options import folder_of, run_options, variables

# Holds the FIFO open beside the client. A request to terminate ends this shell at once, whatever the client makes of
# it, and so does whatever kills the commands of a host that is gone; the container ends itself then.
_HOLD = """
exec 3<> "$0"
"$@" 3>&- &
wait "$!"
"""

_REFUSED = ("--init", "--pid", "--entrypoint", "--detach", "-d", "--tty", "-t", "-it", "-ti")
"""Options without which nobody could tell how a command ended."""


class DockerAdapter:
    """Runs each command in a container of its own, with docker or podman on this machine, and streams its output.

    The job's folder is mounted at its own path, and is where the command runs, as the user and group of this process.
    The command has the variables of the image and those of the job, not this process's; there is no network unless
    `options` ask for one. Its needs (`cpus`, `memory`, `gpus`) are what the container is limited to.
    A container ends with all that runs in it when the command ends, and when this process does, even if it is killed.
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
        for name, values in (("options", options), ("volumes", volumes)):
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise TypeError(f"{name} must be a sequence of str, not {values!r}")
        for option in options:
            if not option.startswith("-"):
                raise ValueError(f"options must each begin with -, such as --network=host, not {option!r}")
        for volume in volumes:
            here, colon, there = volume.partition(":")
            if not colon or not here.startswith("/") or not there.startswith("/"):
                raise ValueError(f"volumes must be like /here:/there or /here:/there:ro, not {volume!r}")
        refused = next((option for option in options if option.partition("=")[0] in _REFUSED), None)
        if refused is not None:
            raise ValueError(f"options must not have {refused}: the container's first process is tailrace's")
        self._image = image
        self._engine = Engine(str(Path(engine).absolute()) if "/" in engine else engine)
        self._options = tuple(options)
        self._volumes = tuple(volumes)
        self._local = LocalWorkerAdapter()

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` in a container to its end.

        Raises `WorkerSpawnError` if the engine cannot make the container or the image has no such program,
        `WorkerLostError` if the engine or the container was lost, and what `LocalWorkerAdapter.execute` does.
        """
        if not Path(folder_of(job)).is_dir():  # noqa: ASYNC240
            raise WorkerSpawnError(errno.ENOENT, f"cannot start {job.command}: there is no folder {folder_of(job)}")
        await self._engine.get_to_know()
        name = new_name()
        with Exchange(name, variables(job)) as exchange:
            container = Container(name, job, self._engine, exchange, self._image)
            arguments = run_options(
                job,
                exchange.folder,
                name=name,
                image=self._image,
                is_podman=self._engine.is_podman,
                options=self._options,
                volumes=self._volumes,
            )
            client = replace(
                job,
                command="/bin/sh",
                args=["-c", _HOLD, str(exchange.alive), self._engine.program, *arguments],
                env=None,
                # podman's conmon leaves a file named "oom" where it began, when memory was lacking.
                cwd=exchange.folder,
                kill_grace=job.kill_grace + ENGINE_TIME,
                # The client does no work.
                cpu_idle_timeout=None,
                on_usage=None,
            )
            try:
                result = await self._local.execute(client)
            except BaseException as error:
                await container.end_beside(error, client.command)
                raise
            return await container.to_result(result)
