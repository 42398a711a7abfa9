#!/usr/bin/env bash
# Runs servers and clients, on this machine or on several over ssh, and reports their throughput.
set -euo pipefail

usage() {
    cat <<'END'
usage: ./run-cluster.sh [servers] [clients] [server_args] [client_args]

Builds what is needed, starts the servers, runs the clients against them, and prints the total.

  servers      number of kvs-server processes, 1 to 1000 (default 1; of several hosts, half)
  clients      number of kvs-client processes, 1 to 1000 (default 1; of several hosts, the rest)
  server_args  flags for every server, as one word (default "")
               -port N is the first server's port, and on one machine the next ones follow; default
               any free ports
  client_args  flags for every client, as one word (default "-secs 10")

The two strings are split at white space; quotes inside them mean nothing.

Where it runs: on several machines over ssh, a process each, the first ones serving, if one of these
names them, the first of them that is there:
  KVS_HOSTS_FILE=file  a host a line, [user@]host[:ssh_port][=data_address]; # begins a comment
  KVS_HOSTS=list       the same with commas or spaces between; localhost alone is this machine
  tmcc hostnames       CloudLab's hosts tool: as many lines as it prints, node0, node1 and on
Else in development mode, with all processes on this machine; there -threads defaults, on both sides,
to the cores divided by the number of processes. The first line and the last say which it was.
  KVS_SSH_OPTIONS=words  further options for ssh, e.g. "-i key"; nothing is asked, and hosts must be
                         in your known_hosts
  KVS_NODE_DIR=dir       folder on the hosts for binaries and histories (default /tmp/kvs-<uid>)

  ./run-cluster.sh
  ./run-cluster.sh 4 4 "" "-workers 64 -batch_size 10000"
  ./run-cluster.sh 2 2 "-store scc" "-workload YCSB-A -secs 30"
  KVS_HOSTS="node0 node1=10.10.1.2 me@node2:2222" ./run-cluster.sh 1 2

Every run leaves a folder log/<timestamp> with logs, results and plots; log/latest is the newest.
  KVS_LOG_DIR=dir  put it there instead of log
  KVS_BIN_DIR=dir  use the binaries in dir and build nothing
  KVS_CHECK=1      record every operation, and check that the run was linearizable
  KVS_KEEP_HISTORY=1  keep the records of a run that was
  KVS_LINK_MBIT=n  the speed of every network link, where the system does not know it or it is capped
END
}

# What the user reads stands on descriptor 3. While processes run, descriptor 2 leads to a file:
# bash writes there of its own accord whenever a child is killed.
exec 3>&2

# die STATUS TEXT..: ends with a line on stderr for each text.
die() {
    told=yes
    printf 'run-cluster.sh: %s\n' "${@:2}" >&3
    exit "$1"
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/launcher/arguments.sh
source "$root/scripts/launcher/arguments.sh"
# shellcheck source=scripts/launcher/build.sh
source "$root/scripts/launcher/build.sh"
# shellcheck source=scripts/launcher/check.sh
source "$root/scripts/launcher/check.sh"
# shellcheck source=scripts/launcher/clocks.sh
source "$root/scripts/launcher/clocks.sh"
# shellcheck source=scripts/launcher/cluster.sh
source "$root/scripts/launcher/cluster.sh"
# shellcheck source=scripts/launcher/environment.sh
source "$root/scripts/launcher/environment.sh"
# shellcheck source=scripts/launcher/hosts.sh
source "$root/scripts/launcher/hosts.sh"
# shellcheck source=scripts/launcher/processes.sh
source "$root/scripts/launcher/processes.sh"
# shellcheck source=scripts/launcher/ssh.sh
source "$root/scripts/launcher/ssh.sh"

readonly READY_SECONDS_MAX=30 # for all servers to answer
readonly STOP_SECONDS_MAX=10  # for a process to end after it was asked to
# The same after another process has failed, 10 s in all. A client gives open replies 5 s.
readonly FAIL_CLIENT_SECONDS_MAX=6 FAIL_SERVER_SECONDS_MAX=2

interrupted= # the signal that asked this script to stop
told=        # whether the user knows why it ends
run=         # the run's folder
work=        # a folder for what only this script reads

main() {
    case ${1-} in -help | --help | -h) usage && exit ;; esac
    read_arguments "$@"
    printf '%s\n' "$mode"
    build_binaries "$root"
    bin=$REPLY
    make_run_folder
    trap 'interrupted=INT' INT
    trap 'interrupted=TERM' TERM
    trap 'interrupted=HUP' HUP
    trap on_exit EXIT
    exec 2>"$run/launcher.log"

    ! is_cluster || prepare_nodes
    start_servers
    await_servers
    ! is_cluster || measure_first_clocks
    start_clients
    watch_clients
    finish
}

