# shellcheck shell=bash
# The processes of a run: each in a process group of its own, started, watched and stopped by its
# number. Nothing here looks a process up by name.

names=()    # "kvs-server 1"
logs=()     # where each writes
pids=()     # process ids, which are also those of their groups
statuses=() # exit status, empty while it runs

# start NAME LOG COMMAND..: starts the command in the background.
start() {
    names+=("$1")
    logs+=("$2")
    # Job control gives the child its own process group, and leaves SIGINT to it: without, bash
    # has background children ignore that signal.
    set -m
    "${@:3}" >"$2" 2>&1 </dev/null 3>&- &
    pids+=("$!")
    set +m
    statuses+=('')
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

# send SIGNAL KIND: to the group of every running process whose name begins so.
send() {
    local index
    for index in "${!pids[@]}"; do
        if [[ ${names[index]} == "$2"* && -z ${statuses[index]} ]]; then
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

# pause: a moment between two looks. A signal that ends it early is not a fault.
pause() {
    sleep 0.1 || true
}

# how_it_ended INDEX: in words, in $REPLY.
how_it_ended() {
    local status=${statuses[$1]} why
    if ((status > 128 && status <= 192)); then
        REPLY="${names[$1]} was killed by SIG$(kill -l "$status" 2>/dev/null || echo " $((status - 128))")"
    elif ((status > 0)); then
        REPLY="${names[$1]} failed with status $status"
    else
        REPLY="${names[$1]} ended before its time"
    fi
    why=$(last_error "${logs[$1]}")
    REPLY+="${why:+: $why}; see $(short_path "${logs[$1]}")"
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
