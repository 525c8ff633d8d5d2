"""What `submit` returned is there after the power failed, wherever SQLite was."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from support import ROOT
from support.farm_rows import opened
from support.recorded_disk import Sync, states_after_power_loss, write_files

_WRITER = """
import pickle, sys, anyio
from support.recorded_disk import Note, record
from support.farm_rows import added, changed, chunk, event, opened
from tailrace._farm.repository.writer import Writer

entries = record()

async def main():
    for part in range(2):
        with opened(sys.argv[1]) as repository:
            # In place of 1000 pages: its log is put into the file again and again.
            raw = repository._database.connect().connection.driver_connection
            raw.execute("PRAGMA wal_autocheckpoint = 50").close()
            async with Writer(repository) as writer:
                for number in range(1 + 8 * part, 9 + 8 * part):
                    await writer.submit([added(number, chunks=1000)])
                    await writer.submit([chunk(number, 10, state="completed"), changed(number, completed_chunks=1)])
                    await writer.submit([event(number, job=number)])
                    entries.append(Note(number))

anyio.run(main)
with open(sys.argv[2], "wb") as file:
    pickle.dump(entries, file)
"""


def test_what_was_submitted_is_there_after_the_power_failed(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    subprocess.run(
        [sys.executable, "-c", _WRITER, old / "farm.db", tmp_path / "entries"],
        env={"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "python")]), "PATH": ""},
        check=True,
        timeout=200,
    )
    entries = pickle.loads((tmp_path / "entries").read_bytes())
    synced = [Path(entry.path).name for entry in entries if isinstance(entry, Sync)]
    # The log for each commit, the file itself when the log is put into it.
    assert synced.count("farm.db-wal") >= 48
    assert synced.count("farm.db") >= 8
    count = 0
    for noted, files in states_after_power_loss(entries, seed=1):
        count += 1
        new = tmp_path / f"new-{count}"
        new.mkdir()
        write_files(files, old, new)
        with opened(str(new / "farm.db")) as repository:
            assert repository.check() == [], (count, noted)
            jobs = repository.jobs()
            assert len(jobs) >= noted, (count, noted)
            assert [job.completed_chunks for job in jobs[-noted:]] == [1] * noted or not noted
            assert len(repository.events(0).events) >= noted
        for path in new.iterdir():
            path.unlink()
        new.rmdir()
    assert count > 150
