# Shared by .ci/run and .ci/long, which source it at the top of the repository.

# step TITLE: ends the step before it, and begins the next.
step() {
    end_step
    current_step=$*
    step_began=$SECONDS
    printf '\n== %s\n' "$current_step"
}

end_step() {
    if [ -n "${current_step:-}" ]; then
        step_times+=$(printf '%6d s  %s' $((SECONDS - step_began)) "$current_step")$'\n'
    fi
    current_step=
}

# Prints how long each step took, and the step that failed, if one did.
report_steps() {
    local status=$? failed=${current_step:-}
    end_step
    printf '\n== time\n%s%6d s  in all\n' "${step_times:-}" "$SECONDS"
    if [ "$status" -ne 0 ] && [ -n "$failed" ]; then
        printf '\n%s: step "%s" failed\n' "$0" "$failed" >&2
    fi
}

# beside COMMAND ...: begins it in the background, with what other steps leave of the processors.
beside() {
    beside_log=$(mktemp)
    # A process group of its own.
    set -m
    (
        renice -n 19 "$BASHPID" >/dev/null
        "$@"
    ) >"$beside_log" 2>&1 </dev/null &
    set +m
    beside_job=$!
}

# finish_beside: waits for that command, with full priority, and prints what it has printed.
finish_beside() {
    local status=0
    renice -n 0 -g "$beside_job" >/dev/null 2>&1 || true
    wait "$beside_job" || status=$?
    beside_job=
    cat "$beside_log"
    rm -- "$beside_log"
    return "$status"
}

# end_beside: ends that command if it still runs.
end_beside() {
    if [ -n "${beside_job:-}" ]; then
        kill -- "-$beside_job" 2>/dev/null || true
    fi
}

# needs COMMAND PACKAGE: installs the Debian package unless the command exists.
needs() {
    if command -v "$1" >/dev/null; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "$0: $1 is missing; install it" >&2
        return 1
    fi
    local sudo=
    if [ "$(id -u)" -ne 0 ]; then
        sudo=sudo
    fi
    if [ -z "${apt_updated:-}" ]; then
        $sudo apt-get update -qq
        apt_updated=yes
    fi
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$2" >/dev/null
}

# needs_cargo SUBCOMMAND: installs the Cargo subcommand under target/tools unless it exists.
needs_cargo() {
    PATH=$PWD/target/tools/bin:$PATH
    if ! command -v "cargo-$1" >/dev/null; then
        cargo install --locked --root target/tools "cargo-$1"
    fi
}

# features: the names of the crate's features, one a line.
features() {
    cargo metadata --quiet --locked --no-deps --format-version 1 |
        python3 -c 'import json, sys
print(*json.load(sys.stdin)["packages"][0]["features"], sep="\n")'
}

# check_features FEATURES: the crate compiles with these features alone, without a warning.
check_features() {
    local output
    if ! output=$(cargo check --locked --no-default-features --features "$1" 2>&1) ||
        grep -q '^warning' <<<"$output"; then
        printf '%s\n\nfeatures "%s": an error or a warning\n' "$output" "$1" >&2
        return 1
    fi
    echo "${1:-no feature}: compiles"
}
