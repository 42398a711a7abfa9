# shellcheck shell=bash
# The table `targets` of scripts/bench-compare, which sources it: what ours has to reach beside Redis and
# memcached. Each row is the figure of one function over that of another, both in the same rounds.

: "${scratch:?}" "${KEYS:?}" "${VALUE_BYTES:?}" "${KEY_BYTES:?}" "${pairs:?}" "${secs:?}" "${folder:?}"
: "${ours?}" "${redis?}" "${memcached?}" "${server?}" "${redis_port?}" "${half?}"

# --- What is measured: the figure of each in $REPLY --------------------------------------------------

# driven_ours FLAG..: with the server's threads and as many of the client's.
driven_ours() { client "$ours" -threads "$half" "$@"; }

wire_bytes=()
ours_10000() {
    driven_ours -batch_size 10000
    wire_bytes+=("${run[wire_bytes]}")
}
ours_10000_full() { driven_ours -batch_size 10000 -dedup off; }
ours_10000_uniform() { driven_ours -batch_size 10000 -dedup off -distribution uniform; }
ours_5000() { driven_ours -batch_size 5000; }
ours_2000() { driven_ours -batch_size 2000; }
ours_1000() { driven_ours -batch_size 1000; }
ours_100() { driven_ours -batch_size 100; }
# Until the first of its 10^7 operations in flight are answered, a second passes.
ours_1024_workers() { driven_ours -batch_size 10000 -workers 1024 -warmup_secs 1.5; }
ours_plain() { client "$ours" -plain -workers 64; }
ours_one_caller() {
    client "$ours" -plain -workers 1 -threads 1
    REPLY=${run[p50]}
}

redis_get_1000() { redis_get -P 1000 -c 16; }
redis_get_100() { redis_get -P 100 -c 16; }
redis_get_1() { redis_get -P 1 -c 64; }
redis_one_caller() {
    redis_get -P 1 -c 1
    REPLY=$redis_p50_us
}
redis_driven() { client "$redis" "${redis_best[@]}"; }
redis_driven_one_caller() {
    client "$redis" -batch_size 1 -workers 1 -threads 1 -connections 1
    REPLY=${run[p50]}
}
memcached_driven() { client "$memcached" "${memcached_best[@]}"; }

# Resident memory that a fresh server takes to hold the keys, over what keys and values are long.
memory_over_payload() {
    local pid before after
    stores_ours -threads "$half"
    pid=$server
    before=$(resident_kib "$pid")
    load "$REPLY"
    after=$(resident_kib "$pid")
    stores_stop
    REPLY=$(awk -v kib="$((after - before))" -v bytes="$((KEYS * (KEY_BYTES + VALUE_BYTES)))" \
        'BEGIN { printf "%.4f", kib * 1024 / bytes }')
}

resident_kib() {
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status"
}

# --- Redis under redis-benchmark ---------------------------------------------------------------------

# A server of its own for redis-benchmark, with exactly the keys that it asks for.
start_benchmarked() {
    stores_redis
    benchmarked_port=$redis_port
    awk -v keys="$KEYS" -v bytes="$VALUE_BYTES" 'BEGIN {
        value = sprintf("%" bytes "s", ""); gsub(" ", "x", value)
        for (key = 0; key < keys; key++)
            printf "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n", key, bytes, value
    }' | redis-cli -p "$benchmarked_port" --pipe >"$scratch/load.log" ||
        stores_die "cannot load keys: $(tail -n 1 "$scratch/load.log")"
    REPLY=$(redis-cli -p "$benchmarked_port" dbsize)
    [[ $REPLY == "$KEYS" ]] || stores_die "redis holds $REPLY keys, not $KEYS"
}

# redis_benchmark REQUESTS FLAG..: GETs per second in $REPLY, their median latency in $redis_p50_us.
redis_benchmark() {
    local line
    redis-benchmark -h 127.0.0.1 -p "$benchmarked_port" -t get -r "$KEYS" -d "$VALUE_BYTES" -n "$1" \
        "${@:2}" --csv >"$scratch/benchmark.csv" 2>"$scratch/benchmark.log" ||
        stores_die "redis-benchmark failed: $(tail -n 1 "$scratch/benchmark.log")"
    line=$(sed -n 's/"//g; s/^GET,//p' "$scratch/benchmark.csv" | tail -n 1)
    read -r REPLY redis_p50_us < <(awk -F , '{ printf "%.0f %.0f\n", $1, $4 * 1000 }' <<<"$line")
    [[ -n $REPLY ]] || stores_die 'redis-benchmark printed no rate'
}

