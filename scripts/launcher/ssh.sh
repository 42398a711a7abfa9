# shellcheck shell=bash disable=SC2034,SC2154 # variables of the launcher, which sources this
# How the nodes are reached: one ssh connection each, which everything goes through.

readonly CONNECT_SECONDS_MAX=10 # for one host's answer
# A host that is silent so long is gone: 3 questions, 2 s apart.
readonly ALIVE=(-o ServerAliveInterval=2 -o ServerAliveCountMax=3)

tasks=()     # processes of on_nodes
hurry=()     # options while a run that failed is cleared up
readonly HURRY=(-o ConnectTimeout=2)

# read_ssh_options: sets ssh_options. The user's known_hosts decides which hosts are trusted, and
# nothing asks: there may be nobody to answer.
read_ssh_options() {
    local user=()
    command -v ssh >/dev/null || die 1 'there is no ssh; install it, e.g. with: sudo apt-get install openssh-client'
    IFS=$' \t\n' read -r -d '' -a user <<<"${KVS_SSH_OPTIONS-}" || true
    ssh_options=(-T -o BatchMode=yes -o ClearAllForwardings=yes "${user[@]+"${user[@]}"}"
        -o "ConnectTimeout=$CONNECT_SECONDS_MAX" "${ALIVE[@]}")
}

# ssh_words INDEX FLAG..: the command that leads to the node, in the array words.
ssh_words() {
    words=(ssh "${@:2}" -o "ControlPath=$work/ssh-$1" "${ssh_options[@]}")
    [[ -z ${node_ports[$1]} ]] || words+=(-p "${node_ports[$1]}")
    words+=("${node_targets[$1]}")
}

# on_node INDEX COMMAND: has the node's shell run the command.
on_node() {
    local words
    ssh_words "$1" -o ControlMaster=no "${hurry[@]+"${hurry[@]}"}"
    "${words[@]}" "$2"
}

# connect: opens a connection to each node, or ends the run with a line for each that has none. The
# connection ends when this script does.
connect() {
    local i words texts=() deadline=$((SECONDS + 2 * CONNECT_SECONDS_MAX)) first=${#pids[@]} waiting
    for i in "${!nodes[@]}"; do
        ssh_words "$i" -o ControlMaster=yes
        start_fed "ssh ${nodes[i]}" "$work/ssh-$i.log" "${words[@]}" 'echo connected; exec cat >/dev/null'
    done
    # All answers are waited for: what is wrong is told at once.
    while :; do
        reap
        waiting=0
        for i in "${!nodes[@]}"; do
            [[ -n ${statuses[first + i]} ]] || is_connected "$i" || waiting=$((waiting + 1))
        done
        ((waiting > 0 && SECONDS < deadline)) || break
        [[ -z $interrupted ]] || finish_interrupted
        pause
    done
    for i in "${!nodes[@]}"; do
        if [[ -n ${statuses[first + i]} ]] || ! is_connected "$i"; then
            why_no_connection "$i" && texts+=("$REPLY")
        fi
    done
    ((${#texts[@]} == 0)) || die 1 "${texts[@]}"
}

# is_connected INDEX: whether the node has answered.
is_connected() {
    grep -qx connected "$work/ssh-$1.log"
}

# disconnect: closes all connections; what still ran over them ends.
disconnect() {
    local index deadline=$((SECONDS + 2)) control
    for index in "${!pids[@]}"; do
        [[ ${names[index]} == 'ssh '* ]] || continue
        control=${controls[index]}
        exec {control}>&-
        controls[index]=
    done
    while running 'ssh ' && ((SECONDS < deadline)); do pause; done
    send KILL 'ssh '
}

# why_no_connection INDEX: the reason and the mend, in $REPLY.
why_no_connection() {
    local text last name=${nodes[$1]} target=${node_targets[$1]} port=${node_ports[$1]}
    local by_hand="ssh ${port:+-p $port }$target"
    text=$(grep -vx connected "$work/ssh-$1.log" | tr -d '\r') || true
    last=$(grep -v '^@\|^[[:space:]]*$' <<<"$text" | tail -n 1) || true
    case $text in
    *'IDENTIFICATION HAS CHANGED'*)
        REPLY="$name: its host key is not the one in known_hosts; if it was installed anew, type: ssh-keygen -R ${target#*@}, then $by_hand"
        ;;
    *'ost key verification failed'*)
        REPLY="$name: its host key is not in known_hosts; type $by_hand once and compare it, or on a testbed of your own: ssh-keyscan -H ${port:+-p $port }${target#*@} >>~/.ssh/known_hosts"
        ;;
    *'ermission denied'*)
        REPLY="$name: it refuses this user's key ($last); give it one with: ssh-copy-id ${port:+-p $port }$target, or come with your agent: ssh -A"
        ;;
    *'ould not resolve'*)
        REPLY="$name: no host has that name ($last); correct it in $hosts_source"
        ;;
    *)
        REPLY="$name: it cannot be reached (${last:-no answer within $((2 * CONNECT_SECONDS_MAX)) s}); see that it is up and that $by_hand works, or take it out of $hosts_source"
        ;;
    esac
}

# on_nodes SECONDS FUNCTION: runs the function with each node's index, all at once and in processes of
# their own; what each writes stands in $work/FUNCTION-<index>.out and .err afterwards, its status in
# task_statuses. Fails if any failed; what does not end in that time is killed.
on_nodes() {
    local deadline=$((SECONDS + $1)) function=$2 i left
    tasks=() task_statuses=()
    for i in "${!nodes[@]}"; do
        set -m
        (close_controls && "$function" "$i") >"$work/$function-$i.out" 2>"$work/$function-$i.err" \
            </dev/null 3>&- &
        tasks[i]=$!
        set +m
    done
    while :; do
        left=0
        for i in "${!tasks[@]}"; do
            [[ -z ${task_statuses[i]-} ]] || continue
            if kill -0 "${tasks[i]}" 2>/dev/null; then
                left=$((left + 1))
            else
                task_statuses[i]=0
                wait "${tasks[i]}" 2>/dev/null || task_statuses[i]=$?
            fi
        done
        ((left > 0)) || break
        if [[ -n $interrupted ]] || ((SECONDS >= deadline)); then
            kill_tasks
        fi
        pause
    done
    tasks=()
    for i in "${task_statuses[@]}"; do ((i == 0)) || return 1; done
}

# kill_tasks: ends what on_nodes has begun.
kill_tasks() {
    local i
    for i in "${!tasks[@]}"; do
        [[ -n ${task_statuses[i]-} ]] || kill -KILL -- "-${tasks[i]}" 2>/dev/null || true
    done
}
