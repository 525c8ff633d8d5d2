"""The example of a farm runs as it stands there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import ROOT


def test_three_jobs_run_by_their_priority_and_one_after_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "farm.py"), str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == ["second\tcompleted\t3/3", "first\tcompleted\t3/3", "film\tcompleted\t1/1"]
    film = (tmp_path / "film_0.txt").read_text().splitlines()
    assert film == [f"{shot} {frame}" for shot in ("first", "second") for frame in range(3)]
