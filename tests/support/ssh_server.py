"""A real SSH server on loopback, in a process of its own, that runs commands as OpenSSH's does.

When the connection ends, it closes the pipes of the command and leaves it alone, as OpenSSH's does without a terminal.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def running_ssh_server(folder: Path) -> Iterator[list[str]]:
    """Run a server that keeps its keys in `folder`, and yield the options with which `ssh` logs in at 127.0.0.1."""
    if shutil.which("ssh") is None:
        pytest.fail("this test needs the OpenSSH client: `apt install openssh-client` installs it")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, __file__, folder], stdin=subprocess.DEVNULL, stderr=output)
    try:
        options = folder / "options"
        deadline = time.monotonic() + 60
        while not options.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield options.read_text().splitlines()
    finally:
        process.kill()
        process.wait()


async def serve(folder: Path) -> None:
    """Make keys, and take logins; write the options for `ssh` into a file when there is a server."""
    # Not where tests are collected: it takes half a second.
    import asyncssh

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            process.command or "",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        )
        assert command.stdin is not None
        closing = asyncio.create_task(close_at_end(process.stdin, command.stdin))
        await asyncio.gather(copy(command.stdout, process.stdout), copy(command.stderr, process.stderr))
        process.exit(await command.wait())
        closing.cancel()

    async def close_at_end(source: asyncssh.SSHReader[bytes], target: asyncio.StreamWriter) -> None:
        try:
            await source.read()
        except asyncssh.Error:
            # The connection was lost.
            pass
        finally:
            target.close()

    async def copy(source: asyncio.StreamReader | None, target: asyncssh.SSHWriter[bytes]) -> None:
        assert source is not None
        while data := await source.read(2**16):
            try:
                target.write(data)
                await target.drain()
            except (asyncssh.Error, OSError):
                # The connection was lost: the command gets SIGPIPE at the next write.
                return

    keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("host", "client")}
    client_key = folder / "client_key"
    client_key.touch(0o600)
    keys["client"].write_private_key(client_key)
    keys["client"].write_public_key(folder / "authorized_keys")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[keys["host"]],
        authorized_client_keys=str(folder / "authorized_keys"),
        process_factory=handle,
        encoding=None,
    )
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{server.get_port()} {keys['host'].export_public_key().decode()}")
    # Nothing of the user's own.
    options = ["-F", "none", "-i", str(client_key), "-p", str(server.get_port())]
    options += ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    ready = folder / "options.new"
    ready.write_text("\n".join(options))
    ready.rename(folder / "options")
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
