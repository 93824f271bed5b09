#!/usr/bin/env python3
"""Breaks the code that records of docs/rfc cite, one record at a time in a copy of the tree, and sees whether the cited test fails.

    mutate.py [--seed N] [--count N] [--pure] [--only WORD] [--tree DIR] [RECORD ...]

Takes COUNT records at random among those that are `met` (or the ones named), prints for each what was changed and what came of it,
and in the end how many were killed (the test failed), survived, and could not be built. The exit status is 1 if one survived.
--pure takes records of the pure targets alone and builds only those, in a fraction of the time. --only: records whose code or id has
the word. --tree: a folder for the copy that is kept, so that the next run need not build it anew.

What is broken: the line of a record's `break:` (`old => new`, where one of the cited files has `old` once); else the statement under
the first anchor: a condition turned round or made always true or false, a comparison turned, a number off by one, a statement gone.
"""
import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import coverage  # noqa: E402

ROOT = coverage.ROOT
PURE = ["CSecret", "IKEWire", "IKECrypto", "IKECore", "ESPCore", "TestSupport", "IKEWireTests", "IKECryptoTests", "IKECoreTests", "SimulationTests"]
PURE_CODE = ("Sources/IKEWire/", "Sources/IKECrypto/", "Sources/IKECore/")
PURE_TESTS = ("Tests/IKEWireTests/", "Tests/IKECryptoTests/", "Tests/IKECoreTests/", "Tests/Simulation/")
TRIES = 4


# MARK: the copy

def copy(tree, pure):
    """The files that git knows, as they are now. A file that has not changed keeps its time, so that nothing is built without need."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        source, goal = ROOT / name, tree / name
        if not source.is_file():
            continue
        text = source.read_bytes()
        if pure and name == "Package.swift":
            text = reduced(text.decode()).encode()
        if goal.is_file() and goal.read_bytes() == text:
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes(text)
        shutil.copymode(source, goal)


def entries(manifest):
    """Each `.target(...)` and its kin, with its name."""
    for match in re.finditer(r"\.(target|testTarget|executableTarget|systemLibrary)\(", manifest):
        depth, at = 1, match.end()
        while depth and at < len(manifest):
            depth += {"(": 1, ")": -1}.get(manifest[at], 0)
            at += 1
        text = manifest[match.start():at]
        name = re.search(r'name: "([^"]+)"', text)
        if name:
            yield name[1], text


def reduced(manifest):
    """The manifest with the pure targets and their tests alone."""
    head = manifest[:manifest.index("let package = Package(")]
    kept = [text for name, text in entries(manifest) if name in PURE and (name != "ESPCore" or "path:" not in text)]
    return head + 'let package = Package(\n    name: "martlet",\n    targets: [\n        ' + ",\n        ".join(kept) + "\n    ]\n)\n"


# MARK: changes

COMPARISONS = [(" == ", " != "), (" != ", " == "), (" < ", " >= "), (" >= ", " < "), (" > ", " <= "), (" <= ", " > "), (" && ", " || "), (" || ", " && ")]


def clauses(condition):
    """The parts of a condition list, cut at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(condition):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append((start, at))
            start = at + 1
    return parts + [(start, len(condition))]


