"""What martletd says over vici beside what charon 5.9.8 says: the same names, in the same order, in the same form.

Scripts read these: `swanctl --list-sas --raw | grep ...`. Martlet's additions are named `martlet-...` and come after the others. Every other difference stands in
DIFFERENCES with its reason. Where one end has a value that the other cannot have (a NAT is behind one end), the two roles are compared with each other.
"""

import re

from lab import Failed, expect, wait
from strongswan import facing
from swanctl import Swanctl
from vicisocket import ViciSocket

NAT = "charon's ESP in user space always claims to be behind a NAT: its own view of that and the other end's are not the same"
# Where (a path, `*` for any part of it), and why a key of one end may be absent at the other.
DIFFERENCES = {
    "*.nat-*": NAT,
    "*.tasks-*": "there while an exchange runs",
    "*.use-in": "there once a packet went through",
    "*.use-out": "there once a packet went through",
    "ike-rekey.*.old.established": "charon's old SA is REKEYED already at the end that began the rekey, ESTABLISHED at the other; Martlet's is REKEYED at both",
    "ike-rekey.*.old.rekey-time": "the same",
    "child-updown, the end.*.established": "Martlet's children go down before their IKE SA does, charon's with it",
    "child-updown, the end.*.rekey-time": "the same",
    "list-conn.*.local_port": "charon has it from 6.0 on",
    "list-conn.*.remote_port": "charon has it from 6.0 on",
    "stats.mallinfo": "it shows the allocator of glibc, of which Swift's objects are a part only",
}


def form(value):
    """What a value looks like to a script that parses it."""
    for name, pattern in (
        ("number", r"-?\d+"),
        ("spi", r"[0-9a-f]{16}|[0-9a-f]{8}"),
        ("selector", r"(\d+\.\d+\.\d+\.\d+|[0-9a-f:]+:[0-9a-f:]*)(/\d+|\.\.\S+)(\[\S+\])?"),
        ("address", r"\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f:]+"),
        ("yes", r"yes"),
        ("no", r"no"),
        ("algorithm or state", r"[A-Z0-9][A-Z0-9_]+"),
        ("time", r"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \d{4}"),
        ("duration", r"\d+ (second|minute|hour|day)s?"),
        ("name", r"[\w.%@/-]+"),
        ("text", r".+"),
    ):
        if re.fullmatch(pattern, value):
            # 0 is a number, and an SPI may be digits alone; the length tells.
            return "spi" if name == "number" and len(value) in (8, 16) else name
    return "nothing"


def shape(value):
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items() if not key.startswith("martlet-")}
    if isinstance(value, list):
        return sorted({form(item) for item in value})
    return form(value)


def excused(path, differences):
    return any(re.fullmatch(pattern.replace(".", r"\.").replace("*", ".*"), path) for pattern in differences)


def complaints(path, ours, theirs, differences):
    """What differs between two shapes, a line each. Names of SAs (`site-2`) compare by place."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        mine, others = ([key for key in side if not excused(f"{path}.{key}", differences)] for side in (ours, theirs))
        plain = [re.sub(r"-\d+$", "-N", key) for key in mine], [re.sub(r"-\d+$", "-N", key) for key in others]
        if plain[0] != plain[1]:
            return [f"{path}: martletd has {' '.join(plain[0])}; charon has {' '.join(plain[1])}"]
        return [line for a, b in zip(mine, others) for line in complaints(f"{path}.{a}", ours[a], theirs[b], differences)]
    if ours == theirs:
        return []
    return [f"{path}: martletd's is {ours!r}; charon's is {theirs!r}"]


def same(what, ours, theirs, differences=DIFFERENCES):
    """Two messages, or lists of streamed events, are of one shape."""
    ours, theirs = ([value] if isinstance(value, dict) else value for value in (ours, theirs))
    expect(len(ours) == len(theirs), f"{what}: {len(ours)} from martletd, {len(theirs)} from charon: {ours} {theirs}")
    found = [line for a, b in zip(ours, theirs) for line in complaints(what, shape(a), shape(b), differences)]
    expect(not found, f"{what} differs from charon's:\n" + "\n".join(found))


EVENTS = "ike-updown", "ike-rekey", "child-updown", "child-rekey"


def life(initiator, observers):
    """A tunnel's life, begun by `initiator`: what each observer lists and counts in the middle, and the events that it tells of."""
    seen = []
    listeners = [ViciSocket(observer.socket) for observer in observers]
    for listener in listeners:
        listener.listen(*EVENTS)
    initiator.vici("initiate", {"child": "site"})
    for observer in observers:
        wait(lambda: observer.children(), "the child is up")
    middle = [{"list-sa": observer.vici("list-sas", events="list-sa")} for observer in observers]
    answers = [initiator.vici("rekey", {"child": "site"}), initiator.vici("rekey", {"ike": "peer"})]
    for observer, listed in zip(observers, middle):
        # Both sides take the rekeys in the order given: the IKE SA's is the last, and charon answers before it has begun.
        old = {sa["initiator-spi"] for sa in listed["list-sa"][0].values()}
        wait(lambda: [(sa["state"], sa["initiator-spi"] in old) for sa in observer.vici("list-sas", events="list-sa")[0].values()] == [("ESTABLISHED", False)], "the rekeys are done")
    counters = [[observer.vici("get-counters", selection) for selection in ({}, {"name": "peer"}, {"all": "yes"})] for observer in observers]
    answers.append(initiator.vici("terminate", {"ike": "peer"}))
    for listener, listed, counted in zip(listeners, middle, counters):
        ends = []
        events = list(listener.events(until=lambda name, message: name.endswith("updown") and "up" not in message and ends.append(name) is None and len(ends) == 2))
        # charon ends the IKE SA and then its children, Martlet the children first.
        events = events[:-2] + sorted(events[-2:], key=lambda event: event[0])
        seen.append({**listed, "counters": counted, "events": events})
        listener.socket.close()
    return seen, answers


