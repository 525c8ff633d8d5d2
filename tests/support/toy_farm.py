"""A package with adapters of its own, some of which cannot be used, and the command line where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

TOY = '''
import json
import os
from pathlib import Path
from shutil import which

import click

from tailrace import AdapterPlugin, Capabilities, LocalWorkerAdapter


class Toy:
    streams = True
    capabilities = Capabilities(streams=True, tells_start=True)

    def __init__(self, gain):
        self.gain = gain
        self.log = Path(os.environ["TOY_LOG"])

    def tell(self, what):
        with self.log.open("a") as file:
            file.write(f"{what}\\n")

    async def __aenter__(self):
        if self.gain == 99:
            raise ConnectionError("no such\\nfarm")
        self.tell("entered")

    async def __aexit__(self, *_):
        self.tell("left")

    async def execute(self, job):
        self.tell(f"gain {self.gain}")
        return await LocalWorkerAdapter().execute(job)


class Mute:
    """Does not say whether it streams."""

    async def execute(self, job):
        return await LocalWorkerAdapter().execute(job)


def make(values, context):
    if values["toy_gain"] == 0:
        context.refuse("--toy-gain 0 would do nothing")
    if values["toy_gain"] == 1:
        raise ValueError("one is no gain")
    if values["toy_gain"] == 2:
        return {}["gain"]
    if values["toy_gain"] == 3:
        return None
    if values["toy_gain"] == 4:
        return Mute()
    return Toy(values["toy_gain"])


TOY = AdapterPlugin(
    name="toy",
    options=[click.Option(["--toy-gain"], type=int, envvar="TOY_GAIN", default=5, help="How much; default 5.")],
    make=make,
    summary="in the nursery",
    capabilities=Capabilities(streams=True, honours_slots=False),
    lacks=lambda: [] if which("no-such-toy") else ["no-such-toy: apt install toys"],
)


class Bare:
    """Has only what has to be there."""

    name = "bare"
    options = ()

    def make(self, values, context):
        return LocalWorkerAdapter()


GRABBY = AdapterPlugin(name="grabby", options=[click.Option(["--timeout"])], make=make)
ZANY = AdapterPlugin(name="zany", options=[click.Option(["--zany-gain", "toy_gain"])], make=make)
NEEDY = AdapterPlugin(name="needy", options=[click.Option(["--needy-x"], required=True)], make=make)
DECORATED = AdapterPlugin(name="decorated", options=[click.option("--decorated-x")], make=make)
COPY = AdapterPlugin(name="http", options=[], make=make)
NONE = object()
'''
ENTRY_POINTS = """
[tailrace.adapters]
toy = toy_farm:TOY
bare = toy_farm:Bare
"""
BROKEN = """
broken = toy_farm.lost:PLUGIN
copy = toy_farm:COPY
decorated = toy_farm:DECORATED
grabby = toy_farm:GRABBY
needy = toy_farm:NEEDY
none = toy_farm:NONE
quitter = toy_quitter:PLUGIN
zany = toy_farm:ZANY
"""
FAULTS = {
    "broken": "cannot be loaded: ModuleNotFoundError: No module named 'toy_farm.lost'; 'toy_farm' is not a package",
    "copy": "is left out: tailrace {version} has one of this name",
    "decorated": "is no click.Option",
    "grabby": "is left out: the name of its option --timeout is taken by tailrace",
    "needy": "is left out: its option --needy-x is asked of who uses another adapter too: have make() refuse",
    "none": "is no AdapterPlugin: it has no name and no options and no make",
    "quitter": "cannot be loaded: SystemExit: 3",
    "zany": "is left out: the name of its option toy_gain is taken by adapter toy of toy-farm 1.2",
}


def install(folder: Path) -> None:
    """Install the package in a folder that is to be made, without the adapters that cannot be used."""
    info = folder / "toy_farm-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "toy_farm.py").write_text(TOY)
    (folder / "toy_quitter.py").write_text("raise SystemExit(3)\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-farm\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)


def break_some(site: Path) -> None:
    """Add the entry points that cannot be used."""
    with next(site.glob("*.dist-info/entry_points.txt")).open("a") as file:
        file.write(BROKEN)


def tailrace(site: Path | None, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, with what is installed in `site`."""
    path = os.pathsep.join(filter(None, [None if site is None else str(site), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *words],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def are_the_faults(told: dict[str, str]) -> bool:
    """Return whether each is told with its reason."""
    version = metadata.version("tailrace")
    return told.keys() == FAULTS.keys() and all(
        problem.format(version=version) in told[name] for name, problem in FAULTS.items()
    )
