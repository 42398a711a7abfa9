# shellcheck shell=bash
# What the user typed: counts, and the two strings of flags.

# flag_name WORD: the flag's name in its one spelling, in $REPLY; empty if WORD is no flag.
# -batch_size, --batch-size and -batch_size=3 are all batch_size.
flag_name() {
    REPLY=
    [[ $1 =~ ^--?([A-Za-z][A-Za-z0-9_-]*)(=.*)?$ ]] || return 0
    REPLY=${BASH_REMATCH[1]//-/_}
}

# has_flag NAME WORD..: whether one of the words is that flag.
has_flag() {
    local name=$1 word
    shift
    for word; do
        flag_name "$word"
        [[ $REPLY != "$name" ]] || return 0
    done
    return 1
}

# take_flag NAME ARRAY: removes the flag with its value from the array; the value in $REPLY, empty
# if the flag is not there. The last one counts.
take_flag() {
    local name=$1 value='' word index
    local -n words=$2
    local -a kept=()
    for ((index = 0; index < ${#words[@]}; index++)); do
        word=${words[index]}
        flag_name "$word"
        if [[ $REPLY != "$name" ]]; then
            kept+=("$word")
        elif [[ $word == *=* ]]; then
            value=${word#*=}
        else
            index=$((index + 1))
            value=${words[index]-}
        fi
    done
    words=("${kept[@]+"${kept[@]}"}")
    REPLY=$value
}

# refuse_owned WHO WORD..: ends with status 2 if a word is a flag that the launcher itself sets.
refuse_owned() {
    local who=$1 word instead
    shift
    for word; do
        flag_name "$word"
        case $REPLY in
        listen) instead='the launcher decides it: 127.0.0.1, or the =data_address in the hosts file' ;;
        hosts) instead='the launcher lists its own servers; start kvs-client by hand for others' ;;
        shard) instead='the number of servers, the first argument, decides it' ;;
        client_index | client_count) instead='the number of clients, the second argument, decides it' ;;
        run_id) instead='the folder of the run names it' ;;
        port_file) instead='give the servers -port N, or nothing for any free port' ;;
        mode) instead='the launcher knows where the run takes place' ;;
        history) instead='set KVS_CHECK=1 to have histories written and checked' ;;
        json) instead='every result is written to the folder of the run' ;;
        *) continue ;;
        esac
        die 2 "-$REPLY in the $who's arguments belongs to the launcher: $instead"
    done
}

# read_switch NAME: whether the variable of the environment is on; ends with status 2 if it is neither
# on nor off.
read_switch() {
    case ${!1-} in
    1) return 0 ;;
    '' | 0) return 1 ;;
    *) die 2 "$1 is '${!1}'; set it to 1, or leave it out" ;;
    esac
}

# read_count WHAT TEXT: a number from 1 to 1,000 in $REPLY, or ends with status 2.
read_count() {
    REPLY=0
    # Base 10 is said, because a leading zero would mean base 8.
    [[ ! $2 =~ ^[0-9]{1,9}$ ]] || REPLY=$((10#$2))
    ((REPLY >= 1 && REPLY <= 1000)) ||
        die 2 "the number of $1 must be 1 to 1000, not '$2'; see ./run-cluster.sh -help"
}

# read_port_base TEXT SERVERS: the first server's port in $REPLY, or ends with status 2.
read_port_base() {
    local text=${1:-0} servers=$2
    REPLY=65536
    [[ ! $text =~ ^[0-9]{1,5}$ ]] || REPLY=$((10#$text))
    ((REPLY + servers - 1 <= 65535)) ||
        die 2 "-port $text leaves no room for $servers ports up to 65535; give a lower one"
}

# read_link TEXT: a speed in Mbit/s, or null for none, in $REPLY; or ends with status 2.
read_link() {
    REPLY=${1:-null}
    [[ $REPLY =~ ^(null|[1-9][0-9]{0,8})$ ]] ||
        die 2 "KVS_LINK_MBIT is '$1'; set it to a whole number of Mbit/s, such as 200, or leave it out"
}

# json_text TEXT: the text as a JSON string, in $REPLY.
json_text() {
    REPLY=${1//\\/\\\\}
    REPLY=${REPLY//\"/\\\"}
    REPLY=\"${REPLY//[[:cntrl:]]/ }\"
}
