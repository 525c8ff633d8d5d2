"""A real Slurm on this machine: its controller, MUNGE, and two nodes that are namespaces of their own.

Everything is in one folder and one network namespace, that of whoever runs this: `make test-slurm` makes one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tailrace._engines.slurm.watchdog import watchdog

CONTROLLER = "10.77.0.1"
NODES = {"alpha": "10.77.0.11", "beta": "10.77.0.12"}
GPUS = ("/dev/zero", "/dev/full")
"""Of each node: any device will do."""

_CONFIGURATION = """\
ClusterName=tailrace
SlurmctldHost={host}({controller})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoAddrCache
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MessageTimeout=10
DefMemPerCPU=64
GresTypes=gpu
Licenses=nuke_i:2
{nodes}
PartitionName=render Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=night Nodes=beta MaxTime=60 State=UP
"""


class SlurmCluster:
    """Runs for as long as `running_slurm` says."""

    def __init__(self, folder: Path, stack: ExitStack, tracking: str) -> None:
        self.folder = folder
        self._tracking = tracking
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        """What Slurm's programs need to find it."""
        self._stack = stack
        self._slurmds: dict[str, subprocess.Popen[bytes]] = {}
        self._namespaces: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start everything, and return when both nodes are idle."""
        self._configure()
        self._make_bridge()
        self._start_munge()
        self.start_controller()
        for number, node in enumerate(NODES):
            self._make_namespace(node, number)
            self.start_slurmd(node)
        self.wait_until_idle()

    def start_controller(self) -> None:
        """Start slurmctld."""
        self.controller = self._spawn("slurmctld", ["slurmctld", "-D", "-i"])

    def start_slurmd(self, node: str) -> None:
        """Start the daemon of a node."""
        namespace = self._namespaces[node]
        enter = ["nsenter", f"--target={namespace.pid}", "--net", "--uts"]
        self._slurmds[node] = self._spawn(f"slurmd-{node}", [*enter, "slurmd", "-D"])

    def kill_slurmd(self, node: str) -> None:
        """Kill the daemon of a node, and what it started for steps, but no step's command."""
        slurmd = self._slurmds[node]
        for pid in [slurmd.pid, *self.stepds(node)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        slurmd.wait()

    def stepds(self, node: str, job: str = "") -> list[int]:
        """Return the processes that look after a node's steps, or those of one job: others may be ending still."""
        title = f"slurmstepd: [{job}." if job else "slurmstepd"
        namespace = Path(f"/proc/{self._namespaces[node].pid}/ns/uts").stat().st_ino
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    is_stepd = (folder / "cmdline").read_bytes().startswith(title.encode())
                    if is_stepd and (folder / "ns/uts").stat().st_ino == namespace:
                        found.append(int(folder.name))
        return found

    def ask(self, *command: str, check: bool = True) -> str:
        """Return what one of Slurm's programs prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def job_ids(self) -> list[str]:
        """Return the numbers of the jobs that run or wait."""
        return self.ask("squeue", "--noheader", "--format=%i").split()

    def wait_for_jobs(self, count: int) -> None:
        """Return when so many jobs run or wait."""
        deadline = time.monotonic() + 20
        while len(self.job_ids()) < count:
            assert time.monotonic() < deadline, self.ask("squeue")
            time.sleep(0.05)

    def wait_until_saved(self, job: str) -> None:
        """Return when slurmctld would know of a job after its death, too."""
        began = time.time()
        saved = self.folder / "state/job_state"
        deadline = time.monotonic() + 20
        while not saved.exists() or saved.stat().st_mtime < began:
            assert time.monotonic() < deadline, f"job {job} is not saved"
            # It is saved a moment after something has changed.
            self.ask("scontrol", "update", f"JobId={job}", "Comment=saved")
            time.sleep(0.2)

    def end_all_jobs(self) -> None:
        """Kill whatever runs, so that no command outlives its node."""
        for job in self.job_ids():
            self.ask("scancel", "--signal=KILL", job, check=False)
            self.ask("scancel", job, check=False)
        deadline = time.monotonic() + 10
        while self.job_ids() and time.monotonic() < deadline:
            time.sleep(0.1)

    def wait_until_idle(self, seconds: float = 30) -> None:
        """Return when all nodes are there and nothing runs on them or waits."""
        deadline = time.monotonic() + seconds
        while True:
            states = self.ask("sinfo", "--noheader", "--Node", "--partition=render", "--format=%T", check=False).split()
            if states == ["idle"] * len(NODES) and not self.job_ids():
                return
            assert time.monotonic() < deadline, f"{states} {self.ask('squeue')} {self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("slurm*.log")))

    def _configure(self) -> None:
        (self.folder / "state").mkdir()
        nodes = [
            f"NodeName={name} NodeAddr={address} CPUs=8 RealMemory=8000 Gres=gpu:{len(GPUS)} State=UNKNOWN"
            for name, address in NODES.items()
        ]
        for name in NODES:
            (self.folder / f"spool-{name}").mkdir()
        configuration = _CONFIGURATION.format(
            host=socket.gethostname(),
            controller=CONTROLLER,
            folder=self.folder,
            nodes="\n".join(nodes),
            tracking=self._tracking,
        )
        (self.folder / "slurm.conf").write_text(configuration)
        (self.folder / "gres.conf").write_text("".join(f"Name=gpu File={path}\n" for path in GPUS))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    def _make_bridge(self) -> None:
        for command in (
            "ip link add name tailrace type bridge",
            f"ip address add {CONTROLLER}/24 dev tailrace",
            "ip link set dev tailrace up",
        ):
            _run(command.split())
        self._stack.callback(_run, ["ip", "link", "delete", "dev", "tailrace"])

    def _make_namespace(self, node: str, number: int) -> None:
        holder = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--uts",
                "sh",
                "-c",
                f"hostname {node} && ip link set lo up && echo && exec sleep 1e9",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_end, holder)
        assert holder.stdout is not None
        with holder.stdout:
            assert holder.stdout.readline() == b"\n"
        self._namespaces[node] = holder
        link = f"node{number}"
        for command in (
            f"ip link add name {link} type veth peer name inside{number}",
            f"ip link set dev {link} master tailrace up",
            f"ip link set dev inside{number} netns {holder.pid}",
        ):
            _run(command.split())
        # Else it goes with the namespace, but not at once.
        self._stack.callback(_run, ["ip", "link", "delete", "dev", link])
        enter = ["nsenter", f"--target={holder.pid}", "--net"]
        _run([*enter, *f"ip address add {NODES[node]}/24 dev inside{number}".split()])
        _run([*enter, *f"ip link set dev inside{number} up".split()])

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        options = [f"--{name}={self.folder}/munge.{suffix}" for name, suffix in _MUNGE_FILES.items()]
        self._spawn("munged", ["munged", "--foreground", "--force", *options])
        _wait_for(self.folder / "munge.socket")

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("ab") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._stack.callback(_end, process)
        return process


_MUNGE_FILES = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


@contextmanager
def running_slurm(folder: Path, *, tracking: Literal["pgid", "linuxproc"] = "pgid") -> Iterator[SlurmCluster]:
    """Run Slurm with all its files in `folder`; at the end nothing of it runs any more.

    It tracks the processes of a step by their group, which leaves no orphan; but that takes a second at each end, where
    `linuxproc` takes none.
    """
    missing = [
        name for name in ("munged", "slurmctld", "slurmd", "srun", "unshare", "ip") if shutil.which(name) is None
    ]
    if missing or os.geteuid() != 0 or not _is_apart():
        pytest.fail(f"Slurm's tests run as root in a network namespace of their own: `make test-slurm` ({missing=})")
    with ExitStack() as stack:
        cluster = SlurmCluster(folder, stack, tracking)
        cluster.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in cluster.environment.items():
                patch.setenv(name, value)
            # One that was started before asks another cluster.
            watchdog.forget()
            try:
                yield cluster
            finally:
                cluster.end_all_jobs()
                for pid in [pid for node in NODES for pid in cluster.stepds(node)]:
                    os.kill(pid, signal.SIGKILL)


def _is_apart() -> bool:
    """Whether this is a network namespace of its own: nothing leads out of it."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in links.stdout.splitlines()] == ["lo"]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"there is no {path}"
        time.sleep(0.02)
