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
    probe = "martlet-probe"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode != 0:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "del", probe])
    return None


def main(words):
    tests = []
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(file.stem)
        tests += [(f"{file.stem[5:]}.{name[5:]}", function) for name, function in vars(module).items() if name.startswith("test_") and callable(function)]
    tests = [(name, function) for name, function in tests if not words or any(word in name for word in words)]
    reason = obstacle()
    passed = failed = skipped = 0
    for name, function in tests:
        if reason:
            skipped += 1
            continue
        begun = time.monotonic()
        try:
            function()
        except lab.Skipped as skip:
            skipped += 1
            print(f"skip {name}: {skip}", flush=True)
        except Exception as error:
            failed += 1
            text = str(error) if isinstance(error, lab.Failed) else traceback.format_exc()
            print(f"FAIL {name} ({time.monotonic() - begun:.1f} s): {text}", flush=True)
        else:
            passed += 1
            print(f"ok   {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    if reason:
        print(f"skip all: {reason}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
