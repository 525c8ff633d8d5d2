"""What a command makes of the folder that its container shares with this machine harms nobody but itself."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import pytest

from tailrace._engines.containers.exchange import Exchange, Kind, Outcome, remove_left_behind


def test_an_outcome_is_read_from_the_file_that_was_made_here() -> None:
    with Exchange("tailrace-a", {"A": "1"}) as exchange:
        assert exchange.outcome() is None
        (exchange.folder / "outcome").write_bytes(struct.pack("=7q", Kind.EXITED, 3, 0, 0, 10**6, 0, 2))
        expected = Outcome(Kind.EXITED, 3, False, 0, 1.0, 0.0, 2048)
        assert exchange.outcome() == expected
        # A FIFO would be waited for, for ever.
        (exchange.folder / "outcome").unlink()
        os.mkfifo(exchange.folder / "outcome")
        assert exchange.outcome() == expected


def test_an_outcome_of_no_kind_is_none() -> None:
    with Exchange("tailrace-a", {}) as exchange:
        (exchange.folder / "outcome").write_bytes(b"\xff" * 100)
        assert exchange.outcome() is None


def test_a_fifo_that_was_taken_away_is_read_by_nobody() -> None:
    with Exchange("tailrace-a", {}) as exchange:
        assert not exchange.is_read()
        exchange.alive.unlink()
        assert not exchange.is_read()


def test_folders_of_hosts_that_are_gone_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "tailrace-other").mkdir()
    left, kept = Exchange("tailrace-gone", {"SECRET": "x"}), Exchange("tailrace-here", {})
    remove_left_behind(lambda name: name == "tailrace-gone")
    assert not left.folder.exists()
    assert kept.folder.exists()
    assert (tmp_path / "tailrace-other").exists()
