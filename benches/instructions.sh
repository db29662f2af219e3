#!/usr/bin/env bash
# Counts the instructions per call with callgrind. Unlike times, they do not depend on the load.
#
# usage: benches/instructions.sh [calls]
#
# Each path runs twice, with few and with many calls, and the difference is divided by the
# difference in calls, which cancels the cost of the preparation. Only the loop of calls counts.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
few=1000
more=${1:-20000}

case $more in
    '' | *[!0-9]*) echo "usage: $0 [calls]" >&2; exit 2 ;;
esac
if [ "$more" -le "$few" ]; then
    echo "$0: the number of calls must be greater than $few" >&2
    exit 2
fi
if ! command -v valgrind >/dev/null; then
    echo "$0: valgrind is missing. Install it (Debian, Ubuntu: apt-get install valgrind)." >&2
    exit 1
fi

cargo build --quiet --release --manifest-path "$here/peers/Cargo.toml" --bin one_path
target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$here/peers/Cargo.toml" |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
program=$target/release/one_path
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

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

scenarios='consecutive count one-in-ten slow time open'
candidates='bare tower-breaker tower-resilience recloser failsafe'

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
        most=$more
        # It scans its time window at each call; fewer calls are enough, and faster.
        if [ "$candidate $scenario" = 'tower-resilience time' ]; then most=$((few + 100)); fi
        low=$(count "$candidate" "$scenario" "$few")
        if [ -z "$low" ]; then
            printf ' - |'
            continue
        fi
        high=$(count "$candidate" "$scenario" "$most")
        printf ' %s |' "$(awk -v low="$low" -v high="$high" -v calls=$((most - few)) \
            'BEGIN { printf "%.1f", (high - low) / calls }')"
    done
    echo
done
