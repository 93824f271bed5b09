#!/usr/bin/env python3
"""Reads docs/rfc/rfc*.txt, checks every record and every anchor, and prints how much of each RFC is covered.

    coverage.py [--check | --list STATUS | --strict]

Without a word it also fails on every MUST and MUST NOT that lacks a line of code or a test, or the reason why it has none.
--check prints what is wrong with the records alone; --list the records of a status with the lines that their anchors stand for;
--strict also fails on every other record that is `not-yet` or `untested`. docs/rfc/README.md describes the format.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEVELS = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"]
ROLES = ["initiator", "responder", "both", "peer"]
STATUSES = ["met", "untested", "deviates", "not-yet", "not-applicable"]
HEAD = re.compile(r"(\S+) (MUST NOT|MUST|SHOULD NOT|SHOULD) (\S+) (\S+)$")
ID = re.compile(r"(\d+)-([0-9A-Z]+(?:\.\d+)*)-(\d+)$")
WIDTH = 200


class Record:
    def __init__(self, place, name, level, role, status):
        self.place, self.name, self.level, self.role, self.status = place, name, level, role, status
        self.text, self.code, self.test, self.note, self.breaks = [], [], [], [], []


def read(path, complain):
    """The records of one file: a head line at the margin, then indented lines; blank lines and `#` at the margin mean nothing."""
    records = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        place = f"{path.relative_to(ROOT)}:{number}"
        if len(line) > WIDTH:
            complain(place, f"is longer than {WIDTH} characters")
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            head = HEAD.match(line)
            if head:
                records.append(Record(place, *head.groups()))
            else:
                complain(place, "is not `ID LEVEL ROLE STATUS`")
        elif records:
            key, _, value = line.strip().partition(": ")
            field = {"break": "breaks"}.get(key, key if key in ("code", "test", "note") else "text")
            getattr(records[-1], field).append(line.strip() if field == "text" else value)
    return records


files = {}


def resolve(anchor):
    """`path#text` as `path:line`; raises ValueError where the text does not stand there exactly once."""
    path, separator, text = anchor.partition("#")
    if not separator or not text:
        raise ValueError(f"{anchor} is not path#text")
    if path not in files:
        file = ROOT / path
        files[path] = file.read_text(errors="replace") if file.is_file() else None
    if files[path] is None:
        raise ValueError(f"there is no {path}")
    count = files[path].count(text)
    if count != 1:
        raise ValueError(f"{path} has {text!r} {count} times, not once")
    return f"{path}:{files[path].count(chr(10), 0, files[path].index(text)) + 1}"


def check(record, number, seen, complain):
    def wrong(what):
        complain(record.place, f"{record.name}: {what}")

    parts = ID.match(record.name)
    if not parts or parts[1] != number:
        wrong(f"the id is not {number}-SECTION-NUMBER")
    if record.name in seen:
        wrong("the id is there twice")
    seen.add(record.name)
    if record.role not in ROLES:
        wrong(f"the role is none of {', '.join(ROLES)}")
    if record.status not in STATUSES:
        wrong(f"the status is none of {', '.join(STATUSES)}")
    if not record.text:
        wrong("says nothing")
    if record.status in ("met", "untested", "deviates") and not record.code:
        wrong(f"is {record.status} without code")
    if record.status == "met" and not record.test:
        wrong("is met without a test: call it untested")
    if record.status == "untested" and record.test:
        wrong("is untested and names a test")
    if record.status in ("deviates", "not-applicable") and not record.note:
        wrong(f"is {record.status} without a note that says why")
    for rule in record.breaks:
        old, arrow, _ = rule.partition(" => ")
        cited = [ROOT / anchor.partition("#")[0] for anchor in record.code]
        if not arrow or not any(path.is_file() and path.read_text(errors="replace").count(old) == 1 for path in cited):
            wrong(f"`break: {rule}`: no cited file has the left side exactly once")
    for anchor in record.code + record.test:
        try:
            resolve(anchor)
        except ValueError as error:
            wrong(str(error))


def lacks(record):
    """What a MUST or MUST NOT has to have and has not; nothing where all is there."""
    if record.level not in ("MUST", "MUST NOT"):
        return None
    if record.status == "untested" or (record.status == "met" and not (record.code and record.test)):
        return "has no test that would fail without the code"
    if record.status in ("not-yet", "deviates", "not-applicable") and not record.note:
        return f"is {record.status}, and no note says why"
    return None


def table(name, records):
    print(f"{name:<10}" + "".join(f"{status:>16}" for status in STATUSES) + f"{'all':>8}")
    for level in LEVELS:
        row = [sum(1 for r in records if r.level == level and r.status == status) for status in STATUSES]
        if sum(row):
            print(f"{level:<10}" + "".join(f"{count or '-':>16}" for count in row) + f"{sum(row):>8}")
    print()


def main(words):
    findings, every = [], []
    for path in sorted((ROOT / "docs/rfc").glob("rfc*.txt")):
        number, seen = path.stem[3:], set()
        records = read(path, lambda place, what: findings.append(f"{place}: {what}"))
        for record in records:
            check(record, number, seen, lambda place, what: findings.append(f"{place}: {what}"))
        every += records
        if not words or words == ["--strict"]:
            table(f"RFC {number}", records)
    if not words or words == ["--strict"]:
        table("all", every)
    for record in every if words[:1] == ["--list"] else []:
        if record.status in words[1:] and not findings:
            print(f"{record.name} {record.level} ({record.role}): {' '.join(record.text)}")
            for line in record.note + [resolve(anchor) for anchor in record.code + record.test]:
                print(f"    {line}")
    if not words or words == ["--strict"]:
        findings += [f"{r.place}: {r.name} {r.level}: {what}" for r in every if (what := lacks(r))]
    if words == ["--strict"]:
        findings += [f"{r.place}: {r.name} is {r.status}" for r in every if r.status in ("not-yet", "untested")]
    print("\n".join(findings), end="\n" if findings else "")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
