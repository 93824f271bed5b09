"""Every encryption, integrity, PRF and key exchange that Martlet and strongSwan both have, in IKE and in ESP, in both roles.

One pair of daemons for each role. The initiator has a connection for each suite, the responder one that takes them all; so what both report must be what was asked.
"""

import functools
import itertools
import json

from lab import configuration, connections, expect, outer, wait
from strongswan import facing

# What proposals call the algorithms that `martlet algorithms` names.
KEYWORDS = {
    "aead": {"AES_GCM_16_128": "aes128gcm16", "AES_GCM_16_256": "aes256gcm16", "CHACHA20_POLY1305": "chacha20poly1305"},
    "encryption": {"AES_CBC_128": "aes128", "AES_CBC_256": "aes256"},
    "integrity": {"HMAC_SHA1_96": "sha1", "HMAC_SHA2_256_128": "sha256", "HMAC_SHA2_384_192": "sha384", "HMAC_SHA2_512_256": "sha512"},
    "prf": {"PRF_HMAC_SHA1": "prfsha1", "PRF_HMAC_SHA2_256": "prfsha256", "PRF_HMAC_SHA2_384": "prfsha384", "PRF_HMAC_SHA2_512": "prfsha512"},
    "ke": {"CURVE_25519": "x25519", "CURVE_448": "x448", "ECP_256": "ecp256", "ECP_384": "ecp384", "ECP_521": "ecp521", "MODP_1024": "modp1024", "MODP_2048": "modp2048", "MODP_3072": "modp3072", "MODP_4096": "modp4096"},
}
# For old peers, and for few. They meet each other algorithm once; combined with everything they would double this test.
LEGACY = {"HMAC_SHA1_96", "PRF_HMAC_SHA1", "MODP_1024", "CURVE_448"}
KINDS = {"aead": "aead", "encryption": "encryption", "integrity": "integrity", "prf": "prf", "ke": "dh"}


class Suites:
    """What both have, and the combinations of it as (IKE proposal, ESP proposal, ESP proposal with a key exchange of its own)."""

    def __init__(self, both):
        self.both = both
        ciphers = [(name,) for name in both["aead"]] + list(itertools.product(both["encryption"], both["integrity"]))
        ike = combined(cipher + rest for cipher in ciphers for rest in itertools.product(both["prf"], both["ke"]))
        esp = ciphers
        pfs = combined(cipher + (group,) for cipher in ciphers for group in both["ke"])
        count = max(len(ike), len(esp), len(pfs))
        self.all = [(ike[i % len(ike)], esp[i % len(esp)], pfs[i % len(pfs)]) for i in range(count)]
        self.summary = f"{len(ike)} suites for IKE, {len(esp)} for ESP and {len(pfs)} for ESP with a key exchange"


def combined(suites):
    """Of the suites without an algorithm for old peers all, and of the others as many as it takes to show each such algorithm beside each other one."""
    kept, shown = [], set()
    for suite in suites:
        pairs = {pair for pair in itertools.combinations(suite, 2) if LEGACY & set(pair)}
        if not LEGACY & set(suite) or pairs - shown:
            kept.append(suite)
            shown |= pairs
    return kept


def word(name):
    return next(words[name] for words in KEYWORDS.values() if name in words)


def proposal(names):
    return "-".join(word(name) for name in names)


def without_size(name):
    """strongSwan's name: the key's size apart, where there is one."""
    base, _, size = name.rpartition("_")
    return base if name in KEYWORDS["aead"] | KEYWORDS["encryption"] and size.isdigit() else name


@functools.cache
def common():
    """Asks both which algorithms they have."""
    with facing() as (lab, martlet, peer):
        ours, theirs = json.loads(martlet.cli("algorithms", "--json").stdout), peer.vici("get-algorithms")
    both = {}
    for kind, other in KINDS.items():
        mine = list(dict.fromkeys(entry["name"] for entry in ours if entry["kind"] == kind))
        unknown = [name for name in mine if name not in KEYWORDS[kind]]
        expect(not unknown, f"this test does not know the keywords of {unknown}")
        both[kind] = [name for name in mine if without_size(name) in theirs[other]]
        print(f"     {kind}: both have {' '.join(both[kind])}")
        for owner, names in (("Martlet", [name for name in mine if name not in both[kind]]), ("strongSwan", [name for name in theirs[other] if name not in map(without_size, mine)])):
            if names:
                print(f"       skipped, only {owner} has them: {' '.join(names)}")
    print("     skipped, strongSwan's ESP in user space has none: extended sequence numbers")
    return Suites(both)


