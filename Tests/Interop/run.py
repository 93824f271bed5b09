#!/usr/bin/env python3
"""Runs the tests of this folder: `run.py [WORD ...]` runs those whose name holds a word. Ends with `N passed, M failed, K skipped`."""

import importlib
import os
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import lab  # noqa: E402
import machine  # noqa: E402


def obstacle():
    """Why none of these tests can run here, or nothing."""
    if os.geteuid() != 0:
        return "they need root, for network namespaces"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    for tool in ("ip", "nft", "ping", "tshark"):
        if not shutil.which(tool):
            return f"{tool} is not installed (make deps)"
    for program in ("martletd", "martlet"):
        if not (lab.BUILD / program).exists():
            return f"{lab.BUILD / program} is not built (make build)"
    return None


def inability():
    """What root cannot do here although it should, or nothing. That is a failure, and no reason to pass over every test."""
    probe = f"mt{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe])
    return None


class Machine:
    """Compares the machine with itself, file of tests by file of tests."""

    def __init__(self):
        self.before = machine.snapshot()

    def changed(self):
        after = machine.snapshot()
        text = machine.changes(self.before, after)
        self.before = after
        left = [name for name in os.listdir("/run/netns") if name.startswith(lab.PREFIX)] if os.path.isdir("/run/netns") else []
        return "\n".join([text] * bool(text) + [f"the namespaces {left} are left"] * bool(left))


def main(words):
    files = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(file.stem)
        tests = [(f"{file.stem[5:]}.{name[5:]}", function) for name, function in vars(module).items() if name.startswith("test_") and callable(function)]
        files[file.name] = [(name, function) for name, function in tests if not words or any(word in name for word in words)]
    reason = obstacle()
    if reason:
        print(f"skip all: {reason}")
        print(f"0 passed, 0 failed, {sum(map(len, files.values()))} skipped")
        return 0
    if inability():
        print(f"FAIL all: {inability()}")
        print(f"0 passed, {sum(map(len, files.values()))} failed, 0 skipped")
        return 1
    own = Machine()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for file, tests in files.items():
        for name, function in tests:
            counts[result(name, function)] += 1
        changed = own.changed() if tests else ""
        if changed:
            counts["failed"] += 1
            print(f"FAIL {file} has changed the machine, or something else has meanwhile:\n{changed}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if counts["failed"] else 0


def result(name, function):
    """Runs one test, prints what came of it, and returns the word for that."""
    begun = time.monotonic()
    try:
        function()
    except lab.Skipped as skip:
        print(f"skip {name}: {skip}", flush=True)
        return "skipped"
    except Exception as error:
        text = str(error) if isinstance(error, lab.Failed) else traceback.format_exc()
        print(f"FAIL {name} ({time.monotonic() - begun:.1f} s): {text}", flush=True)
        return "failed"
    print(f"ok   {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    return "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
