"""`tailrace adapters` says of each adapter whose it is, what it can do and what it lacks here."""

from __future__ import annotations

import importlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from support.toy_farm import FAULTS, are_the_faults, break_some, install, tailrace
from tailrace import AdapterPlugin
from tailrace._cli.root import cli
from tailrace._remote import registry
from tailrace._remote.registry import BUILT_IN


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder that a package with adapters is installed in."""
    install(tmp_path / "site")
    return tmp_path / "site"


def test_the_list_has_every_adapter_with_its_package_its_abilities_and_what_it_lacks(site: Path) -> None:
    break_some(site)
    listed = tailrace(site, "adapters")
    assert (listed.returncode, listed.stderr) == (0, "")
    blocks = {block.split(" (")[0]: block for block in listed.stdout.replace("\n  ", " | ").splitlines()}
    assert list(blocks) == ["local", "docker", "ray", "slurm", "aws", "gcp", "http", "bare", "toy", *FAULTS]
    ours = f"from tailrace {metadata.version('tailrace')}"
    assert blocks["local"].startswith(f"local (on this machine, {ours}) | gives the output of commands while they run")
    assert blocks["http"].startswith(f"http (on HTTP workers, {ours}) | gives the output of commands at their end")
    assert "with --streaming while they run" in blocks["http"]
    assert "its files are not seen here without --shares-files" in blocks["http"]
    assert blocks["toy"] == (
        "toy (in the nursery, from toy-farm 1.2) | gives the output of commands while they run | runs any command"
        " | its files are seen here | does without --slot-env | lacks no-such-toy: apt install toys"
    )
    assert blocks["bare"] == "bare (from toy-farm 1.2) | what it can do is known when one is made"
    assert blocks["broken"] == f"broken (from toy-farm 1.2) | {FAULTS['broken']}"


def test_the_list_can_be_had_as_json(site: Path) -> None:
    break_some(site)
    listed = {entry["name"]: entry for entry in json.loads(tailrace(site, "adapters", "--json").stdout)}
    assert list(listed) == ["local", "docker", "ray", "slurm", "aws", "gcp", "http", "bare", "toy", *FAULTS]
    assert listed["toy"] == {
        "name": "toy",
        "package": "toy-farm",
        "version": "1.2",
        "summary": "in the nursery",
        "options": ["--toy-gain"],
        "takesStreaming": False,
        "capabilities": {
            "streams": True,
            "tellsStart": False,
            "remote": False,
            "runsAnyCommand": True,
            "sharesFiles": True,
            "honoursEnv": True,
            "honoursLimits": True,
            "honoursCpuLimit": True,
            "endsEarly": False,
            "honoursSlots": False,
            "ownPrograms": False,
        },
        "lacks": ["no-such-toy: apt install toys"],
        "problem": None,
    }
    assert (listed["bare"]["capabilities"], listed["bare"]["lacks"]) == (None, [])
    assert listed["http"]["options"] == [
        "--url",
        "--token-env",
        "--token-header",
        "--job-def-url",
        "--shares-files",
        "--trust-2xx",
    ]
    assert are_the_faults({name: entry["problem"] for name, entry in listed.items() if entry["problem"]})


@pytest.mark.parametrize(
    ("package", "lacking"),
    [
        ("httpx", {"gcp": ["httpx: pip install 'tailrace[gcp]'"], "http": ["httpx: pip install 'tailrace[http]'"]}),
        ("google.auth", {"gcp": ["google.auth: pip install 'tailrace[gcp]'"]}),
        ("boto3", {"aws": ["boto3: pip install 'tailrace[aws]'"]}),
    ],
)
def test_the_list_names_the_extra_that_is_missing(
    package: str, lacking: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    listed = json.loads(CliRunner().invoke(cli, ["adapters", "--json"]).stdout)
    # The others run programs, and packages that are installed for their own tests.
    lacks = {entry["name"]: entry["lacks"] for entry in listed if entry["lacks"]}
    assert {name: lacks[name] for name in ("aws", "gcp", "http") if name in lacks} == lacking


def test_what_cannot_say_what_it_lacks_is_listed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> NoReturn:
        raise OSError("no farm")

    broken = AdapterPlugin(name="broken", options=(), make=BUILT_IN[0].make, lacks=fail)
    run = importlib.import_module("tailrace._cli.commands.run").run
    monkeypatch.setitem(run.plugins.found, "broken", (broken, registry.PluginPackage("farm", "1")))
    listed = CliRunner().invoke(cli, ["adapters"])
    assert listed.exit_code == 0
    assert "lacks something, or it cannot be told: OSError: no farm" in listed.stdout
