#!/usr/bin/env python3
"""Breaks the code that records of docs/rfc cite, one record at a time in a copy of the tree, and sees whether the cited test fails.

    mutate.py [--seed N] [--count N] [--pure] [--only WORD] [--tree DIR] [RECORD ...]

Takes COUNT records at random among those that are `met` (or the ones named), prints for each what was changed and what came of it,
and in the end how many were killed (the test failed), survived, and could not be built. The exit status is 1 if one was not killed.
--pure takes records of the pure targets alone and builds only those. --only: records whose code or id has the word. --tree: a folder
for the copy that is kept, so that the next run need not build it anew.

The copy is built once. What is broken after that is one file: it alone is compiled, with the compiler's own command for it, and what
it is a part of is linked again; both are put back afterwards. That takes seconds, where a build takes minutes.

What is broken: the line of a record's `break:` (`old => new`, where one of the cited files has `old` once); else the statement under
the first anchor: a condition turned round or made always true or false, a comparison turned, a number off by one, a statement gone.
"""
import argparse
import json
import os
import pathlib
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import coverage  # noqa: E402

ROOT = coverage.ROOT
PURE = ["CSecret", "IKEWire", "IKECrypto", "IKECore", "ESPCore", "TestSupport", "IKEWireTests", "IKECryptoTests", "IKECoreTests", "SimulationTests"]
PURE_CODE = ("Sources/IKEWire/", "Sources/IKECrypto/", "Sources/IKECore/")
PURE_TESTS = ("Tests/IKEWireTests/", "Tests/IKECryptoTests/", "Tests/IKECoreTests/", "Tests/Simulation/")
TRIES = 12


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
    # What has gone from the tree must not go on being built.
    known = set(names)
    for folder in ("Sources", "Plugins", "Tests"):
        for file in (tree / folder).rglob("*"):
            if file.is_file() and str(file.relative_to(tree)) not in known and not {".build", "__pycache__"} & set(file.parts):
                file.unlink()
    packages = ROOT / ".build/python"
    if packages.is_dir() and not (tree / ".build/python").exists():
        (tree / ".build").mkdir(exist_ok=True)
        (tree / ".build/python").symlink_to(packages)


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

COMPARISONS = [(" == ", " != "), (" != ", " == "), (" < ", " >= "), (" >= ", " < "), (" > ", " <= "), (" <= ", " > ")]
# In a condition its clauses are tried one by one.
JOINTS = [(" && ", " || "), (" || ", " && ")]


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


def off(number):
    """A small number is off by one. Of a limit nobody tests the last one: it is far off."""
    return number + 1 if number < 64 else 4 * number


def parted(line):
    """A `case` and what is done in it, or None: the colon is the first outside of brackets."""
    head = re.match(r"\s*(case |default)", line)
    depth = 0
    for at in range(head.end() if head else len(line), len(line) - 1):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(line[at], 0)
        if depth == 0 and line[at:at + 2] == ": ":
            return line[:at], line[at + 2:]
    return None


def conditional(line):
    """The word that a condition follows, and where that begins and ends, brackets and all; None where the line has none."""
    head = re.search(r"\b(guard|else if|if|while|where)\b ", line)
    if not head:
        return None
    depth, at = 0, head.end()
    while at < len(line):
        if depth == 0 and re.match(r" else \{" if head[1] == "guard" else r" \{|:( |$)" if head[1] == "where" else r" \{", line[at:]):
            break
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(line[at], 0)
        at += 1
    return head[1], head.end(), at


def changes(line):
    """Every line that this one could become."""
    body = line.strip()
    if not body or body.startswith(("//", "///", "}", "@", "import ")):
        return
    condition = conditional(line)
    if condition:
        word, begin, end = condition
        text = line[begin:end]
        if word in ("guard", "if", "else if") and "let " in text:
            yield line[:begin] + "false, " + line[begin:]
        for start, stop in clauses(text):
            clause = text[start:stop].strip()
            if not clause or re.match(r"(let|var|case)\b", clause) or clause.count("(") != clause.count(")"):
                continue
            for other in (f"!({clause})", "true" if word == "guard" else "false"):
                yield line[:begin] + text[:start] + (" " if start else "") + other + text[stop:] + line[end:]
    for old, new in COMPARISONS + ([] if condition else JOINTS):
        at = line.find(old)
        while at >= 0:
            yield line[:at] + new + line[at + len(old):]
            at = line.find(old, at + 1)
    for match in re.finditer(r"(?<![\w.\"$])\d[\d_]*(?![\w.\"])", line):
        yield line[:match.start()] + str(off(int(match[0].replace("_", "")))) + line[match.end():]
    for match in re.finditer(r"\b0x[0-9a-f_]+\b", line):
        yield line[:match.start()] + hex(int(match[0].replace("_", ""), 16) ^ 1) + line[match.end():]
    for old, new in (("true", "false"), ("false", "true"), (".min", ".max"), ("+ ", "- ")):
        for match in re.finditer(rf"(?<!\w){re.escape(old)}(?!\w)" if old.isalpha() else re.escape(old), line):
            yield line[:match.start()] + new + line[match.end():]
    case = parted(line)
    if case:
        yield case[0] + ": break"
    if not re.match(r"(let|var|func|guard|if|for|while|switch|case|default|return|struct|enum|class|init|static|private|package|do|\.|\?)", body) and not body.endswith(("{", ",", "(", "[")):
        yield re.match(r"\s*", line)[0] + "// " + body


