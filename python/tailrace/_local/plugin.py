"""`--adapter local`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from .._command.adapter import Capabilities, WorkerAdapter
from .._command.plugin import AdapterContext, AdapterPlugin


def _make(_: Mapping[str, Any], __: AdapterContext) -> WorkerAdapter:
    from .adapter import LocalWorkerAdapter

    return LocalWorkerAdapter()


def _lacks() -> Sequence[str]:
    # Not by its full name, which would load the package.
    if find_spec("tailrace._native") is not None:
        return ()
    return ("the native core: commands run in Python alone, slower; a wheel, or a build with Rust, has it",)


LOCAL = AdapterPlugin(
    name="local",
    options=(),
    make=_make,
    summary="on this machine",
    capabilities=Capabilities(streams=True, tells_start=True, ends_early=True),
    lacks=_lacks,
)
