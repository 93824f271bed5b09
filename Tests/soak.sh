#!/bin/bash
# Runs simulation seeds until it is interrupted or one fails: a process for each core, from FIRST on (default 1,000,000), in a release build.
# Prints how far it is each minute, and at a failure what was wrong with the command that replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
first=${FIRST:-1000000} chunk=${CHUNK:-2000} cores=${CORES:-$(nproc)}
build=(-c release -Xswiftc -enable-testing --scratch-path .build/soak)
swift build --build-tests "${build[@]}"
work=$(mktemp -d)
lanes=()
stop() {
    for lane in "${lanes[@]+"${lanes[@]}"}"; do kill -- "-$lane" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Each lane takes every `cores`th chunk; a lane has a process group of its own.
run_lane() {
    local from=$((first + $1 * chunk)) log=$work/log.$1
    while [ ! -e "$work/failed" ]; do
        if ! MARTLET_FIRST_SEED=$from MARTLET_SEEDS=$chunk swift test --skip-build "${build[@]}" --disable-xctest --filter SimulationTests >"$log" 2>&1; then
            cp "$log" "$work/failed"
            return
        fi
        echo . >>"$work/done.$1"
        from=$((from + cores * chunk))
    done
}
set -m
for ((lane = 0; lane < cores; lane++)); do
    run_lane "$lane" &
    lanes+=($!)
done
set +m
begun=$SECONDS told=$SECONDS
while [ ! -e "$work/failed" ]; do
    sleep 1
    [ $((SECONDS - told)) -ge 60 ] || continue
    told=$SECONDS
    echo "$((SECONDS - begun)) s: $(($(cat "$work"/done.* 2>/dev/null | wc -l) * chunk)) seeds passed from $first on"
done
grep -E '↳|✘|^ ' "$work/failed" || tail -n 40 "$work/failed"
exit 1
