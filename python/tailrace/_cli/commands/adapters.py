"""`tailrace adapters`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict

import click

from tailrace import AdapterPlugin, Capabilities, PluginFault, PluginPackage, describe_error

from .run import run

_UNDERSCORE = re.compile("_([a-z])")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write a JSON array with an object for each of them.")
def adapters(as_json: bool) -> None:
    """List the adapters for `job run --adapter`: whose they are, what they can do, and what they lack on this machine.

    Those of installed packages that cannot be used are listed too, with the reason. Exit status: 0.
    """
    plugins = run.plugins
    if as_json:
        told = [_plugin_to_json(*found) for found in plugins.found.values()]
        click.echo(json.dumps([*told, *map(_fault_to_json, plugins.faults)], indent=2))
        return
    for plugin, package in plugins.found.values():
        click.echo(f"{plugin.name} ({', '.join(filter(None, (plugin.summary, f'from {package}')))})")
        for line in (*_abilities_of(plugin), *(f"lacks {what}" for what in _lacks_of(plugin))):
            click.echo(f"  {line}")
    for fault in plugins.faults:
        click.echo(f"{fault.name} (from {fault.package})\n  {fault.problem}")


def _abilities_of(plugin: AdapterPlugin) -> Iterator[str]:
    can = plugin.capabilities
    if can is None:
        yield "what it can do is known when one is made"
        return
    live = "while they run" if can.streams else "at their end"
    wanted = ", with --streaming while they run" if plugin.takes_streaming and not can.streams else ""
    yield f"gives the output of commands {live}{wanted}"
    yield "runs any command" if can.runs_any_command else "runs chunks of a job file that the worker reads itself"
    shares = " without --shares-files" if any(option.name == "shares_files" for option in plugin.options) else ""
    yield "its files are seen here" if can.shares_files else f"its files are not seen here{shares}"
    missing = list(_missing_in(can))
    if missing:
        yield f"does without {', '.join(missing)}"


def _missing_in(can: Capabilities) -> Iterator[str]:
    if not can.honours_env:
        yield "variables of this machine"
    if not can.honours_slots:
        yield "--slot-env"
    if not can.honours_limits:
        yield "limits of time"
    elif not can.honours_cpu_limit:
        yield "--cpu-idle-timeout"


def _lacks_of(plugin: AdapterPlugin) -> list[str]:
    try:
        return list(plugin.lacks())
    except Exception as error:  # noqa: BLE001 (it may be anything: it is another package's)
        return [f"something, or it cannot be told: {type(error).__name__}: {describe_error(error)}"]


def _plugin_to_json(plugin: AdapterPlugin, package: PluginPackage) -> dict[str, object]:
    can = plugin.capabilities
    return {
        **_to_json(plugin.name, package),
        "summary": plugin.summary,
        "options": [option.opts[0] for option in plugin.options],
        "takesStreaming": plugin.takes_streaming,
        "capabilities": None if can is None else {_to_camel(name): value for name, value in asdict(can).items()},
        "lacks": _lacks_of(plugin),
        "problem": None,
    }


def _fault_to_json(fault: PluginFault) -> dict[str, object]:
    return {**_to_json(fault.name, fault.package), "problem": fault.problem}


def _to_json(name: str, package: PluginPackage) -> dict[str, object]:
    return {"name": name, "package": package.name, "version": package.version or None}


def _to_camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name)
