# shellcheck shell=bash
# Writes a measured table, in the form that report/src/results.rs reads and describes.
#
#   results_begin FILE NAME TITLE COMMAND COLUMN..   a column is `name` or `name:unit`
#   results_row CELL..                               numbers, texts, or '' where nothing was measured
#   results_note TEXT                                what a reader should know beside the figures
#   results_end
#
# and sums up what stands in one:
#
#   results_rounds COUNT FUNCTION..                  what functions measure, taking turns
#   results_ratios A B                               what one measured over what another did
#   results_spread NUMBERS..                         median, quartiles, lowest and highest
#   results_criterion FILE ID                        a benchmark's median, in nanoseconds
#
# FILE appears whole or not at all: until results_end, the rows stand in FILE.part. Each function
# fails with a line on stderr when it is used wrongly.

# shellcheck source=scripts/launcher/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../launcher/environment.sh"

results_file='' results_columns=0 results_rows=0 results_header=() results_notes=()
declare -A results_figures=()

# results_json TEXT: the text as a JSON string, in $REPLY.
results_json() {
    REPLY=${1//\\/\\\\}
    REPLY=${REPLY//\"/\\\"}
    REPLY=\"${REPLY//[[:cntrl:]]/ }\"
}

results_fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    return 1
}

results_begin() {
    (($# >= 5)) || results_fail 'results_begin takes FILE NAME TITLE COMMAND COLUMN..' || return
    [[ -z $results_file ]] || results_fail "results_end must come first, for $results_file" || return
    [[ $2 =~ ^[a-z0-9_-]+$ ]] || results_fail "'$2' is no name of a table: use a-z, 0-9, _ and -" || return
    local name title command column columns=''
    results_json "$2" && name=$REPLY
    results_json "$3" && title=$REPLY
    results_json "$4" && command=$REPLY
    for column in "${@:5}"; do
        results_json "${column%%:*}"
        columns+="${columns:+,}{\"name\":$REPLY,\"unit\":"
        [[ $column == *:* ]] || column=:
        results_json "${column#*:}"
        columns+="$REPLY}"
    done
    results_environment
    results_header=("{\"version\":1,\"name\":$name,\"title\":$title,\"command\":$command"
        "\"environment\":$REPLY" "\"columns\":[$columns]")
    mkdir -p -- "$(dirname -- "$1")" && : >"$1.part" ||
        results_fail "cannot write $1; name a file in a folder that you may write to" || return
    results_file=$1 results_columns=$(($# - 4)) results_rows=0 results_notes=()
}

# The machine and the code, as a JSON object in $REPLY.
results_environment() {
    local cpu kernel commit root
    root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
    results_json "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)" && cpu=$REPLY
    results_json "$(uname -r)" && kernel=$REPLY
    commit_of "$root"
    results_json "$REPLY" && commit=$REPLY
    REPLY="{\"cpu\":$cpu,\"cores\":$(nproc),\"kernel\":$kernel,\"commit\":$commit"
    REPLY+=",\"date\":\"$(date -u +%F)\"}"
}

results_row() {
    [[ -n $results_file ]] || results_fail 'results_begin must come before results_row' || return
    (($# == results_columns)) ||
        results_fail "a row of $# cells under $results_columns columns of $results_file: $*" || return
    local cell line=''
    for cell; do
        case $cell in .*) cell=0$cell ;; -.*) cell=-0${cell#-} ;; esac
        if [[ -z $cell ]]; then
            REPLY=null
        elif [[ $cell =~ ^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$ ]]; then
            REPLY=$cell
        else
            results_json "$cell"
        fi
        line+="${line:+,}$REPLY"
    done
    printf '[%s]\n' "$line" >>"$results_file.part" || return
    results_rows=$((results_rows + 1))
}

results_note() {
    results_json "$1"
    results_notes+=("$REPLY")
}

results_end() {
    [[ -n $results_file ]] || results_fail 'results_begin must come before results_end' || return
    local IFS=,
    {
        printf '%s,"notes":[%s]}\n' "${results_header[*]}" "${results_notes[*]-}"
        cat -- "$results_file.part"
        printf '{"rows":%d}\n' "$results_rows"
    } >"$results_file.new" && mv -- "$results_file.new" "$results_file" && rm -- "$results_file.part" ||
        results_fail "cannot write $results_file" || return
    results_file=''
}

# results_rounds COUNT FUNCTION..: calls the functions in turn, in the opposite order in every second
# round; each leaves its figure in $REPLY. All figures of a function stand in results_figures[FUNCTION],
# a space between each.
results_rounds() {
    local round index order contender
    for contender in "${@:2}"; do results_figures[$contender]=''; done
    for ((round = 1; round <= $1; round++)); do
        order=("${@:2}")
        for ((index = 0; index < $# - 1; index++)); do
            ((round % 2)) && contender=${order[index]} || contender=${order[-1 - index]}
            "$contender"
            results_figures[$contender]+="${results_figures[$contender]:+ }$REPLY"
            printf '  %d of %d  %-28s %14.10g\n' "$round" "$1" "$contender" "$REPLY"
        done
    done
}

# results_ratios A B: what the first function measured over what the second did, round by round, a space
# between each, in $REPLY.
results_ratios() {
    REPLY=$(awk -v a="${results_figures[$1]}" -v b="${results_figures[$2]}" 'BEGIN {
        count = split(a, as)
        split(b, bs)
        for (i = 1; i <= count; i++) printf "%.4f ", as[i] / bs[i]
    }')
}

# results_spread NUMBERS..: median, lower quartile, upper quartile, lowest and highest in $REPLY, a space
# between each.
results_spread() {
    REPLY=$(tr -s ' ' '\n' <<<"$*" | sort -g | awk '
        NF { number[++count] = $1 }
        function quantile(part, at, low) {
            at = 1 + part * (count - 1); low = int(at)
            return number[low] + (at - low) * (number[low + (low < count)] - number[low])
        }
        END {
            printf "%.10g %.10g %.10g %.10g %.10g\n", quantile(0.5), quantile(0.25), quantile(0.75),
                number[1], number[count]
        }')
}

# results_criterion FILE ID: the median of the benchmark whose name matches ID, as criterion printed it to
# FILE, in nanoseconds in $REPLY.
results_criterion() {
    REPLY=$(awk -v id="^($2)( |\$)" '
        BEGIN { ns["ps"] = 1e-3; ns["ns"] = 1; ns["µs"] = 1e3; ns["ms"] = 1e6; ns["s"] = 1e9 }
        $0 ~ id { found = 1 }
        found && sub(/.*time: *\[/, "") { print $3 * ns[$4]; exit }
    ' "$1")
    [[ -n $REPLY ]] || results_fail "$1 holds no time of the benchmark $2"
}
