"""`--adapter docker` and its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shutil import which
from typing import Any

import click

from ..._command.adapter import WorkerAdapter
from ..._command.plugin import AdapterContext, AdapterPlugin
from .abilities import CAPABILITIES

_ENGINES = ("docker", "podman")

_IMAGE = click.Option(
    ["--docker-image"], metavar="I", envvar="TAILRACE_DOCKER_IMAGE", help="The image that the commands run in (docker)."
)
_ENGINE = click.Option(
    ["--docker-engine"],
    metavar="E",
    default="docker",
    envvar="TAILRACE_DOCKER_ENGINE",
    help="docker, podman or the path of either (docker); default docker.",
)
_VOLUME = click.Option(
    ["--docker-volume"],
    metavar="HERE:THERE",
    multiple=True,
    help="A folder to mount beside the job's (docker); HERE:THERE:ro to read alone. May be given again.",
)
_OPTION = click.Option(
    ["--docker-option"],
    metavar="O",
    multiple=True,
    help="An option of `docker run`, such as --network=host (docker). May be given again.",
)


def _make(values: Mapping[str, Any], context: AdapterContext) -> WorkerAdapter:
    from .adapter import DockerAdapter

    if not values["docker_image"]:
        context.refuse("--adapter docker needs --docker-image (or TAILRACE_DOCKER_IMAGE)")
    return DockerAdapter(
        values["docker_image"],
        engine=values["docker_engine"],
        options=values["docker_option"],
        volumes=values["docker_volume"],
    )


def _lacks() -> Sequence[str]:
    if any(which(engine) for engine in _ENGINES):
        return ()
    return ("docker or podman: install one of them, for example by apt install podman",)


DOCKER = AdapterPlugin(
    name="docker",
    options=(_IMAGE, _ENGINE, _VOLUME, _OPTION),
    make=_make,
    summary="in containers of docker or podman",
    capabilities=CAPABILITIES,
    lacks=_lacks,
)