def test_life():
    """Both ends of tunnels begun by either: what initiators say beside what initiators say, and responders likewise."""
    with facing(both=dict(connection="mobike = no", child="rekey_time = 3000")) as (lab, ours, theirs):
        (our_first, their_first), our_answers = life(ours, (ours, theirs))
        (our_second, their_second), their_answers = life(theirs, (ours, theirs))
        for what, a, b in (("as initiator", our_first, their_second), ("as responder", our_second, their_first)):
            same("list-sa", a["list-sa"], b["list-sa"])
            for one, other in zip(a["counters"], b["counters"]):
                same("get-counters", one, other)
            names = [name for name, _ in a["events"]], [name for name, _ in b["events"]]
            expect(names[0] == names[1], f"{what} martletd tells of {names[0]}, charon of {names[1]}")
            for (name, one), (_, other) in zip(a["events"], b["events"]):
                same(name if "up" in one or "rekey" in name else name + ", the end", one, other)
        for name, a, b in zip(("rekey", "rekey", "terminate"), our_answers, their_answers):
            same(name, a, b)
        # Counters are equal, too: the same life has the same messages. The first, when nothing had happened before.
        count = our_first["counters"][0]["counters"][""]
        expect({name: int(value) for name, value in count.items() if value != "0"} == {
            "ike-rekey-init": 1, "child-rekey": 1, "ike-init-in-resp": 1, "ike-init-out-req": 1, "ike-auth-in-resp": 1, "ike-auth-out-req": 1,
            "create-child-in-resp": 2, "create-child-out-req": 2, "info-in-resp": 2, "info-out-req": 2,
        }, f"the counters are wrong: {count}")
        expect(their_first["counters"][0]["counters"][""]["create-child-in-req"] == count["create-child-out-req"], "charon counts otherwise")