def statement(lines, at):
    """The lines that an anchor on line `at` is about: what follows a comment, the body of a function, else the line itself."""
    while at < len(lines) and lines[at].strip().startswith(("//", "@")) and " func " not in lines[at]:
        at += 1
    if at >= len(lines):
        return []
    if re.search(r"\b(func|init)\b.*\($", lines[at]):
        # A head of several lines: the body begins where it ends.
        while at < len(lines) - 1 and not lines[at].rstrip().endswith("{"):
            at += 1
        indent = len(lines[at]) - len(lines[at].lstrip())
        inside = []
        for number in range(at + 1, len(lines)):
            if lines[number].strip() and len(lines[number]) - len(lines[number].lstrip()) <= indent:
                break
            inside.append(number)
        return inside
    if re.search(r"\b(func|init|struct|class|enum|var|extension)\b.*\{\s*$", lines[at]):
        indent = len(lines[at]) - len(lines[at].lstrip())
        inside = []
        for number in range(at + 1, len(lines)):
            if lines[number].strip() and len(lines[number]) - len(lines[number].lstrip()) <= indent:
                break
            inside.append(number)
        return inside
    return [at] + ([at + 1] if lines[at].rstrip().endswith(("{", "(", ",", ":")) else [])


def beside(lines, last, first):
    """The lines after a statement that are in its block, six at most, then the three before it."""
    indent = len(lines[last]) - len(lines[last].lstrip())
    for number in range(last + 1, min(last + 7, len(lines))):
        if lines[number].strip() and len(lines[number]) - len(lines[number].lstrip()) < indent:
            break
        yield number
    yield from range(first - 1, max(first - 4, -1), -1)


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
    for anchor in record.code:
        # The first anchor is what the record is about; the others are tried where nothing of it can be broken.
        if found:
            break
        path, _, words = anchor.partition("#")
        if not path.endswith(".swift"):
            continue
        text = (tree / path).read_text()
        lines = text.split("\n")
        at = text.count("\n", 0, text.index(words))
        near = statement(lines, at)
        # Where nothing of it can be changed, what comes next in its block, then the condition that it is under.
        for numbers in [near] + [[number] for number in beside(lines, near[-1] if near else at, at)]:
            for number in numbers:
                for new in changes(lines[number]):
                    if new != lines[number]:
                        found.append((path, text, "\n".join(lines[:number] + [new] + lines[number + 1:]), f"{path}:{number + 1}: {new.strip()}"))
            if found:
                break
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
            spaces.add(pathlib.Path(path).stem.removeprefix("test_") + "." + (found[1].removeprefix("test_") if found else ""))
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


def bounded():
    """What was broken may allocate without end."""
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))


def run(words, tree, seconds, limits=None):
    environment = dict(os.environ, MARTLET_SEEDS=os.environ.get("MARTLET_SEEDS", "200"))
    try:
        done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, timeout=seconds, errors="replace", preexec_fn=limits)
        return done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        return 124, str(late.stdout)[-2000:]


def unbreak(tree):
    """Puts back what a run that was killed left aside."""
    for aside in (tree / ".build").rglob("*.whole"):
        aside.replace(aside.with_name(aside.name.removesuffix(".whole")))


def build(tree):
    status, said = run(["swift", "build", "--build-tests", "-j", "2"], tree, 3600)
    return status == 0, said


