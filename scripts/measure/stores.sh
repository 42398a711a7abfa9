# shellcheck shell=bash
# Starts stores for a comparison on this machine, and runs clients against them. Sourced after
# `scratch` is set to a folder; call stores_stop at the end.
#
#   stores_ours FLAG..   stores_redis   stores_memcached    start one; its URL or hosts in $REPLY
#   stores_client NAME FLAG..                               run kvs-client; fields in associative $run
#   stores_stop                                             end all that were started

stores_pids=()
declare -A run=()
: "${scratch:?a folder for logs must be set}"
built=${CARGO_TARGET_DIR:-target}/${KVS_PROFILE:-release}

stores_die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

stores_stop() {
    local pid
    for pid in "${stores_pids[@]+"${stores_pids[@]}"}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    stores_pids=()
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
    run=()
    while read -r name value; do
        run[$name]=$value
    done < <(awk -F '[:,]' '
        { gsub(/[" ]/, "", $1); gsub(/ /, "", $2) }
        /"latency_us": \{/ { in_latency = 1 }
        in_latency && /"operations": \{/ { in_operations = 1; next }
        in_operations && /\}/ { in_operations = in_latency = 0 }
        in_operations { print $1, $2 }
        !in_latency && /"operations_per_second"/ && !rate { rate = 1; print "ops_s", $2 }
        !in_latency && /"hit_ratio"/ { print "hits", $2 }
        !in_latency && /"wire_bytes_per_operation"/ { print "wire_bytes", $2 }
    ' "$1")
    [[ -n ${run[ops_s]-} ]] || stores_die "$1 holds no result"
}

# stores_spread NUMBER..: median, lower quartile, lowest and highest in $REPLY.
stores_spread() {
    REPLY=$(printf '%s\n' "$@" | sort -g | awk '
        { r[NR] = $1 }
        function quantile(q, at, low) {
            at = 1 + q * (NR - 1); low = int(at)
            return r[low] + (at - low) * (r[low + (low < NR)] - r[low])
        }
        END { printf "%.6g %.6g %.6g %.6g\n", quantile(0.5), quantile(0.25), r[1], r[NR] }')
}

# stores_ratio A B: A over B in $REPLY.
stores_ratio() {
    REPLY=$(awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4f", a / b }')
}
