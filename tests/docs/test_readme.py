"""Every shell snippet of the README runs as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import blocks_of

from support import ROOT, tunnel

README = ROOT / "README.md"
SNIPPETS = blocks_of(README)
SHELL = [
    pytest.param(block.text, marks=pytest.mark.renderers) if "plan blender" in block.text else block.text
    for block in SNIPPETS
    if block.language == "sh"
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder like a clone that has been set up, with the demo's pictures a hundredth of their size."""
    tunnel.search_path()
    shutil.copy2(ROOT / "Makefile", tmp_path)
    tunnel.small_tunnel(tmp_path / "examples" / "tunnel")
    shutil.copytree(ROOT / "examples" / "blender", tmp_path / "examples" / "blender")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    # What is installed already stays as it is: in the copy, make must not set anything up again.
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\nexec {shutil.which("make")} -o .venv/.built -o .venv/bin/ffmpeg "$@"\n')
    make.chmod(0o755)
    return tmp_path


def test_all_code_of_the_readme_is_in_a_language_that_is_run_here() -> None:
    assert {block.language for block in SNIPPETS} == {"sh", "python"}


@pytest.mark.parametrize("snippet", SHELL)
def test_the_shell_snippets_run(snippet: str, clone: Path) -> None:
    finished = run(["sh", "-e", "-u", "-c", snippet], clone, f"{clone / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_files_that_the_readme_links_to_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def run(command: list[str], folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` to its end, and not as a part of the make that runs the tests."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
