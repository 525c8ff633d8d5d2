"""What runs on the node around the command, and how it tells here that the command began and how it ended.

`srun` alone does not do: it returns 0 when the node's daemon dies under a command, it cannot tell an exit code of 137
from SIGKILL, and what slurmstepd says comes in the command's standard error. So a script runs the command, and each
stream has to end with what the script writes behind it.

srun is told `--unbuffered`, or slurmstepd would hold back every line that is not finished. Then the standard output of
what srun runs is a terminal, which is slow and no pipe to who looks, and its standard error is a pipe. The script has
the command write its standard output into that pipe, and its standard error into a `cat` that fills the terminal.
"""

from __future__ import annotations

import re
import signal

REQUEST = int(signal.SIGURG)
"""Has the script ask the command to terminate, when all processes of the step get it.

Slurm may signal them one after another: a command that waits for what it has started would see that end first, and
go on. The script signals the process group, at once. Whoever does not expect this one ignores it (signal(7)).
"""

SCRIPT = r"""
mark=$1 folder=$2
shift 2
tell() { printf '\036%s %s\036\n' "$mark" "$*" >&2; }
trap '' HUP INT QUIT TERM USR1 USR2
cd -- "$folder" 2> /dev/null || { tell no-folder; exit; }
case $1 in
    */*)
        [ -e "$1" ] || { tell no-program; exit; }
        [ -x "$1" ] && [ ! -d "$1" ] || { tell no-permission; exit; }
        ;;
    *) command -v "$1" > /dev/null || { tell no-program; exit; } ;;
esac
read -r now _ < /proc/uptime
tell "began $SLURM_JOB_ID $SLURM_STEP_ID $SLURMD_NODENAME $now"
# Nobody is to read what a shell itself says of a signal.
exec 3>&2 2> /dev/null
# When slurmstepd is gone, nobody else ends the command any more, and srun waits until it is told.
{
    exec > /dev/null 3>&-
    while read -r _ _ _ parent _ < "/proc/$$/stat" && [ "$parent" = "$PPID" ]; do sleep 1; done
    trap '' ALRM
    kill -s TERM 0
    sleep 5
    scancel "$SLURM_JOB_ID.$SLURM_STEP_ID"
    kill -s KILL 0
} < /dev/null &
watcher=$!
{
    # Not ignored, or the command would ignore them too.
    trap : HUP INT QUIT TERM USR1 USR2
    trap 'kill -s TERM 0; kill -s CONT 0' URG
    # bash forgets how a process ended when it has been waited for, unless this interrupts the wait.
    [ -z "$BASH_VERSION" ] || trap : CHLD
    exec "$@" < /dev/null 2>&1 >&3 3>&- &
    while wait "$!"; status=$?; kill -s 0 "$!"; do :; done
    # A signal may have interrupted the wait just as the command ended: the others say it again.
    [ -n "$BASH_VERSION" ] || { wait "$!"; status=$?; }
    read -r now _ < /proc/uptime
    # What is left of its process group: it may keep the output open.
    kill -s TERM 0
    LC_ALL=C
    {
        printf '\036%s ended %s|%s|' "$mark" "$now" "$status"
        [ "$status" -le 128 ] || { jobs; wait "$!"; printf '|%s' "$?"; }
        printf '\036\n'
    } >&3
} | { exec 3>&-; exec cat; }
kill -s ALRM "$watcher"
printf '\036%s ended\036\n' "$mark"
"""
"""Arguments: the mark, the folder, the command and its arguments. For any POSIX shell; it always exits with 0.

It outlives SIGTERM, which Slurm sends to all processes of a step, to tell what the command made of it. `jobs` tells
whether 137 is an exit code or SIGKILL; where `sh` is bash it may have forgotten that of a command which ended within
milliseconds, and a code of 129 to 192 is taken for a signal.
"""

MARK = b"\x1e"
"""What everything begins and ends with that the script tells: ASCII's record separator."""


def exit_code(told: str) -> int:
    """Return the exit code that the script tells by `time|status|jobs|status`, -N for signal N."""
    told = told.partition("|")[2]
    first, _, rest = told.partition("|")
    jobs, _, second = rest.rpartition("|")
    done = re.search(r"Done\((\d+)\)|Exit (\d+)|Done", jobs)
    if done is not None:
        return int(done[1] or done[2] or 0)
    # bash: the wait was interrupted; the second one had the status, unless the first had it.
    status = int(second) if second and second != _FORGOTTEN else int(first)
    number = status - 128
    return -number if 0 < number < signal.NSIG else status


def duration(began: str, ended: str) -> float:
    """Return the seconds between what the script tells of the beginning and of the end, by the node's own clock.

    The output may come later, and then all at once.
    """
    return max(0.0, float(ended.partition("|")[0]) - float(began.rpartition(" ")[2]))


_FORGOTTEN = "127"
"""What a shell says of a process that it has told the end of already."""
