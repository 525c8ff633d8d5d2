"""What a chunk needs, in Ray's words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

Options: TypeAlias = dict[str, Any]
"""What `.options()` of a remote function takes."""

_OF_ITS_OWN = {"cpus": "num_cpus", "gpus": "num_gpus", "memory": "memory"}
"""What Ray has an option for; everything else is a custom resource."""


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


def _rounded(amount: float) -> float:
    return amount if amount <= 1 else math.ceil(amount)
