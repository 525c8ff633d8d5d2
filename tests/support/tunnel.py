"""A small copy of the demo in examples/tunnel: the same job, scene and commands, with a hundredth of the pixels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

EXAMPLE = ROOT / "examples" / "tunnel"
SMALLER = {"480x270": "48x27", "1280:720": "128:72"}


def small_tunnel(folder: Path) -> Path:
    """Copy the example to `folder` (which must not exist), shrink its pictures, and return the folder."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.mp4", "*.partial", ".tailrace"))
    for name in ("job.json", "tunnel.filter"):
        text = (folder / name).read_text()
        shrunk = text
        for large, small in SMALLER.items():
            shrunk = shrunk.replace(large, small)
        assert shrunk != text, f"{name} holds none of {list(SMALLER)}"
        (folder / name).write_text(shrunk)
    return folder


def search_path() -> str:
    """Return a PATH that begins with this interpreter's own programs; fail if there is no ffmpeg in it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shutil.which("ffmpeg", path=path) is None:
        pytest.fail("this test needs ffmpeg: `make .venv/bin/ffmpeg` installs it")
    return path


def run_job(folder: Path, *options: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run the job in `folder` by the command line, to its end."""
    return subprocess.run(
        job_command(folder, *options),
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def job_command(folder: Path, *options: str) -> list[str]:
    """Return the command line that runs the job in `folder`."""
    return [sys.executable, "-m", "tailrace", "job", "run", str(folder / "job.json"), *options]


def compare(folder: Path, *, path: str) -> subprocess.CompletedProcess[str]:
    """Run the demo's own comparison of the merged video with a single pass."""
    return subprocess.run(
        [sys.executable, str(folder / "compare_with_single_pass.py")],
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def frame_hashes(video: Path, *, path: str) -> list[str]:
    """Return the hash of every decoded frame of `video`, in order."""
    table = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(video), "-f", "framemd5", "-"],
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line.split(",")[5].strip() for line in table.splitlines() if not line.startswith("#")]
