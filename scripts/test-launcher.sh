#!/usr/bin/env bash
# Tests of run-cluster.sh against the real binaries, in a debug build unless KVS_BIN_DIR names
# another. Every test also checks that no process is left over.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

readonly WAIT_SECONDS_MAX=60 # for what a test waits for; far more than it takes

if [[ -z ${KVS_BIN_DIR-} ]]; then
    cargo build --locked --quiet --package kvs-server --package kvs-client --package report \
        --package checker
    KVS_BIN_DIR=${CARGO_TARGET_DIR:-target}/debug
fi
export KVS_BIN_DIR
scratch=$(mktemp -d)
export KVS_LOG_DIR=$scratch/log
trap cleanup EXIT

passed=0 failed=0
launcher= # the process id of a launcher in the background
small='-keys 2000 -workers 2 -batch_size 200 -warmup_secs 0'

# Everything a test starts has the scratch folder's name in its arguments.
left_over() {
    ps -eo pid=,args= | awk -v text="$scratch" -v self="$$" \
        'index($0, text) && $1 != self && !/awk/ { print }'
}

cleanup() {
    local pid
    for pid in $(left_over | awk '{ print $1 }'); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    rm -rf -- "$scratch"
}

# check NAME FUNCTION: runs one test in a shell of its own.
check() {
    local name=$1 status=0
    # Not as a condition: there, bash would go on after a check that failed.
    set +e
    (set -e && "$2") >"$scratch/test.log" 2>&1
    status=$?
    set -e
    no_process_left >>"$scratch/test.log" 2>&1 || status=1
    if ((status == 0)); then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$name"
        sed 's/^/        /' "$scratch/test.log"
    fi
}

no_process_left() {
    local left
    left=$(left_over)
    [[ -z $left ]] || { printf 'left over: %s\n' "$left" && return 1; }
}

# run STATUS ARGUMENT..: runs the launcher, which must end with the status; output in $out, $err.
run() {
    local wanted=$1 status=0
    out=$scratch/out err=$scratch/err
    ./run-cluster.sh "${@:2}" >"$out" 2>"$err" || status=$?
    [[ $status == "$wanted" ]] || { echo "status $status, not $wanted" && show && return 1; }
}

# run_in_background ARGUMENT..: starts the launcher in a process group of its own, and waits until
# the clients run.
run_in_background() {
    out=$scratch/out err=$scratch/err
    : >"$out"
    set -m
    # Whoever starts the tests may ignore SIGINT, and would hand that down.
    env --default-signal=INT ./run-cluster.sh "$@" >"$out" 2>"$err" &
    launcher=$!
    set +m
    wait_until grep -q '^client 1:' "$out"
}

# ends_with STATUS: the launcher in the background must end with the status.
ends_with() {
    local status=0
    wait "$launcher" || status=$?
    [[ $status == "$1" ]] || { echo "status $status, not $1" && show && return 1; }
}

wait_until() {
    local deadline=$((SECONDS + WAIT_SECONDS_MAX))
    until "$@"; do
        ((SECONDS < deadline)) || { echo "never came: $*" && show && return 1; }
        sleep 0.1
    done
}

