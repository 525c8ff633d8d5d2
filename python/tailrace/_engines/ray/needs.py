"""What a chunk needs, in Ray's words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ..._command.memory_report import to_text

Options: TypeAlias = dict[str, Any]
"""What `.options()` of a remote function takes."""

_OF_ITS_OWN = {"cpus": "num_cpus", "gpus": "num_gpus", "memory": "memory"}
"""What Ray has an option for; everything else is a custom resource."""
_OF_CHUNKS = {"CPU": "cpus", "GPU": "gpus"}
"""What a chunk calls differently from `ray.nodes`."""


def to_options(defaults: Mapping[str, Any], needs: Mapping[str, float]) -> Options:
    """Return the options for a chunk: its own needs, and `defaults`, which are options too, for the rest.

    Ray wants whole numbers above 1, and of memory always: what is needed is rounded up.
    """
    options = {name: value for name, value in defaults.items() if value is not None}
    resources = dict(options.pop("resources", {}))
    for name, amount in needs.items():
        option = _OF_ITS_OWN.get(name)
        if option is None:
            resources[name] = _rounded(amount)
        else:
            options[option] = math.ceil(amount) if option == "memory" else _rounded(amount)
    if resources:
        options["resources"] = resources
    return options


def resources_of(options: Options) -> dict[str, float]:
    """Return how much a chunk takes of what `ray.nodes` lists as the resources of a node."""
    taken = {
        "CPU": options.get("num_cpus", 1),
        "GPU": options.get("num_gpus", 0),
        "memory": options.get("memory", 0),
        **options.get("resources", {}),
    }
    return {name: amount for name, amount in taken.items() if amount}


def lacking_everywhere(taken: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> str | None:
    """Return the needs that no node can meet, and the most that one has of each; None if one can meet them all."""
    if any(all(node.get(name, 0) >= amount for name, amount in taken.items()) for node in nodes):
        return None
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in taken}
    # Where each can be met somewhere, it is that they cannot be together.
    lacking = {name: amount for name, amount in taken.items() if amount > most[name]} or taken
    return ", ".join(
        f"{_OF_CHUNKS.get(name, name)}={_amount(name, amount)} (one has at most {_amount(name, most[name])})"
        for name, amount in lacking.items()
    )


def tell_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Return the names of nodes, by their ids, with the beginning of the id where several have the same."""
    count = Counter(names.values())
    return {node_id: name if count[name] == 1 else f"{name} ({node_id[:8]})" for node_id, name in names.items()}


def avoiding(node_ids: Mapping[str, str], avoided: object) -> Options:
    """Return the options that keep a chunk from the nodes that are named; `node_ids` are those of all that are there.

    There are none where nothing would be left. Should no other node ever have what the chunk needs, it may run on one
    of them all the same.
    """
    names = avoided if isinstance(avoided, tuple | list) else ()
    ids = [node_ids[name] for name in names if name in node_ids]
    if not ids or len(ids) == len(node_ids):
        return {}
    # https://docs.ray.io/en/latest/ray-core/scheduling/labels.html
    return {
        "label_selector": {"ray.io/node-id": f"!in({', '.join(ids)})"},
        "fallback_strategy": [{"label_selector": {}}],
    }


def _amount(name: str, amount: float) -> str:
    return to_text(int(amount)) if name == "memory" else f"{amount:g}"


def _rounded(amount: float) -> float:
    return amount if amount <= 1 else math.ceil(amount)
