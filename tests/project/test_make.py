"""What `make` tells a newcomer, above all on a machine that lacks something."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support import ROOT

GOOD_TOOLS = {
    "python3": 'case "$1" in -V) echo Python 3.11.4;; esac',
    "cargo": "echo cargo 1.99.0 with more to say",
    "cc": "",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what the check of the tools reads."""
    for name in ("Makefile", "Cargo.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    return tmp_path


def test_bare_make_explains_every_target_meant_for_users(clone: Path) -> None:
    shown = make(clone, GOOD_TOOLS).stdout
    listed = set(re.findall(r"^  (\S+)  +\S.*$", shown, flags=re.MULTILINE))
    assert listed == {
        "help",
        "demo",
        "test",
        "test-ray",
        "test-renderers",
        "test-slurm",
        "test-web",
        "stress",
        "sanitize",
        "lint",
        "docs",
        "bench",
        "develop",
        "clean",
    }


@pytest.mark.parametrize(
    ("machine", "remedy"),
    [
        ({"python3": None}, "no python3: install Python 3.11 or newer"),
        ({"python3": 'case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac'}, "is Python 3.9.2: install Python 3.11"),
        ({"python3": 'case "$2" in *ensurepip*) exit 1;; esac'}, "apt install python3-venv"),
        ({"cargo": None}, "no working Rust toolchain: install one with rustup"),
        ({"cargo": "echo error: no default toolchain >&2; exit 1"}, "no working Rust toolchain"),
        ({"cargo": "echo cargo 1.63.0"}, "Rust 1.63.0 is too old"),
        ({"cc": None}, "no C linker"),
    ],
    ids=["no-python", "old-python", "no-venv", "no-cargo", "cargo-without-toolchain", "old-rust", "no-linker"],
)
def test_a_missing_tool_is_one_clear_line_and_leaves_nothing_behind(
    machine: dict[str, str | None], remedy: str, clone: Path
) -> None:
    made = make(clone, GOOD_TOOLS | machine, "develop")
    said = [line for line in made.stderr.splitlines() if not line.startswith("make:")]
    assert made.returncode != 0
    assert len(said) == 1, made.stderr
    assert said[0].startswith("tailrace: ")
    assert remedy in said[0]
    assert not (clone / ".venv").exists()


def test_the_check_is_silent_on_a_machine_with_everything(clone: Path) -> None:
    programs = install(clone / "bin", GOOD_TOOLS)
    checked = subprocess.run(
        ["sh", "scripts/check_tools.sh"], cwd=clone, env={"PATH": programs}, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def make(clone: Path, tools: Mapping[str, str | None], *targets: str) -> subprocess.CompletedProcess[str]:
    """Run make on a machine that has nothing but `tools` and the system's basic ones."""
    environment = {"PATH": install(clone / "bin", tools), "LC_ALL": "C"}
    for name in ("pyproject.toml", "Cargo.lock"):
        (clone / name).touch()
    return subprocess.run(
        ["make", *targets],
        cwd=clone,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def install(folder: Path, tools: Mapping[str, str | None]) -> str:
    """Write shell scripts called like `tools` (None: leave it out) and return the PATH that finds them."""
    folder.mkdir()
    for name in ("awk", "cut", "make", "printf", "sed", "sh", "sort"):
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(os.path.realpath(program))
    for name, script in tools.items():
        if script is not None:
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
    return str(folder)
