"""docker and podman as tests have them: with storage of their own, and an image that is made here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tailrace import DockerAdapter

IMAGE = "tailrace-test"

_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


@dataclass
class ContainerEngine:
    """An engine that runs, and how to reach it."""

    program: str
    variables: dict[str, str]
    """What the client has to find in its environment."""
    daemon: Dockerd | None = None

    def adapter(self, **fields: Any) -> DockerAdapter:
        """Return an adapter that runs commands in the test's image."""
        return DockerAdapter(IMAGE, engine=self.program, **fields)

    def ask(self, *words: str) -> str:
        """Have the client do something, and return what it says; fail if it fails."""
        asked = subprocess.run(
            [self.program, *words], env={**os.environ, **self.variables}, capture_output=True, text=True
        )
        assert asked.returncode == 0, asked.stderr
        return asked.stdout

    def containers(self) -> list[str]:
        """Return the names of all containers, those that have ended too."""
        return self.ask("ps", "--all", "--format={{.Names}}").split()

    def kill_conmons(self) -> None:
        """Kill the processes that look after podman's containers here, and after no others."""
        folder = str(Path(self.variables["CONTAINERS_CONF"]).parent).encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            words = path.read_bytes()
            if words.startswith(b"/usr/bin/conmon\0") and folder in words:
                os.kill(int(path.parent.name), signal.SIGKILL)

    def clear(self) -> None:
        """Return when there are no containers. Those that the engine does not remove in 3 s are removed."""
        deadline = time.monotonic() + 3
        while names := self.containers():
            if time.monotonic() > deadline:
                self.ask("rm", "--force", *names)
            time.sleep(0.05)

    def wait_until_empty(self, *, but: Sequence[str] = ()) -> None:
        """Return when there are no containers, or none but those: the engine removes what has ended by and by."""
        deadline = time.monotonic() + 10
        while (names := self.containers()) != list(but):
            assert time.monotonic() < deadline, f"left: {names}"
            time.sleep(0.05)


@dataclass
class Dockerd:
    """A daemon of docker's with a folder of its own."""

    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/socket"

    def start(self) -> None:
        """Start it; return when it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "dockerd",
                    "--iptables=false",
                    "--bridge=none",
                    "--storage-driver=vfs",
                    f"--data-root={self.folder}/data",
                    f"--exec-root={self.folder}/exec",
                    f"--pidfile={self.folder}/pid",
                    f"--host={self.address}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "--host", self.address, "ps"], capture_output=True).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and its containers."""
        self.process.terminate()
        self.process.wait(60)

    def kill(self) -> None:
        """Kill it, and with it its containerd; the containers' shims and what they look after go on."""
        self.process.kill()
        self.process.wait()
        # Where nobody collects the dead it would be taken for one that lives.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink()


@contextmanager
def running_engine(name: str, folder: Path) -> Iterator[ContainerEngine]:
    """Have docker or podman ready with its files in `folder` and the image; the variables are set for the block."""
    for program in {"podman": ["podman", "runc"], "docker": ["docker", "dockerd"]}[name]:
        if shutil.which(program) is None:
            pytest.fail(f"this test needs {program}: `make test-containers` installs it")
    if name == "podman":
        for conf, text in (("containers", _CONTAINERS_CONF), ("storage", _STORAGE_CONF.format(folder=folder))):
            (folder / f"{conf}.conf").write_text(text)
        names = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        engine = ContainerEngine(name, {variable: str(folder / file) for variable, file in names.items()})
    else:
        daemon = Dockerd(folder)
        engine = ContainerEngine(name, {"DOCKER_HOST": daemon.address}, daemon)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in engine.variables.items():
            patch.setenv(variable, value)
        try:
            engine.ask("import", str(_make_archive(folder)), IMAGE)
            yield engine
            engine.clear()
        finally:
            if engine.daemon is not None:
                engine.daemon.stop()
            _unmount_below(folder)


def _make_archive(folder: Path) -> Path:
    root = folder / "root"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    busybox = shutil.which("busybox")
    assert busybox is not None, "busybox is missing: `make test-containers` installs it"
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    archive = folder / "image.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    return archive


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{folder}/"):
            subprocess.run(["umount", mount], check=True)
