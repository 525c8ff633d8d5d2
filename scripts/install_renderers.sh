#!/bin/sh
# Install the renderers that the live tests run, from Debian's packages or those of a system made of them.
set -eu

missing=
for program in blender povray; do
    command -v "$program" > /dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null; then
    echo "These tests need$missing, and there is no apt-get here: install them in this system's own way." >&2
    exit 1
fi
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq
# Without what they only recommend it takes half a minute.
$as_root apt-get install -qq --yes --no-install-recommends $missing
