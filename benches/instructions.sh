#!/usr/bin/env bash
# Counts the instructions per call with callgrind. Unlike times, they do not depend on the load.
#
# usage: benches/instructions.sh            prints a table of all candidates
#        benches/instructions.sh --check    compares tower-breaker with instructions.txt
#
# Calls are made a thousand at a time. Each path runs twice, with few and with many calls, and the
# difference is divided by the difference in calls, which cancels the cost of the preparation. Only
# the loop of calls counts.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
few=1000
many=21000

case ${1:-} in
    '' | --check) ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac
if ! command -v valgrind >/dev/null; then
    echo "$0: valgrind is missing. Install it (Debian, Ubuntu: apt-get install valgrind)." >&2
    exit 1
fi

target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$here/peers/Cargo.toml" |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# build PROGRAM FEATURES: copies the program, built with these features, there.
build() {
    cargo build --quiet --release --manifest-path "$here/peers/Cargo.toml" --features "$2" \
        --bin one_path
    cp "$target/release/one_path" "$1"
}
program=$work/one_path
build "$program" keyed

# count CANDIDATE SCENARIO CALLS: prints the instructions of all calls, or nothing if the candidate
# has no such rule.
count() {
    local status=0
    valgrind --tool=callgrind --collect-atstart=no '--toggle-collect=*call::drive*' \
        --callgrind-out-file="$work/out" "$program" "$1" "$2" "$3" >"$work/log" 2>&1 || status=$?
    if [ "$status" -eq 3 ]; then
        return
    fi
    if [ "$status" -ne 0 ]; then
        cat "$work/log" >&2
        exit 1
    fi
    sed -n 's/^totals: //p' "$work/out"
}

# per_call CANDIDATE SCENARIO: prints the instructions per call, or nothing.
per_call() {
    local most=$many low high
    # It scans its time window at each call; fewer calls are enough, and faster.
    case "$1 $2" in 'tower-resilience time'*) most=$((few + 1000)) ;; esac
    low=$(count "$1" "$2" "$few")
    if [ -z "$low" ]; then
        return
    fi
    high=$(count "$1" "$2" "$most")
    awk -v low="$low" -v high="$high" -v calls=$((most - few)) \
        'BEGIN { printf "%.1f", (high - low) / calls }'
}

# Fails if a figure exceeds the committed one by more than the noise of the linker's layout.
check() {
    local status=0 scenario limit found candidate
    local limits=$here/instructions.txt
    if ! grep -qF "$(rustc --version)" "$limits"; then
        echo "$limits is for another rustc; these are figures, not a check:"
    fi
    while read -r path limit; do
        # "scenario", or "scenario/what follows the name of the candidate". "metrics-off" is
        # tower-breaker itself, built with the feature `metrics`.
        scenario=${path%%/*}
        candidate=tower-breaker$(tr / - <<<"${path#"$scenario"}")
        program=$work/one_path
        case $candidate in
            *-metrics | *-metrics-off)
                program=$work/with_metrics
                [ -e "$program" ] || build "$program" keyed,metrics
                ;;
        esac
        found=$(per_call "${candidate%-metrics-off}" "$scenario")
        echo "$path: $found instructions per call, at most $limit"
        if awk -v found="$found" -v limit="$limit" 'BEGIN { exit !(found > limit + 0.5) }' &&
            grep -qF "$(rustc --version)" "$limits"; then
            status=1
        fi
    done < <(grep -v '^#' "$limits")
    return $status
}

if [ "${1:-}" = --check ]; then
    check
    exit
fi

scenarios='consecutive consecutive-1-in-100 consecutive-1-in-10 count count-1-in-1000 count-1-in-100
    count-1-in-10 slow slow-1-in-100 time time-1-in-100 open'
candidates='bare tower-breaker tower-resilience recloser recloser-eager failsafe'

echo "Instructions per call, including the loop around it ($(rustc --version)):"
echo
printf '| |'
for candidate in $candidates; do printf ' %s |' "$candidate"; done
printf '\n|---|'
for candidate in $candidates; do printf '%s' '--:|'; done
echo
for scenario in $scenarios; do
    printf '| %s |' "$scenario"
    for candidate in $candidates; do
        found=$(per_call "$candidate" "$scenario")
        printf ' %s |' "${found:--}"
    done
    echo
done