show() {
    sed 's/^/out: /' "$out"
    sed 's/^/err: /' "$err"
    tail -n 5 "$KVS_LOG_DIR"/latest/*.log 2>/dev/null || true
}

# expect FILE PATTERN: some line of the file matches.
expect() {
    grep -qE -- "$2" "$1" || { echo "no line like $2 in $1" && show && return 1; }
}

# expect_one_line FILE PATTERN: the file is one line, which matches.
expect_one_line() {
    expect "$1" "$2"
    [[ $(wc -l <"$1") == 1 ]] || { echo "$1 is not one line" && show && return 1; }
}

# child NAME: the process id of the launcher's child with that shard or client index.
child() {
    ps -o pid=,args= --ppid "$launcher" | awk -v name="$1" 'index($0, name) { print $1; exit }'
}

one_and_one() {
    run 0 1 1 '' "$small -secs 2"
    [[ $(head -n 1 "$out") == 'dev: 2 processes on ONE machine, not a cluster figure' ]]
    tail -n 1 "$out" | grep -qE '^total [1-9][0-9]* op/s \(1\+1 processes on one machine, .*, 0 errors'
    local file
    for file in run.json cluster.json ops.svg ops.png kvs-server-1.log kvs-client-1.log \
        kvs-client-1.json; do
        [[ -s $KVS_LOG_DIR/latest/$file ]] || { echo "no $file" && return 1; }
    done
    expect "$KVS_LOG_DIR/latest/run.json" '"environment": .*"commit": "[^"]+".*"cpu": "[^"]+"'
    [[ -L $KVS_LOG_DIR/latest ]]
    [[ ! -s $err ]] || { show && return 1; }
}

two_and_two() {
    run 0 2 2 '' "$small -secs 2"
    tail -n 1 "$out" | grep -qE '^total [1-9][0-9]* op/s \(2\+2 processes'
    expect "$out" ' 1/2 '
    expect "$out" ' 2/2 '
    expect "$KVS_LOG_DIR/latest/cluster.json" '"clients": 2'
}

four_and_four() {
    run 0 4 4 '' "$small -secs 1"
    tail -n 1 "$out" | grep -qE '^total [1-9][0-9]* op/s \(4\+4 processes on one machine, .*, 0 errors'
    local shard
    for shard in 1 2 3 4; do
        expect "$out" " $shard/4 "
    done
}

many_workers_on_few_connections() {
    run 0 1 1 '' '-keys 2000 -workers 1024 -connections 2 -batch_size 20 -warmup_secs 0 -secs 1'
    tail -n 1 "$out" | grep -qE '^total [1-9][0-9]* op/s .*, 0 errors'
}

large_values() {
    run 0 1 1 '' '-keys 1000 -value_size 65536 -batch_size 100 -workers 4 -warmup_secs 0 -secs 1'
    tail -n 1 "$out" | grep -qE '^total [1-9][0-9]* op/s .*, 65536 B, .*, hit 100%, 0 errors'
}

# check_json NAME: a number of check.json.
check_json() {
    sed -n 's/^ *"'"$1"'": \([0-9.]*\),\{0,1\}$/\1/p' "$KVS_LOG_DIR/latest/check.json"
}

checked() {
    KVS_CHECK=1 run 0 2 2 '' "$small -secs 1 -mix get=50,put=20,del=10,cas=10,incr=10"
    tail -n 1 "$out" | grep -qE '^total [1-9][0-9]* op/s .*, 0 errors, linearizable'
    expect "$out" '^verdict +linearizable$'
    local folder=$KVS_LOG_DIR/latest name
    expect "$folder/check.json" '"verdict": "linearizable"'
    # All that the servers executed was recorded and checked: pings are no operations.
    [[ $(check_json recorded) == "$(check_json checked)" ]]
    [[ $(check_json recorded) == "$(awk '/"executed":/ { sum += $2 } END { print sum }' \
        "$folder/cluster.json")" ]]
    for name in keys by_witness by_sweep by_search interval_us_median interval_us_max restarts; do
        [[ -n $(check_json "$name") ]] || { echo "no $name in check.json" && return 1; }
    done
    ! compgen -G "$folder/*.history" || { echo 'the histories were not deleted' && return 1; }

    KVS_CHECK=1 KVS_KEEP_HISTORY=1 run 0 1 1 '' "$small -secs 1"
    [[ -s $folder/kvs-client-1.history ]]
}

checked_with_a_server_killed() {
    export KVS_CHECK=1
    run_in_background 2 2 '' "$small -secs 600"
    kill -KILL "$(child '-shard 2/2')"
    ends_with 1
    expect "$err" 'kvs-server 2 was killed by SIGKILL'
    expect "$out" '^verdict +linearizable$'
    expect "$out" '^total [0-9]+ op/s .*linearizable.*, SERVER 2 DIED, INTERRUPTED'
    [[ $(check_json recorded) == "$(check_json checked)" ]]
    (($(check_json unknown) > 0)) || { show && return 1; }
}

checked_with_a_client_killed() {
    export KVS_CHECK=1
    run_in_background 1 2 '' "$small -secs 600"
    kill -KILL "$(child '-client_index 2')"
    ends_with 1
    expect "$err" 'kvs-client 2 was killed by SIGKILL'
    expect "$out" '^warning +1 files are cut off'
    expect "$out" '^verdict +linearizable$'
}

# A checker that convicts every run.
checked_and_convicted() {
    mkdir "$scratch/convict"
    ln -s "$(realpath -- "$KVS_BIN_DIR")"/kvs-* "$scratch/convict"
    rm "$scratch/convict/kvs-check"
    cat >"$scratch/convict/kvs-check" <<'END'
#!/bin/sh
echo '{"verdict": "violation", "conclusion": "not linearizable: 1 keys", "recorded": 1,
    "checked": 1, "unknown": 0, "restarts": 0}' >"$2"
echo 'verdict       not linearizable: 1 keys'
exit 1
END
    chmod +x "$scratch/convict/kvs-check"
    KVS_BIN_DIR=$scratch/convict KVS_CHECK=1 run 1 1 1 '' "$small -secs 1"
    tail -n 1 "$out" | grep -qE '^total .*, NOT LINEARIZABLE'
    expect_one_line "$err" 'not linearizable: 1 keys; see .*kvs-check.log'
    [[ -s $KVS_LOG_DIR/latest/kvs-client-1.history ]]
}

two_runs_at_once() {
    local first second
    ./run-cluster.sh 1 1 '' "$small -secs 1" >"$scratch/a" 2>&1 &
    first=$!
    ./run-cluster.sh 1 1 '' "$small -secs 1" >"$scratch/b" 2>&1 &
    second=$!
    if ! wait "$first" || ! wait "$second"; then
        cat "$scratch/a" "$scratch/b"
        return 1
    fi
    [[ $(grep '^logs in' "$scratch/a") != "$(grep '^logs in' "$scratch/b")" ]]
}

given_ports_and_threads() {
    # Two ports in a row that were free a moment ago; another pair if somebody took one.
    local attempt base
    for attempt in 1 2 3 4 5; do
        base=$(shuf --input-range 20000-32000 --head-count 1)
        if run 0 2 1 "--port=$base -threads 1" "$small --secs=1"; then
            expect "$out" "^servers on 127.0.0.1:$base,127.0.0.1:$((base + 1))$"
            return
        fi
        expect "$err" 'port|address' || return 1
        echo "attempt $attempt: a port was taken"
    done
    return 1
}

interrupted() {
    run_in_background 2 2 '' "$small -secs 600"
    kill -s "$1" -- "$2$launcher"
    ends_with "$3"
    expect "$out" "^stopping on SIG$1$"
    local log
    for log in "$KVS_LOG_DIR"/latest/kvs-server-*.log; do
        grep -q '^total ' "$log" || { echo "$log: not ended" && show && return 1; }
    done
}
# A terminal sends Ctrl-C to the whole group; the clients are in groups of their own.
control_c() { interrupted INT - 130; }
terminated() { interrupted TERM '' 143; }

server_killed() {
    run_in_background 2 2 '' "$small -secs 600"
    local started=$SECONDS
    kill -KILL "$(child '-shard 2/2')"
    ends_with 1
    expect "$err" 'kvs-server 2 was killed by SIGKILL.*see .*kvs-server-2.log'
    expect "$out" '^total [0-9]+ op/s .*, SERVER 2 DIED, INTERRUPTED'
    ((SECONDS - started <= 10)) || { echo "took $((SECONDS - started)) s" && return 1; }
}

client_killed() {
    run_in_background 1 2 '' "$small -secs 600"
    kill -KILL "$(child '-client_index 2')"
    ends_with 1
    expect_one_line "$err" 'kvs-client 2 was killed by SIGKILL'
    expect "$out" '^total [0-9]+ op/s .*, CLIENT 2 LEFT NO RESULT, INTERRUPTED'
}

server_paused() {
    run_in_background 1 1 '' "$small -secs 3"
    local server
    server=$(child '-shard 1/1')
    kill -STOP "$server"
    sleep 1 # the launcher looks several times
    kill -CONT "$server"
    ends_with 0
}

bad_counts() {
    local count
    for count in 0 abc -1 1001 1.5 '' ' ' 99999999999999999999; do
        run 2 "$count"
        expect_one_line "$err" 'number of servers must be 1 to 1000'
        run 2 1 "$count"
        expect_one_line "$err" 'number of clients must be 1 to 1000'
    done
    run 2 1 1 -port 8080 ''
    expect_one_line "$err" '4 arguments at most'
    KVS_CHECK=yes run 2 1 1
    expect_one_line "$err" "KVS_CHECK is 'yes'; set it to 1"
    run 2 2 1 '-port 65535'
    expect_one_line "$err" 'leaves no room'
}

owned_flags() {
    local flag
    for flag in '-listen 0.0.0.0' '--listen=::' '-hosts a:1' '-shard 1/2' '--client-index 0' \
        '-client_count=2' '-run-id x' '--port_file=x' '-json x' '-mode x' '-history x'; do
        run 2 1 1 "$flag"
        expect_one_line "$err" 'belongs to the launcher'
        run 2 1 1 '' "-secs 1 $flag"
        expect_one_line "$err" 'belongs to the launcher'
    done
}

port_taken() {
    mkdir "$scratch/taken"
    "$KVS_BIN_DIR/kvs-server" -listen 127.0.0.1 -port 0 -port_file "$scratch/taken/port" \
        >"$scratch/taken/log" 2>&1 &
    local holder=$! port
    wait_until test -s "$scratch/taken/port"
    port=$(<"$scratch/taken/port")
    run 1 1 1 "-port $port" "$small -secs 1" || { kill "$holder" && return 1; }
    kill "$holder"
    wait "$holder" || true
    expect_one_line "$err" "kvs-server 1 failed with status [0-9]+: .*$port"
}

unknown_flag() {
    run 1 1 1 '' '-no_such_flag 3 -secs 1'
    expect_one_line "$err" 'kvs-client 1 failed with status [0-9]+: .*no.such.flag'
    run 1 1 1 '-no_such_flag 3' ''
    expect_one_line "$err" 'kvs-server 1 failed with status [0-9]+: .*no.such.flag'
}

no_binaries() {
    KVS_BIN_DIR=$scratch/nowhere run 1 1 1
    expect_one_line "$err" 'there is no kvs-server in'
}

# fake_cargo VERSION COMMAND: a cargo of that version which builds by running the command.
fake_cargo() {
    mkdir -p "$scratch/fake"
    # shellcheck disable=SC2016 # for the script that is written
    printf '#!/bin/sh\n[ "$1" = --version ] && echo cargo %s && exit\n%s\n' "$1" "$2" \
        >"$scratch/fake/cargo"
    chmod +x "$scratch/fake/cargo"
}

cargo_that_will_not_do() {
    unset KVS_BIN_DIR
    fake_cargo 1.70.0 'exit 1'
    PATH=$scratch/fake:$PATH run 1 1 1
    expect_one_line "$err" 'Rust [0-9.]+ or later is needed and cargo is 1.70.0; run: rustup update'

    # A PATH with all that the launcher uses but cargo.
    local tool
    mkdir "$scratch/tools"
    for tool in bash cat dirname head nproc realpath sed sort; do
        ln -s "$(command -v "$tool")" "$scratch/tools/$tool"
    done
    PATH=$scratch/tools HOME=$scratch run 1 1 1
    expect_one_line "$err" 'there is no cargo; install it from'

    fake_cargo 99.0.0 'echo no luck >&2; exit 101'
    PATH=$scratch/fake:$PATH run 1 1 1
    expect "$err" 'no luck'
    expect "$err" 'the build failed; see above'
}

stopped_while_building() {
    unset KVS_BIN_DIR
    out=$scratch/out err=$scratch/err
    fake_cargo 99.0.0 'echo building >&2; exec sleep 600'
    PATH=$scratch/fake:$PATH ./run-cluster.sh 1 1 >"$out" 2>"$err" &
    launcher=$!
    wait_until grep -q building "$err"
    local build
    build=$(ps -o pid= --ppid "$launcher")
    kill -TERM "$launcher"
    ends_with 130
    expect "$err" 'stopped while building'
    wait_until gone "$build"
}

# gone PID: the process has ended, whether or not somebody has asked how.
gone() {
    [[ $(ps -o stat= -p "$1") != [!Z]* ]]
}

# On a terminal, one table of all processes, redrawn in place; its size is that of script's terminal.
live_table() {
    out=$scratch/typed err=/dev/null
    script -qec "./run-cluster.sh 2 2 '' '$small -secs 4'" "$out" </dev/null >/dev/null
    expect "$out" '^ +node +op/s +p99 ms +CPU +sent MB/s +received MB/s'
    expect "$out" '^ +server 2 +[0-9]+ +- +[0-9]+%'
    expect "$out" '^ +client 2 +[0-9]+ +[0-9.]+ +[0-9]+%'
    expect "$out" '^measure: [0-9]+ op/s, worst p99 [0-9.]+ ms, 0 errors, [0-9]+ s left'
    # Six lines are taken back before the next ones, and at the end.
    [[ $(grep -c $'\e\\[6A\r\e\\[J' "$out") -ge 2 ]] || { show && return 1; }
    expect "$out" '^total [0-9]+ op/s'
}

help() {
    run 0 -help
    expect "$out" '^usage: ./run-cluster.sh \[servers\]'
    run 0 --help
    expect "$out" 'quotes inside them mean nothing'
}

check 'one server and one client' one_and_one
check 'two servers and two clients' two_and_two
check 'four servers and four clients' four_and_four
check '1,024 workers on two connections' many_workers_on_few_connections
check 'values of 64 KiB' large_values
check 'a run is checked' checked
check 'a run whose server is killed is checked' checked_with_a_server_killed
check 'a run whose client is killed is checked' checked_with_a_client_killed
check 'a run that is convicted fails' checked_and_convicted
check 'two runs at once have two folders' two_runs_at_once
check 'ports follow each other from -port' given_ports_and_threads
check 'Ctrl-C stops everything' control_c
check 'SIGTERM stops everything' terminated
check 'a server that is killed is named' server_killed
check 'a client that is killed is named' client_killed
check 'a server that is paused is not taken for dead' server_paused
check 'a port that is taken is named' port_taken
check 'a flag that no binary knows is told' unknown_flag
check 'bad counts are refused' bad_counts
check 'flags of the launcher are refused' owned_flags
check 'missing binaries are named' no_binaries
check 'a cargo that is missing, old or fails is told' cargo_that_will_not_do
check 'a build can be stopped' stopped_while_building
check 'a terminal shows a live table' live_table
check 'help tells the usage' help

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
