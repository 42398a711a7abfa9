# shellcheck shell=bash
# Starts stores for a comparison on this machine, and runs clients against them. Sourced after
# `scratch` is set to a folder; call stores_stop at the end.
#
#   stores_build                                            build ours, unless KVS_BIN_DIR names a folder
#   stores_ours FLAG..   stores_redis   stores_memcached    start one; its URL or hosts in $REPLY
#   stores_client FLAG..                                    run kvs-client; fields in associative $run
#   stores_stop                                             end all that were started

stores_pids=() server='' redis_port=''
declare -A run=()
: "${scratch:?a folder for logs must be set}"
built=${KVS_BIN_DIR:-${CARGO_TARGET_DIR:-target}/${KVS_PROFILE:-release}}

stores_die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# Optimised binaries of server and client in $built.
stores_build() {
    [[ -n ${KVS_BIN_DIR-} ]] ||
        cargo build --release --locked --quiet --package kvs-server --package kvs-client
    [[ -x $built/kvs-server && -x $built/kvs-client ]] ||
        stores_die "there is no kvs-server or kvs-client in $built; KVS_BIN_DIR names the folder"
}

stores_stop() {
    local pid
    for pid in "${stores_pids[@]+"${stores_pids[@]}"}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    stores_pids=() server='' redis_port=''
}

# stores_wait PID WHAT CHECK..: until CHECK succeeds; fails when the process ends before.
stores_wait() {
    local pid=$1 what=$2 deadline=$((SECONDS + 20))
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || return 1
        ((SECONDS < deadline)) || stores_die "$what does not start; see $scratch"
        sleep 0.05
    done
}

# One of our servers: host:port in $REPLY, its process in $server.
stores_ours() {
    local port_file
    port_file=$(mktemp -u "$scratch/ours-XXXXXX")
    "$built/kvs-server" -listen 127.0.0.1 -port 0 -port_file "$port_file" "$@" \
        >"$port_file.log" 2>&1 &
    server=$!
    stores_pids+=("$server")
    stores_wait "$server" kvs-server test -s "$port_file" ||
        stores_die "kvs-server ended: $(tail -n 1 "$port_file.log")"
    REPLY=127.0.0.1:$(<"$port_file")
}

# A Redis server that keeps nothing on disk: its URL in $REPLY, its port in $redis_port. Redis can't
# ask the system for a port, so one is drawn until it is free.
stores_redis() {
    local attempt
    for attempt in 1 2 3 4 5 6 7 8; do
        redis_port=$(shuf --input-range 20000-32000 --head-count 1)
        redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --daemonize no \
            --dir "$scratch" >"$scratch/redis-$attempt.log" 2>&1 &
        stores_pids+=($!)
        REPLY=redis://127.0.0.1:$redis_port
        stores_wait $! redis-server stores_redis_answers && return
    done
    stores_die "redis-server does not start: $(tail -n 1 "$scratch/redis-$attempt.log")"
}

stores_redis_answers() {
    [[ $(redis-cli -h 127.0.0.1 -p "$redis_port" ping 2>&1) =~ PONG|NOAUTH ]]
}

# A memcached server on a port that the system chooses, with 3 GiB: its URL in $REPLY. As root it stays
# root, because it must write the file with its port.
stores_memcached() {
    local port_file user=()
    port_file=$(mktemp -u "$scratch/memcached-XXXXXX")
    ((EUID != 0)) || user=(-u root)
    MEMCACHED_PORT_FILENAME=$port_file memcached -l 127.0.0.1 -p -1 -U 0 -m 3072 \
        "${user[@]+"${user[@]}"}" >"$port_file.log" 2>&1 &
    stores_pids+=($!)
    stores_wait $! memcached grep -q TCP "$port_file" ||
        stores_die "memcached ended: $(tail -n 1 "$port_file.log")"
    REPLY=memcached://127.0.0.1:$(sed -n 's/^TCP INET: //p' "$port_file" | head -n 1)
}

# stores_client FLAG..: runs the load generator to its end. The fields of its result in $run: ops_s,
# operations, min, mean, p50, p95, p99, max (microseconds of an operation), hits, wire_bytes.
stores_client() {
    local result=$scratch/result.json
    "$built/kvs-client" "$@" -json "$result" >"$scratch/client.log" 2>&1 ||
        stores_die "kvs-client $* failed: $(tail -n 1 "$scratch/client.log")"
    stores_result "$result"
}

# stores_result FILE: reads a client's result into $run.
stores_result() {
    local name value
    command -v python3 >/dev/null ||
        stores_die 'there is no python3 to read results with; install it, e.g. with: sudo apt-get install python3'
    run=()
    while read -r name value; do
        run[$name]=$value
    done < <(python3 -c '
import json, sys

result = json.load(open(sys.argv[1]))
fields = {"ops_s": result["operations_per_second"], "operations": result["operations"],
          "hits": result["hit_ratio"], "wire_bytes": result["wire_bytes_per_operation"]}
latency = result["latency_us"]["operations"]
fields.update((name, latency[name]) for name in ("min", "mean", "p50", "p95", "p99", "max"))
for name, value in fields.items():
    print(name, "" if value is None else format(value, ".10g"))
' "$1")
    [[ -n ${run[ops_s]-} ]] || stores_die "$1 holds no result"
}
