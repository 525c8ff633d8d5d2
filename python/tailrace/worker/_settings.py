"""What a worker may do."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker may do. Times are seconds, sizes bytes. Raises `TypeError` or `ValueError` for what cannot be."""

    allow_specs: Sequence[str]
    """Where job specifications may come from: folders, and http(s) URLs with what their paths begin with.

    Only a URL with an IP address in it, or `localhost`, lets the worker ask this machine or one of the local link.
    """
    _: KW_ONLY
    allow_commands: Collection[str] | None = None
    """The commands that may be run, as the specifications spell them; None: any that a specification names.

    A shell in it allows everything.
    """
    work_dir: str | os.PathLike[str] | None = None
    """A folder shared with whoever submits jobs. Chunks read from it, and what they have written appears in it.

    None: each chunk runs in a temporary folder, which is deleted with what was written there.
    """
    token: str | None = field(default=None, repr=False)
    """What a client has to send as `Authorization: Bearer ...` or as `x-functions-key`; None: nothing."""
    concurrency: int = field(default_factory=_processors)
    """How many chunks may run at a time; requests beyond it are answered with 429."""
    max_body: int = 2**20
    """The largest body of a request."""
    ignore_assets: bool = False
    """Whether jobs with an `assetsUrl` are run all the same: a worker fetches no assets, and else refuses them."""
    body_timeout: float = 10.0
    """The longest a request's body may take to come."""
    kept_output: int = 256 * 2**20
    """How much output of all attempts is kept; beyond it, only the last MiB of each. Replays are dropped first."""

    def __post_init__(self) -> None:
        if isinstance(self.allow_specs, str):
            raise TypeError("allow_specs must be a sequence of folders and URLs, not one str")
        if isinstance(self.allow_commands, str):
            raise TypeError("allow_commands must be a collection of names, not one str")
        if self.allow_commands is not None and not all(map(str.strip, self.allow_commands or [""])):
            raise ValueError("allow_commands (--allow-command, TAILRACE_ALLOW_COMMAND) must name commands, or be unset")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise ValueError("token must be printable ASCII, and not empty")
        for name in ("concurrency", "max_body", "body_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive: {getattr(self, name)!r}")
        if not self.kept_output >= 0:
            raise ValueError(f"kept_output must not be negative: {self.kept_output!r}")
        if self.work_dir is not None and not os.path.isdir(self.work_dir):  # noqa: PTH112
            raise ValueError(f"work_dir is not a folder: {os.fspath(self.work_dir)}")
