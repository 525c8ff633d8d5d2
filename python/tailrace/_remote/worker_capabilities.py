"""What any worker can do that is told a chunk and reads its command in the job file."""

from __future__ import annotations

from .._checks import check_type
from .._command.adapter import Capabilities


def worker_capabilities(*, streams: bool, shares_files: bool) -> Capabilities:
    """Return what an adapter for such workers can do. Raises `TypeError` where `shares_files` is no bool.

    Variables stay here, those of `slot_env` too, since a request names the chunk alone. `timeout` is sent along, as is
    `cpu_idle_timeout`, which older workers ignore.
    """
    check_type("shares_files", shares_files, bool, "True or False")
    return Capabilities(
        streams=bool(streams),
        # An answer that comes at the end tells nothing before.
        tells_start=bool(streams),
        remote=True,
        runs_any_command=False,
        shares_files=shares_files,
        honours_env=False,
        honours_slots=False,
    )