# redis_get FLAG..: redis_benchmark for about $secs, as it takes a number of requests and no time.
declare -A redis_requests=()
redis_get() {
    if [[ -z ${redis_requests[$*]-} ]]; then
        redis_benchmark 20000 "$@"
        redis_benchmark "$((REPLY / 2))" "$@"
        redis_requests[$*]=$(awk -v rate="$REPLY" -v secs="$secs" 'BEGIN { printf "%.0f", rate * secs }')
    fi
    redis_benchmark "${redis_requests[$*]}" "$@"
}

no_misses() {
    local misses
    misses=$(redis-cli -p "$benchmarked_port" info stats | tr -d '\r' | sed -n 's/^keyspace_misses://p')
    [[ $misses == 0 ]] || stores_die "redis missed $misses keys, so its GETs are not comparable"
}

# --- The table ---------------------------------------------------------------------------------------

# best URL: the flags with which kvs-client drives a peer fastest, as words in $REPLY.
best() {
    local batch threads most=0 words=''
    for batch in 100 1000 10000; do
        for threads in 1 2; do
            client "$1" -batch_size "$batch" -threads "$threads" -secs 1
            printf '  trial of %s, batch %d, client threads %d: %.0f op/s\n' "${1%%:*}" "$batch" \
                "$threads" "$REPLY"
            if awk -v a="$REPLY" -v b="$most" 'BEGIN { exit !(a > b) }'; then
                most=$REPLY words="-batch_size $batch -threads $threads"
            fi
        done
    done
    REPLY=$words
}

# rounds NAME..: results_rounds without the peers that are not there.
rounds() {
    local name names=()
    for name; do
        case $name in
        redis_*) [[ -n $redis ]] || continue ;;
        memcached_*) [[ -n $memcached ]] || continue ;;
        esac
        names+=("$name")
    done
    results_rounds "$pairs" "${names[@]}"
}

# row MEASURE OURS PEER OURS_OPS_S PEER_OPS_S BOUND TARGET AIM NUMBERS: a row of what NUMBERS are; the
# upper quartile has to meet `at most`, the lower one `at least`.
row() {
    local median lower upper low high quartile met
    if [[ -z $9 ]]; then
        results_row "$1" "$2" "$3" "$pairs" "$4" "$5" '' '' '' '' "$6" "$7" "$8" 'not run'
        return
    fi
    results_spread "$9"
    read -r median lower upper low high <<<"$REPLY"
    quartile=$lower
    [[ $6 == 'at least' ]] || quartile=$upper
    met=$(awk -v have="$quartile" -v target="$7" -v bound="$6" 'BEGIN {
        print (bound == "at least" ? have >= target : have <= target) ? "yes" : "no" }')
    results_row "$1" "$2" "$3" "$pairs" "$4" "$5" "$median" "$quartile" "$low" "$high" "$6" "$7" "$8" "$met"
    printf '%s (%s%s): %.4g, quartile %.4g; %s %s: %s\n' "$1" "$2" "${3:+; $3}" "$median" \
        "$quartile" "$6" "$7" "$met"
}

# median_of NAME: the median of a function's figures in $REPLY; empty when it did not run.
median_of() {
    REPLY=''
    [[ -z ${results_figures[$1]-} ]] || results_spread "${results_figures[$1]}"
    REPLY=${REPLY%% *}
}

# ratios_of A B: their ratios in $REPLY; empty when one of them did not run.
ratios_of() {
    REPLY=''
    [[ -z ${results_figures[$1]-} || -z ${results_figures[$2]-} ]] || results_ratios "$1" "$2"
}

# rates MEASURE OURS PEER A B TARGET AIM: a row of A's op/s over B's, `at least`.
rates() {
    local a b
    median_of "$4" && a=$REPLY
    median_of "$5" && b=$REPLY
    ratios_of "$4" "$5"
    row "$1" "$2" "$3" "$a" "$b" 'at least' "$6" "$7" "$REPLY"
}

# latencies PEER B: a row of one caller's median latency over that of B, `at most`.
latencies() {
    local a b
    median_of ours_one_caller && a=$REPLY
    median_of "$2" && b=$REPLY
    ratios_of ours_one_caller "$2"
    row 'median latency of one caller' "plain API, one caller: $a µs" "$1${b:+: $b µs}" '' '' 'at most' \
        1.0 0.8 "$REPLY"
}

readonly SIZES=(ours_1000 ours_2000 ours_5000 ours_10000)

# A row of the slowest batch size over the fastest, by their medians.
worst_size() {
    local name worst='' best='' least most=0 worst_size best_size
    for name in "${SIZES[@]}"; do
        median_of "$name"
        least=${least:-$REPLY}
        if awk -v a="$REPLY" -v b="$least" 'BEGIN { exit !(a <= b) }'; then least=$REPLY worst=$name; fi
        if awk -v a="$REPLY" -v b="$most" 'BEGIN { exit !(a > b) }'; then most=$REPLY best=$name; fi
    done
    grouped "${worst#ours_}" && worst_size=$REPLY
    grouped "${best#ours_}" && best_size=$REPLY
    rates 'slowest of the batch sizes 1,000, 2,000, 5,000 and 10,000 over the fastest' \
        "batch $worst_size" "ours, batch $best_size" "$worst" "$best" 0.85 0.95
}

