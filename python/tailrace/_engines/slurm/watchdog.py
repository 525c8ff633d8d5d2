"""Ends what this process has submitted when it cannot do so itself: it was killed, or Slurm does not answer.

Slurm does not: a job goes on when its `srun` is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading

from .on_node import REQUEST

_SCRIPT = (
    f"request={REQUEST}"
    r"""
user=$1
list() { squeue --noheader --user "$user" "$@" --format='%i %j'; }

# What has one of these names is asked to end, and then killed. --ctld, or slurmstepd may take a step that ends just
# then for one that cannot be killed, and drain its node ("Kill task failed", Slurm 25.05 and older). It is over when
# nothing was listed for three times: an srun that was just submitting something may be done with that a moment later.
# Where Slurm does not answer for a day, it is given up.
end_all() {
    names=" $* " round=1 clear=0 silent=0
    while [ "$clear" -lt 3 ] && [ "$silent" -lt 8640 ]; do
        if ! listed=$(list && list --steps); then
            silent=$((silent + 1))
            sleep 10
            continue
        fi
        jobs= steps=
        while read -r number name; do
            case "$names" in *" $name "*) ;; *) continue ;; esac
            case $number in *.*) steps="$steps $number" ;; *) jobs="$jobs $number" ;; esac
        done <<END
$listed
END
        clear=$((clear + 1))
        [ -z "$jobs$steps" ] || clear=0
        if [ "$round" = 1 ]; then
            [ -z "$steps" ] || scancel --signal="$request" $steps
            [ -z "$jobs" ] || scancel --state=PENDING $jobs
        else
            [ -z "$steps" ] || scancel --ctld --signal=KILL $steps
            [ -z "$jobs" ] || scancel $jobs
        fi
        round=2
        sleep 2
    done
}

names= doomed= sweeper=0
stop_sweeper() { read -r _ _ _ parent _ < "/proc/$sweeper/stat" && [ "$parent" = $$ ] && kill "$sweeper"; }

while read -r what name; do
    rest=
    for each in $names; do [ "$each" = "$name" ] || rest="$rest $each"; done
    names=$rest
    case $what in
        +) names="$names $name" ;;
        !)
            doomed="$doomed $name"
            stop_sweeper
            end_all $doomed < /dev/null &
            sweeper=$!
            ;;
    esac
done
stop_sweeper
[ -z "$names$doomed" ] || end_all $names $doomed
"""
)
"""Reads what there is, line by line; the end of it is the end of whoever wrote it."""


class Watchdog:
    """A process of its own, which is started when it is needed first and ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: int | None = None
        self._names: set[str] = set()
        self._doomed: set[str] = set()

    def add(self, name: str) -> None:
        """Have what has this name ended with this process. Raises `OSError` if no watchdog can be started."""
        with self._lock:
            self._names.add(name)
            self._tell(f"+ {name}\n")

    def remove(self, name: str) -> None:
        """Leave it alone from now on."""
        with self._lock:
            self._names.discard(name)
            self._write(f"- {name}\n")

    def end(self, name: str) -> None:
        """Have it ended as soon as Slurm answers, whatever becomes of this process.

        Raises `OSError` if no watchdog can be started.
        """
        with self._lock:
            self._names.discard(name)
            self._doomed.add(name)
            self._tell(f"! {name}\n")

    def forget(self) -> None:
        """Give up the pipe, in a fork of the process that it belongs to."""
        if self._pipe is not None:
            os.close(self._pipe)
        self.__init__()  # type: ignore[misc]

    def _tell(self, text: str) -> None:
        """Write it to the watchdog, or all that one has to know to another if there is none, or it was killed."""
        if not self._write(text):
            self._start()
            # What was to be ended may have been already: it is looked for once more, and not found.
            self._write("".join([f"+ {each}\n" for each in self._names] + [f"! {each}\n" for each in self._doomed]))

    def _write(self, text: str) -> bool:
        if self._pipe is None:
            return False
        try:
            os.write(self._pipe, text.encode())
        except OSError:
            # Somebody has killed it.
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = None
            return False
        return True

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.posix_spawn(
                shutil.which("sh") or "/bin/sh",
                ["sh", "-c", _SCRIPT, "sh", str(os.getuid())],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), *((os.POSIX_SPAWN_DUP2, null, fd) for fd in (1, 2))],
                # Ctrl-C is for the others.
                setsid=True,
            )
        finally:
            os.close(reading)
            os.close(null)


watchdog = Watchdog()
os.register_at_fork(after_in_child=watchdog.forget)
