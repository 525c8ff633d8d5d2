"""What a node and the one that sends it a command tell each other, apart from output.

Ray pickles it; both ends have the same version.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..._command.result import UsageSample, WorkerResult
from ..._errors import WorkerError


@dataclass(frozen=True, slots=True)
class Order:
    """The command that a node runs, as in a `WorkerJob`; `key` is what its end is asked for by."""

    key: str
    command: str
    args: list[str]
    env: dict[str, str]
    cwd: str
    timeout: float | None
    cpu_idle_timeout: float | None
    kill_grace: float
    merge_window: float
    wants_usage: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """The command begins, on the node with this id."""

    node_id: str


@dataclass(frozen=True, slots=True)
class Warned:
    """What `on_warning` is to be told."""

    message: str


@dataclass(frozen=True, slots=True)
class Used:
    """What `on_usage` is to be told."""

    sample: UsageSample


@dataclass(frozen=True, slots=True)
class Ended:
    """How the command ended: a result without output, or an error. Nothing follows."""

    outcome: WorkerResult | WorkerError
    is_cut: bool
    """Whether some of the output could not be had."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What ran the command was lost, and the reason. Nothing follows."""

    reason: str
    is_seen_ended: bool = False
    """Whether it is certain that nothing of the command runs any more."""
    node_id: str | None = None
    """Where it was, if a task has found that out that then began nothing."""
