"""The documentation is true: its examples are read, and the tests that it names exist."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from inspect import signature
from pathlib import Path

import click
import pytest
from documents import DOCUMENTS, blocks_of

from support import ROOT
from tailrace import (
    AwsLambdaAdapter,
    CloudRunAdapter,
    DockerAdapter,
    FrameRange,
    HttpWorkerAdapter,
    JobExecutionOptions,
    JobSpec,
    RayAdapter,
    SpecError,
)
from tailrace._cli.commands.run import run
from tailrace._cli.commands.serve import serve
from tailrace._cli.commands.serve_farm import serve_farm
from tailrace._engines.containers.plugin import DOCKER
from tailrace._planning.own_command import PLACEHOLDERS
from tailrace._remote.registry import BUILT_IN


def test_every_test_that_the_documentation_names_exists() -> None:
    named = [name for path in DOCUMENTS for name in re.findall(r"`(test_\w+)`", path.read_text())]
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    existing = set(re.findall(r"def (test_\w+)\(", sources))
    assert len(named) > 60
    assert [name for name in named if name not in existing] == []


def test_the_example_of_a_job_file_is_one_and_every_key_of_it_is_explained() -> None:
    text = (ROOT / "docs" / "job-file.md").read_text()
    examples = re.findall(r"^```json\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    spec = JobSpec.parse(examples[0])
    explained = set(re.findall(r"\w+", " ".join(re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE))))
    fields = spec.model_dump(by_alias=True)
    assert set(fields) | set(fields["chunks"][0]) <= explained


def test_the_documentation_of_the_worker_explains_every_option() -> None:
    text = (ROOT / "docs" / "worker.md").read_text()
    options = {option for parameter in serve.params for option in parameter.opts}
    assert len(options) > 5
    assert [option for option in options if f"`{option}" not in text] == []


def test_the_documentation_of_the_farms_server_explains_every_option() -> None:
    text = (ROOT / "docs" / "server.md").read_text()
    told = set(re.findall(r"`(--?[\w-]+)", text.partition("## `tailrace serve`")[2].partition("## Commands")[0]))
    own = [one for one in serve_farm.params if one.name not in OF_ADAPTERS or one.name == "adapter"]
    assert {name for one in own for name in one.opts} == told


def test_every_placeholder_of_a_command_is_explained() -> None:
    text = (ROOT / "docs" / "job-plan.md").read_text()
    explained = re.findall(r"`{(\w+)(?::\.\.)?}`", " ".join(re.findall(r"^\| (`{.*?) \|", text, flags=re.MULTILINE)))
    assert explained == list(PLACEHOLDERS)


def test_the_table_of_ranges_has_those_that_are_read_and_those_that_are_not() -> None:
    text = (ROOT / "docs" / "job-plan.md").read_text()
    ranges, others, *_ = (
        table.split("\n\n")[0] for table in re.split(r"^\| --- \| --- \|$", text, flags=re.MULTILINE)[1:]
    )
    read = re.findall(r"^\| `([^`]+)` \|", ranges, flags=re.MULTILINE)
    assert len(read) > 8
    for range_ in read:
        FrameRange.parse(range_)
    refused = re.findall(r"^\| `([^`]+)`[^|]* \| (.*) \|", others, flags=re.MULTILINE)
    assert len(refused) > 4
    for range_, remedy in refused:
        with pytest.raises(SpecError):
            FrameRange.parse(range_)
        for better in re.findall(r"`([^`]+)`", remedy):
            FrameRange.parse(better)


OF_ADAPTERS = {"adapter", "streaming"} | {option.name for plugin in BUILT_IN for option in plugin.options}
OF_REMOTE = OF_ADAPTERS - {option.name for option in DOCKER.options}


def test_every_option_of_the_remote_adapters_is_explained() -> None:
    text = "".join((ROOT / "docs" / name).read_text() for name in ("remote-workers.md", "ray.md"))
    adapters = (AwsLambdaAdapter, CloudRunAdapter, HttpWorkerAdapter, RayAdapter)
    in_python = {name for adapter in adapters for name in list(signature(adapter).parameters)[1:]}
    on_command_line = {
        name for option in run.params if option.name in OF_REMOTE for name in [*option.opts, *_variables(option)]
    }
    assert len(in_python) > 8
    assert len(on_command_line) > 12
    words = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    explained = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", words))))
    assert (in_python | on_command_line) - explained == set()


def test_every_option_of_containers_is_explained() -> None:
    text = (ROOT / "docs" / "containers.md").read_text()
    in_python = list(signature(DockerAdapter).parameters)
    on_command_line = [name for option in DOCKER.options for name in [*option.opts, *_variables(option)]]
    assert (len(in_python), len(on_command_line)) == (4, 6)
    assert [name for name in [*in_python, *on_command_line] if f"`{name}" not in text] == []


def _variables(option: click.Parameter) -> list[str]:
    assert not isinstance(option.envvar, list)
    return [] if option.envvar is None else [str(option.envvar)]


def test_every_option_of_a_run_is_explained_and_every_option_of_the_command_line_is_named() -> None:
    text = (ROOT / "docs" / "options.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == [
        field.name for field in dataclasses.fields(JobExecutionOptions)
    ]
    options = {
        name
        for parameter in run.params
        # Those have a page of their own.
        if parameter.name not in OF_ADAPTERS
        for name in parameter.opts
        if name.startswith("--")
    }
    assert options == set(re.findall(r"`(--[\w-]+)", text)) - {"--adapter"}


def test_the_example_of_planning_writes_a_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = (block.text for block in blocks_of(ROOT / "docs" / "job-plan.md") if block.language == "python")
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert len(JobSpec.load("shot.json").chunks) == 5


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = re.findall(r"`((?:\w+/)+[\w.]+\.(?:py|rs|sh))`", (ROOT / "ARCHITECTURE.md").read_text())
    assert len(named) > 20
    assert [name for name in named if not any((ROOT / top / name).is_file() for top in ("", "python/tailrace"))] == []


def test_every_package_stands_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    packages = [path.parent.name for path in (ROOT / "python" / "tailrace").glob("*/__init__.py")]
    assert len(packages) > 15
    assert [name for name in packages if f"| `{name}` |" not in text] == []


def test_the_picture_of_the_architecture_has_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    picture = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
    drawn = re.findall(r"^(\w+) ", picture, flags=re.MULTILINE)
    assert drawn == [layer.split(" | ")[0].removeprefix("tailrace.") for layer in layers]
