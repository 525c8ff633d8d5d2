"""A log is found by its name, wherever a run or a later one has put it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from tailrace._farm.log_reader import LogName, LogReader


async def read(folder: Path) -> bytes:
    """Return what the second attempt at chunk 7 wrote to its standard error."""

    async def find() -> LogName:
        return LogName(folder, 7, 2, "stderr")

    return b"".join([piece async for piece in LogReader(find, lambda _: False, 0)])


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["chunk-7-attempt-2-stderr.log", "chunk-00007-attempt-2-stderr.log"])
async def test_a_log_is_found_however_many_zeros_its_name_has(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"that")
    for other in ("chunk-17-attempt-2-stderr.log", "chunk-7-attempt-1-stderr.log", "chunk-7-attempt-2-stdout.log"):
        (tmp_path / other).write_bytes(b"another")
    assert await read(tmp_path) == b"that"


@pytest.mark.anyio
async def test_of_logs_that_were_set_aside_the_last_one_is_read(tmp_path: Path) -> None:
    for number in range(1, 12):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        if number < 11:
            (folder / "chunk-07-attempt-2-stderr.log.gz").write_bytes(gzip.compress(b"run %d" % number))
    assert await read(tmp_path) == b"run 10"
    (tmp_path / "chunk-07-attempt-2-stderr.log").write_bytes(b"now")
    assert await read(tmp_path) == b"now"
    assert await read(tmp_path / "nowhere") == b""


@pytest.mark.anyio
async def test_a_folder_of_a_hundred_thousand_logs_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chunk-000007-attempt-2-stderr.log").write_bytes(b"that")

    def refuse(*_: Any) -> Any:
        raise AssertionError("it takes a second")

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    assert await read(tmp_path) == b"that"
