"""The adapters that can be chosen: the built-in ones, and those that other packages have entry points for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import NamedTuple

import click

from .._checks import check_type
from .._command.adapter import Capabilities
from .._command.ending import describe_error
from .._command.plugin import AdapterPlugin
from .._engines.containers.plugin import DOCKER
from .._engines.ray.plugin import RAY
from .._engines.slurm.plugin import SLURM
from .._local.plugin import LOCAL
from .plugins import AWS, GCP, HTTP

_GROUP = "tailrace.adapters"

BUILT_IN = (LOCAL, DOCKER, RAY, SLURM, AWS, GCP, HTTP)
"""They are there also where the package's metadata is not, or is that of an older one, as in a frozen application."""

_OURS = "tailrace"


class PluginPackage(NamedTuple):
    """Where a plugin comes from."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


class PluginFault(NamedTuple):
    """A plugin that cannot be used, and why."""

    name: str
    package: PluginPackage
    problem: str

    def __str__(self) -> str:
        return f"adapter {self.name} of {self.package} {self.problem}"


class AdapterRegistry:
    """What a command can choose from that has the parameters `own` apart from those of the plugins."""

    def __init__(self, own: Iterable[click.Parameter]) -> None:
        """Load all plugins; one that cannot be used is among the `faults`, and the others are there all the same."""
        self.found: dict[str, tuple[AdapterPlugin, PluginPackage]] = {}
        """By name: the built-in ones first, the others in the order of their names."""
        self.faults: list[PluginFault] = []
        self._names = _TakenNames(own)
        for plugin in BUILT_IN:
            self._add(plugin, PluginPackage(_OURS, _own_version()))
        for point in _installed():
            self._load(point)

    def options(self) -> list[click.Parameter]:
        """Return the options of all, each once, and those of each plugin in its own order."""
        merged: list[click.Parameter] = []
        others = [plugin for plugin, _ in self.found.values() if plugin not in BUILT_IN]
        for plugin in (*reversed(BUILT_IN), *others):
            place = len(merged)
            for option in reversed(plugin.options):
                if option in merged:
                    place = merged.index(option)
                else:
                    merged.insert(place, option)
        return merged

    def with_parameter(self, name: str) -> list[str]:
        """Return the names of the adapters that have an option whose value has this name."""
        return sorted(
            plugin.name for plugin, _ in self.found.values() if any(option.name == name for option in plugin.options)
        )

    def _load(self, point: EntryPoint) -> None:
        package = _package_of(point)
        try:
            problem = self._add(_to_plugin(point.load()), package)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (it may be anything: it is another package's)
            problem = f"cannot be loaded: {type(error).__name__}: {describe_error(error)}"
        if problem is not None:
            self.faults.append(PluginFault(point.name, package, problem))

    def _add(self, plugin: AdapterPlugin, package: PluginPackage) -> str | None:
        """Add the plugin, or return why it cannot be."""
        if plugin.name in self.found:
            return f"is left out: {self.found[plugin.name][1]} has one of this name"
        for option in plugin.options:
            problem = _fault_of(option) or self._names.clash(option)
            if problem is not None:
                return f"is left out: {problem}"
        self._names.take(plugin.options, f"adapter {plugin.name} of {package}")
        self.found[plugin.name] = (plugin, package)
        return None


class _TakenNames:
    """Whose the names of options are, and those of their values."""

    def __init__(self, own: Iterable[click.Parameter]) -> None:
        self._owners = dict.fromkeys(["-h", "--help", "help"], _OURS)
        self._options: list[click.Parameter] = []
        self.take(own, _OURS)

    def take(self, options: Iterable[click.Parameter], owner: str) -> None:
        for option in options:
            if option not in self._options:
                self._options.append(option)
                self._owners |= dict.fromkeys(_names_of(option), owner)

    def clash(self, option: click.Parameter) -> str | None:
        """Return which name of the option is somebody else's; several plugins may share an option."""
        if option in self._options:
            return None
        taken = next((name for name in _names_of(option) if name in self._owners), None)
        return None if taken is None else f"the name of its option {taken} is taken by {self._owners[taken]}"


def _names_of(option: click.Parameter) -> Iterator[str]:
    yield from (*option.opts, *option.secondary_opts)
    if option.name is not None:
        yield option.name


def _fault_of(option: object) -> str | None:
    if not isinstance(option, click.Option):
        return f"its option {option!r} is no click.Option"
    if option.required or option.prompt is not None:
        return f"its option {option.opts[0]} is asked of who uses another adapter too: have make() refuse its absence"
    return None


def _to_plugin(found: object) -> AdapterPlugin:
    """Return the plugin that an entry point has led to; raises `TypeError` for what is none."""
    if isinstance(found, type):
        found = found()
    told = {field.name: getattr(found, field.name) for field in fields(AdapterPlugin) if hasattr(found, field.name)}
    missing = [name for name in ("name", "options", "make") if name not in told]
    if missing:
        raise TypeError(f"{found!r} is no AdapterPlugin: it has no {' and no '.join(missing)}")
    plugin = AdapterPlugin(**{**told, "options": tuple(told["options"])})
    check_type("name", plugin.name, str, "a str")
    if plugin.capabilities is not None:
        check_type("capabilities", plugin.capabilities, Capabilities, "Capabilities or None")
    return plugin


def _installed() -> Sequence[EntryPoint]:
    """Return the entry points of other packages, in the order of their names."""
    points = [point for point in entry_points(group=_GROUP) if _package_of(point).name != _OURS]
    return sorted(points, key=lambda point: (point.name, _package_of(point)))


def _package_of(point: EntryPoint) -> PluginPackage:
    try:
        if point.dist is not None:
            return PluginPackage(point.dist.name, point.dist.version)
    except Exception:  # noqa: BLE001, S110 (its metadata is incomplete, which every Python tells otherwise)
        pass
    return PluginPackage("an unknown package", "")


def _own_version() -> str:
    try:
        return version(_OURS)
    except PackageNotFoundError:
        return ""
