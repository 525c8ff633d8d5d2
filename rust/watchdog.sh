# Ends what the commands of a host have left when the host itself cannot: when it was killed.
#
# Descriptor 4 is a pipe that the host holds open and never writes to; 3 is a file with the process groups of the commands
# that run; $1 is what every command's mark starts with.

PATH=/usr/bin:/bin
# Detached from the host's children: a program that waits for all of its own must not wait for this.
(
    trap '' HUP INT QUIT TERM
    read -r _ <&4 # Returns at the end of file, which is the end of the host.
    for group in $(cat <&3); do
        kill -KILL "-$group"
    done
    # Whoever was just being forked is found in the next round, and a command that was just being started a moment later:
    # until its program is loaded it has the host's environment. Zombies have none any more.
    round=0 looked_again=
    while [ $round -lt 50 ]; do
        # Its status is of no use: an error, for whichever process has just ended, outweighs what was found.
        found=$(grep -ls "$1" /proc/[0-9]*/environ)
        if [ -z "$found" ]; then
            [ -z "$looked_again" ] || break
            looked_again=yes
            sleep 0.1
        fi
        for file in $found; do
            pid=${file#/proc/}
            kill -KILL "${pid%/environ}"
        done
        round=$((round + 1))
    done
) &
