"""Runs commands on another machine through the OpenSSH client: an adapter that one writes in an afternoon.

It needs `ssh` and `bash` here, and a login without questions on the host, where `sh` and `setsid` have to be.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from tailrace import (
    Capabilities,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerRemoteError,
    WorkerResult,
    WorkerSpawnError,
)

# The `sleep` holds the standard input of ssh open. When the command has to end, everything here is asked to terminate:
# ssh ignores that and the `sleep` does not, so that the host sees the end of its input, and its last words still come.
HERE = """
exec 3< <(exec sleep 2147483647 2> /dev/null)
trap '' TERM
exec "$@" <&3 3<&-
"""

# Runs the command in a process group of its own, and ends the group at the end of the input. That comes also when the
# connection is lost, or when whoever holds it is killed.
ON_HOST = """
tenths=$1
cd "$2" || exit 255
shift 2
exec 3<&0
setsid "$@" < /dev/null 3<&- & group=$!
exec > /dev/null 2>&1
end() {
    kill -s TERM -- "-$group" || return
    while [ "$tenths" -gt 0 ] && kill -s 0 -- "-$group"; do sleep 0.1; tenths=$((tenths - 1)); done
    kill -s KILL -- "-$group" || :
}
{ cat <&3; exec 3<&-; end || kill -s TERM "$group"; } & watcher=$!
exec 3<&-
wait "$group"; status=$?
kill "$watcher"
end &
exit "$status"
"""

NOT_FOUND = "no such program on this host"
START = f"""
command -v "$0" > /dev/null || {{ echo "{NOT_FOUND}" >&2; exit 255; }}
exec "$0" "$@"
"""

FAILED = 255
"""What ssh exits with when something went wrong around the command; less than 0 is a signal that ended ssh itself."""


class SshAdapter:
    """Runs commands on `host` and streams their output, as `LocalWorkerAdapter` does here.

    The host's shell tells a signal by an exit code above 128, as 137 for SIGKILL; the result says -9. ssh says 255 when
    the connection failed: a command that exits with 255 is taken for that.
    """

    streams = True

    def __init__(self, host: str, *, options: Sequence[str] = (), shares_files: bool = False) -> None:
        """Take a host as `ssh` knows it, more `options` for `ssh`, and whether it has this machine's folders too.

        A command runs in `WorkerJob.cwd` where files are shared, else in the home folder of the login.
        """
        self.capabilities = Capabilities(
            streams=True, tells_start=True, remote=True, shares_files=shares_files, honours_cpu_limit=False
        )
        self._host = host
        self._ssh = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", *options, "--", host]
        self._local = LocalWorkerAdapter()

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` on the host to its end.

        Raises `WorkerSpawnError` if the host has no such program, `WorkerRemoteError` if the connection failed, and
        what `LocalWorkerAdapter.execute` does.
        """
        args = ["-c", HERE, "bash", *self._ssh, self._remote_command(job)]
        # The host ends the command first.
        here = replace(
            job,
            command="bash",
            args=args,
            env=None,
            cwd=None,
            kill_grace=job.kill_grace + 2,
            # ssh itself hardly does anything.
            cpu_idle_timeout=None,
            ending=None,
        )
        result = await self._local.execute(here)
        if result.exit_code == FAILED or result.exit_code < 0:
            reason = result.stderr.strip().rpartition("\n")[2] or f"ssh ended with {result.exit_code}"
            if reason == NOT_FOUND:
                raise WorkerSpawnError(errno.ENOENT, f"{self._host}: cannot start {job.command}: {reason}")
            raise WorkerRemoteError(f"{self._host}: {reason}", result)
        if 128 < result.exit_code < 128 + 65:
            result.exit_code = 128 - result.exit_code
        return result

    def _remote_command(self, job: WorkerJob) -> str:
        folder = os.path.realpath(job.cwd or ".") if self.capabilities.shares_files else "."
        variables = [f"{name}={value}" for name, value in (job.env or {}).items()]
        start = ["env", *variables, "sh", "-c", START, job.command, *job.args]
        return "exec " + shlex.join(["sh", "-c", ON_HOST, "sh", str(round(job.kill_grace * 10)), folder, *start])
