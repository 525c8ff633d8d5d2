"""The options that say where the chunks of a job run; each adapter brings its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from tailrace import AdapterContext, AdapterPlugin, AdapterRegistry, TailraceError, describe_error

if TYPE_CHECKING:
    from tailrace import WorkerAdapter

    _Choice = click.Choice[str]
else:
    # It has no parameters before click 8.4.
    _Choice = click.Choice

_DEFAULT = "local"


class AdapterRequest(NamedTuple):
    """What the options say."""

    plugin: AdapterPlugin
    values: Mapping[str, Any]
    """Those of the plugin's own options."""
    streaming: bool
    faults: Collection[str]
    """A line about each adapter that cannot be chosen."""


class AdapterCommand(click.Command):
    """A command with the options of all adapters; its function receives them as `adapter`, an `AdapterRequest`."""

    def __init__(
        self, name: str | None, *, params: list[click.Parameter], callback: Callable[..., Any], **rest: Any
    ) -> None:
        streaming = click.Option(
            ["--streaming"],
            is_flag=True,
            envvar="TAILRACE_STREAMING",
            help="Receive output while chunks run, from a worker that can send it; otherwise it comes at the end.",
        )
        self.plugins = plugins = AdapterRegistry([*params, click.Option(["--adapter"]), streaming])
        adapter = click.Option(
            ["--adapter"],
            type=_AdapterName(plugins),
            default=_DEFAULT,
            envvar="TAILRACE_ADAPTER",
            help="Where the chunks run; `tailrace adapters` says what each is. Default local.",
        )
        added = [adapter, *plugins.options(), streaming]

        @wraps(callback)
        def collect(**values: Any) -> Any:
            told = {str(option.name): values.pop(option.name) for option in added if option.name in values}
            return callback(adapter=_to_request(plugins, told), **values)

        super().__init__(name, params=[*params, *added], callback=collect, **rest)


class _AdapterName(_Choice):
    """The name of an adapter; that of one that cannot be used is refused with the reason."""

    def __init__(self, plugins: AdapterRegistry) -> None:
        super().__init__(list(plugins.found))
        self._faults = {fault.name: str(fault) for fault in plugins.faults}

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return self._faults.get(value) or super().get_invalid_choice_message(value, ctx)


def make_adapter(
    request: AdapterRequest,
    spec_path: Path | None,
    source: str,
    job_dir: Path,
    *,
    masked: Collection[str],
    for_many_jobs: bool = False,
) -> WorkerAdapter:
    """Return the adapter that `request` asks for, for the job that was loaded from `source`; see `AdapterContext`.

    A variable with a secret of its own is taken out of the environment, unless it is one of the `masked` ones.

    Raises `click.UsageError` for what cannot be used, and where a package is missing.
    """
    plugin = request.plugin
    context = AdapterContext(
        source=source,
        spec_path=spec_path,
        job_dir=job_dir,
        streaming=request.streaming,
        masked=masked,
        for_many_jobs=for_many_jobs,
    )
    try:
        adapter = plugin.make(request.values, context)
    except (click.ClickException, TailraceError):
        raise
    except (ImportError, ValueError) as error:
        raise click.UsageError(describe_error(error)) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {describe_error(error)}"
        raise click.UsageError(f"--adapter {plugin.name} cannot be used: {problem}") from error
    if not callable(getattr(adapter, "execute", None)) or not hasattr(adapter, "streams"):
        raise click.UsageError(f"--adapter {plugin.name} cannot be used: it made {adapter!r}, which is no adapter")
    return adapter


def _to_request(plugins: AdapterRegistry, told: Mapping[str, Any]) -> AdapterRequest:
    plugin, _ = plugins.found[told["adapter"]]
    own = {option.name for option in plugin.options}
    context = click.get_current_context()
    for name in [name for name in told if name != "adapter"]:
        # What the environment says may be meant for other commands.
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        takers = _takers(plugins, name)
        if is_given and plugin.name not in takers:
            raise click.UsageError(
                f"{_option(context, name)} goes with --adapter {' or '.join(takers)}, not {plugin.name}"
            )
    return AdapterRequest(
        plugin,
        {name: value for name, value in told.items() if name in own},
        streaming=bool(told["streaming"]) and plugin.takes_streaming,
        faults=[str(fault) for fault in plugins.faults],
    )


def _takers(plugins: AdapterRegistry, name: str) -> list[str]:
    if name == "streaming":
        return sorted(plugin.name for plugin, _ in plugins.found.values() if plugin.takes_streaming)
    return plugins.with_parameter(name)


def _option(context: click.Context, name: str) -> str:
    return next(option.opts[0] for option in context.command.params if option.name == name)
