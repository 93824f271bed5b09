#!/usr/bin/env python3
"""Runs the tests of this folder: `run.py [--jobs N] [WORD ...]` runs those whose name holds a word. Ends with `N passed, M failed, K skipped`.

Most of a test is waiting, so as many run side by side as there are processors, but at most four. One alone (`--jobs 1`) also says after which file of tests the machine had changed.
"""

import argparse
import concurrent.futures
import contextlib
import importlib
import io
import multiprocessing
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
    """Compares the machine with itself."""

    def __init__(self):
        self.before = machine.snapshot()

    def changed(self):
        after = machine.snapshot()
        text = machine.changes(self.before, after)
        self.before = after
        left = [name for name in os.listdir("/run/netns") if name.startswith(f"mt{os.getpid()}x")] if os.path.isdir("/run/netns") else []
        return "\n".join([text] * bool(text) + [f"the namespaces {left} are left"] * bool(left))


def found(words):
    """The tests by file: (name, module, function's name). A file whose tests take long says so (`LONG = True`) and comes first, so that none runs alone at the end."""
    files = {}
    for file in Path(__file__).parent.glob("test_*.py"):
        module = importlib.import_module(file.stem)
        tests = [(f"{file.stem[5:]}.{name[5:]}", file.stem, name) for name, function in vars(module).items() if name.startswith("test_") and callable(function)]
        files[file.name] = [test for test in tests if not words or any(word in test[0] for word in words)]
    return dict(sorted(files.items(), key=lambda item: (not getattr(sys.modules[item[0][:-3]], "LONG", False), item[0])))


def main(jobs, words):
    files = found(words)
    if not any(files.values()):
        print(f"no test's name has {' or '.join(words)}; the name of test_a.py's test_b is a.b")
        return 2
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
    if jobs == 1:
        parts = [(file, tests) for file, tests in files.items() if tests]
    else:
        parts = [("one of the files", [test for tests in files.values() for test in tests])]
    for file, tests in parts:
        for word, line in results(tests, min(jobs, len(tests))):
            counts[word] += 1
            print(line, flush=True)
        changed = own.changed()
        if changed:
            counts["failed"] += 1
            print(f"FAIL {file} has changed the machine, or something else has meanwhile:\n{changed}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if counts["failed"] else 0


def results(tests, jobs):
    """What came of each test, as they end."""
    if jobs <= 1:
        yield from (result(*test) for test in tests)
        return
    workers = concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), named, (multiprocessing.get_context("fork").Value("i", 0),))
    try:
        running = {workers.submit(result, *test): test[0] for test in tests}
        for done in concurrent.futures.as_completed(running):
            if done.exception():
                yield "failed", f"FAIL {running[done]}: the process that ran it ended: {done.exception()}"
            else:
                yield done.result()
    finally:
        workers.shutdown(cancel_futures=True)


def named(count):
    """Gives the namespaces of a new worker names of their own, which still begin with the first process's."""
    with count.get_lock():
        count.value += 1
        lab.PREFIX += f"{count.value}y"


def result(name, module, function):
    """Runs one test; returns the word for what came of it, and the text that says it, with what the test printed."""
    begun = time.monotonic()
    printed = io.StringIO()
    word, why = "passed", None
    with contextlib.redirect_stdout(printed):
        try:
            getattr(sys.modules[module], function)()
        except lab.Skipped as skip:
            word, why = "skipped", skip
        except Exception as error:
            word, why = "failed", error if isinstance(error, lab.Failed) else traceback.format_exc()
    took = f"{name} ({time.monotonic() - begun:.1f} s)"
    line = {"passed": f"ok   {took}", "skipped": f"skip {name}: {why}", "failed": f"FAIL {took}: {why}"}[word]
    return word, printed.getvalue() + line


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=min(4, len(os.sched_getaffinity(0))))
    parser.add_argument("word", nargs="*")
    arguments = parser.parse_args()
    sys.exit(main(max(1, arguments.jobs), arguments.word))
