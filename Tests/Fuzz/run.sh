#!/bin/sh
# Builds every fuzzer in Fuzzers/ and runs each for SECONDS (default 60). `run.sh SECONDS FuzzX` runs one.
# RUNS=1000000 runs so many inputs instead; SANITIZE=address builds with the address sanitizer as well, in a folder of its own.
# `run.sh build` only builds them, for debugging, which shows whether they still fit the sources.
# To add a fuzzer: a file Fuzzers/FuzzX.swift that defines LLVMFuzzerTestOneInput; what it imports is what it is linked with.
# On one core of a busy machine, under the address sanitizer: FuzzMessage 1400 inputs a second (a million found nothing, and 1200 to keep), FuzzKernelReplies
# 20,000 of the first ones and 400 of the long ones later on (900,000 found nothing), FuzzDecrypted, FuzzFragments and FuzzEvents 0.6 ms of the core for each.
# A million of each of FuzzMessage, FuzzDecrypted, FuzzFragments and FuzzVici found nothing; so did 1,020,000 of FuzzConfiguration.
# First inputs in Corpus/FuzzX (committed); what the fuzzer finds is kept in .build/found/FuzzX; a crash in .build/crashes.
# A crash input worth keeping goes to Corpus/FuzzX as a regression, with its fix.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
FUZZERS=
for file in Fuzzers/*.swift; do
    imports=$(sed -n 's/^import //p' "$file" | grep -vx Glibc | tr '\n' ',' || true)
    FUZZERS="$FUZZERS $(basename "$file" .swift):${imports%,}"
done
# libFuzzer itself catches the trap, and saves the input.
export SWIFT_BACKTRACE=enable=no FUZZERS
if [ "$seconds" = build ]; then exec swift build --sanitize=fuzzer -j "${JOBS:-2}"; fi
folder=.build
sanitize=--sanitize=fuzzer
if [ -n "${SANITIZE:-}" ]; then
    folder=.build/$SANITIZE
    # In one option: of two the compiler takes the last, and code without the fuzzer's counters guides no fuzzer.
    sanitize="$sanitize -Xswiftc -sanitize=fuzzer,$SANITIZE -Xcc -fsanitize=$SANITIZE"
    # Stacks of every allocation, and filling and keeping what is freed, would cost more than the inputs. What leaks is found, and its stack by
    # running the input alone with ASAN_OPTIONS=malloc_context_size=20.
    export ASAN_OPTIONS="${ASAN_OPTIONS:-malloc_context_size=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64:max_malloc_fill_size=0:detect_leaks=1}"
fi
limit="-max_total_time=$seconds"
if [ -n "${RUNS:-}" ]; then limit="-runs=$RUNS"; fi
names=${2:-$(for file in Fuzzers/*.swift; do basename "$file" .swift; done)}
mkdir -p .build/crashes
failed=0
for name in $names; do
    # shellcheck disable=SC2086 # two words, if there are two
    swift build -c release $sanitize --scratch-path "$folder" --product "$name" -j "${JOBS:-2}"
done
for name in $names; do
    mkdir -p ".build/found/$name" "Corpus/$name"
    # The libraries have thousands of counters; the fuzzer's own file has a handful.
    counters=$("$folder/release/$name" -runs=0 2>&1 | sed -n 's/.*(\([0-9]*\) inline 8-bit counters).*/\1/p')
    [ "${counters:-0}" -ge 500 ] || { echo "$name was built without the fuzzer's counters"; exit 1; }
    echo "== $name, ${limit#-}, $counters counters"
    if "$folder/release/$name" "$limit" -timeout=5 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix=".build/crashes/$name-" ".build/found/$name" "Corpus/$name" >".build/$name.log" 2>&1; then
        grep -E "number_of_executed_units|average_exec_per_sec|peak_rss" ".build/$name.log" | sed 's/^stat:://'
    else
        failed=$((failed + 1))
        echo "$name failed:"
        tail -n 40 ".build/$name.log"
    fi
done
[ "$failed" = 0 ] || { echo "$failed fuzzers failed; inputs in Tests/Fuzz/.build/crashes"; exit 1; }
echo "no fuzzer failed"
