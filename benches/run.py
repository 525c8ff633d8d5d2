"""Measures tailrace against what bounds it and against its peers, and prints one table.

`run.py [--quick] [--only WORD ...]`. Each ratio is the median over pairs of runs, one of each contender after the
other, since on a shared machine only what ran side by side can be compared; a first pair warms up and does not count.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tailrace import _native

HERE = Path(__file__).parent
TARGET = HERE.parent / "target" / "benches"
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class Workload:
    """What is measured, and against whom."""

    name: str
    function: str
    parameter: object
    size: int
    unit: str
    contenders: Sequence[str]
    targets: dict[str, float]
    """The least ratio to a contender; for latencies, the greatest. Under "best", to the best of the peers."""
    scale: float = 1.0
    smaller_is_better: bool = False
    pairs: int = 5


BYTE_PEERS = ("asyncio", "trio", "uvloop", "subprocess")
LOOPS = ("asyncio", "trio", "uvloop")
SPAWN_PEERS = ("native", "asyncio", "anyio", "trio", "uvloop", "subprocess")

WORKLOADS = [
    Workload("one pipe, bytes", "stream", "bytes", 2 * GIB, "GB/s", ("native", *BYTE_PEERS), {"native": 0.85}, 1e-9),
    Workload("one pipe, text", "stream", "text", 2 * GIB, "GB/s", ("native", *BYTE_PEERS), {"native": 0.75}, 1e-9),
    Workload("one pipe, lines", "stream", "lines", GIB // 4, "GB/s", ("native", *BYTE_PEERS), {}, 1e-9, pairs=3),
    Workload(
        "text with full capture, peers: bytes",
        "text_and_capture",
        None,
        240 * MIB,
        "GB/s",
        ("anyio", "trio"),
        {"anyio": 2.0},
        1e-9,
    ),
    Workload("text and the joined result", "text_and_capture", "joined", 240 * MIB, "GB/s", ("node",), {}, 1e-9),
    Workload("capture, no callbacks", "capture", None, 240 * MIB, "GB/s", ("subprocess",), {"subprocess": 2.0}, 1e-9),
    Workload(
        "64 writers",
        "many_writers",
        "bytes",
        2 * GIB,
        "GB/s",
        ("asyncio", "trio", "uvloop"),
        {"best": 1.2},
        1e-9,
        pairs=3,
    ),
    Workload(
        "64 writers, unprivileged",
        "many_writers_unprivileged",
        "bytes",
        2 * GIB,
        "GB/s",
        ("asyncio", "trio", "uvloop"),
        {},
        1e-9,
        pairs=3,
    ),
    *[
        Workload(
            f"/bin/true, {at_once} at a time",
            "spawn",
            at_once,
            1000 if at_once == 1 else 2000,
            "/s",
            SPAWN_PEERS,
            {"asyncio": 1.2} if at_once == 8 else {},
            pairs=3,
        )
        for at_once in (1, 8, 64)
    ],
    Workload("latency p50, quiet", "latency_p50", "lines", 0, "us", ("asyncio",), {}, smaller_is_better=True, pairs=3),
    Workload("latency p99, quiet", "latency", "lines", 0, "us", ("asyncio",), {}, smaller_is_better=True, pairs=3),
    Workload(
        "latency p99, 200 starts",
        "latency",
        "lines",
        200,
        "us",
        LOOPS,
        {"asyncio": 0.1},
        smaller_is_better=True,
        pairs=3,
    ),
    Workload(
        "latency p99, 8 writers, 200 starts",
        "steady_writers",
        "lines",
        200,
        "us",
        ("asyncio",),
        {},
        smaller_is_better=True,
        pairs=3,
    ),
    *[
        Workload(f"memory, {case}", "memory", case, GIB, "MiB", (), {}, smaller_is_better=True, pairs=3)
        for case in ("no capture", "tail", "slow callback")
    ],
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller and fewer runs: a look, not a result")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only workloads with one of these in their name")
    arguments = parser.parse_args()
    if _native.BUILD_PROFILE != "release":
        sys.exit("tailrace._native is a debug build, which says nothing about speed: run `make develop`")
    build_programs()
    table = Table("workload", "tailrace", "", "contender", "", "ratio", "min..max", "target", title="medians of pairs")
    for workload in WORKLOADS:
        if arguments.only and not any(word in workload.name for word in arguments.only):
            continue
        print(f"measuring {workload.name} ...", file=sys.stderr)
        add_rows(table, workload, quick=arguments.quick)
        table.add_section()
    Console(width=120).print(table)


def build_programs() -> None:
    """Build the native programs, in the release profile."""
    manifest, target = str(HERE / "native" / "Cargo.toml"), str(TARGET)
    command = ["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", manifest]
    subprocess.run([*command, "--target-dir", target], check=True)


def add_rows(table: Table, workload: Workload, *, quick: bool) -> None:
    """Measure one workload against each of its contenders."""
    pairs = 1 if quick else workload.pairs
    size = workload.size // 4 if quick and workload.size > 1000 else workload.size
    if not workload.contenders:
        values = [measure(workload, "tailrace", size) for _ in range(pairs)]
        table.add_row(workload.name, show(values, workload), workload.unit)
        return
    medians: dict[str, float] = {}
    for contender in workload.contenders:
        if contender == "node" and shutil.which("node") is None:
            table.add_row(workload.name, "", "", "node", "is not installed")
            continue
        # A look does without the warm-up pair: each process warms up by itself too.
        warm_up = 0 if quick else 1
        rounds = [
            (measure(workload, "tailrace", size), measure(workload, contender, size)) for _ in range(warm_up + pairs)
        ][warm_up:]
        ours, theirs = zip(*rounds, strict=True)
        ratios = [own / other for own, other in rounds]
        medians[contender] = statistics.median(ratios)
        table.add_row(
            workload.name,
            show(ours, workload),
            workload.unit,
            contender,
            show(theirs, workload),
            f"{medians[contender]:.2f}",
            f"{min(ratios):.2f}..{max(ratios):.2f}",
            verdict(workload, workload.targets.get(contender), medians[contender]),
        )
    if "best" in workload.targets:
        least = min(medians.values())
        table.add_row(
            workload.name,
            "",
            "",
            "best peer",
            "",
            f"{least:.2f}",
            "",
            verdict(workload, workload.targets["best"], least),
        )


def measure(workload: Workload, contender: str, size: int) -> float:
    """Return one measurement, made in a process of its own."""
    command = [sys.executable, str(HERE / "measure.py"), workload.function, contender, json.dumps(workload.parameter)]
    value = json.loads(subprocess.check_output([*command, str(size)], timeout=300))
    return float(value) * workload.scale


def show(values: Sequence[float], workload: Workload) -> str:
    """Return the median, as short as its size allows."""
    value = statistics.median(values)
    return f"{value:.2f}" if workload.scale != 1.0 else f"{value:,.0f}"


def verdict(workload: Workload, target: float | None, ratio: float) -> str:
    """Return whether a target is met, if there is one."""
    if target is None:
        return ""
    is_met = ratio <= target if workload.smaller_is_better else ratio >= target
    return f"{'at most' if workload.smaller_is_better else 'at least'} {target:g}: {'met' if is_met else 'MISSED'}"


if __name__ == "__main__":
    main()
