#!/bin/sh
# Run tests under a checker of memory and threads; see docs/checking.md. To be called by make, in the environment it sets up.
set -eu
target=$(rustc -vV | sed -n 's/^host: //p')
folder=$PWD/target/sanitize

fail() {
    echo "tailrace: $1" >&2
    exit 1
}

# The options for sanitizers are for nightly compilers; this has the stable one take them.
export RUSTC_BOOTSTRAP=1

case "$1" in
address)
    # Without the library, the compiler prints the bare name.
    runtime=$(cc -print-file-name=libasan.so)
    test -e "$runtime" ||
        fail "no AddressSanitizer for cc: install gcc's (on Debian and Ubuntu: apt install gcc)"
    RUSTFLAGS=-Zsanitizer=address cargo build --locked --lib --target "$target" --target-dir "$folder/address"
    rm -rf "$folder/python" "$folder"/report.*
    mkdir -p "$folder/python"
    cp -r python/tailrace "$folder/python"
    rm -f "$folder"/python/tailrace/_native*.so
    cp "$folder/address/$target/debug/lib_native.so" "$folder/python/tailrace/_native.so"
    # Python does not free everything at its end, so leaks are not looked for. The tests are those of what calls the core;
    # those fail that measure memory or time, of which the checker takes more: make test judges them. By itself the
    # checker ends a program with 1, as failed tests do.
    LD_PRELOAD=$(readlink -f "$runtime") PYTHONPATH=$folder/python PYTHONMALLOC=malloc \
        ASAN_OPTIONS="detect_leaks=0:exitcode=99:log_path=$folder/report" \
        python -m pytest tests/local tests/command tests/output tests/progress --timeout 600 --tb=line \
        -m "not stress and not renderers" || test $? -eq 1
    # Commands are watched too, and some have faults of their own, or are ended as tests want it.
    faults=$(grep -ls _native "$folder"/report.* || true)
    test -z "$faults" || { cat $faults && exit 1; }
    ;;
thread)
    test -e "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ||
        fail "no source of Rust's standard library: install it with 'rustup component add rust-src'"
    # The standard library is built anew, or what it does for locks and channels would not be seen.
    RUSTFLAGS=-Zsanitizer=thread cargo test --locked --lib -Zbuild-std --target "$target" \
        --target-dir "$folder/thread" -- capture mailbox segment
    ;;
miri)
    cargo +nightly miri --version >/dev/null 2>&1 ||
        fail "no Miri: install it with 'rustup toolchain install nightly --component miri,rust-src'"
    # Files are written in some of these tests.
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --lib --target-dir "$folder/miri" -- \
        head_and_tail adjacent nobody_holds another_thread
    ;;
esac
