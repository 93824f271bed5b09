#!/bin/bash
# Prints what the release daemon takes when it is idle, and what it carries: figures to compare over time, on one machine.
# The only thing that fails is the count of instructions of an exchange, which does not depend on the load. See docs/PERFORMANCE.md.
# Needs root, for network namespaces. MARTLET_BUILD names a folder with a release build, to skip building.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
if [ "$(id -u)" != 0 ]; then echo "the benchmarks need root, to make network namespaces" >&2; exit 1; fi
if [ -n "${MARTLET_BUILD:-}" ]; then bin=$(realpath "$MARTLET_BUILD"); else
    swift build -c release
    bin=$(swift build -c release --show-bin-path)
fi

work=$(mktemp -d /tmp/martlet-bench-XXXXXX)
tag=$(basename "$work")
pids=()
clean() {
    local status=$?
    trap - EXIT
    for pid in "${pids[@]+"${pids[@]}"}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]+"${pids[@]}"}"; do wait "$pid" 2>/dev/null || true; done
    ip netns del "$tag" 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ip netns add "$tag"
ip -n "$tag" link set lo up
ip -n "$tag" link add outer type veth peer name other
ip -n "$tag" addr add 192.0.2.1/24 dev outer
ip -n "$tag" link set outer up

median() { sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

# Idle: the demonstration's gateway, started afresh several times.
printf 'include %s/etc/demo/east.conf\ngateway {\n    control = %s/sock\n}\n' "$root" "$work" >"$work/martlet.conf"
: >"$work/ready"
: >"$work/memory"
for run in 1 2 3 4 5 6 7; do
    ip netns exec "$tag" "$bin/martletd" --config "$work/martlet.conf" --foreground >"$work/log" 2>&1 &
    pid=$!
    pids=("$pid")
    for _ in $(seq 100); do
        grep -q 'is ready in' "$work/log" && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if ! grep -q 'is ready in' "$work/log"; then
        cat "$work/log" >&2
        echo "the daemon did not become ready" >&2
        exit 1
    fi
    sleep 0.5
    sed -n 's/.* is ready in \([0-9]*\) ms.*/\1/p' "$work/log" >>"$work/ready"
    awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status" >>"$work/memory"
    kill -TERM "$pid"
    wait "$pid" || true
    pids=()
done
echo "idle daemon: ready in $(median <"$work/ready") ms (median of $(wc -l <"$work/ready"), worst $(sort -n "$work/ready" | tail -n 1)); aim: 50"
echo "idle daemon: $(median <"$work/memory" | awk '{ printf "%.1f", $1 / 1024 }') MB resident (median, worst $(sort -n "$work/memory" | tail -n 1 | awk '{ printf "%.1f", $1 / 1024 }')); aim: 15"

gcc -O2 -Wall -Wextra -Werror -ISources/PluginABI/include -o "$work/packets" Tests/Benchmarks/packets.c -ldl
"$work/packets" "$bin/libmartlet-openssl.so" "$bin/libmartlet-gcrypt.so"

if [ -x "$bin/SealBenchmark" ]; then "$bin/SealBenchmark"; fi

python3 -B Tests/Benchmarks/throughput.py "$bin"

# At scale: CPU of set-ups, memory of an SA, liveness while the status is read; the first two with certificates too.
python3 -B Tests/Benchmarks/scale.py "$bin"

python3 -B Tests/Benchmarks/instructions.py "$bin"

# Log-ins over two directories of which one hangs, against a slapd of its own: LOGINS of them. Of interest is how the runs compare.
if command -v /usr/sbin/slapd >/dev/null; then
    MARTLET_DIRECTORY_LOGINS=${LOGINS:-1000} swift test --disable-xctest --filter DirectoryBenchmark 2>&1 | grep -E '^directory|✘'
fi
