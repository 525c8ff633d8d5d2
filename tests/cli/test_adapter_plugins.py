"""Adapters of other packages are chosen like the built-in ones, and one that is broken is in nobody's way."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import click
import pytest

from support import ROOT
from support.jobs import job
from support.toy_farm import FAULTS, are_the_faults, break_some, install, tailrace
from support.workers import running_worker
from tailrace import AdapterContext, AdapterPlugin, Capabilities
from tailrace._remote import registry
from tailrace._remote.registry import BUILT_IN, AdapterRegistry


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder that a package with adapters is installed in."""
    install(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return the file of a job of two chunks."""
    path = tmp_path / "job.json"
    path.write_text(job("echo one", "echo two").model_dump_json(by_alias=True))
    return path


def faults_in(lines: list[str]) -> dict[str, str]:
    """Return what is said of each adapter in the lines that are about one of the package."""
    start = "tailrace: note: adapter "
    return dict(line.removeprefix(start).split(" of toy-farm 1.2 ", 1) for line in lines if line.startswith(start))


# Those of others


def test_an_installed_adapter_can_be_chosen_with_its_options(site: Path, spec: Path, tmp_path: Path) -> None:
    told = " ".join(tailrace(site, "job", "run", "--help").stdout.split())
    assert "--adapter [local|docker|ray|slurm|aws|gcp|http|bare|toy]" in told
    assert "--toy-gain INTEGER How much; default 5." in told
    log = tmp_path / "log"
    for number, (options, environment) in enumerate([(["--toy-gain", "7"], {}), ([], {"TOY_GAIN": "8"}), ([], {})]):
        log.unlink(missing_ok=True)
        words = ["job", "run", str(spec), "--adapter", "toy", *options]
        run = tailrace(site, *words, TOY_LOG=str(log), **environment)
        assert run.returncode == 0, run.stderr
        assert run.stdout == "one\ntwo\n"
        gain = [7, 8, 5][number]
        assert log.read_text().splitlines() == ["entered", f"gain {gain}", f"gain {gain}", "left"]
    chosen = tailrace(site, "job", "run", str(spec), TAILRACE_ADAPTER="bare")
    assert (chosen.returncode, chosen.stdout) == (0, "one\ntwo\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--toy-gain", "7"], "--toy-gain goes with --adapter toy, not local"),
        (["--adapter", "toy", "--url", "http://x"], "--url goes with --adapter gcp or http, not toy"),
        (["--adapter", "toy", "--streaming"], "--streaming goes with --adapter aws or gcp or http, not toy"),
        (["--adapter", "toy", "--toy-gain", "0"], "--toy-gain 0 would do nothing"),
        (["--adapter", "toy", "--toy-gain", "1"], "one is no gain"),
        (["--adapter", "toy", "--toy-gain", "2"], "--adapter toy cannot be used: KeyError: 'gain'"),
        (["--adapter", "toy", "--toy-gain", "3"], "--adapter toy cannot be used: it made None, which is no adapter"),
        (["--adapter", "toy", "--toy-gain", "4"], "toy_farm.Mute object at 0x"),
        (["--adapter", "tot"], "'tot' is not one of 'local', 'docker', 'ray', 'slurm', 'aws',"),
    ],
)
def test_what_an_installed_adapter_refuses_is_one_line(
    options: list[str], message: str, site: Path, spec: Path, tmp_path: Path
) -> None:
    run = tailrace(site, "job", "run", str(spec), *options, TOY_LOG=str(tmp_path / "log"))
    assert run.returncode == 2
    [line] = run.stderr.splitlines()
    assert message in line


def test_an_adapter_that_cannot_be_entered_is_told_in_one_line(site: Path, spec: Path, tmp_path: Path) -> None:
    words = ["job", "run", str(spec), "--adapter", "toy", "--toy-gain", "99"]
    run = tailrace(site, *words, TOY_LOG=str(tmp_path / "log"))
    assert run.returncode == 1
    assert "tailrace: the adapter cannot be used: no such farm\n" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_plugin_that_cannot_be_used_is_told_in_one_line_and_stops_no_other(site: Path, spec: Path) -> None:
    break_some(site)
    run = tailrace(site, "job", "run", str(spec), "--adapter", "bare")
    assert (run.returncode, run.stdout) == (0, "one\ntwo\n"), run.stderr
    assert are_the_faults(faults_in(run.stderr.splitlines()))
    quiet = tailrace(site, "job", "run", str(spec), "--adapter", "bare", "--quiet")
    assert quiet.returncode == 0
    assert "adapter" not in quiet.stderr
    for name in ("broken", "grabby"):
        refused = tailrace(site, "job", "run", str(spec), "--adapter", name)
        assert refused.returncode == 2
        [line] = refused.stderr.splitlines()
        assert f"adapter {name} of toy-farm 1.2 {FAULTS[name]}" in line


def test_a_package_without_all_of_its_metadata_has_its_adapters_all_the_same(site: Path, spec: Path) -> None:
    next(site.glob("*.dist-info/METADATA")).unlink()
    run = tailrace(site, "job", "run", str(spec), "--adapter", "bare")
    assert (run.returncode, run.stdout) == (0, "one\ntwo\n"), run.stderr


# The built-in ones


def test_the_metadata_names_the_built_in_adapters() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["tailrace.adapters"]
    assert list(points) == sorted(plugin.name for plugin in BUILT_IN)
    for plugin in BUILT_IN:
        module, _, name = points[plugin.name].partition(":")
        assert getattr(importlib.import_module(module), name) is plugin


def test_the_built_in_adapters_are_there_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none(_: str) -> NoReturn:
        raise metadata.PackageNotFoundError("tailrace")

    monkeypatch.setattr(registry, "version", find_none)
    monkeypatch.setattr(registry, "entry_points", lambda **_: metadata.EntryPoints())
    plugins = AdapterRegistry([])
    assert list(plugins.found) == ["local", "docker", "ray", "slurm", "aws", "gcp", "http"]
    assert plugins.faults == []


def test_the_built_in_adapters_are_not_listed_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # As where the metadata is of this version.
    info = tmp_path / "tailrace-99.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tailrace\nVersion: 99\n")
    (info / "entry_points.txt").write_text("[tailrace.adapters]\nlocal = tailrace._local.plugin:LOCAL\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins = AdapterRegistry([])
    assert (list(plugins.found), plugins.faults) == (["local", "docker", "ray", "slurm", "aws", "gcp", "http"], [])


@pytest.mark.parametrize("plugin", BUILT_IN, ids=lambda plugin: plugin.name)
def test_what_a_built_in_plugin_says_of_its_adapters_is_what_they_say(
    plugin: AdapterPlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {str(option.name): None for option in plugin.options}
    values |= {"url": ["http://127.0.0.1:9"], "function": "f", "endpoint_url": "http://127.0.0.1:9"}
    values |= {"shares_files": False, "trust_2xx": False}
    values |= {"docker_image": "image", "docker_engine": "docker", "docker_option": (), "docker_volume": ()}
    context = AdapterContext(
        source="job.json", spec_path=tmp_path / "job.json", job_dir=tmp_path, streaming=False, masked=()
    )
    with monkeypatch.context() as patch:
        # An adapter is made without anything of it, and it is installed for its own tests alone.
        patch.setitem(sys.modules, "ray", ModuleType("ray"))
        assert Capabilities.of(plugin.make(values, context)) == plugin.capabilities
    assert plugin.lacks() == [] or plugin.name in ("local", "docker", "ray", "slurm")


def test_a_secret_that_a_plugin_takes_is_left_only_where_it_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FARM_A", "FARM_B"):
        monkeypatch.setenv(name, "s3cret")
    context = AdapterContext(source="", spec_path=None, job_dir=tmp_path, streaming=False, masked=["FARM_B"])
    assert [context.take_secret(name) for name in ("FARM_A", "FARM_B", "FARM_C")] == ["s3cret", "s3cret", None]
    assert ("FARM_A" in os.environ, "FARM_B" in os.environ) == (False, True)
    assert "FARM_B" not in repr(context)
    with pytest.raises(click.UsageError, match="no farm"):
        context.refuse("no farm")


def test_the_version_is_told_without_loading_adapters() -> None:
    program = (
        "import sys\nsys.argv = ['tailrace', '--version']\n"
        "from tailrace._cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "loaded = ('pydantic', 'httpx', 'anyio', 'tailrace._remote.registry', 'tailrace._cli.commands.run')\n"
        "print([name for name in loaded if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


def test_help_loads_no_library_of_an_extra() -> None:
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom tailrace._cli.root import cli\n"
        "assert CliRunner().invoke(cli, ['job', 'run', '--help']).exit_code == 0\n"
        "print([name for name in ('httpx', 'boto3', 'google.auth') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_slots_and_files_are_asked_of_the_adapter_not_of_its_name(site: Path, spec: Path, tmp_path: Path) -> None:
    slots = ["job", "run", str(spec), "--slot-env", "GPU=0"]
    assert tailrace(site, *slots, "--adapter", "toy", TOY_LOG=str(tmp_path / "log")).returncode == 0
    with running_worker(tmp_path) as worker:
        where = ["--adapter", "http", "--url", f"http://127.0.0.1:{worker.port}/"]
        refused = tailrace(site, *slots, *where)
        assert (refused.returncode, "--slot-env goes with --adapter local, not http" in refused.stderr) == (2, True)
