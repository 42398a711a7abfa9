# shellcheck shell=bash disable=SC2034,SC2154 # variables of the launcher, which sources this
# What a run over several machines takes beside one on this machine: nodes that are made ready before,
# and files that are brought back after.

readonly PREPARE_SECONDS_MAX=60 COPY_SECONDS_MAX=300 FETCH_SECONDS_MAX=3600
# For files of a run that failed: whoever does not answer by then is not waited for. Histories take
# their time, like their check.
readonly FAIL_FETCH_SECONDS_MAX=3 FAIL_FETCH_HISTORY_SECONDS_MAX=60

node_dirs=()       # the launcher's folder on each node
node_interfaces=() # the data address's interface
node_mbits=()      # its link's speed, 0 if the node does not know
node_machines=()   # the node as JSON, from machine_json
warnings=()        # what the reader of the result should know, each with its remedy behind a tab

# is_cluster: whether the run takes place on other machines.
is_cluster() {
    ((${#nodes[@]} > 0))
}

# binaries_of INDEX: what the node needs, in the array binaries.
binaries_of() {
    binaries=(kvs-client kvs-clock)
    (($1 >= servers)) || binaries=(kvs-server kvs-clock)
}

# role_of INDEX: "server 1" or "client 1", in $REPLY.
role_of() {
    REPLY="client $(($1 - servers + 1))"
    (($1 >= servers)) || REPLY="server $(($1 + 1))"
}

# prepare_nodes: connects, copies what is missing, and shows what the nodes are.
prepare_nodes() {
    local name
    connect
    for name in kvs-server kvs-client kvs-clock; do
        printf 'sum %s %s\n' "$name" "$(sha256sum <"$bin/$name")"
    done >"$work/sums"
    each_node "$PREPARE_SECONDS_MAX" prepare_node
    read_facts
    each_node "$COPY_SECONDS_MAX" copy_binaries
    show_nodes
    write_description
}

# each_node SECONDS FUNCTION: as on_nodes, and ends the run with a line for each node that failed.
each_node() {
    local i why texts=()
    ! on_nodes "$@" || return 0
    [[ -z $interrupted ]] || finish_interrupted
    for i in "${!nodes[@]}"; do
        ((task_statuses[i] != 0)) || continue
        why=$(grep -v '^[[:space:]]*$' "$work/$2-$i.err" | tail -n 1) || true
        why=${why#error: }
        ((task_statuses[i] != 137)) || why="it did not answer within $1 s"
        texts+=("${nodes[i]}: ${why:-failed with status ${task_statuses[i]}}")
    done
    fail "${texts[@]}"
}

# prepare_node INDEX: puts node.sh there, and has it tell about the node. (on_nodes is asked for its
# status, so bash ends nothing by itself below it.)
prepare_node() {
    local dir binaries
    # What the node's own shell reads is plain to every shell; the rest is for sh.
    # shellcheck disable=SC2016 # for the node's shell
    local install='umask 077; d=$1; [ "$d" != - ] || d=/tmp/kvs-$(id -u); mkdir -p "$d" && [ -O "$d" ] ||
        { echo "error: it cannot use the folder $d; set KVS_NODE_DIR to another" >&2; exit 3; };
        cat >"$d/node.$$" && mv "$d/node.$$" "$d/node.sh" && echo "$d"'
    install=${install//$'\n'/ }
    dir=$(cat -- "$root"/scripts/launcher/{environment,node}.sh |
        on_node "$1" "exec sh -c '$install' sh ${KVS_NODE_DIR:--}") || return
    # The node's shell may have something to say first.
    dir=${dir##*$'\n'}
    binaries_of "$1"
    printf 'dir %s\n' "$dir"
    on_node "$1" "exec bash $dir/node.sh prepare ${node_addresses[$1]:--} ${binaries[*]}"
}

# read_facts: what the nodes told.
read_facts() {
    local i word rest other mbit address
    for i in "${!nodes[@]}"; do
        while read -r word rest; do
            case $word in
            dir) node_dirs[i]=$rest ;;
            address) node_addresses[i]=$rest ;;
            interface) node_interfaces[i]=$rest ;;
            link_mbit) node_mbits[i]=$rest ;;
            machine) node_machines[i]=$rest ;;
            ended) printf '%s: ended %s\n' "${nodes[i]}" "$rest" ;;
            faster)
                read -r other mbit address <<<"$rest"
                speed_text "$mbit"
                rest="$REPLY by $other"
                speed_text "${node_mbits[i]}"
                warnings+=("${nodes[i]} has its data on ${node_interfaces[i]} ($REPLY), but is linked with $rest"$'\t'"name it as ${nodes[i]}=$address")
                ;;
            esac
        done <"$work/prepare_node-$i.out"
    done
    for i in "${!nodes[@]}"; do
        for ((other = 0; other < i; other++)); do
            [[ ${node_addresses[other]} != "${node_addresses[i]}" ]] ||
                fail "${nodes[other]} and ${nodes[i]} are one host: both have the data address ${node_addresses[i]}; name each host once"
        done
    done
}

