# shellcheck shell=bash
# What runs on a node of a cluster, in a folder of its own there; the launcher puts it there, behind
# environment.sh. It needs bash, coreutils and iproute2.
#
#   bin/            the binaries
#   runs/<run>/     what the processes of a run write, until the launcher has brought it back
#   processes/<n>   what runs now: its run and name, and two processes with their start times
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
umask 077

# A launcher that is silent so long is gone, or cut off; both seconds.
readonly SILENCE_SECONDS_MAX=10 BUSY_SECONDS_MAX=13
# What an aborted run left is removed after so long.
readonly LEFT_MINUTES_MAX=60

# wrong TEXT: ends with the text for the launcher's user.
wrong() {
    printf 'error: %s\n' "$1" >&2
    exit 3
}

# prepare ADDRESS BINARY..: tells the launcher about this node, a fact a line. The address is `-` for
# the one that ssh came in by.
prepare() {
    mkdir -p bin runs processes
    end_stale
    find runs -mindepth 1 -maxdepth 1 -mmin "+$LEFT_MINUTES_MAX" -exec rm -rf {} +
    tell_network "$1"
    printf 'machine %s\n' "$(machine_json)"
    local name
    for name in "${@:2}"; do
        [[ ! -x bin/$name ]] || printf 'sum %s %s\n' "$name" "$(sha256sum <"bin/$name")"
    done
}

# started PID: when the process started, in clock ticks after boot; fails if there is none.
started() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    # The name, the second field, may hold spaces and parentheses.
    stat=${stat##*) }
    read -r -a stat <<<"$stat"
    printf '%s\n' "${stat[19]}"
}

# is_there PID STARTED: whether that very process runs; its number may be another's by now.
is_there() {
    [[ $(started "$1") == "$2" ]]
}

# end_stale: ends what earlier runs left: processes that nobody looks after any more. Those that
# somebody does look after end by themselves when their launcher is gone; when it is not, another run
# is going on here.
end_stale() {
    local deadline=$((SECONDS + BUSY_SECONDS_MAX)) file run name keeper keeper_start child child_start busy
    while :; do
        busy=
        for file in processes/*; do
            [[ -s $file ]] || continue
            read -r run keeper keeper_start child child_start name <"$file" || continue
            if ! is_there "$child" "$child_start"; then
                rm -f -- "$file"
            elif is_there "$keeper" "$keeper_start"; then
                busy="$name (process $child) of run $run"
            else
                kill -KILL "$child" 2>/dev/null || true
                printf 'ended %s (process %s) of run %s\n' "$name" "$child" "$run"
                rm -f -- "$file"
            fi
        done
        [[ -n $busy ]] || return 0
        ((SECONDS < deadline)) ||
            wrong "another run is going on there: $busy; wait for its end, or end it there with: kill $child"
        sleep 0.2
    done
}

# tell_network ADDRESS: the data address, its interface, the link's speed, and interfaces that are
# faster.
tell_network() {
    local address=$1 interface mbit other other_mbit other_address connection
    if [[ $address == - ]]; then
        read -r -a connection <<<"${SSH_CONNECTION-}"
        address=${connection[2]-}
        [[ $address != 127.* && $address != ::1 ]] ||
            wrong "it was reached at $address, where other hosts don't reach it; write =data_address behind its name"
    elif [[ ! $address =~ ^[0-9.]+$ && $address != *:* ]]; then
        address=$(getent ahosts "$address" | awk 'NR == 1 { print $1 }') || true
        [[ -n $address ]] ||
            wrong "it does not know the data address $1; write an address in numbers"
    fi
    interface=$(ip -o address show | awk -v wanted="$address" \
        '{ split($4, part, "/"); if (part[1] == wanted) { print $2; exit } }')
    [[ -n $interface ]] || wrong "it has no address $address; it has: $(ip -o address show scope global |
        awk '{ sub("/.*", "", $4); printf "%s%s (%s)", sep, $4, $2; sep = ", " }')"
    mbit=$(link_mbit "$interface")
    printf 'address %s\ninterface %s\nlink_mbit %s\n' "$address" "$interface" "$mbit"
    ((mbit > 0)) || return 0
    ip -o address show up scope global | while read -r _ other _ other_address _; do
        other_mbit=$(link_mbit "$other")
        if ((other_mbit > mbit)); then
            printf 'faster %s %s %s\n' "$other" "$other_mbit" "${other_address%/*}"
        fi
    done
}

# link_mbit INTERFACE: megabits per second, 0 if the system does not know.
link_mbit() {
    local mbit
    mbit=$(cat "/sys/class/net/$1/speed" 2>/dev/null) || mbit=0
    printf '%s\n' "$((mbit > 0 ? mbit : 0))"
}

# install BINARY..: takes them from a tar on stdin. A binary that runs stays as it is under the old
# name's file.
install_binaries() {
    local new=bin/new.$$ name why
    mkdir -- "$new"
    # shellcheck disable=SC2064 # the name is known now
    trap "rm -rf -- '$new'" EXIT
    tar -xf - -C "$new"
    for name; do
        why=$("$new/$name" -version 2>&1) ||
            wrong "$name does not start there: ${why##*$'\n'}; build on a system like the hosts'"
        mv -f -- "$new/$name" "bin/$name"
    done
}

# run: becomes the keeper of a process. Its input: the run, the process's name, the number of words
# of the command, the words, a line each; then a line each second while the launcher is there, which
# may name a signal. Ends with the process's status, or 192 and the signal's number.
run() {
    local run name count word words=() child status=0 keeper watch death=()
    read -r run && read -r name && read -r count
    while ((count-- > 0)); do IFS= read -r word && words+=("$word"); done
    mkdir -p -- "runs/$run"
    # Should this script be killed, the process must not stay.
    ! setpriv --pdeathsig KILL true 2>/dev/null || death=(setpriv --pdeathsig KILL --)
    exec {control}<&0
    # Job control leaves SIGINT to the child.
    set -m
    "${death[@]+"${death[@]}"}" "${words[@]}" </dev/null {control}<&- &
    child=$!
    keeper=$BASHPID
    printf '%s %s %s %s %s %s\n' "$run" "$keeper" "$(started "$keeper")" "$child" \
        "$(started "$child" || echo 0)" "$name" >"processes/$keeper"
    obey "$child" <&"$control" >/dev/null 2>&1 {control}<&- &
    watch=$!
    set +m
    # The process's log is no place for what bash says when it is killed.
    exec {control}<&- 2>/dev/null
    # Whichever ends first: without the watch nobody would hear the launcher.
    wait -n "$child" "$watch" || true
    if kill -0 "$watch" 2>/dev/null; then
        kill -KILL -- "-$watch" 2>/dev/null || true
    else
        kill -KILL "$child" 2>/dev/null || true
    fi
    wait "$child" || status=$?
    rm -f -- "processes/$keeper"
    ((status <= 128)) || status=$((status + 64))
    exit "$status"
}

# obey PID: passes signals on; ends, and the process with it, when the launcher does.
obey() {
    local line
    while IFS= read -r -t "$SILENCE_SECONDS_MAX" line; do
        case $line in
        INT | TERM) kill -s "$line" "$1" || true ;;
        esac
    done
    kill -KILL "$1" || true
}

case $1 in
prepare) prepare "${@:2}" ;;
install) install_binaries "${@:2}" ;;
run) run ;;
esac
