# shellcheck shell=bash
# Where the binaries come from.

# build_binaries ROOT: builds what the launcher needs, or takes what KVS_BIN_DIR holds; the folder
# in $REPLY.
build_binaries() {
    local root=$1 folder name
    local names=(kvs-server kvs-client kvs-report kvs-check)
    ! is_cluster || names+=(kvs-clock)
    if [[ -n ${KVS_BIN_DIR-} ]]; then
        folder=$(realpath -m -- "$KVS_BIN_DIR")
    else
        folder=$(realpath -m -- "${CARGO_TARGET_DIR:-$root/target}")/release
        need_cargo "$root"
        run_cargo "$root" "${folder%/release}" || die 1 'the build failed; see above'
    fi
    for name in "${names[@]}"; do
        [[ -x $folder/$name ]] || die 1 "there is no $name in $folder; build it there, or unset KVS_BIN_DIR"
    done
    REPLY=$folder
}

# run_cargo ROOT TARGET: builds $names and nothing else, which takes longer, from the root, where the
# toolchain file is; so the target folder must be absolute. In the background, because bash would
# obey a signal only when cargo has ended.
run_cargo() {
    # The build is the only job there is yet.
    # shellcheck disable=SC2046 # no job, no word
    trap 'kill $(jobs -p) 2>/dev/null; die 130 "stopped while building"' INT TERM HUP
    (cd "$1" && CARGO_TARGET_DIR=$2 exec cargo build --release --locked \
        --package kvs-server --package kvs-client --package report \
        --package checker --package clocks "${names[@]/#/--bin=}") &
    wait "$!"
}

# need_cargo ROOT: ends if there is no cargo, or one too old for the workspace.
need_cargo() {
    local needed found
    PATH=$PATH:$HOME/.cargo/bin
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$1/Cargo.toml")
    command -v cargo >/dev/null ||
        die 1 "Rust $needed or later is needed and there is no cargo; install it from https://rustup.rs"
    found=$(cd "$1" && cargo --version) || die 1 'cargo does not start; see above'
    found=${found#cargo }
    found=${found%% *}
    [[ $(printf '%s\n' "$needed" "${found%%-*}" | sort -V | head -n 1) == "$needed" ]] ||
        die 1 "Rust $needed or later is needed and cargo is $found; run: rustup update"
}