def test_lists_and_answers():
    with facing(both=dict(connection="mobike = no\n dpd_delay = 30s")) as (lab, ours, theirs):
        def both(command, message=None, events=None):
            return ours.vici(command, message, events), theirs.vici(command, message, events)

        same("version", *both("version"))
        same("stats", *both("stats"))
        same("list-conn", *both("list-conns", events="list-conn"))
        algorithms = both("get-algorithms")
        expect(list(algorithms[0]) == list(algorithms[1]), f"the kinds of algorithms: {list(algorithms[0])} {list(algorithms[1])}")
        for kind, section in algorithms[0].items():
            for name in section:
                expect(name in algorithms[1][kind], f"charon has no {kind} {name}")
        for command in "get-keys", "get-authorities", "get-pools", "get-counters", "reset-counters", "flush-certs":
            same(command, *both(command))
        for command, events in (("list-certs", "list-cert"), ("list-authorities", "list-authority"), ("list-policies", "list-policy"), ("list-sas", "list-sa")):
            same(command, *both(command, {"trap": "yes", "drop": "yes", "pass": "yes"}, events))
        # What is not there: refused, with a reason.
        for command, message in (
            ("initiate", {"child": "nobody"}), ("initiate", {"ike": "nobody"}), ("terminate", {"child": "nobody"}), ("terminate", {"ike-id": "77"}), ("rekey", {"ike": "nobody"}),
            ("uninstall", {"child": "nobody"}), ("install", {"child": "nobody"}), ("unload-conn", {"name": "nobody"}), ("get-counters", {"name": "nobody"}),
            ("load-conn", {"new": {"rekey_time": "soon"}}), ("load-conn", {"new": {"children": {"net": {"mode": "sideways"}}}}), ("load-shared", {"type": "nonsense", "data": "x"}),
        ):
            answers = both(command, message)
            expect(all(answer["success"] == "no" and answer["errmsg"] for answer in answers), f"{command} {message}: {answers}")
            same(f"a refused {command}", *answers)
        answers = both("redirect", {"ike": "nobody", "gateway": "192.0.2.9"})
        expect(all(answer["success"] == "no" and answer["errmsg"] for answer in answers), f"redirect: {answers}")
        # Policies and loading: the names are the same and so are the answers.
        for command, message in (("install", {"child": "site"}), ("load-shared", {"id": "k", "type": "ike", "data": "a secret of some length", "owners": ["somebody.example"]}), ("reload-settings", None)):
            same(command, *both(command, message))
        for pool in {"rw": {"addrs": "10.9.0.0/24", "dns": ["10.1.0.53"]}}, {"wide": {"addrs": "fd09::/96"}}, {"few": {"addrs": "10.8.0.7-10.8.0.9"}}:
            same("load-pool", *both("load-pool", pool))
        pools = both("get-pools")
        same("get-pools", *({name: pool[name] for name in sorted(pool)} for pool in pools))
        # Of a network charon says the network, Martlet the first address that it lends; and charon's largest pool is smaller.
        expect(pools[0]["few"] == pools[1]["few"] and pools[0]["rw"]["size"] == pools[1]["rw"]["size"], f"the pools: {pools}")
        for name in "rw", "wide", "few":
            same("unload-pool", *both("unload-pool", {"name": name}))
        same("a refused unload-pool", *both("unload-pool", {"name": "rw"}))
        same("list-policy", *both("list-policies", {"trap": "yes"}, "list-policy"))
        expect(ours.vici("get-shared")["keys"] == ["k"], "the secret that was loaded is not listed")
        same("get-shared", *both("get-shared"))
        for command, message in (("uninstall", {"child": "site"}), ("unload-shared", {"id": "k"}), ("unload-shared", {"id": "k"}), ("clear-creds", None)):
            same(command, *both(command, message))


# As scripts do it.
TUNNELS = re.compile(r"(\S+) \{uniqueid=(\d+) version=2 state=(\w+) local-host=(\S+) local-port=(\d+) local-id=(\S+) remote-host=(\S+) remote-port=(\d+) remote-id=(\S+) .*?initiator-spi=([0-9a-f]{16}) responder-spi=([0-9a-f]{16})")
CHILDREN = re.compile(r"(\S+)-\d+ \{name=\1 uniqueid=\d+ reqid=\d+ state=(\w+) mode=TUNNEL protocol=ESP encap=yes spi-in=([0-9a-f]{8}) spi-out=([0-9a-f]{8}) encr-alg=AES_GCM_16 encr-keysize=256 bytes-in=(\d+) packets-in=(\d+) (?:use-in=\d+ )?bytes-out=(\d+) packets-out=(\d+) (?:use-out=\d+ )?rekey-time=\d+ life-time=\d+ install-time=\d+ local-ts=\[(\S+)\] remote-ts=\[(\S+)\]")


def test_a_script_reads_both():
    """`swanctl --list-sas --raw`, read by the same expressions: the two ends of one tunnel mirror each other."""
    with facing() as (lab, ours, theirs):
        swanctl = Swanctl(ours)
        ours.up()
        wait(theirs.children, "the child is up")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        texts = swanctl("--list-sas", "--raw"), theirs.swanctl("--list-sas", "--raw").stdout
        for text in texts:
            expect(TUNNELS.search(text) and CHILDREN.search(text), f"a script cannot read it: {text}")
        a, b = (TUNNELS.search(text).groups() for text in texts)
        expect(a[0] == b[0] and a[2] == b[2] and a[3:6] == b[6:9] and a[6:9] == b[3:6] and a[9:] == b[9:], f"{a} {b}")
        a, b = (CHILDREN.search(text).groups() for text in texts)
        expect(a[:2] == b[:2] and a[2] == b[3] and a[3] == b[2] and a[5] == b[7] and a[8] == b[9] and a[9] == b[8] and int(a[5]) >= 3, f"{a} {b}")
        for words in ("--list-sas", "--list-conns", "--stats", "--counters"):
            # Plain output ends where swanctl reads a key that is not there.
            printed, expected = ([re.sub(r"\d+", "N", line.split(":")[0]).strip() for line in text.splitlines()] for text in (swanctl(words), theirs.swanctl(words).stdout))
            expect(words not in ("--counters",) or printed == expected, f"swanctl {words}: {printed} {expected}")
            expect(len(printed) + (0 if words != "--stats" else 3) >= len(expected), f"swanctl {words} prints less of martletd: {printed} {expected}")
