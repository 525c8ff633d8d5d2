"""What the command line makes adapters of, its own and those of other packages."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .adapter import Capabilities, WorkerAdapter

if TYPE_CHECKING:
    import click


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterContext:
    """What a plugin is told of the job that its adapter is for."""

    source: str
    """Where the specification came from, as the user wrote it: a path or a URL."""
    spec_path: Path | None
    """Its file, as an absolute path; None where it came from the web or through a pipe."""
    job_dir: Path
    """The folder that the commands run in and the output files are relative to."""
    streaming: bool
    """Whether `--streaming` asks for output while commands run; never True where the plugin does not take that."""
    masked: Collection[str] = field(default=(), repr=False)
    """The environment variables of `--mask-env`, whose values are shown nowhere."""
    for_many_jobs: bool = False
    """Whether the adapter is for a farm: each `WorkerJob` has in its `meta` what is known of its job, and the source
    is that of none."""

    def refuse(self, message: str) -> NoReturn:
        """End the command line with this line and exit status 2: raises `click.UsageError`."""
        import click

        raise click.UsageError(message)

    def take_secret(self, variable: str) -> str | None:
        """Return the variable's value and take it out of the environment, where the merge would find it.

        It stays there if it is one of those that `--mask-env` names. Returns None if there is none, or it is empty.
        """
        value = os.environ.get(variable)
        if variable not in self.masked:
            os.environ.pop(variable, None)
        return value or None


def _nothing() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterPlugin:
    """A kind of adapter that `tailrace job run --adapter NAME` can make.

    Another package adds one by an entry point in the group `tailrace.adapters` that names an object of this kind; see
    docs/adapters.md. Anything with the first three attributes will do.
    """

    name: str
    """What `--adapter` calls it."""
    options: Sequence[click.Parameter]
    """Its `click.Option` objects. Their names must be nobody else's, so begin them with the plugin's.

    None may be required, since other adapters do without: `make` sees to that.
    """
    make: Callable[[Mapping[str, Any], AdapterContext], WorkerAdapter]
    """Returns the adapter for a job. It is given the values of the plugin's own options, by their parameters' names.

    What it cannot use it tells by `context.refuse`. An `ImportError` or a `ValueError` is told in one line too.
    """
    summary: str = ""
    """Where its commands run, such as "on AWS Lambda", for `tailrace adapters`."""
    capabilities: Capabilities | None = None
    """What its adapters can do unless an option changes that; None: it is not known before one is made."""
    takes_streaming: bool = False
    """Whether `--streaming` has its adapters stream; else that option is refused beside it."""
    lacks: Callable[[], Sequence[str]] = _nothing
    """Returns what is missing on this machine, such as a package or a program, each with what would help."""
