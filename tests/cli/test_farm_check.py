"""`tailrace farm check` says what is wrong with what a farm keeps, and leaves it as it is."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.farms import farm
from support.jobs import job
from tailrace import RepositoryError, check_farm
from tailrace._cli.root import cli
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.rows import Owner

pytestmark = pytest.mark.anyio


def check(path: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["farm", "check", str(path), *options])


async def ran(folder: Path) -> Path:
    """Return the repository of a farm that has run a job."""
    async with farm(folder) as manager:
        await manager.wait(await manager.submit(job("true", "true")))
        assert await manager.check() == []
    return folder / "farm.db"


async def test_a_repository_that_is_well_has_no_line_and_status_0(tmp_path: Path) -> None:
    found = check(await ran(tmp_path))
    assert (found.exit_code, found.stdout, found.stderr) == (0, "", "nothing is wrong\n")
    found = check(tmp_path / "farm.db", "--json")
    assert (found.exit_code, json.loads(found.stdout), found.stderr) == (0, {"faults": []}, "")


async def test_each_fault_is_a_line_and_the_status_1(tmp_path: Path) -> None:
    path = await ran(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        (job_id,) = connection.execute("SELECT id FROM jobs").fetchone()
        connection.execute("UPDATE jobs SET completed_chunks = 7")
        connection.commit()
    found = check(path)
    assert found.exit_code == 1
    assert job_id in found.stdout
    assert len(found.stdout.splitlines()) == 1
    told = check(path, "--json")
    assert (told.exit_code, json.loads(told.stdout)) == (1, {"faults": found.stdout.splitlines()})


async def test_the_look_takes_nothing_from_the_manager_that_died(tmp_path: Path) -> None:
    path = await ran(tmp_path)
    dead = Owner("elsewhere", 1, "long ago")
    repository = open_repository(path)
    repository.open(dead)
    repository.close(clean=False)
    assert check_farm(path) == []
    repository.open(dead)
    repository.close(clean=False)
    assert check_farm(path) == []
    assert repository.open(None).previous == dead
    repository.close(clean=False)


async def test_one_that_is_in_use_or_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    async with farm(tmp_path):
        with pytest.raises(RepositoryError, match="in use by process"):
            check_farm(tmp_path / "farm.db")
    with pytest.raises(RepositoryError, match=r"there is no \S*other\.db"):
        check_farm(tmp_path / "other.db")
    assert not (tmp_path / "other.db").exists()


async def test_a_copy_is_made_while_the_farm_goes_on_and_is_nobodys(tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(job("sleep 60"))
        await manager.backup(tmp_path / "copy.db")
        assert check_farm(tmp_path / "copy.db") == []
        copy = open_repository(tmp_path / "copy.db")
        # Whoever opens it ends nothing of what runs for this manager.
        assert copy.open(None).previous is None
        found = copy.job(job_id)
        copy.close(clean=False)
        assert found is not None and found.name == "job-1"
        await manager.cancel(job_id)
