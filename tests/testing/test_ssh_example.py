"""The adapter of examples/ssh keeps the contract, with OpenSSH's client and a real server."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from support import ROOT
from support.loops import on_one_loop
from support.processes import descendants_marked, wait_until_marked, wait_until_none_is_marked
from support.ssh_server import running_ssh_server
from tailrace import WorkerJob, WorkerRemoteError
from tailrace.testing import AdapterConformance

sys.path.append(str(ROOT / "examples" / "ssh"))
from ssh_adapter import SshAdapter

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Run a server for all tests, and return the options with which `ssh` logs in."""
    with running_ssh_server(tmp_path_factory.mktemp("ssh")) as options:
        yield options


class TestSshWithSharedFiles(AdapterConformance):
    startup = 2.0

    @pytest.fixture
    def adapter(self, options: list[str]) -> SshAdapter:
        return SshAdapter(HOST, options=options, shares_files=True)


@on_one_loop
class TestSshWithoutSharedFiles(AdapterConformance):
    startup = 2.0

    @pytest.fixture
    def adapter(self, options: list[str]) -> SshAdapter:
        return SshAdapter(HOST, options=options)


@pytest.mark.anyio
async def test_a_host_that_does_not_answer_is_a_remote_error(options: list[str]) -> None:
    adapter = SshAdapter(HOST, options=["-p", "1", *options])
    with pytest.raises(WorkerRemoteError, match=r"127\.0\.0\.1: ssh: connect to host .*: Connection refused"):
        await adapter.execute(WorkerJob("true"))


@pytest.mark.anyio
async def test_a_login_that_is_refused_is_a_remote_error(options: list[str], tmp_path: Path) -> None:
    adapter = SshAdapter(HOST, options=["-o", f"UserKnownHostsFile={tmp_path / 'none'}", *options])
    with pytest.raises(WorkerRemoteError, match="Host key verification failed"):
        await adapter.execute(WorkerJob("true"))


@pytest.mark.anyio
async def test_a_folder_that_the_host_does_not_have_is_a_remote_error(options: list[str], tmp_path: Path) -> None:
    adapter = SshAdapter(HOST, options=options, shares_files=True)
    with pytest.raises(WorkerRemoteError, match="no-such-folder"):
        await adapter.execute(WorkerJob("true", cwd=tmp_path / "no-such-folder"))


@pytest.mark.anyio
async def test_a_lost_connection_ends_the_command_and_is_a_remote_error(options: list[str]) -> None:
    mark = f"mark-{uuid.uuid4()}"

    async def lose_connection() -> None:
        await anyio.to_thread.run_sync(wait_until_marked, mark, 2)
        # The client is the one of them that is a child of this process; what runs on the host is the server's.
        client = [pid for pid in descendants_marked(mark) if _parent(pid) == os.getpid()]
        os.kill(client[0], signal.SIGKILL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lose_connection)
        with pytest.raises(WorkerRemoteError, match="ssh ended with -9"):
            script = f"sh -c 'while :; do sleep 1; done; : {mark}' & wait; : {mark}"
            await SshAdapter(HOST, options=options).execute(WorkerJob("sh", ["-c", script]))
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
