#!/bin/bash
# Installs the Python packages of Tests/Interop/requirements.txt below .build, away from the system's own. Without a registry in reach it says so and goes on:
# the tests that need them are skipped and say why. What was installed before stays until its successor is whole.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=Tests/Interop/requirements.txt
target=.build/python
if [ -f "$target/requirements.txt" ] && cmp -s "$wanted" "$target/requirements.txt"; then exit 0; fi
mkdir -p .build
new=$(mktemp -d .build/python.XXXXXX)
trap 'rm -rf "$new"' EXIT
chmod 755 "$new"
pip=("$new/bin/pip" install --quiet --disable-pip-version-check --no-input --retries 0 --timeout 5 --require-hashes -r "$wanted")
if python3 -m venv "$new" >"$new/log" 2>&1 && "${pip[@]}" >>"$new/log" 2>&1; then
    cp "$wanted" "$new/requirements.txt"
    rm -rf "$target"
    mv "$new" "$target"
    echo "installed $(grep -vc '^#' "$wanted") Python packages in $target"
else
    tail -n 5 "$new/log" >&2
    names=$(sed -n 's/^\([A-Za-z0-9._-]*\)==\([^ ]*\).*/\1 \2/p' "$wanted" | paste -sd ,)
    if [ -d "$target" ]; then left="; those that $target has are used instead"; else left="; Tests/Interop/test_vici_package.py is skipped, and nothing else"; fi
    echo "The Python packages of $wanted ($names) could not be installed$left" >&2
fi
