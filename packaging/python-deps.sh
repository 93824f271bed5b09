#!/bin/bash
# Installs the Python packages of Tests/Interop/requirements.txt below .build, away from the system's own. Without a registry in reach it says so and goes on:
# the tests that need them are skipped and say why.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=Tests/Interop/requirements.txt
target=.build/python
if [ -f "$target/requirements.txt" ] && cmp -s "$wanted" "$target/requirements.txt"; then exit 0; fi
rm -rf "$target"
mkdir -p .build
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if python3 -m venv "$target" >"$log" 2>&1 && "$target/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes -r "$wanted" >>"$log" 2>&1; then
    cp "$wanted" "$target/requirements.txt"
    echo "installed $(grep -vc '^#' "$wanted") Python packages in $target"
else
    tail -n 5 "$log" >&2
    echo "The Python packages of $wanted could not be installed; the tests that use them are skipped" >&2
fi
