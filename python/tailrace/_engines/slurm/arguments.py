"""What `srun` is called with for a job."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._command.job import WorkerJob
from .on_node import SCRIPT

HERE = """
unset "$1" SLURM_LABELIO SLURM_STDOUTMODE SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU
messages=$2
shift 2
exec "$@" 3>&1 1>&2 2> "$messages"
"""
"""Runs srun, for `sh`; arguments: a variable to leave out, a file for what srun itself says, and srun's command line.

The pipe with the command's standard output is srun's descriptor 3, see `on_node`. The variables would change what is
written, or contradict `--mem`.
"""


def new_name(job: WorkerJob) -> str:
    """Return a name for the job in Slurm's queue, by which it can be found before its number is known."""
    chunk = job.meta.get("chunk_id")
    return "-".join(["tailrace", *([] if chunk is None else [str(chunk)]), secrets.token_hex(6)])


def srun_arguments(
    job: WorkerJob,
    name: str,
    mark: str,
    *,
    in_allocation: bool,
    exclude: Collection[str] = (),
    place: Sequence[str] = (),
) -> list[str]:
    """Return the arguments for a job, with `place` after our own options: the first of a kind is overruled by it.

    Raises `ValueError` for a need that is not a number.
    """
    folder = Path(job.cwd or ".").absolute()
    return [
        "--nodes=1",
        "--ntasks=1",
        "--input=none",
        "--unbuffered",
        "--error=/dev/fd/3",
        # The script goes to the folder itself: Slurm would go to /tmp where it is missing.
        "--chdir=/",
        # Variables may have commas and newlines, and secrets are not to be seen in a list of processes.
        "--export=ALL",
        "--mpi=none",
        *(["--exact"] if in_allocation else []),
        *_needed(job.meta.get("needs") or {}, in_allocation=in_allocation),
        *([f"--exclude={','.join(sorted(exclude))}"] if exclude else []),
        *place,
        # By this name it is found and ended.
        f"--job-name={name}",
        "--",
        "sh",
        "-c",
        SCRIPT,
        "sh",
        mark,
        os.fspath(folder),
        job.command,
        *job.args,
    ]


def _needed(needs: Any, *, in_allocation: bool) -> list[str]:
    if not isinstance(needs, Mapping):
        raise ValueError(f"needs must be a mapping of names to numbers, not {needs!r}")
    licences = {name: amount for name, amount in needs.items() if name not in ("cpus", "memory", "gpus")}
    options = []
    if needs.get("cpus"):
        options.append(f"--cpus-per-task={math.ceil(needs['cpus'])}")
    if needs.get("memory"):
        options.append(f"--mem={math.ceil(needs['memory'] / 2**20)}M")
    elif in_allocation:
        # Else the first step would have all of the allocation's memory, and the others wait for it.
        options.append("--mem=0")
    if needs.get("gpus"):
        options.append(f"--gres=gpu:{math.ceil(needs['gpus'])}")
    elif in_allocation:
        options.append("--gres=none")
    if licences:
        options.append(f"--licenses={','.join(f'{name}:{math.ceil(amount)}' for name, amount in licences.items())}")
    return options


def time_option(seconds: float) -> str:
    """Return the option for a time limit; Slurm itself rounds it up to minutes."""
    return f"--time=0:{math.ceil(seconds)}"
