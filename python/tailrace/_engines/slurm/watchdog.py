"""Ends what this process has submitted when it is killed, and can do nothing about it any more.

Slurm does not: a job goes on when its `srun` is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading

_SCRIPT = r"""
names=
while read -r what name; do
    case $what in
        +) names="$names $name" ;;
        -)
            rest=
            for each in $names; do [ "$each" = "$name" ] || rest="$rest $each"; done
            names=$rest
            ;;
    esac
done
# An srun that was just submitting something may be done with that a moment later.
for again in 1 2 3; do
    [ -n "$names" ] || exit 0
    squeue --noheader --user "$(id -u)" --steps --format='%i %j' | while read -r step name; do
        # --ctld, or slurmstepd may take a step that ends just then for one that cannot be killed, and drain its node
        # ("Kill task failed", Slurm 25.05 and older).
        case " $names " in *" $name "*) scancel --ctld --signal=KILL "$step" ;; esac
    done
    for name in $names; do scancel --user "$(id -u)" --name "$name"; done
    sleep "$again"
done
"""
"""Reads what there is, line by line; the end of it is the end of whoever wrote it."""


class Watchdog:
    """A process of its own, which is started when it is needed first and ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: int | None = None
        self._names: set[str] = set()

    def add(self, name: str) -> None:
        """Have what has this name ended with this process. Raises `OSError` if no watchdog can be started."""
        with self._lock:
            self._names.add(name)
            if not self._write(f"+ {name}\n"):
                self._start()
                self._write("".join(f"+ {each}\n" for each in self._names))

    def remove(self, name: str) -> None:
        """Leave it alone from now on."""
        with self._lock:
            self._names.discard(name)
            self._write(f"- {name}\n")

    def forget(self) -> None:
        """Give up the pipe, in a fork of the process that it belongs to."""
        if self._pipe is not None:
            os.close(self._pipe)
        self.__init__()  # type: ignore[misc]

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
                ["sh", "-c", _SCRIPT],
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
