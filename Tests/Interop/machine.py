"""What the tests must leave as it was: the machine's own name servers, names, addresses, rules, routes, IPsec policies, firewall and network settings."""

import difflib
import re
import subprocess
from pathlib import Path

FILES = "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"
# `nft -s` leaves the counters out.
COMMANDS = (
    "ip -o link show", "ip -o address show", "ip -4 rule show", "ip -6 rule show", "ip -4 route show table all", "ip -6 route show table all", "ip xfrm state", "ip xfrm policy", "nft -s list ruleset",
)
SETTINGS = Path("/proc/sys/net")
# These count, or come from a router and go again, and have nothing to do with anyone's will.
RESTLESS_SETTING = re.compile(r"count$|/nf_conntrack_|/neigh/|/stable_secret$|random|/mtu$")
RESTLESS_LINE = re.compile(r"\bproto ra\b|\btable local\b.*\bdynamic\b")
RESTLESS_WORD = re.compile(r"\\|\s+(valid_lft|preferred_lft|expires|state|qlen) \S+|<[\w,-]*>")


def settings():
    found = {}
    for file in SETTINGS.rglob("*"):
        if file.is_file() and not RESTLESS_SETTING.search(str(file)):
            try:
                found[str(file)] = [file.read_text(errors="replace").strip()]
            except OSError:
                pass
    return found


def contents(name):
    """A file's lines, and what it is: a symbolic link to another file is not the same as that file."""
    file = Path(name)
    try:
        return [f"{'-> ' + str(file.readlink()) if file.is_symlink() else 'a file'}, {file.stat().st_mode:o}", *file.read_text(errors="replace").splitlines()]
    except OSError as error:
        return [error.strerror]


def printed(command):
    done = subprocess.run(command.split(), capture_output=True, text=True, timeout=30)
    lines = [RESTLESS_WORD.sub("", line) for line in done.stdout.splitlines() if not RESTLESS_LINE.search(line)]
    return sorted(lines) if command.startswith("ip ") else lines


def snapshot():
    """Each thing by its name, as lines."""
    return {**{name: contents(name) for name in FILES}, **{command: printed(command) for command in COMMANDS}, **settings()}


def changes(before, after):
    """What differs, as text; nothing where all is the same. A setting that came or went with a kernel module is no change."""
    text = []
    for name in before.keys() & after.keys():
        if before[name] != after[name]:
            text += [f"{name}:", *("  " + line for line in difflib.unified_diff(before[name], after[name], lineterm="", n=0) if not line.startswith(("---", "+++", "@@")))]
    return "\n".join(text)