def accepting(both):
    """Proposals that hold everything."""
    aead, cbc, groups = proposal(both["aead"]), proposal(both["encryption"] + both["integrity"]), proposal(both["ke"])
    rest = f"{proposal(both['prf'])}-{groups}"
    return f"{aead}-{rest}, {cbc}-{rest}", f"{aead}, {cbc}", f"{aead}-{groups}, {cbc}-{groups}"


def children(host, plain, pfs, names):
    l, r = (1, 2) if host == "east" else (2, 1)
    text = "{name} {{ local_ts = 10.{l}.{n}.0/24\n remote_ts = 10.{r}.{n}.0/24\n esp_proposals = {esp} }}\n"
    return "".join(text.format(name=name, l=l, r=r, n=n, esp=esp) for n, (name, esp) in enumerate(zip(names, (plain, pfs))))


def one(lab, initiator, responder, number, suite):
    """One IKE SA with two children: up, pings, what both say they use, counters, down."""
    ike, esp, pfs = suite
    asked = {"ike": ike, f"plain{number}": esp, f"pfs{number}": pfs}
    for child in (f"plain{number}", f"pfs{number}"):
        done = initiator.vici("initiate", {"child": child, "timeout": "30000"})
        expect(done.get("success") == "yes", lambda: f"{asked}: {child} did not come up: {done}")
    # Who has answered may send before the other side has what it takes to read it.
    wait(lambda: all(installed(end) == 2 for end in (initiator, responder)), f"{asked}: both have both children")
    for n in (0, 1):
        lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1", count=2, size=200)
    for end in (initiator, responder):
        sas = end.vici("list-sas", events="list-sa")
        expect(len(sas) == 1, lambda: f"{asked}: {end.host} has {len(sas)} IKE SAs")
        sa = next(iter(sas[0].values()))
        expect(used(sa) == set(ike), lambda: f"{asked}: {end.host} says {sorted(used(sa))} of the IKE SA")
        children = sorted(sa["child-sas"].values(), key=lambda child: int(child["uniqueid"]))
        expect(len(children) == 2, lambda: f"{asked}: {end.host} has {len(children)} children")
        for child, wanted in zip(children, (esp, pfs)):
            expect(used(child) == set(wanted), lambda: f"{asked}: {end.host} says {sorted(used(child))} of {child['name']}")
            for direction in ("packets-in", "packets-out"):
                expect(int(child[direction]) == 2, lambda: f"{asked}: {end.host} counted {child[direction]} {direction} in {child['name']}, not 2")
    done = initiator.vici("terminate", {"ike": f"suite{number}", "timeout": "10000"})
    expect(done.get("success") == "yes", lambda: f"{asked}: was not closed: {done}")
    wait(lambda: not responder.vici("list-sas", events="list-sa"), f"{asked}: the responder has closed it")


def installed(end):
    return [child["state"] for sas in end.vici("list-sas", events="list-sa") for sa in sas.values() for child in sa["child-sas"].values()].count("INSTALLED")


def used(sa):
    """The names of the algorithms of an SA in an answer to list-sas."""
    cipher = "_".join(sa[key] for key in ("encr-alg", "encr-keysize") if key in sa and not (key == "encr-keysize" and sa["encr-alg"].startswith("CHACHA")))
    return {cipher} | {sa[key] for key in ("integ-alg", "prf-alg", "dh-group") if key in sa}


def matrix(martlet_host, provider):
    suites = common()
    ike, plain, pfs = accepting(suites.both)
    initiator_text = "".join(
        connections("east", **outer("east"), peer=f"suite{n}", ike=proposal(ike), children=children("east", proposal(esp), proposal(pfs), (f"plain{n}", f"pfs{n}"))) for n, (ike, esp, pfs) in enumerate(suites.all)
    )
    responder = dict(ike=ike, children=children("west", plain, pfs, ("plain", "pfs")))
    ours = dict(gateway=f"crypto = {provider}")
    roles = dict(martlet=dict(ours, **responder)) if martlet_host == "west" else dict(martlet=ours, peer=responder)
    with facing(martlet_host=martlet_host, **roles, start=False) as (lab, martlet, peer):
        first, second = (martlet, peer) if martlet_host == "east" else (peer, martlet)
        if first is martlet:
            martlet.write(configuration("east", **ours).split("connections {")[0] + initiator_text)
        else:
            peer.write(initiator_text)
        for host, number in (("east", 1), ("west", 2)):
            lab.ip(host, "addr", "add", f"10.{number}.1.1/32", "dev", "lo")
        peer.start()
        martlet.start()
        for number, suite in enumerate(suites.all):
            one(lab, first, second, number, suite)
        print(f"     {suites.summary}, with Martlet ({provider}) as the {'initiator' if first is martlet else 'responder'}")


def test_martlet_initiates():
    matrix("east", "gcrypt")


def test_martlet_answers():
    matrix("west", "openssl")
