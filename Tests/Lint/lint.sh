#!/bin/bash
# Checks that need no build: the layers, what must not be in what ships, the style. One line for each finding.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
findings=0
# Only files that git knows, so that nothing built is judged.
files() { git ls-files -- "$@"; }

found() {
    [ -n "$2" ] || return 0
    findings=$((findings + $(wc -l <<<"$2")))
    sed "s|^|$1: |" <<<"$2"
}
# Matches in code: a line that begins as a comment does not count.
code() {
    local pattern=$1
    shift
    files "$@" | xargs -r grep -snHE -- "$pattern" | grep -vE '^[^:]+:[0-9]+:[[:space:]]*//' || true
}

found "layer" "$(python3 Tests/Lint/layers.py)"
found "Foundation in what ships" "$(code '^\s*(public |internal |package |@_exported )*import (Foundation|FoundationEssentials|Dispatch)\b' 'Sources/*.swift' 'Plugins/*.swift' | grep -v '^Sources/martlet/' || true)"
found "a trap" "$(code '\b(fatalError|preconditionFailure|assertionFailure)\(|\btry!|\bas! ' 'Sources/*.swift' 'Plugins/*.swift')"
# `Mutex<closure>.withLock { $0 }` hands the closure back wrapped once more at each reading: the stack grows with every call.
found "a closure read out of a lock: put it into a struct" "$(code 'withLock \{ \$0 \}\??\(' 'Sources/*.swift' 'Plugins/*.swift')"
# With every MUST that lacks code, a test or a reason.
found "rfc" "$(python3 Tests/RFC/coverage.py | grep "^docs/rfc/" || true)"
found "a left-over marker" "$(files Sources Plugins Tests docs etc packaging | grep -v '^Tests/Lint/' | xargs -r grep -snHE '\b(TODO|FIXME|XXX|HACK)\b' || true)"
found "a merge left-over" "$(git grep -nE '^(<{7}|>{7}) ' -- . || true)"
found "a disabled test without a reason" "$(code '\.disabled\(\)|withKnownIssue\(?\s*\{' 'Tests/*.swift')"

# Over 800 lines is a finding; over 500 is worth a look, and is said.
sizes=$(files 'Sources/*.swift' 'Plugins/*.swift' 'Tests/*.swift' 'Sources/*.c' 'Plugins/*.c' | xargs -r wc -l | awk '$2 != "total" { print $1, $2 }')
found "longer than 800 lines" "$(awk '$1 > 800 { print $2 " has " $1 " lines" }' <<<"$sizes")"
awk '$1 > 500 && $1 <= 800 { print "note: " $2 " has " $1 " lines; split it where it can be" }' <<<"$sizes"

if command -v swift >/dev/null; then
    found "format" "$(files '*.swift' | xargs -r swift format lint -p 2>&1 | sed "s|^$PWD/||" || true)"
else
    echo "note: no swift in PATH, the format is not checked"
fi
for script in $(files '*.sh' .ci/run); do
    found "shell" "$(bash -n "$script" 2>&1)"
done
found "python" "$(files '*.py' | xargs -r python3 -c 'import ast, sys
for name in sys.argv[1:]:
    try:
        ast.parse(open(name).read(), name)
    except SyntaxError as error:
        print(f"{name}:{error.lineno}: {error.msg}")')"

if [ "$findings" = 0 ]; then echo "lint: nothing found"; else
    echo "lint: $findings found"
    exit 1
fi
