"""What this machine and a client do to a container before it is there; a script takes the part of docker."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tailrace import DockerAdapter, WorkerJob, WorkerSpawnError

pytestmark = pytest.mark.anyio

Script = Callable[[str], DockerAdapter]


@pytest.fixture
def scripted(tmp_path: Path) -> Script:
    """Return what makes an adapter whose engine does this for `run`, and has files for containers in `state`."""

    def make(run: str) -> DockerAdapter:
        (tmp_path / "state").mkdir()
        program = tmp_path / "docker"
        program.write_text(
            f"""#!/bin/sh
cd {tmp_path}
echo "$@" >> calls
for last; do case $last in --name=*) name=${{last#--name=}};; esac; done
case $1 in
    ps) ls state;;
    run) {run};;
    rm) rm "state/$last" 2> /dev/null || {{ echo "Error: No such container: $last" >&2; exit 1; }};;
esac
"""
        )
        program.chmod(0o755)
        return DockerAdapter("image", engine=str(program))

    return make


async def test_a_container_that_the_daemon_makes_when_its_client_was_killed_is_removed(
    scripted: Script, tmp_path: Path
) -> None:
    async with scripted("echo $name > asked.new; mv asked.new asked; exec sleep 60") as adapter:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(adapter.execute, WorkerJob("render", cwd=tmp_path))
            while not (tmp_path / "asked").exists():  # noqa: ASYNC110
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        name = (tmp_path / "asked").read_text().strip()
        assert f"rm --force {name}" in (tmp_path / "calls").read_text()
        (tmp_path / "state" / name).touch()
    assert list((tmp_path / "state").iterdir()) == []


async def test_commands_that_are_the_first_together_look_for_the_engine_once(scripted: Script, tmp_path: Path) -> None:
    adapter = scripted("exit 1")

    async def fail() -> None:
        with pytest.raises(WorkerSpawnError, match="cannot start render in a container of image"):
            await adapter.execute(WorkerJob("render", cwd=tmp_path))

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(fail)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls].count("run") == 6
    assert [call for call in calls if call.startswith(("--version", "image"))] == ["--version", "image inspect image"]


async def test_a_folder_for_temporary_files_that_is_not_there_is_named(
    scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = scripted("exit 1")
    monkeypatch.setattr(tempfile, "tempdir", f"{tmp_path}/gone")
    with pytest.raises(WorkerSpawnError, match=f"cannot start render: .*: {tmp_path}/gone/") as caught:
        await adapter.execute(WorkerJob("render", cwd=tmp_path))
    assert caught.value.errno == errno.ENOENT


async def test_it_is_told_that_there_is_no_folder_for_temporary_files_at_all(
    scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    adapter = scripted("exit 1")
    monkeypatch.setattr(tempfile, "gettempdir", lack)
    with pytest.raises(WorkerSpawnError, match=r"cannot start render: .*: No usable temporary directory found"):
        await adapter.execute(WorkerJob("render", cwd=tmp_path))


async def test_want_of_descriptors_keeps_its_number_so_that_the_chunk_is_tried_again(
    scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(_: str) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    adapter = scripted("exit 1")
    monkeypatch.setattr(os, "memfd_create", lack)
    with pytest.raises(WorkerSpawnError, match=r"cannot start render: .*: Too many open files") as caught:
        await adapter.execute(WorkerJob("render", cwd=tmp_path))
    assert caught.value.errno == errno.EMFILE