def changes(line):
    """Every line that this one could become."""
    body = line.strip()
    if not body or body.startswith(("//", "///", "}", "@", "import ")):
        return
    condition = re.search(r"\b(guard|if|else if|while|where)\b (.*?)( else \{| \{|:|$)", line)
    if condition:
        begin, text = condition.start(2), condition[2]
        if condition[1] in ("guard", "if", "else if") and "let " in text:
            yield line[:begin] + "false, " + line[begin:]
        for start, end in clauses(text):
            clause = text[start:end].strip()
            if not clause or re.match(r"(let|var|case)\b", clause) or clause.count("(") != clause.count(")"):
                continue
            for other in (f"!({clause})", "true" if condition[1] == "guard" else "false"):
                yield line[:begin] + text[:start] + (" " if start else "") + other + text[end:] + line[begin + len(text):]
    for old, new in COMPARISONS:
        at = line.find(old)
        while at >= 0:
            yield line[:at] + new + line[at + len(old):]
            at = line.find(old, at + 1)
    for match in re.finditer(r"(?<![\w.\"])\d+(?![\w.\"])", line):
        yield line[:match.start()] + str(int(match[0]) + 1) + line[match.end():]
    for match in re.finditer(r"\b0x[0-9a-f_]+\b", line):
        yield line[:match.start()] + hex(int(match[0].replace("_", ""), 16) ^ 1) + line[match.end():]
    for old, new in (("true", "false"), ("false", "true"), (".min", ".max"), ("+ ", "- ")):
        for match in re.finditer(rf"(?<!\w){re.escape(old)}(?!\w)" if old.isalpha() else re.escape(old), line):
            yield line[:match.start()] + new + line[match.end():]
    case = re.match(r"(\s*case .*?): (.*)$", line)
    if case:
        yield case[1] + ": break"
    if not re.match(r"(let|var|func|guard|if|for|while|switch|case|default|return|struct|enum|class|init|static|private|package|do|\.|\?)", body) and not body.endswith(("{", ",", "(", "[")):
        yield re.match(r"\s*", line)[0] + "// " + body


def statement(lines, at):
    """The lines that an anchor on line `at` is about: what follows a comment, the body of a function, else the line itself."""
    while at < len(lines) and lines[at].strip().startswith(("//", "@")) and " func " not in lines[at]:
        at += 1
    if at >= len(lines):
        return []
    if re.search(r"\b(func|init|struct|class|enum|var|extension)\b.*\{\s*$", lines[at]):
        indent = len(lines[at]) - len(lines[at].lstrip())
        inside = []
        for number in range(at + 1, len(lines)):
            if lines[number].strip() and len(lines[number]) - len(lines[number].lstrip()) <= indent:
                break
            inside.append(number)
        return inside
    return [at] + ([at + 1] if lines[at].rstrip().endswith(("{", "(", ",")) or lines[at].strip().startswith(("case", "guard")) else [])


def candidates(record, tree, random_numbers):
    """(path, old text, new text) in the order in which they are tried."""
    for rule in getattr(record, "breaks", []):
        old, _, new = rule.partition(" => ")
        for anchor in record.code:
            path = anchor.partition("#")[0]
            text = (tree / path).read_text()
            if text.count(old) == 1:
                return [(path, text, text.replace(old, new), f"{old} => {new}")]
        raise ValueError(f"{record.name}: no cited file has {old!r} once")
    found = []
    for anchor in record.code[:1]:
        path, _, words = anchor.partition("#")
        text = (tree / path).read_text()
        lines = text.split("\n")
        for number in statement(lines, text.count("\n", 0, text.index(words))):
            for new in changes(lines[number]):
                if new != lines[number]:
                    found.append((path, text, "\n".join(lines[:number] + [new] + lines[number + 1:]), f"{path}:{number + 1}: {new.strip()}"))
    random_numbers.shuffle(found)
    return found


# MARK: tests

def names(record, tree):
    """Of the cited tests, those of Swift as what --filter takes, and those in namespaces by name."""
    swift, spaces = set(), set()
    for anchor in record.test:
        path, _, words = anchor.partition("#")
        if path.endswith(".py"):
            found = re.search(r"def (test_\w+)", words)
            spaces.add(found[1] if found else pathlib.Path(path).stem.removeprefix("test_"))
            continue
        found = re.search(r"func (\w+)", words)
        if not found:
            text = (tree / path).read_text()
            found = re.search(r"func (\w+)", text[:text.index(words)].rsplit("@Test", 1)[-1]) or re.search(r"(?:struct|class) (\w+)", words)
        if found:
            # A helper's name is no test's: the file's suite runs then.
            text = (tree / path).read_text()
            isTest = re.search(rf"@Test[^\n]*\n?[^\n]*func {found[1]}\b", text)
            suites = re.findall(r"@Suite[^\n]*?(?:struct|class|enum) (\w+)", text)
            swift.update([rf"/{found[1]}\("] if isTest else [rf"\.{suite}/" for suite in suites])
    return sorted(swift), sorted(spaces)


