"""What another manager may still run is waited for where that can be seen, and told where it cannot."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from support.farms import farm
from support.jobs import job
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.rows import Owner

pytestmark = pytest.mark.anyio


async def test_a_manager_of_another_host_that_did_not_close_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = open_repository(tmp_path / "farm.db")
    repository.open(Owner("render-7", 4321, "then"))
    repository.close(clean=False)
    with caplog.at_level(logging.WARNING, "tailrace"):
        async with farm(tmp_path) as manager:
            assert (await manager.wait(await manager.submit(job("true")))).state == "completed"
        assert "process 4321 on render-7, which had this farm before, did not close it" in caplog.text
        caplog.clear()
        async with farm(tmp_path):
            pass
        assert caplog.text == ""
