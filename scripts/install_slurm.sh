#!/bin/sh
# Install Slurm and MUNGE, of which the tests start their own, from Debian's packages or those of a system made of them.
set -eu

missing=
for program in slurmctld slurmd srun munged ip; do
    command -v "$program" > /dev/null || missing=1
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null; then
    echo "These tests need Slurm, MUNGE and ip, and there is no apt-get here: install them in this system's own way." >&2
    exit 1
fi
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq
$as_root apt-get install -qq --yes --no-install-recommends slurmctld slurmd slurm-client munge iproute2