def run(words, tree, seconds):
    environment = dict(os.environ, MARTLET_SEEDS=os.environ.get("MARTLET_SEEDS", "200"))
    try:
        done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, timeout=seconds, errors="replace")
        return done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        return 124, str(late.stdout)[-2000:]


def build(tree):
    status, said = run(["swift", "build", "--build-tests", "-j", "2"], tree, 3600)
    return status == 0, said


def tested(record, tree):
    """Whether every cited test passes; None where there is none to run."""
    swift, spaces = names(record, tree)
    if not swift and not spaces:
        return None
    for name in swift:
        status, said = run(["swift", "test", "--skip-build", "--disable-xctest", "--filter", name], tree, 300)
        if re.search(r"with 0 tests", said):
            raise ValueError(f"no test is called {name}")
        if status:
            return False
    for name in spaces:
        status, _ = run([sys.executable, "Tests/Interop/run.py", name], tree, 900)
        if status:
            return False
    return True


def attempt(record, tree, random_numbers):
    """One word, and what was changed."""
    tries = candidates(record, tree, random_numbers)
    if not tries:
        return "nothing to break", record.code[0]
    for path, old, new, what in tries[:TRIES]:
        (tree / path).write_text(new)
        try:
            built, _ = build(tree)
            if not built:
                continue
            return ("survived" if tested(record, tree) else "killed"), what
        finally:
            (tree / path).write_text(old)
    return "not built", tries[0][3]


def main():
    parser = argparse.ArgumentParser(description="Break what docs/rfc cites, and see the tests fail.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--tree")
    parser.add_argument("records", nargs="*")
    wanted = parser.parse_args()
    records = []
    for path in sorted((ROOT / "docs/rfc").glob("rfc*.txt")):
        records += coverage.read(path, lambda place, what: sys.exit(f"{place}: {what}"))
    met = [r for r in records if r.status == "met" and r.code and r.test]
    if wanted.pure:
        met = [r for r in met if all(a.startswith(PURE_CODE) for a in r.code) and all(a.startswith(PURE_TESTS) for a in r.test)]
    met = [r for r in met if wanted.only in r.name or any(wanted.only in a for a in r.code)]
    numbers = random.Random(wanted.seed)
    chosen = [r for r in met if r.name in wanted.records] if wanted.records else numbers.sample(met, min(wanted.count, len(met)))
    print(f"seed {wanted.seed}: {len(chosen)} of {len(met)} records", flush=True)
    tree = pathlib.Path(wanted.tree or tempfile.mkdtemp(prefix="martlet-mutate-"))
    counts = {}
    try:
        copy(tree, wanted.pure)
        built, said = build(tree)
        if not built:
            sys.exit("the copy does not build:\n" + said[-3000:])
        # All before anything is broken: what was mended is built only with the next change.
        unbroken = {}
        for record in chosen:
            try:
                unbroken[record.name] = tested(record, tree)
            except ValueError:
                pass
        for record in chosen:
            try:
                if unbroken.get(record.name, True) is not True:
                    outcome, what = "fails unbroken", " ".join(record.test)
                else:
                    outcome, what = attempt(record, tree, numbers)
            except ValueError as error:
                outcome, what = "no test", str(error)
            counts[outcome] = counts.get(outcome, 0) + 1
            print(f"{outcome:<16} {record.name:<18} {what}", flush=True)
    finally:
        if not wanted.tree:
            shutil.rmtree(tree, ignore_errors=True)
    print(f"seed {wanted.seed}: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return 1 if counts.keys() - {"killed", "not built", "nothing to break"} else 0


if __name__ == "__main__":
    sys.exit(main())
