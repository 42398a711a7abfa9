# shellcheck shell=bash
# Where a run takes place, for run.json: what a reader needs to judge its figures.

# machine_json: this machine as a JSON object, on stdout. It needs nothing but a shell, /proc and the
# coreutils, so that it can also run on a node: ssh NODE "$(declare -f machine_json); machine_json".
machine_json() {
    local cpu memory_kib system clock_mhz
    quoted() {
        local text=${1//\\/\\\\}
        text=${text//\"/\\\"}
        printf '"%s"' "${text//[[:cntrl:]]/ }"
    }
    cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
    memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
    system=$(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' /etc/os-release 2>/dev/null)
    # Without load a clock that varies stands below its base.
    clock_mhz=$(sed -n 's/...$//p' /sys/devices/system/cpu/cpu0/cpufreq/base_frequency 2>/dev/null) || true
    clock_mhz=${clock_mhz:-$(sed -n 's/^cpu MHz[[:space:]]*: \([0-9]*\).*/\1/p' /proc/cpuinfo | head -n 1)}
    printf '{"name": %s, "cpu": %s, "cores": %d, "memory_bytes": %d, "kernel": %s, "system": %s, "clock_mhz": %s}' \
        "$(quoted "$(uname -n)")" "$(quoted "${cpu:-$(uname -m)}")" "$(nproc)" \
        "$((${memory_kib:-0} * 1024))" "$(quoted "$(uname -sr)")" "$(quoted "${system:-unknown}")" "${clock_mhz:-null}"
}

# commit_of ROOT: the commit that the working tree is at, in $REPLY; `-dirty` behind it if files were
# changed since, those apart that measurements leave.
commit_of() {
    REPLY=$(git -C "$1" describe --always --abbrev=10 --exclude '*' 2>/dev/null) || REPLY=unknown
    [[ -z $(git -C "$1" status --porcelain -- . ':!results' ':!images' ':!REPORT.md' 2>/dev/null) ]] ||
        REPLY+=-dirty
    [[ -z ${KVS_BIN_DIR-} ]] || REPLY+=', binaries from KVS_BIN_DIR'
}
