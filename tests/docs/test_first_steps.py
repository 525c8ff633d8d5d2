"""Who follows the first steps, from the first command to the last program, gets what the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from documents import blocks_of

from support import ROOT, tunnel

BLOCKS = blocks_of(ROOT / "docs" / "first-steps.md")


def test_the_first_steps_can_be_followed_in_their_order(tmp_path: Path) -> None:
    shown = {}
    for block in BLOCKS:
        if block.language in ("sh", "python"):
            command = ["sh", "-e", "-u", "-c"] if block.language == "sh" else [sys.executable, "-W", "error", "-c"]
            shown[block.text] = run([*command, block.text], tmp_path)
    assert sorted(path.name for path in tmp_path.glob("frame_*")) == [f"frame_{n:04}.txt" for n in range(1, 13)]
    (resumed,) = (output for text, output in shown.items() if "--resume" in text)
    assert "chunk 1: to be run: its output frame_0006.txt is missing" in resumed
    assert "1 chunk done, 2 done before" in resumed
    in_python = [output for text, output in shown.items() if "import anyio" in text]
    assert "chunk 2: frame 12\n" in in_python[0]
    assert "chunk 0: sh was ended because it ran longer than 0.1 s; it wrote" in in_python[1]


def test_the_first_steps_hold_no_other_code() -> None:
    assert {block.language for block in BLOCKS} == {"sh", "python", "text"}
    # What is set up by it is there already, and on other machines cannot be.
    assert [block.text for block in BLOCKS if block.language == "text"] == [
        ". .venv/bin/activate\n",
        "pip wheel --no-deps --wheel-dir dist .\n",
        "pip install '/path/to/dist/tailrace-….whl[http]'\n",
    ]


def run(command: list[str], folder: Path) -> str:
    """Return what a command prints, which has to succeed."""
    finished = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": tunnel.search_path()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout
