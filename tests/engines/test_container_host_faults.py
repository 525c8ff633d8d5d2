"""What this machine and a client do to a container before it is there; a script takes the part of docker."""

from __future__ import annotations

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
