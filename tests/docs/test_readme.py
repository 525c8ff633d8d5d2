"""Every snippet of the README runs as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tunnel

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
SNIPPETS = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(), flags=re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[str]:
    """Return the README's fenced code in one language."""
    return [text for found, text in SNIPPETS if found == language]


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
    assert {language for language, _ in SNIPPETS} == {"sh", "python"}


@pytest.mark.parametrize("snippet", snippets("sh"))
def test_the_shell_snippets_run(snippet: str, clone: Path) -> None:
    finished = run(["sh", "-e", "-u", "-c", snippet], clone, f"{clone / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("snippet", snippets("python"))
def test_the_python_snippets_run_and_print_while_they_do(snippet: str, clone: Path) -> None:
    finished = run([sys.executable, "-W", "error", "-c", snippet], clone, tunnel.search_path())
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout


def test_the_python_snippets_are_typed(tmp_path: Path) -> None:
    files = [tmp_path / f"snippet_{number}.py" for number in range(len(snippets("python")))]
    for file, snippet in zip(files, snippets("python"), strict=True):
        file.write_text(snippet)
    finished = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout


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
