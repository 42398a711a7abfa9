# shellcheck shell=bash disable=SC2154 # variables of the launcher, which sources this
# The check of what the clients recorded.

# check_histories FLAG..: decides whether the run was linearizable; the flags are for kvs-check. Its
# text goes to stdout, its result to check.json. In $REPLY the verdict for the user, empty if all is
# well: nothing was recorded, or the histories are linearizable.
check_histories() {
    REPLY=
    [[ -n $checks ]] || return 0
    local i files=() missing=()
    for ((i = 1; i <= clients; i++)); do
        files+=("$run/kvs-client-$i.history")
        [[ -s ${files[-1]} ]] || missing+=("kvs-client $i")
    done
    # Clients that failed before they sent anything.
    ((${#missing[@]} < clients)) || return 0
    # Without the writes of one client, the reads of the others would look wrong.
    if ((${#missing[@]} > 0)); then
        REPLY="not checked: ${missing[0]} left no history"
        return
    fi
    local flags=()
    clock_flags
    printf 'checking %s of histories\n' "$(du -ch -- "${files[@]}" | sed -n '$s/\s.*//p')"
    start kvs-check "$run/kvs-check.log" "$bin/kvs-check" -json "$run/check.json" -scratch "$run" \
        "${flags[@]+"${flags[@]}"}" "$@" "${files[@]}"
    while running kvs-check; do
        [[ -z $interrupted ]] || die "$((128 + $(kill -l "$interrupted")))" \
            "stopped while checking; the histories are in $(short_path "$run")"
        pause
    done
    cat -- "$run/kvs-check.log"
    case ${statuses[-1]} in
    0) [[ -n $keeps_history ]] || rm -f -- "${files[@]}" ;;
    1 | 2) REPLY="$(verdict); see $(short_path "$run/kvs-check.log")" ;;
    *) how_it_ended "$((${#pids[@]} - 1))" ;;
    esac
}

# verdict: the line of the check's text that tells it.
verdict() {
    sed -n 's/^verdict  *//p' "$run/kvs-check.log"
}
