"""The site of the documentation has every public name and every command, and loads nothing from elsewhere."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from documents import DOCUMENTS

import tailrace
import tailrace.progress
import tailrace.report
import tailrace.server
import tailrace.testing
import tailrace.worker
from support import ROOT
from tailrace._cli.root import cli

LOADED_BY_PAGE = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)")
LOADED_BY_STYLE = re.compile(r"url\(\s*[\"']?((?:https?:)?//[^)]*)|@import\s+([^;]+)")

REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site of a copy of the repository as `make docs` does, and return its folder."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("docs", "examples", "python", "schemas", "scripts"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", ".tailrace"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
    for command in (["scripts/prepare_site.py"], ["-m", "mkdocs", "build", "--quiet"]):
        built = subprocess.run(
            [sys.executable, *command],
            cwd=copy,
            env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return copy / "site"


@pytest.mark.parametrize(
    "module",
    [tailrace, tailrace.progress, tailrace.report, tailrace.server, tailrace.testing, tailrace.worker],
    ids=lambda module: module.__name__,
)
def test_every_public_name_stands_in_the_reference_once(module: object) -> None:
    text = "".join(path.read_text() for path in REFERENCE.glob("*.md"))
    name = module.__name__  # type: ignore[attr-defined]
    listed = Counter(re.findall(rf"^::: {re.escape(name)}\.(\w+)$", text, flags=re.MULTILINE))
    assert listed == Counter(module.__all__)  # type: ignore[attr-defined]


def test_the_site_has_an_entry_for_every_public_name(site: Path) -> None:
    built = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    names = [
        f"{module.__name__}.{name}"
        for module in (tailrace, tailrace.report, tailrace.server, tailrace.testing, tailrace.worker)
        for name in module.__all__
    ]
    assert [name for name in names if f'id="{name}"' not in built] == []


def test_the_site_has_every_command_with_every_option(site: Path) -> None:
    page = (site / "command-line.html").read_text()
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    commands = dict(commands_of(cli, "tailrace"))
    assert len(commands) > 8
    for path, command in commands.items():
        assert f">{path}<" in page
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert all(option in text for option in parameter.opts)
                assert parameter.help is not None
                assert " ".join(parameter.help.split()) in text


def test_every_document_is_a_page_of_the_site(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    of_docs = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in DOCUMENTS if path.parent != ROOT}
    assert of_docs <= pages
    assert {"index", "architecture", "changelog", "contributing", "security"} <= pages


def test_who_reads_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert [found for page in pages for found in LOADED_BY_PAGE.findall(page.read_text())] == []
    assert [found for sheet in site.rglob("*.css") for found in LOADED_BY_STYLE.findall(sheet.read_text())] == []
    # The theme would draw diagrams with a program that it fetches.
    assert [page for page in pages if 'class="mermaid"' in page.read_text()] == []


def test_the_search_works_in_pages_that_are_files(site: Path) -> None:
    # Such pages can neither fetch an index nor start a worker.
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = {")
    for page in site.rglob("*.html"):
        [script] = re.findall(r'<script src="([^"]*iframe-worker.js)"', page.read_text())
        assert page.name == "404.html" or (page.parent / script).is_file()


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    for name in ("docs", "examples", "schemas", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for path in ROOT.glob("*.md"):
        shutil.copy2(path, tmp_path)
    (tmp_path / "docs" / "logs.md").write_text("[A way](../nowhere.md)\n")
    prepared = subprocess.run(
        [sys.executable, "scripts/prepare_site.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert prepared.returncode == 1
    assert prepared.stderr == "docs/logs.md links to nowhere.md, which is no file of the repository: mend the link\n"


def commands_of(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and all below it, with what one types for it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from commands_of(member, f"{path} {name}")