# speed_text MBIT: a link's speed, in $REPLY.
speed_text() {
    if (($1 == 0)); then
        REPLY='speed unknown'
    elif (($1 % 1000 == 0)); then
        REPLY="$(($1 / 1000)) Gbit/s"
    else
        REPLY="$1 Mbit/s"
    fi
}

# copy_binaries INDEX: what the node has not, or not the same.
copy_binaries() {
    local binaries name missing=()
    binaries_of "$1"
    for name in "${binaries[@]}"; do
        grep -qxF "$(grep "^sum $name " "$work/sums")" "$work/prepare_node-$1.out" || missing+=("$name")
    done
    ((${#missing[@]} > 0)) || return 0
    tar -C "$bin" -chf - "${missing[@]}" |
        on_node "$1" "exec bash ${node_dirs[$1]}/node.sh install ${missing[*]}"
    echo copied
}

show_nodes() {
    local i role copied=0 text
    for i in "${!nodes[@]}"; do
        role_of "$i" && role=$REPLY
        speed_text "${node_mbits[i]}"
        printf '%-10s  %-10s  %s on %s, %s\n' "${nodes[i]}" "$role" "${node_addresses[i]}" \
            "${node_interfaces[i]}" "$REPLY"
        [[ ! -s $work/copy_binaries-$i.out ]] || copied=$((copied + 1))
    done
    for text in "${warnings[@]+"${warnings[@]}"}"; do printf 'warning: %s\n' "${text/$'\t'/: }"; done
    ((copied == 0)) || printf 'copied binaries to %d hosts\n' "$copied"
}

# hosts_json: the nodes for run.json, in $REPLY.
hosts_json() {
    local i list='' name_json role_json
    for i in "${!node_machines[@]}"; do
        json_text "${nodes[i]}" && name_json=$REPLY
        role_of "$i" && json_text "$REPLY" && role_json=$REPLY
        list+="${list:+,$'\n'  }{\"node\": $name_json, \"role\": $role_json, "
        list+="\"address\": \"${node_addresses[i]}\", \"interface\": \"${node_interfaces[i]}\", "
        list+="\"link_mbit\": ${node_mbits[i]}, ${node_machines[i]#\{}"
    done
    REPLY=$list
}

# start_on INDEX NAME LOG COMMAND..: starts a process on a node; node.sh keeps it there.
start_on() {
    local words
    ssh_words "$1" -o ControlMaster=no
    start_fed "$2 on ${nodes[$1]}" "$3" "${words[@]}" "exec bash ${node_dirs[$1]}/node.sh run"
    feed "$((${#pids[@]} - 1))" "${run##*/}" "$2" "$(($# - 3))" "${@:4}"
}

# fetch_result INDEX: brings back what the node's client wrote, and removes it there. Fails if something
# is missing.
fetch_result() {
    local i=$(($1 - servers + 1)) file files=() status=0 folder=${node_dirs[$1]}/runs/${run##*/}
    if ((i >= 1)); then
        files=("kvs-client-$i.json")
        [[ -z $checks ]] || files+=("kvs-client-$i.history")
    fi
    for file in "${files[@]+"${files[@]}"}"; do
        # The file appears whole or not at all.
        if on_node "$1" "exec cat $folder/$file" >"$run/.$file"; then
            mv -- "$run/.$file" "$run/$file" || status=1
        else
            rm -f -- "$run/.$file"
            status=1
        fi
    done
    # What could not be brought back stays for a while.
    ((status == 0)) && on_node "$1" "exec rm -rf $folder"
}
