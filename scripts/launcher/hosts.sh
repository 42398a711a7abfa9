# shellcheck shell=bash disable=SC2034 # variables of the launcher, which sources this
# Which machines a run takes place on.

nodes=()          # as the user names them: node0
node_targets=()   # what ssh is given: user@node0
node_ports=()     # the ssh port, empty for ssh's own choice
node_addresses=() # the data address; empty until the node has told it, if the user did not
hosts_source=     # what named them

# find_nodes: fills the arrays above; empty means development mode on this machine. Ends with status
# 2 if what the user gave cannot be used, with 1 if the hosts tool fails.
find_nodes() {
    local text
    if [[ ${KVS_HOSTS-} == localhost ]]; then
        return
    elif [[ -n ${KVS_HOSTS_FILE-} && -n ${KVS_HOSTS-} ]]; then
        die 2 'KVS_HOSTS_FILE and KVS_HOSTS are both set; unset one of them'
    elif [[ -n ${KVS_HOSTS_FILE-} ]]; then
        hosts_source=$KVS_HOSTS_FILE
        read_hosts_file
    elif [[ -n ${KVS_HOSTS-} ]]; then
        hosts_source=KVS_HOSTS
        IFS=$', \t\n' read -r -d '' -a text <<<"$KVS_HOSTS" || true
        local word
        for word in "${text[@]+"${text[@]}"}"; do
            [[ -z $word ]] || add_node "$word" KVS_HOSTS
        done
        ((${#nodes[@]} > 0)) || die 2 'KVS_HOSTS names no host; write e.g. KVS_HOSTS="node0 node1"'
    else
        ask_hosts_tool
    fi
}

# A host a line; what follows # is for people.
read_hosts_file() {
    local line number=0 lines=() reason="cannot read the hosts file $KVS_HOSTS_FILE; set KVS_HOSTS_FILE to one with a host a line"
    [[ ! -d $KVS_HOSTS_FILE && -r $KVS_HOSTS_FILE ]] || die 2 "$reason"
    mapfile -t lines <"$KVS_HOSTS_FILE"
    for line in "${lines[@]+"${lines[@]}"}"; do
        number=$((number + 1))
        line=${line%%#*}
        line=${line//$'\r'/}
        [[ $line =~ ^[[:space:]]*(.*[^[:space:]])[[:space:]]*$ ]] || continue
        add_node "${BASH_REMATCH[1]}" "$KVS_HOSTS_FILE line $number"
    done
    ((${#nodes[@]} > 0)) ||
        die 2 "the hosts file $KVS_HOSTS_FILE names no host; write one a line: [user@]host[:ssh_port][=data_address]"
}

# CloudLab's tool prints a line for each node of the experiment; the nodes are called node0, node1 and
# on. Where it stands, this is a testbed, so its failure is not taken for a lone machine.
ask_hosts_tool() {
    local tool=/usr/local/etc/emulab/tmcc lines complaint file count i wrong=''
    local mend='name the nodes with KVS_HOSTS, or set KVS_HOSTS=localhost to run on this machine'
    command -v "$tool" >/dev/null || tool=$(command -v tmcc) || return 0
    # What it says on stderr is no node.
    file=$(mktemp) || die 1 'cannot make a temporary file; make room there'
    lines=$(timeout --kill-after=1 20 "$tool" hostnames 2>"$file") || wrong=yes
    complaint=$(tail -n 1 "$file")
    rm -f -- "$file"
    [[ -z $wrong ]] ||
        die 1 "the hosts tool failed: $tool hostnames${complaint:+: $complaint}; $mend"
    count=$(grep -c '[^[:space:]]' <<<"$lines") ||
        die 1 "the hosts tool named no node: $tool hostnames; $mend"
    hosts_source="$tool hostnames"
    for ((i = 0; i < count; i++)); do add_node "node$i" "$hosts_source"; done
}

# add_node TEXT WHERE: [user@]host[:ssh_port][=data_address]. Names begin with a letter or digit, so
# that nothing looks like an option of ssh.
add_node() {
    local name='[A-Za-z0-9_][A-Za-z0-9._-]*' i
    local form="^(($name)@)?($name|\\[[0-9A-Fa-f:.]+\\])(:([0-9]{1,5}))?(=([A-Za-z0-9][A-Za-z0-9._:-]*))?\$"
    [[ $1 =~ $form ]] ||
        die 2 "$2: '$1' is no host; write one as [user@]host[:ssh_port][=data_address]"
    local user=${BASH_REMATCH[1]} host=${BASH_REMATCH[3]} port=${BASH_REMATCH[5]}
    local address=${BASH_REMATCH[7]} label
    [[ -z $port ]] || { port=$((10#$port)) && ((port >= 1 && port <= 65535)); } ||
        die 2 "$2: '$1' has the port $port; ports are 1 to 65535"
    label=$host${port:+:$port}
    for i in "${!nodes[@]}"; do
        [[ ${nodes[i]} != "$label" ]] ||
            die 2 "$2: $label is named twice; name each host once, a host runs one process"
        [[ -z $address || ${node_addresses[i]} != "$address" ]] ||
            die 2 "$2: ${nodes[i]} and $label have the same data address $address; correct one of them"
    done
    host=${host#\[}
    nodes+=("$label")
    node_targets+=("$user${host%\]}")
    node_ports+=("$port")
    node_addresses+=("$address")
}

# share_nodes [SERVERS [CLIENTS]]: sets servers and clients, and keeps the nodes that they take. Without
# counts half the nodes serve, rounded down, and the rest drive: clients work harder than servers.
share_nodes() {
    local count=${#nodes[@]}
    ((count >= 2)) ||
        die 2 "$hosts_source names one host, and a run takes two or more; add hosts, or set KVS_HOSTS=localhost to run on this machine"
    servers=${1:-$((count / 2))}
    clients=${2:-$((count > servers ? count - servers : 1))}
    ((servers + clients <= count)) ||
        die 2 "$servers servers and $clients clients take $((servers + clients)) hosts, but $hosts_source names $count; lower the counts or add hosts"
    nodes=("${nodes[@]:0:servers + clients}")
}
