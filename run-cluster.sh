#!/usr/bin/env bash
# Builds what is needed, and runs servers and clients: -help tells more. The run itself is
# `kvs-lab run`, in lab/src/run.
set -euo pipefail

die() {
    printf 'run-cluster.sh: %s\n' "$2" >&2
    exit "$1"
}

root=$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")
case ${1-} in -help | --help | -h) exec cat -- "$root/lab/src/run/usage.txt" ;; esac
binaries=(kvs-lab kvs-server kvs-client)
[[ ${KVS_CHECK-} != 1 ]] || binaries+=(kvs-check)

# Builds the binaries and nothing else, which takes longer. In the background, because bash would
# obey a signal only when cargo has ended.
build() {
    local needed found
    PATH=$PATH:${HOME-}/.cargo/bin
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    command -v cargo >/dev/null ||
        die 1 "Rust $needed or later is needed and there is no cargo; install it from https://rustup.rs"
    found=$(cargo --version) || die 1 'cargo does not start; see above'
    found=${found#cargo } found=${found%% *}
    [[ $(printf '%s\n' "$needed" "${found%%-*}" | sort -V | head -n 1) == "$needed" ]] ||
        die 1 "Rust $needed or later is needed and cargo is $found; run: rustup update"
    CARGO_TARGET_DIR=$1 cargo build --release --locked --package lab --package kvs-server \
        --package kvs-client --package checker "${binaries[@]/#/--bin=}" &
    trap 'kill "$!" 2>/dev/null; die 130 "stopped while building"' INT TERM HUP
    wait "$!" || die 1 'the build failed; see above'
    trap - INT TERM HUP
}

if [[ -n ${KVS_BIN_DIR-} ]]; then
    folder=$(realpath -m -- "$KVS_BIN_DIR")
else
    target=$(realpath -m -- "${CARGO_TARGET_DIR:-$root/target}")
    folder=$target/release
    # The toolchain's file lies there.
    here=$PWD
    CDPATH='' cd -- "$root" && build "$target" && CDPATH='' cd -- "$here"
fi
for name in "${binaries[@]}"; do
    [[ -x $folder/$name ]] || die 1 "there is no $name in $folder; build it there, or unset KVS_BIN_DIR"
done
KVS_ROOT=$root exec "$folder/kvs-lab" run "$@"
