"""`--adapter ray` and its option."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from ..._command.adapter import WorkerAdapter
from ..._command.plugin import AdapterContext, AdapterPlugin
from ..._extras import lacking
from .abilities import CAPABILITIES

_ADDRESS = click.Option(
    ["--ray-address"],
    metavar="A",
    envvar="TAILRACE_RAY_ADDRESS",
    help="The cluster (ray): HOST:6379 of its head, auto (default) for the one that this machine is a node of,"
    " or local for one that is started for this job.",
)


def _make(values: Mapping[str, Any], _: AdapterContext) -> WorkerAdapter:
    from .adapter import RayAdapter

    return RayAdapter(values["ray_address"] or "auto")


RAY = AdapterPlugin(
    name="ray",
    options=(_ADDRESS,),
    make=_make,
    summary="on the nodes of a Ray cluster",
    capabilities=CAPABILITIES,
    lacks=partial(lacking, "ray", ["ray"]),
)
