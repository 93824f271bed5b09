#!/usr/bin/env python3
"""Counts the instructions of a set-up, of the rekeys and of a liveness exchange, both ends together, and compares them with instructions.txt.

Each exchange runs twice under callgrind, with different counts; the difference over the difference of the counts is the cost of one,
start-up left out. libcrypto's share, which is mostly the key exchange, is counted apart: the threshold is for the rest, Martlet's own.

    instructions.py BUILD [--update]      fails where a figure is above its threshold; --update writes the figures as they are now
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

THRESHOLDS = Path(__file__).resolve().parent / "instructions.txt"
# Exchanges, and the two lengths of their runs.
EXCHANGES = {"setup": (20, 120), "ike-rekey": (20, 120), "child-rekey": (20, 120), "liveness": (50, 550)}


def count(folder, exchange, repetitions):
    """Instructions by object file."""
    out = folder / "out"
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", folder / "ExchangeBenchmark", exchange, str(repetitions)], capture_output=True, text=True)
    if done.returncode != 0 or "failed" in done.stdout:
        raise SystemExit(f"ExchangeBenchmark {exchange} {repetitions}: {done.stdout}{done.stderr[-2000:]}")
    return by_object(out)


def by_object(path):
    names, totals, current, skip = {}, {}, "?", False
    for line in path.open():
        if line.startswith("ob="):
            match = re.match(r"ob=(\(\d+\))(?: (.*))?", line.rstrip("\n"))
            if match.group(2):
                names[match.group(1)] = match.group(2)
            current = names[match.group(1)]
        elif line.startswith("cob="):
            match = re.match(r"cob=(\(\d+\))(?: (.*))?", line.rstrip("\n"))
            if match.group(2):
                names[match.group(1)] = match.group(2)
        elif line.startswith("calls="):
            # The next line is the inclusive cost of the call.
            skip = True
        elif line[0].isdigit() or line[0] in "+-*":
            if not skip:
                totals[current] = totals.get(current, 0) + int(line.split()[1])
            skip = False
    return totals


def measure(folder, exchange):
    """Thousands of instructions of one: Martlet's with the runtime and the C library, and libcrypto's."""
    few, many = EXCHANGES[exchange]
    short, long = count(folder, exchange, few), count(folder, exchange, many)
    own = crypto = 0
    for name in long:
        each = (long[name] - short.get(name, 0)) / (many - few) / 1000
        if "libcrypto" in name:
            crypto += each
        else:
            own += each
    return own, crypto


def main():
    build, update = Path(sys.argv[1]), "--update" in sys.argv
    with tempfile.TemporaryDirectory(prefix="martlet-callgrind-") as name:
        folder = Path(name)
        # Debian's valgrind cannot read the debug information that Swift writes.
        for file in ("ExchangeBenchmark", "libmartlet-openssl.so"):
            subprocess.run(["strip", "--strip-debug", "-o", folder / file, build / file], check=True)
        return compare(folder, update)


def compare(folder, update):
    lines, failed, out = THRESHOLDS.read_text().splitlines(), False, []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            out.append(line)
            continue
        exchange, threshold, margin = line.split()
        own, crypto = measure(folder, exchange)
        limit = float(threshold) * (1 + float(margin.rstrip("%")) / 100)
        bad = own > limit
        failed = failed or bad
        words = f"ABOVE ITS THRESHOLD of {threshold} + {margin}" if bad else f"threshold {threshold} + {margin}"
        print(f"{exchange}: {own:.0f} thousand instructions at both ends ({words}), and {crypto:.0f} in libcrypto", flush=True)
        out.append(f"{exchange} {own:.0f} {margin}")
    if update:
        THRESHOLDS.write_text("\n".join(out) + "\n")
        return 0
    return 1 if failed else 0


sys.exit(main())
