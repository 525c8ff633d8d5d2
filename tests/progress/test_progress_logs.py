"""What real programs printed is understood; scripts/record_renderer_logs.py recorded it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.renderer_runs import RUNS, check

LOGS = Path(__file__).parent / "logs"


def test_every_recorded_log_is_looked_at() -> None:
    assert {path.stem for path in LOGS.iterdir()} == set(RUNS)
    assert max(path.stat().st_size for path in LOGS.iterdir()) < 100 * 1024


@pytest.mark.parametrize("size", [None, 1, 777, 4096, 10**6], ids=["lines", "bytes", "777", "4096", "whole"])
@pytest.mark.parametrize("case", RUNS)
def test_a_recorded_log_tells_frames_fractions_files_and_errors(case: str, size: int | None) -> None:
    check(case, LOGS, size=size)


@pytest.mark.parametrize("case", RUNS)
def test_the_renderer_is_told_by_a_recorded_log(case: str) -> None:
    check(case, LOGS, size=None, renderer="auto")


@pytest.mark.parametrize("case", RUNS)
def test_recorded_logs_name_no_folder_of_the_machine_that_made_them(case: str) -> None:
    for stream in ("stdout", "stderr"):
        text = (LOGS / f"{case}.{stream}").read_text(errors="replace")
        assert "/root" not in text
        assert "/home" not in text
        assert "/tmp/tmp" not in text
