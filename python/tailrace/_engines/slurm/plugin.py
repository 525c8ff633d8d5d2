"""`--adapter slurm`, and its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..._command.adapter import WorkerAdapter
from ..._command.plugin import AdapterContext, AdapterPlugin
from .abilities import CAPABILITIES

_PARTITION = click.Option(
    ["--slurm-partition"],
    metavar="P",
    envvar="TAILRACE_SLURM_PARTITION",
    help="The partition to run in (slurm); default the cluster's own.",
)
_ACCOUNT = click.Option(
    ["--slurm-account"], metavar="A", envvar="TAILRACE_SLURM_ACCOUNT", help="The account to charge (slurm)."
)
_OPTION = click.Option(
    ["--slurm-option"],
    metavar="O",
    multiple=True,
    help="An option for srun, such as --slurm-option=--qos=night (slurm). May be given again.",
)


def _make(values: Mapping[str, Any], _: AdapterContext) -> WorkerAdapter:
    from .adapter import SlurmAdapter

    return SlurmAdapter(
        partition=values["slurm_partition"], account=values["slurm_account"], options=values["slurm_option"] or ()
    )


def _lacks() -> Sequence[str]:
    from shutil import which

    return [] if which("srun") else ["srun: install Slurm's commands, and the configuration of the cluster"]


SLURM = AdapterPlugin(
    name="slurm",
    options=(_PARTITION, _ACCOUNT, _OPTION),
    make=_make,
    summary="on the nodes of a Slurm cluster",
    capabilities=CAPABILITIES,
    lacks=_lacks,
)
