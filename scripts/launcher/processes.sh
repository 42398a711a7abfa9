# shellcheck shell=bash disable=SC2154 # variables of the launcher, which sources this
# The processes of a run: each in a process group of its own, started, watched and stopped by its
# number. Nothing here looks a process up by name. One on another host is the ssh that leads to it:
# what it writes arrives in its log here, and it is told what to do through its standard input.

names=()    # "kvs-server 1", "kvs-server 1 on node0"
logs=()     # where each writes
pids=()     # process ids, which are also those of their groups
statuses=() # exit status, empty while it runs
controls=() # descriptor that feeds its standard input; empty if it has none

# start NAME LOG COMMAND..: starts the command in the background.
start() {
    controls+=('')
    spawn /dev/null "$@"
}

# start_fed NAME LOG COMMAND..: the same for a command that reads what `feed` writes, and whose input
# ends when this script does, however that ends.
start_fed() {
    local pipe=$work/feed-${#pids[@]} control
    mkfifo -m 600 -- "$pipe"
    # Opened both ways, so that nobody waits here and nothing breaks when the reader ends.
    exec {control}<>"$pipe"
    controls+=("$control")
    spawn "$pipe" "$@"
}

# spawn INPUT NAME LOG COMMAND..
spawn() {
    names+=("$2")
    logs+=("$3")
    # Job control gives the child its own process group, and leaves SIGINT to it: without, bash
    # has background children ignore that signal.
    set -m
    (close_controls && exec "${@:4}") >"$3" 2>&1 <"$1" 3>&- &
    pids+=("$!")
    set +m
    statuses+=('')
}

# close_controls: in a child. An input ends only when nobody holds it open.
close_controls() {
    local control
    for control in "${controls[@]+"${controls[@]}"}"; do
        [[ -z $control ]] || exec {control}>&-
    done
}

# feed INDEX LINE..: writes lines to the process's input.
feed() {
    printf '%s\n' "${@:2}" >&"${controls[$1]}"
}

# reap: takes note of who has ended.
reap() {
    local index
    for index in "${!pids[@]}"; do
        # bash takes a child's status as soon as it ends, and then its number is gone. To wait for a
        # child that is there, even for one that is only paused, would block.
        if [[ -z ${statuses[index]} ]] && ! kill -0 "${pids[index]}" 2>/dev/null; then
            statuses[index]=0
            wait "${pids[index]}" 2>/dev/null || statuses[index]=$?
        fi
    done
}

# running KIND: whether any process whose name begins so still runs.
running() {
    local index
    reap
    for index in "${!pids[@]}"; do
        [[ ${names[index]} != "$1"* || -n ${statuses[index]} ]] || return 0
    done
    return 1
}

# send SIGNAL KIND: to the group of every running process whose name begins so. On another host the
# process itself gets the signal, but for SIGKILL: there the ssh ends, and with it the process.
send() {
    local index
    for index in "${!pids[@]}"; do
        [[ ${names[index]} == "$2"* && -z ${statuses[index]} ]] || continue
        if [[ -n ${controls[index]} && $1 != KILL ]]; then
            feed "$index" "$1"
        else
            # It may have ended since it was last looked at.
            kill -s "$1" -- "-${pids[index]}" 2>/dev/null || true
        fi
    done
}

# stop KIND SIGNAL SECONDS: asks with the signal, and kills what is left when the time is over.
# Fails if anything had to be killed.
stop() {
    local deadline=$((SECONDS + $3))
    reap
    send "$2" "$1"
    while running "$1"; do
        if ((SECONDS >= deadline)); then
            send KILL "$1"
            while running "$1"; do pause; done
            return 1
        fi
        pause
    done
}

# pause: a moment between two looks. A signal that ends it early is not a fault. Other hosts hear
# every second that this script is there; see `run` in node.sh.
beat=0
pause() {
    local index
    if ((SECONDS != beat)); then
        beat=$SECONDS
        for index in "${!pids[@]}"; do
            [[ -z ${controls[index]} || -n ${statuses[index]} ]] || feed "$index" ''
        done
    fi
    sleep 0.1 || true
}

# how_it_ended INDEX: in words, in $REPLY.
how_it_ended() {
    local status=${statuses[$1]} name=${names[$1]} why
    why=$(last_error "${logs[$1]}")
    if [[ -z ${controls[$1]} ]]; then
        how_status "$status"
    elif ((status == 255)); then
        REPLY='lost its ssh connection: the host or the network went away'
    elif ((status > 192)); then # node.sh adds 192, so that it differs from the end of the ssh
        how_status "$((status - 64))"
    elif ((status > 128)); then
        how_status "$status"
        REPLY="lost its ssh connection, which $REPLY"
    else
        how_status "$status"
    fi
    REPLY="$name $REPLY${why:+: $why}; see $(short_path "${logs[$1]}")"
}

# how_status STATUS: the end of a process in words, in $REPLY.
how_status() {
    if (($1 > 128 && $1 <= 192)); then
        REPLY="was killed by SIG$(kill -l "$1" 2>/dev/null || echo " $(($1 - 128))")"
    elif (($1 > 0)); then
        REPLY="failed with status $1"
    else
        REPLY='ended before its time'
    fi
}

# last_error LOG: the last line in which a binary, a panic or the system tells of an error, without
# colours.
last_error() {
    sed $'s/\e\\[[0-9;]*m//g' "$1" 2>/dev/null |
        grep -E '^kvs-[a-z]+: |panicked|error: | ERROR ' | tail -n 1 | cut -c 1-300 || true
}

# short_path PATH: relative to where the user is, if it lies below.
short_path() {
    printf '%s' "${1#"$PWD"/}"
}
