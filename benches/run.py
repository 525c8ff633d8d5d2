"""Measures tailrace against what bounds it and against its peers, and prints two tables: rates and processor time.

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
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tailrace import _native

HERE = Path(__file__).parent
TARGET = HERE.parent / "target" / "benches"
GIB = 1 << 30
MIB = 1 << 20


class Measurement(NamedTuple):
    """What a contender reached, and the seconds of processor time that it took per GiB or per 1,000 processes."""

    value: float
    cpu: float | None


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
    """The least ratio to a contender; for latencies, the greatest. Under "best", to the best of the peers, and under
    "tailrace" no ratio but the greatest value of our own."""
    scale: float = 1.0
    smaller_is_better: bool = False
    pairs: int = 5


BYTE_PEERS = ("asyncio", "trio", "uvloop", "subprocess")
LOOPS = ("asyncio", "trio", "uvloop")
SPAWN_PEERS = ("native", "asyncio", "anyio", "trio", "uvloop", "subprocess")

WORKLOADS = [
    Workload("one pipe, bytes", "stream", "bytes", 2 * GIB, "GB/s", ("native", *BYTE_PEERS), {"native": 0.88}, 1e-9),
    Workload("one pipe, text", "stream", "text", 2 * GIB, "GB/s", ("native", *BYTE_PEERS), {"native": 0.82}, 1e-9),
    Workload(
        "one pipe, lines",
        "stream",
        "lines",
        GIB // 4,
        "GB/s",
        ("native", *BYTE_PEERS),
        {"subprocess": 0.9, "asyncio": 6},
        1e-9,
        pairs=3,
    ),
    Workload("one chunk, lines", "one_chunk", "lines", GIB // 4, "GB/s", ("native",), {"native": 0.21}, 1e-9, pairs=15),
    Workload(
        "one chunk, masked", "one_chunk", "masked", 2 * GIB, "GB/s", ("native",), {"native": 0.87}, 1e-9, pairs=15
    ),
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
    Workload(
        "text and the joined result", "text_and_capture", "joined", 240 * MIB, "GB/s", ("node",), {"node": 2.4}, 1e-9
    ),
    Workload(
        "capture, no callbacks",
        "capture",
        None,
        240 * MIB,
        "GB/s",
        ("subprocess",),
        {"subprocess": 2.5},
        1e-9,
        pairs=15,
    ),
    Workload(
        "64 writers",
        "many_writers",
        "bytes",
        2 * GIB,
        "GB/s",
        ("asyncio", "trio", "uvloop"),
        {"best": 1.6},
        1e-9,
        pairs=15,
    ),
    Workload(
        "64 writers, unprivileged",
        "many_writers_unprivileged",
        "bytes",
        2 * GIB,
        "GB/s",
        ("asyncio", "trio", "uvloop"),
        {"best": 1.15},
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
            {"asyncio": 1.2, "native": 0.9} if at_once == 8 else {},
            pairs=15 if at_once == 8 else 3,
        )
        for at_once in (1, 8, 64)
    ],
    Workload(
        "/bin/true, 8 at a time, host of 2 GiB",
        "spawn_from_large_host",
        8,
        2000,
        "/s",
        ("small host",),
        {"small host": 0.85},
    ),
    Workload(
        "latency p50, quiet",
        "latency_p50",
        "lines",
        0,
        "us",
        ("asyncio",),
        {"asyncio": 2},
        smaller_is_better=True,
        pairs=3,
    ),
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
        {"tailrace": 5000},
        smaller_is_better=True,
        pairs=3,
    ),
    *[
        Workload(f"memory, {case}", "memory", case, size, "MiB", (), {"tailrace": 16}, smaller_is_better=True, pairs=3)
        for case, size in (("no capture", GIB), ("tail", 10 * GIB), ("slow callback", GIB))
    ],
    Workload(
        "1,000 quiet commands",
        "quiet_commands",
        None,
        1000,
        "% of a core",
        (),
        {"tailrace": 1},
        smaller_is_better=True,
        pairs=1,
    ),
    Workload(
        "watched: 64 chunks, 1,000 lines a second",
        "progress_events",
        1000,
        64,
        "% of a core",
        (),
        {"tailrace": 50},
        smaller_is_better=True,
        pairs=3,
    ),
    *[
        Workload(
            f"watched: ordinary text, {renderer}",
            "watched_text",
            renderer,
            GIB // 2,
            "MB/s",
            (),
            {"tailrace": 100},
            1e-6,
        )
        for renderer in ("auto", "blender")
    ],
    Workload(
        "watched: /bin/true, 8 at a time", "watched_spawn", 8, 5000, "/s", ("unwatched",), {"unwatched": 0.7}, pairs=3
    ),
    *[
        Workload(f"job run, {name}", "job_run", options, GIB, "GB/s", ("native",), {"native": target}, 1e-9, pairs=15)
        for name, options, target in (
            ("two chunks with labels", ["--concurrency", "2"], 0.35),
            ("one chunk at a time", [], 0.52),
            ("quiet with logs", ["--quiet", "--log-dir", "logs"], 0.52),
            ("events as NDJSON", ["--events", "ndjson"], 0.17),
        )
    ],
    Workload("job run, /bin/true, 8 at a time", "job_run_spawn", 8, 1000, "/s", ("xargs",), {"xargs": 0.77}, pairs=15),
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
    rates = Table("workload", "tailrace", "", "contender", "", "ratio", "min..max", "target", title="medians of pairs")
    costs = Table("workload", "per", "contender", "CPU seconds", title="processor time of the contender's own process")
    try:
        for workload in WORKLOADS:
            if arguments.only and not any(word in workload.name for word in arguments.only):
                continue
            print(f"measuring {workload.name} ...", file=sys.stderr)
            Rows(workload, rates, costs).measure(quick=arguments.quick)
    finally:
        # Also when one contender failed: what came before took its time.
        console = Console(width=120)
        console.print(rates)
        console.print(costs)


def build_programs() -> None:
    """Build the native programs, in the release profile."""
    manifest, target = str(HERE / "native" / "Cargo.toml"), str(TARGET)
    command = ["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", manifest]
    subprocess.run([*command, "--target-dir", target], check=True)


class Rows:
    """What the tables say about one workload."""

    def __init__(self, workload: Workload, rates: Table, costs: Table) -> None:
        self.workload = workload
        self.rates = rates
        self.costs = costs
        self.ours: list[Measurement] = []

    def measure(self, *, quick: bool) -> None:
        """Measure tailrace against each contender."""
        workload = self.workload
        pairs = 1 if quick else workload.pairs
        size = workload.size // 4 if quick and workload.size > 1000 else workload.size
        if not workload.contenders:
            self.ours = [measure(workload, "tailrace", size) for _ in range(pairs)]
            self.rates.add_row(workload.name, show(self.ours, workload), workload.unit)
        medians: dict[str, float] = {}
        for contender in workload.contenders:
            if contender == "node" and shutil.which("node") is None:
                self.rates.add_row(workload.name, "", "", "node", "is not installed")
                continue
            # A look does without the warm-up pair: each process warms up by itself too.
            rounds = [
                (measure(workload, "tailrace", size), measure(workload, contender, size))
                for _ in range(pairs + (0 if quick else 1))
            ][0 if quick else 1 :]
            medians[contender] = self.add_contender(contender, rounds)
        if "best" in workload.targets:
            self.add_verdict("best peer", "best", min(medians.values()))
        if "tailrace" in workload.targets:
            self.add_verdict("", "tailrace", statistics.median(one.value for one in self.ours))
        self.add_cost("tailrace", self.ours)
        self.rates.add_section()
        self.costs.add_section()

    def add_contender(self, contender: str, rounds: Sequence[tuple[Measurement, Measurement]]) -> float:
        """Add what alternating runs told; returns the median ratio."""
        ours, theirs = zip(*rounds, strict=True)
        self.ours += ours
        ratios = [own.value / other.value for own, other in rounds]
        ratio = statistics.median(ratios)
        target = self.workload.targets.get(contender)
        self.rates.add_row(
            self.workload.name,
            show(ours, self.workload),
            self.workload.unit,
            contender,
            show(theirs, self.workload),
            f"{ratio:.2f}",
            f"{min(ratios):.2f}..{max(ratios):.2f}",
            "" if target is None else verdict(self.workload, target, ratio),
        )
        self.add_cost(contender, theirs)
        return ratio

    def add_verdict(self, contender: str, target: str, value: float) -> None:
        """Add how a value of several runs compares with what it should be."""
        text = verdict(self.workload, self.workload.targets[target], value)
        self.rates.add_row(self.workload.name, "", "", contender, "", f"{value:,.2f}", "", text)

    def add_cost(self, contender: str, measurements: Sequence[Measurement]) -> None:
        """Add what a contender's process used, if that was measured."""
        used = [one.cpu for one in measurements if one.cpu is not None]
        if used:
            per = "1,000 processes" if self.workload.unit == "/s" else "GiB"
            self.costs.add_row(self.workload.name, per, contender, f"{statistics.median(used):.3f}")


def measure(workload: Workload, contender: str, size: int) -> Measurement:
    """Return one measurement, made in a process of its own."""
    command = [sys.executable, str(HERE / "measure.py"), workload.function, contender, json.dumps(workload.parameter)]
    value, cpu = json.loads(subprocess.check_output([*command, str(size)], timeout=300))
    amount = size / (1000 if workload.unit == "/s" else GIB)
    return Measurement(value * workload.scale, None if cpu is None else cpu / amount)


def show(measurements: Sequence[Measurement], workload: Workload) -> str:
    """Return the median, as short as its size allows."""
    value = statistics.median(one.value for one in measurements)
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def verdict(workload: Workload, target: float, value: float) -> str:
    """Return whether a target is met."""
    is_met = value <= target if workload.smaller_is_better else value >= target
    return f"{'at most' if workload.smaller_is_better else 'at least'} {target:g}: {'met' if is_met else 'MISSED'}"


if __name__ == "__main__":
    main()