# driven_words FLAG..: how kvs-client drives a peer with the flags that `best` found, in $REPLY.
driven_words() {
    grouped "${2-}"
    REPLY="kvs-client, the same work${2:+, batch $REPLY, -threads $4}"
}

# Before any other store is there, as it ends all.
measure_memory() {
    results_rounds "$pairs" memory_over_payload
    memory=${results_figures[memory_over_payload]}
}

# rows_of_large_batches: ours at batch 10,000 against what each peer does best.
rows_of_large_batches() {
    local get='GET only, uniform keys, redis-benchmark -P 1000 -c 16' once='batch 10,000'
    rounds ours_10000 redis_get_1000 ours_10000_full ours_10000_uniform
    rates 'throughput over Redis' "$once" "$get" ours_10000 redis_get_1000 15 22
    rates 'throughput over Redis' "$once, -dedup off" "$get" ours_10000_full redis_get_1000 15 22
    rates 'throughput over Redis, uniform keys' "$once, -dedup off" "$get" ours_10000_uniform \
        redis_get_1000 10 14
    rounds ours_10000 redis_driven memcached_driven
    driven_words "${redis_best[@]+"${redis_best[@]}"}"
    rates 'throughput over Redis' "$once" "$REPLY" ours_10000 redis_driven 12 18
    driven_words "${memcached_best[@]+"${memcached_best[@]}"}"
    rates 'throughput over memcached' "$once" "$REPLY, multigets" ours_10000 memcached_driven 12 18
}

# rows_of_small_batches: batches of 100, and callers that do one operation at a time.
rows_of_small_batches() {
    rounds ours_100 redis_get_100
    rates 'throughput over Redis' 'batch 100' 'GET only, uniform keys, redis-benchmark -P 100 -c 16' \
        ours_100 redis_get_100 7 12
    rounds ours_plain redis_get_1
    rates 'throughput over Redis' 'plain API, 64 callers' \
        'GET only, uniform keys, redis-benchmark -P 1 -c 64' ours_plain redis_get_1 5 10
    rounds ours_one_caller redis_one_caller redis_driven_one_caller
    latencies 'GET only, redis-benchmark -P 1 -c 1' redis_one_caller
    latencies 'kvs-client, the same work, one caller' redis_driven_one_caller
}

# rows_of_ours: what ours must not lose by the shape of its load.
rows_of_ours() {
    wire_bytes=()
    rounds "${SIZES[@]}" ours_1024_workers
    worst_size
    rates '1,024 workers over 64' 'batch 10,000, 1,024 workers' 'ours, batch 10,000, 64 workers' \
        ours_1024_workers ours_10000 0.9 1.0
    row 'wire bytes of an operation, both ways' 'batch 10,000' '' '' '' 'at most' 90 82 \
        "${wire_bytes[*]}"
    row 'resident memory over keys and values' "10^6 keys of $KEY_BYTES bytes loaded" '' '' '' 'at most' \
        1.6 1.3 "$memory"
}

targets() {
    redis_best=() memcached_best=()
    if [[ -n $redis ]]; then
        start_benchmarked
        best "$redis" && read -ra redis_best <<<"$REPLY"
    fi
    if [[ -n $memcached ]]; then
        best "$memcached" && read -ra memcached_best <<<"$REPLY"
    fi
    results_begin "$folder/targets.jsonl" targets 'Ours against its targets' 'make bench-compare' \
        measure ours peer pairs ours_ops_s:op/s peer_ops_s:op/s median quartile min max bound target aim met
    results_note "YCSB-B (95% GET), 10^6 keys, values of 128 bytes, zipfian 0.99, 64 workers, 4 connections, unless a row says otherwise; server and client share the cores with -threads $half each, and 64 plain callers have all of them; runs of $secs s in interleaved rounds, every second one in the opposite order"
    results_note 'Median to maximum: of the ratio of ours to the peer, round by round, or of the figure that the row names. The quartile has to meet the target: the lower one where the bound is at least, the upper one where it is at most'
    results_note 'redis-benchmark found every key; kvs-client drives a peer at the batch size and with the threads that a trial found best'
    note_peers
    rows_of_large_batches
    rows_of_small_batches
    rows_of_ours
    results_end
    [[ -z $redis ]] || no_misses
    printf 'written to %s\n' "$folder/targets.jsonl"
}
