#!/bin/sh
# Installs what is missing of the programs that tests run, each given as PROGRAM:PACKAGE, from Debian's packages or those
# of a system made of them.
set -eu

missing=
for pair in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" > /dev/null || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null; then
    echo "These tests need$missing, and there is no apt-get here: install them in this system's own way." >&2
    exit 1
fi
# One at a time: apt does not wait for all of its locks.
exec 9< "$0"
flock 9
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
# Another program may be at it.
$as_root apt-get update -qq -o DPkg::Lock::Timeout=600
# What they only recommend is for other ways to use them, and takes minutes.
$as_root apt-get install -qq --yes -o DPkg::Lock::Timeout=600 --no-install-recommends $missing
