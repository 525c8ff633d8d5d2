"""What the installed programs print is understood: they run here. Run with `make test-renderers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT
from support.renderer_runs import RUNS, check

pytestmark = pytest.mark.renderers

SCRIPT = ROOT / "scripts" / "record_renderer_logs.py"


@pytest.mark.parametrize("case", RUNS)
def test_a_program_that_runs_now_is_understood(case: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--into", str(tmp_path), case]
    recording = subprocess.run(command, capture_output=True, text=True, timeout=110)
    # It says how to install what is missing.
    assert recording.returncode == 0, recording.stderr
    check(case, tmp_path, size=None)
    check(case, tmp_path, size=4096, renderer="auto")
