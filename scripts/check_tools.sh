#!/bin/sh
# Say in one line what is missing to build tailrace, before pip or cargo say it in fifty.
set -u
python=${1:-python3}

fail() {
    echo "tailrace: $1" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    fail "no $python: install Python 3.11 or newer, or name one with 'make PYTHON=/path/to/python3.11'"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is $("$python" -V 2>&1): install Python 3.11 or newer, then 'make PYTHON=python3.11'"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python lacks the venv and ensurepip modules: install them (on Debian and Ubuntu: apt install python3-venv)"

cargo --version >/dev/null 2>&1 ||
    fail "no working Rust toolchain: install one with rustup (stable), so that 'cargo --version' works"
wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
found=$(cargo --version | cut -d ' ' -f 2)
printf '%s\n' "$wanted" "$found" | sort -V -C ||
    fail "Rust $found is too old: install $wanted or newer with rustup (rustup update stable)"
command -v cc >/dev/null ||
    fail "no C linker: install one that is called cc (on Debian and Ubuntu: apt install gcc)"
