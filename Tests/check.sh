#!/bin/bash
# Builds and runs every test, then says how many passed, failed and were skipped, and why they were skipped.
# The unit tests come first, then gateways in network namespaces (Tests/Interop). The exit status is 1 if anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0
begun=$SECONDS

# The number of an attribute in the first element of a report that has it.
attribute() { { grep -o "$2=\"[0-9]*\"" "$1" || true; } | head -1 | tr -dc 0-9; }

echo "== build"
swift build --build-tests

echo "== the fuzzers, built and not run"
if Tests/Fuzz/run.sh build >"$work/fuzz" 2>&1; then passed=$((passed + 1)); else
    grep -E 'error:' "$work/fuzz" || tail -n 20 "$work/fuzz"
    echo "FAIL the fuzzers do not build"
    failed=$((failed + 1))
fi

echo "== unit tests, simulation and contract suites"
status=0
timeout --kill-after=10 "${MARTLET_UNIT_SECONDS:-900}" swift test --skip-build --disable-xctest --xunit-output "$work/report.xml" >"$work/log" 2>&1 || status=$?
# Swift Testing adds its name to the report's.
report=$(find "$work" -name 'report*.xml' -size +0 | head -1)
tests=
[ -z "$report" ] || tests=$(attribute "$report" tests)
if [ -z "$tests" ]; then
    tail -n 60 "$work/log"
    if [ "$status" = 124 ]; then echo "FAIL the unit tests did not end in time"; else echo "FAIL the unit tests ended early, with status $status"; fi
    failed=$((failed + 1))
else
    unit_failed=$(attribute "$report" failures)
    unit_errors=$(attribute "$report" errors)
    unit_skipped=$(attribute "$report" skipped)
    unit_failed=$((${unit_failed:-0} + ${unit_errors:-0}))
    # A run that failed with no failure in its report failed all the same.
    if [ "$status" != 0 ] && [ "$unit_failed" = 0 ]; then unit_failed=1 tests=$((tests + 1)); fi
    if [ "$unit_failed" != 0 ]; then
        grep -E '✘|recorded an issue|[Ss]eed|rror:' "$work/log" | tail -n 200 || true
        tail -n 5 "$work/log"
    fi
    # A disabled test says why where it stands; the reason is part of its line.
    grep -E '➜.* skipped' "$work/log" || true
    grep -E 'not tried here|is missing|are skipped' "$work/log" | sort -u || true
    tail -n 1 "$work/log"
    failed=$((failed + unit_failed))
    skipped=$((skipped + ${unit_skipped:-0}))
    passed=$((passed + tests - unit_failed - ${unit_skipped:-0}))
fi

echo "== gateways in network namespaces"
status=0
timeout --kill-after=10 "${MARTLET_INTEROP_SECONDS:-2400}" python3 Tests/Interop/run.py 2>&1 | tee "$work/interop" || status=$?
line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$work/interop" | tail -n 1 || true)
if [ -z "$line" ]; then
    echo "FAIL the tests in namespaces ended early, with status $status"
    failed=$((failed + 1))
else
    read -r a b c < <(sed -E 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?.*/\1 \2 \4/' <<<"$line")
    if [ "$status" != 0 ] && [ "$b" = 0 ]; then b=1; fi
    passed=$((passed + a)) failed=$((failed + b)) skipped=$((skipped + ${c:-0}))
fi

echo "== $((SECONDS - begun)) seconds"
if [ "$skipped" = 0 ]; then echo "$passed passed, $failed failed"; else echo "$passed passed, $failed failed, $skipped skipped"; fi
[ "$failed" = 0 ]