# Sets the nodes, servers, clients, server_args, client_args, port, mode, checks, keeps_history,
# link_mbit.
read_arguments() {
    (($# <= 4)) || die 2 "4 arguments at most, not $#; put the flags of one side into one pair of quotes"
    find_nodes
    (($# < 1)) || { read_count servers "$1" && set -- "$REPLY" "${@:2}"; }
    (($# < 2)) || { read_count clients "$2" && set -- "$1" "$REPLY" "${@:3}"; }
    servers=${1-1} clients=${2-1}
    ! is_cluster || share_nodes "${@:1:2}"
    # read's status is that of the missing delimiter.
    IFS=$' \t\n' read -r -d '' -a server_args <<<"${3-}" || true
    IFS=$' \t\n' read -r -d '' -a client_args <<<"${4-}" || true
    refuse_owned server "${server_args[@]+"${server_args[@]}"}"
    refuse_owned client "${client_args[@]+"${client_args[@]}"}"
    read_link "${KVS_LINK_MBIT-}" && link_mbit=$REPLY
    checks='' keeps_history=''
    ! read_switch KVS_CHECK || checks=yes
    ! read_switch KVS_KEEP_HISTORY || keeps_history=yes
    take_flag port server_args
    read_port_base "$REPLY" "$(is_cluster && echo 1 || echo "$servers")" && port=$REPLY
    has_flag secs "${client_args[@]+"${client_args[@]}"}" ||
        has_flag operations "${client_args[@]+"${client_args[@]}"}" || client_args+=(-secs 10)
    if is_cluster; then
        read_ssh_options
        [[ ${KVS_NODE_DIR-/} =~ ^/[A-Za-z0-9._/-]*$ ]] ||
            die 2 "KVS_NODE_DIR is '$KVS_NODE_DIR'; set it to an absolute path of plain letters, or leave it out"
        mode="cluster: $servers servers and $clients clients on $((servers + clients)) machines"
        return
    fi
    local threads=$(($(nproc) / (servers + clients)))
    threads=$((threads > 0 ? threads : 1))
    has_flag threads "${server_args[@]+"${server_args[@]}"}" || server_args+=(-threads "$threads")
    has_flag threads "${client_args[@]+"${client_args[@]}"}" || client_args+=(-threads "$threads")
    mode="dev: $((servers + clients)) processes on ONE machine, not a cluster figure"
}

# Sets run, a new folder, and points latest at it.
make_run_folder() {
    local base stamp number=1
    started_unix_ms=$(date +%s%3N)
    base=$(realpath -m -- "${KVS_LOG_DIR:-$root/log}")
    mkdir -p -- "$base" || die 1 "cannot make the folder $base; set KVS_LOG_DIR to another"
    stamp=$(date +%Y%m%d-%H%M%S)
    run=$base/$stamp
    # mkdir of an existing folder fails, so two runs in one second never share one.
    until mkdir -- "$run" 2>/dev/null; do
        [[ -d $run ]] || die 1 "cannot make the folder $run; set KVS_LOG_DIR to another"
        number=$((number + 1))
        run=$base/$stamp-$number
    done
    ln -s -- "${run##*/}" "$base/.latest.$$"
    mv -T -- "$base/.latest.$$" "$base/latest" ||
        die 1 "cannot replace $base/latest, which should be a symbolic link; move it away"

    # Sockets lie there, whose paths must be short.
    work=$(mktemp -d /tmp/kvs-XXXXXX) || die 1 'cannot make a folder in /tmp; make room there'
    write_description
    printf 'logs in %s\n' "$(short_path "$run")"
}

# write_description: run.json, with what is known of the hosts by now.
write_description() {
    local mode_json server_json client_json commit_json hosts list='' text machines=1
    json_text "$mode" && mode_json=$REPLY
    json_text "${server_args[*]}" && server_json=$REPLY
    json_text "${client_args[*]}" && client_json=$REPLY
    commit_of "$root" && json_text "$REPLY" && commit_json=$REPLY
    hosts=$(machine_json)
    ! is_cluster || { machines=${#nodes[@]} && hosts_json && hosts=$REPLY; }
    for text in "${warnings[@]+"${warnings[@]}"}"; do
        json_text "${text%%$'\t'*}" && list+="${list:+, }{\"what\": $REPLY"
        json_text "${text#*$'\t'}" && list+=", \"remedy\": $REPLY}"
    done
    cat >"$run/run.json" <<END
{"mode": $mode_json, "servers": $servers, "clients": $clients, "machines": $machines,
 "server_args": $server_json, "client_args": $client_json, "started_unix_ms": $started_unix_ms,
 "link_mbit": $link_mbit, "warnings": [$list],
 "environment": {"commit": $commit_json, "hosts": [$hosts]}}
END
}

start_servers() {
    local i
    for ((i = 1; i <= servers; i++)); do
        if is_cluster; then
            start_on "$((i - 1))" "kvs-server $i" "$run/kvs-server-$i.log" bin/kvs-server \
                -listen "${node_addresses[i - 1]}" -port "$port" -shard "$i/$servers" \
                "${server_args[@]+"${server_args[@]}"}"
        else
            start "kvs-server $i" "$run/kvs-server-$i.log" "$bin/kvs-server" -listen 127.0.0.1 \
                -port "$((port == 0 ? 0 : port + i - 1))" -shard "$i/$servers" "${server_args[@]}"
        fi
    done
}

# Waits until every server answers; sets hosts.
await_servers() {
    local deadline=$((SECONDS + READY_SECONDS_MAX)) i address
    hosts=
    for ((i = 1; i <= servers; i++)); do
        until address=$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' "$run/kvs-server-$i.log" 2>/dev/null) &&
            [[ -n $address ]]; do
            still_starting "$deadline" "kvs-server $i has not begun to listen"
            pause
        done
        hosts+=${hosts:+,}$address
    done
    until ping_servers >"$run/ping.log" 2>&1; do
        still_starting "$deadline" "not every server answers: $(last_error "$run/ping.log")"
        pause
    done
    rm -f -- "$run/ping.log"
    printf 'servers on %s\n' "$hosts"
}

# Of several hosts the first client's asks: this machine may be none of their network.
ping_servers() {
    if is_cluster; then
        on_node "$servers" "exec timeout --kill-after=1 5 ${node_dirs[servers]}/bin/kvs-client -hosts $hosts ping"
    else
        timeout --foreground --kill-after=1 5 "$bin/kvs-client" -hosts "$hosts" ping
    fi
}

# still_starting DEADLINE TEXT: ends the run if a server died, the user asked, or time is over.
still_starting() {
    reap
    check_failed
    [[ -z $interrupted ]] || finish_interrupted
    ((SECONDS < $1)) || fail "$2 after $READY_SECONDS_MAX s; see $(short_path "$run")"
}

start_clients() {
    local i folder=$run flags
    ! is_cluster || folder=runs/${run##*/}
    for ((i = 1; i <= clients; i++)); do
        flags=(-hosts "$hosts" -client_index "$i" -client_count "$clients" -run_id "${run##*/}"
            -mode "$mode" -json "$folder/kvs-client-$i.json")
        [[ -z $checks ]] || flags+=(-history "$folder/kvs-client-$i.history")
        flags+=("${client_args[@]}")
        if is_cluster; then
            start_on "$((servers + i - 1))" "kvs-client $i" "$run/kvs-client-$i.log" bin/kvs-client \
                "${flags[@]}"
        else
            start "kvs-client $i" "$run/kvs-client-$i.log" "$bin/kvs-client" "${flags[@]}"
        fi
    done
}

watch_clients() {
    while running kvs-client; do
        check_failed
        [[ -z $interrupted ]] || finish_interrupted
        show_progress
        pause
    done
    check_failed
    end_progress
}

# Shows what the run is doing: on a terminal a table of all processes, in place, once a second; else the
# first client's newest progress, such as "measure 12 s  9.81 Mop/s ..", line by line.
progress=
progress_second=
progress_lines=0 # of the table that stands on the terminal
show_progress() {
    local line
    if [[ -t 1 ]]; then
        [[ $progress_second == "$SECONDS" ]] || show_table
        return
    fi
    # The client may not have opened it yet; and Ctrl-C ends what runs in the substitution.
    line=$(tail -n 5 -- "$run/kvs-client-1.log" 2>/dev/null |
        grep -E '^[a-z-]+ [0-9]+ s ' | tail -n 1) || return 0
    [[ -n $line && $line != "$progress" ]] || return 0
    progress=$line
    printf 'client 1: %s\n' "$line"
}

show_table() {
    local table size rows columns lines
    progress_second=$SECONDS
    # Ctrl-C ends what runs in the substitution; then the next look finds that the user asked.
    table=$("$bin/kvs-report" "$run" -live 2>/dev/null) || return 0
    size=$(stty size <&1 2>/dev/null) || size=
    read -r rows columns <<<"${size:-24 80}"
    mapfile -t lines <<<"$table"
    # What does not fit would scroll; the total, in the last line, always does.
    ((rows <= 2 || ${#lines[@]} < rows)) || lines=("${lines[@]:0:rows-2}" "${lines[-1]}")
    end_progress
    printf "%.$((columns > 1 ? columns - 1 : 79))s\n" "${lines[@]}"
    progress_lines=${#lines[@]}
}

# Takes the table off the terminal.
end_progress() {
    ((progress_lines == 0)) || printf '\e[%dA\r\e[J' "$progress_lines"
    progress_lines=0
}

# Ends the run if a process has failed: a client with a status, or a server that ended at all. A
# server is named first, because its end makes clients fail.
check_failed() {
    local index texts=()
    for index in "${!pids[@]}"; do
        case ${names[index]}:${statuses[index]} in
        *: | kvs-client*:0) ;;
        *) how_it_ended "$index" && texts+=("$REPLY") ;;
        esac
    done
    ((${#texts[@]} == 0)) || fail "${texts[@]}"
}

# fail TEXT..: stops what runs, tells and draws what there is, and says why.
fail() {
    end_progress
    stop kvs-client INT "$FAIL_CLIENT_SECONDS_MAX" || true
    stop kvs-server TERM "$FAIL_SERVER_SECONDS_MAX" || true
    bring_back_what_is_there
    # A client that was killed left a history without an end.
    check_histories -allow_truncated
    # What was measured until then is told, and who is missing from it; without a result of any
    # client, the servers' seconds are still plotted.
    "$bin/kvs-report" "$run" 2>"$run/kvs-report.log" || true
    die 1 "$@" ${REPLY:+"$REPLY"}
}

# The user asked to stop: the clients tell what they have, the servers end cleanly. Nobody who wants
# to stop wants to wait for a check.
finish_interrupted() {
    local status=$((128 + $(kill -l "$interrupted")))
    end_progress
    printf 'stopping on SIG%s\n' "$interrupted"
    stop kvs-client INT "$STOP_SECONDS_MAX" || true
    stop kvs-server TERM "$STOP_SECONDS_MAX" || true
    bring_back_what_is_there
    "$bin/kvs-report" "$run" 2>"$run/kvs-report.log" ||
        die "$status" "stopped before there was a total: $(tail -n 1 "$run/kvs-report.log")"
    told=yes
    exit "$status"
}

# bring_back FETCH_SECONDS CLOCK_SECONDS: from several hosts, what the clients left there, and how the
# clocks went meanwhile. Fails if something is missing.
bring_back() {
    is_cluster || return 0
    # While an answer to Ctrl-C is under way, a second one should not end it.
    local asked=$interrupted status=0
    interrupted=
    measure_last_clocks "$2"
    ((${#node_dirs[@]} == 0)) || on_nodes "$1" fetch_result || status=1
    interrupted=$asked
    return "$status"
}

# bring_back_what_is_there: the same after a failure, without waiting for who does not answer.
bring_back_what_is_there() {
    local seconds=$FAIL_FETCH_SECONDS_MAX
    [[ -z $checks ]] || seconds=$FAIL_FETCH_HISTORY_SECONDS_MAX
    hurry=("${HURRY[@]}")
    bring_back "$seconds" "$FAIL_CLOCK_SECONDS_MAX" || true
}

finish() {
    stop kvs-server TERM "$STOP_SECONDS_MAX" ||
        fail "a server did not end within $STOP_SECONDS_MAX s of SIGTERM and was killed; see $(short_path "$run")"
    local index
    for index in "${!pids[@]}"; do
        [[ ${names[index]} == ssh* ]] || ((statuses[index] == 0)) ||
            { how_it_ended "$index" && fail "$REPLY"; }
    done
    bring_back "$FETCH_SECONDS_MAX" "$CLOCK_SECONDS_MAX" ||
        fail 'not all files could be brought back; see launcher.log'
    check_histories
    local verdict=$REPLY
    "$bin/kvs-report" "$run" 2>&3 || { told=yes && exit 1; }
    [[ -z $verdict ]] || die 1 "$verdict"
}

# Leaves no process behind, whatever ended this script.
on_exit() {
    local status=$?
    reap
    kill_tasks
    send KILL kvs-
    disconnect
    if ((status != 0)) && [[ -z $told ]]; then
        printf 'run-cluster.sh: failed with status %d; see %s\n' "$status" \
            "$(short_path "$run/launcher.log")" >&3
    fi
    [[ -z $work ]] || rm -rf -- "$work"
    [[ -s $run/launcher.log ]] || rm -f -- "$run/launcher.log"
}

main "$@"
