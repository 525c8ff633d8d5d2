"""The modules of the Rust core build on each other in one direction."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter

from support import ROOT

RUST = ROOT / "rust"


def test_no_module_of_the_core_is_part_of_a_circle() -> None:
    files = {path.stem: path for path in RUST.glob("*.rs") if path.stem not in ("lib", "build")}
    builds_on = {
        name: {other for other in re.findall(r"crate::(\w+)", path.read_text()) if other != name and other in files}
        for name, path in files.items()
    }
    assert len(files) > 40
    assert sum(map(len, builds_on.values())) > 100
    # Raises `CycleError`, which names the modules of one.
    assert set(TopologicalSorter(builds_on).static_order()) == set(files)
