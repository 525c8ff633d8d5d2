# Ends what the commands of a host have left when the host itself cannot: when it was killed.
#
# Descriptor 4 is a pipe that the host holds open and never writes to; 3 is a file with the process groups of the commands
# that run; $1 is what every command's mark starts with; $2 is the folder of their control groups, or empty.

PATH=/usr/bin:/bin

# Kill who carries a mark: 0 if there were any, 1 if not, 2 if there is no telling, because one's environment hangs.
kill_marked() {
    { { grep -ls "$1" /proc/[0-9]*/environ; echo end; } & { sleep 1; echo late; } & } | {
        # The status of grep is of no use: an error, for whichever process has just ended, outweighs what was found.
        found=1
        while read -r file; do
            case $file in
                end) exit $found ;;
                late) exit 2 ;;
            esac
            file=${file#/proc/}
            kill -KILL "${file%/environ}"
            found=0
        done
    }
}

# The same where some hang, which then hold up nobody else.
kill_each_marked() {
    for file in /proc/[0-9]*/environ; do
        pid=${file#/proc/}
        { ! grep -qs "$1" "$file" || kill -KILL "${pid%/environ}"; } &
    done
    sleep 2
}

remove_groups() {
    for below in "$1"/*/; do
        [ ! -d "$below" ] || remove_groups "${below%/}"
    done
    rmdir "$1"
}

# Detached from the host's children: a program that waits for all of its own must not wait for this.
(
    trap '' HUP INT QUIT TERM
    read -r _ <&4 # Returns at the end of file, which is the end of the host.
    [ ! -d "$2" ] || echo 1 >"$2/cgroup.kill"
    for group in $(cat <&3); do
        kill -KILL "-$group"
    done
    # Whoever was just being forked is found in the next round, and a command that was just being started a moment later:
    # until its program is loaded it has not its own environment. Zombies have none any more.
    round=0 looked_again=
    while [ $round -lt 50 ]; do
        kill_marked "$1"
        case $? in
            1)
                [ -z "$looked_again" ] || break
                looked_again=yes
                sleep 0.1
                ;;
            2)
                kill_each_marked "$1"
                kill_each_marked "$1"
                break
                ;;
        esac
        round=$((round + 1))
    done
    round=0
    while [ -d "$2" ] && ! remove_groups "$2" && [ $round -lt 50 ]; do
        echo 1 >"$2/cgroup.kill"
        sleep 0.1
        round=$((round + 1))
    done
    # Those of this script that hang.
    kill -KILL 0
) &
