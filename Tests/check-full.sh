#!/bin/bash
# What `make check` leaves out because it takes long: more seeds, the sanitizers, every fuzzer for a minute, fifty records of docs/rfc broken, benchmarks.
# Each step runs whatever became of the one before; the last line counts them, and the exit status is 1 if one failed.
set -euo pipefail
cd "$(dirname "$0")/.."
failures=()

step() {
    local name=$1
    shift
    echo "==== $name"
    if "$@"; then echo "==== $name: passed"; else
        echo "==== $name: FAILED"
        failures+=("$name")
    fi
}

step "every test, with 50,000 seeds" env MARTLET_SEEDS="${MARTLET_SEEDS:-50000}" MARTLET_UNIT_SECONDS=7200 Tests/check.sh
step "lint" Tests/Lint/lint.sh
# XCTest itself leaks; what there is to test is in Swift Testing. The plane's host is in C, and has no sanitizer for the plugin to find.
step "address sanitizer" timeout 7200 swift test --sanitize=address --scratch-path .build/address --disable-xctest --skip PlaneTests
# A job pool does not wait for its threads: one may be in a plugin that hangs.
# Plugins that are instrumented find no runtime in a test that is: the dynamic linker misses Swift's own part of it.
step "thread sanitizer" env TSAN_OPTIONS="report_thread_leaks=0 suppressions=$PWD/Tests/thread-sanitizer.supp" timeout 7200 \
    swift test --sanitize=thread --scratch-path .build/thread --disable-xctest --skip PluginContractTests --skip PlaneTests
step "fuzzers, ${SECONDS_EACH:-60} seconds each" env SANITIZE=address Tests/Fuzz/run.sh "${SECONDS_EACH:-60}"
step "the code of fifty records of docs/rfc broken" python3 Tests/RFC/mutate.py ${SEED:+--seed "$SEED"} --count 50
step "benchmarks" Tests/Benchmarks/run.sh

for name in "${failures[@]+"${failures[@]}"}"; do echo "failed: $name"; done
echo "$((7 - ${#failures[@]})) steps passed, ${#failures[@]} failed"
[ ${#failures[@]} = 0 ]