class Products:
    """What the build of the copy has made, and how: compiles one file again, links what has it inside, and puts both back."""

    # No test runs these.
    UNTESTED = ("ExchangeBenchmark", "LoadGenerator", "SealBenchmark", "generate-docc-reference", "generate-manual")

    def __init__(self, tree):
        self.tree, self.commands, self.jobs = tree.resolve(), {}, {}
        self.folder = (tree / ".build/debug").resolve()
        name = None
        for line in (tree / ".build/debug.yaml").read_text().splitlines():
            head = re.match(r'  "(.*)":', line)
            part = re.match(r"    (inputs|outputs|args): (\[.*\])$", line)
            if head:
                name = head[1]
            elif part and name:
                self.commands.setdefault(name, {})[part[1]] = json.loads(part[2])
        self.links = {}
        for command in self.commands.values():
            words = command.get("args", [])
            if "-emit-executable" in words or "-emit-library" in words:
                product = words[words.index("-o") + 1]
                if pathlib.Path(product).name.removesuffix("-tool") not in self.UNTESTED:
                    self.links[product] = (words, set(self.objects(words, command)))
        self.saved = []

    @staticmethod
    def objects(words, command):
        yield from command.get("inputs", [])
        for word in words:
            if word.startswith("@") and pathlib.Path(word[1:]).is_file():
                yield from (line.strip().strip("'") for line in pathlib.Path(word[1:]).read_text().splitlines())

    def job(self, path):
        """The compiler's command for one file, and the object that it makes; None where there is none."""
        file = str(self.tree / path)
        if file not in self.jobs:
            for command in self.commands.values():
                words = command.get("args", [])
                if "-c" not in words or file not in command.get("inputs", []) or "-module-name" not in words:
                    continue
                # Warnings are no errors here: what is broken is often code that is never reached.
                words = [word for word in words if word not in ("-warnings-as-errors", "-parseable-output")]
                _, said = run(words + ["-disable-batch-mode", "-driver-print-jobs"], self.tree, 120)
                for line in said.splitlines():
                    if " -primary-file " in line:
                        job = shlex.split(line)
                        self.jobs[job[job.index("-primary-file") + 1]] = (job, job[job.index("-o") + 1])
                break
        return self.jobs.get(file)

    def keep(self, path):
        """Moves a product or an object aside."""
        path = pathlib.Path(path)
        aside = path.with_name(path.name + ".whole")
        path.rename(aside)
        self.saved.append((aside, path))

    def restore(self):
        for aside, path in reversed(self.saved):
            if aside.exists():
                aside.replace(path)
        self.saved = []

    def rebuild(self, path):
        """Whether it could be compiled and linked."""
        job = self.job(path)
        if job is None:
            raise ValueError(f"no command of the build compiles {path}")
        words, made = job
        self.keep(made)
        status, _ = run(words, self.tree, 600)
        if status:
            self.restore()
            return False
        for product, (link, inside) in self.links.items():
            if made in inside:
                self.keep(product)
                status, said = run(link, self.tree, 600)
                if status:
                    self.restore()
                    raise ValueError(f"{product} cannot be linked: {said[-300:]}")
        return True


def swiftTests(filters, tree, seconds):
    words = [str((tree / ".build/debug/martletPackageTests.xctest").resolve()), "--testing-library", "swift-testing"]
    for name in filters:
        words += ["--filter", name]
    return run(words, tree, seconds, bounded)


def tested(record, tree):
    """Whether every cited test passes; None where there is none to run."""
    swift, spaces = names(record, tree)
    if not swift and not spaces:
        return None
    if swift:
        status, said = swiftTests(swift, tree, 120)
        if re.search(r"with 0 tests", said):
            raise ValueError(f"no test is called {' or '.join(swift)}")
        if status:
            return False
    for name in spaces:
        status, _ = run([sys.executable, "Tests/Interop/run.py", name], tree, 900)
        if status:
            return False
    return True


def attempt(record, tree, products, random_numbers):
    """One word, and what was changed."""
    tries = candidates(record, tree, random_numbers)
    if not tries:
        return "nothing to break", record.code[0]
    for path, old, new, what in tries[:TRIES]:
        times = (tree / path).stat()
        (tree / path).write_text(new)
        try:
            if not products.rebuild(path):
                continue
            return ("survived" if tested(record, tree) else "killed"), what
        finally:
            products.restore()
            (tree / path).write_text(old)
            os.utime(tree / path, ns=(times.st_atime_ns, times.st_mtime_ns))
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
    # Whoever ends it finds the copy whole.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tree = pathlib.Path(wanted.tree or tempfile.mkdtemp(prefix="martlet-mutate-"))
    counts = {}
    try:
        unbreak(tree)
        copy(tree, wanted.pure)
        built, said = build(tree)
        if not built:
            sys.exit("the copy does not build:\n" + said[-3000:])
        products = Products(tree)
        # Nothing is shown by a test that fails anyway.
        unbroken = set()
        filters = sorted({name for record in chosen for name in names(record, tree)[0]})
        if filters and swiftTests(filters, tree, 1800)[0]:
            unbroken = {name for name in filters if swiftTests([name], tree, 300)[0]}
        for record in chosen:
            try:
                if unbroken & set(names(record, tree)[0]):
                    outcome, what = "fails unbroken", " ".join(record.test)
                else:
                    outcome, what = attempt(record, tree, products, numbers)
                    if outcome == "killed" and not names(record, tree)[0] and not tested(record, tree):
                        outcome = "fails unbroken"
            except ValueError as error:
                outcome, what = "no test", str(error)
            counts[outcome] = counts.get(outcome, 0) + 1
            print(f"{outcome:<16} {record.name:<18} {what}", flush=True)
    finally:
        if not wanted.tree:
            shutil.rmtree(tree, ignore_errors=True)
    print(f"seed {wanted.seed}: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return 1 if counts.keys() - {"killed"} else 0


if __name__ == "__main__":
    sys.exit(main())
