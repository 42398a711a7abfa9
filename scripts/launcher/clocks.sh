# shellcheck shell=bash disable=SC2034,SC2154 # variables of the launcher, which sources this
# How far the nodes' clocks are from this machine's: measured before the clients start and after they
# ended. Histories and results of several hosts are laid on one time line with it.

readonly CLOCK_SECONDS_MAX=20 FAIL_CLOCK_SECONDS_MAX=2

first_clocks=() # what kvs-clock printed at the start, by node
clocks=()       # what holds for the whole run, likewise; see kvs-clock -help

# measure_clock INDEX
measure_clock() {
    local words
    ssh_words "$1" -o ControlMaster=no "${hurry[@]+"${hurry[@]}"}"
    "$bin/kvs-clock" probe -- "${words[@]}" "exec ${node_dirs[$1]}/bin/kvs-clock serve"
}

# measure_first_clocks: ends the run if a node's clock cannot be read.
measure_first_clocks() {
    local i worst=0 offset wall error at
    each_node "$CLOCK_SECONDS_MAX" measure_clock
    for i in "${!nodes[@]}"; do
        first_clocks[i]=$(<"$work/measure_clock-$i.out")
        read -r offset wall error at <<<"${first_clocks[i]}"
        ((error <= worst)) || worst=$error
    done
    printf "hosts' clocks are known to %d us\n" "$(((worst + 999) / 1000))"
}

# measure_last_clocks SECONDS: those that cannot be read any more count as drifted since the start.
measure_last_clocks() {
    local i last
    ((${#first_clocks[@]} > 0)) || return 0
    on_nodes "$1" measure_clock || true
    for i in "${!first_clocks[@]}"; do
        last=$(<"$work/measure_clock-$i.out")
        clocks[i]=$("$bin/kvs-clock" join "${first_clocks[i]}" ${last:+"$last"})
        first_clocks[i]+=" / $last"
    done
    write_clocks
}

# write_clocks: clocks.json, which kvs-report reads. A process's times plus its offset are times of
# this machine's clock.
write_clocks() {
    local i node_json role_json offset wall error at texts=''
    for i in "${!clocks[@]}"; do
        json_text "${nodes[i]}" && node_json=$REPLY
        role_of "$i" && json_text "kvs-$REPLY" && role_json=$REPLY
        read -r offset wall error at <<<"${clocks[i]}"
        texts+="${texts:+,$'\n' }{\"node\": $node_json, \"process\": $role_json, "
        texts+="\"offset_ns\": $offset, \"wall_offset_ns\": $wall, \"error_ns\": $error, "
        texts+="\"start\": $(clock_json "${first_clocks[i]% / *}"), "
        texts+="\"end\": $(clock_json "${first_clocks[i]#* / }")}"
    done
    printf '{"clocks": [%s]}\n' "$texts" >"$run/clocks.json"
}

# clock_json TEXT: one measurement, null if there was none.
clock_json() {
    local offset wall error at
    read -r offset wall error at <<<"$1"
    [[ -n $at ]] || { printf null && return; }
    printf '{"offset_ns": %s, "wall_offset_ns": %s, "error_ns": %s}' "$offset" "$wall" "$error"
}

# clock_flags: for kvs-check, in the array flags: each client's monotonic clock.
clock_flags() {
    local i offset wall error at
    flags=()
    for i in "${!clocks[@]}"; do
        ((i >= servers)) || continue
        read -r offset wall error at <<<"${clocks[i]}"
        flags+=("-clock=$((i - servers + 1)):$offset:$error")
    done
}
