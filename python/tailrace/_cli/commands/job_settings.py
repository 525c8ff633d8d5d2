"""The options of `tailrace job run` that a farm can store, for the commands that submit and edit jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from .run import run

if TYPE_CHECKING:
    from tailrace import JobSettings

_F = TypeVar("_F", bound=Callable[..., Any])

_SAME = (
    "enforce_memory",
    "merge_timeout",
    "retries",
    "retry_delay",
    "timeout",
    "idle_timeout",
    "cpu_idle_timeout",
    "finish_timeout",
    "no_progress_timeout",
    "progress",
    "stop_on_error",
    "fail_on_error",
    "resource_delay",
    "fail_after",
    "verify_output",
    "check_frames",
    "log_limit",
    "log_compress",
    "mask_env",
    "audio",
)
"""Which have the same name."""
_OTHERS = ("no_merge", "stitch", "error_pattern", "keep_going")
_OWN = (
    click.Option(["--max-running"], metavar="N", type=click.IntRange(min=1), help="Chunks of this job at a time."),
    click.Option(
        ["--chunk-order"],
        type=click.Choice(["listed", "ends_first", "middle_first", "reverse"]),
        default="listed",
        help="In which order the chunks begin; default as they are listed.",
    ),
    click.Option(
        ["--job-def-url"],
        metavar="U",
        help="Where workers elsewhere (http, gcp, aws) read SPEC: a URL, or a path on their machines.",
    ),
    click.Option(["--on-end"], metavar="COMMAND", help="A command that the farm runs when the job has ended."),
)
_NAMES = (*_SAME, *_OTHERS, *(str(option.name) for option in _OWN))


def settings_options(function: _F) -> _F:
    """Give a command these options; its function takes what was given of them as `settings`, a mapping."""
    stored = [parameter for parameter in run.params if parameter.name in (*_SAME, *_OTHERS)]

    def collect(**values: Any) -> Any:
        context = click.get_current_context()
        told = {name: values.pop(name) for name in _NAMES}
        given = {
            name: value
            for name, value in told.items()
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        return function(settings=_fields(given), **values)

    collect.__doc__ = function.__doc__
    collect.__name__ = function.__name__
    # Of functions that are no commands yet, click takes the options from there, the last one first.
    own = getattr(function, "__click_params__", [])
    collect.__click_params__ = [*reversed([*stored, *_OWN]), *own]  # type: ignore[attr-defined]
    return collect  # type: ignore[return-value]


def settings_of(fields: Mapping[str, Any], before: JobSettings | None = None) -> JobSettings:
    """Return settings with these fields, the others as before. Raises `SpecError` for what cannot be used."""
    from tailrace import JobSettings

    kept = {} if before is None else {name: getattr(before, name) for name in before.model_fields_set}
    return JobSettings(**{**kept, **fields})


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in given.items() if name not in _OTHERS}
    if "no_merge" in given:
        fields["merge"] = not given["no_merge"]
    if "stitch" in given:
        # Relative to where the user is, like every file on a command line, not to the job's folder.
        fields["output_file"] = str(Path(given["stitch"]).absolute())
    if "audio" in given:
        fields["audio"] = str(Path(given["audio"]).absolute())
    if "error_pattern" in given:
        fields["error_patterns"] = given["error_pattern"]
    if "keep_going" in given:
        fields["fail_fast"] = False if given["keep_going"] else None
    return fields
