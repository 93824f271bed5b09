"""Each file of etc/examples, as it is, against a strongSwan that plays the other side in the manner of that peer."""

import contextlib
import subprocess
from pathlib import Path

from lab import BUILD, ROOT, Gateway, Lab, expect, print_tails, run, wait
from strongswan import StrongSwan
from pki import Authority
from test_directory import HASHED_PASSWORD, SERVICE, SERVICE_PASSWORD, Directory
from test_eap import EAP_PLUGINS
from test_strongswan_collisions import spis

EXAMPLES = ROOT / "etc" / "examples"
GATEWAY = """
gateway {
    control = @FOLDER@/vici.sock
    state = @FOLDER@/state
    resolver = no
    log { level = debug }
    retransmit_initial = 0.5
}
include example.conf
"""


def installed(lab, host, name):
    """A gateway with an example as it stands, private as it is to be installed."""
    gateway = Gateway(lab, host, GATEWAY)
    target = gateway.folder / "example.conf"
    target.write_text((EXAMPLES / f"{name}.conf").read_text())
    target.chmod(0o600)
    check = run(BUILD / "martlet", "check", target)
    expect("warning" not in check.stdout + check.stderr, lambda: f"{name}: {check.stdout}{check.stderr}")
    return gateway


@contextlib.contextmanager
def against(name, outer, theirs, inner=(), settings=""):
    """`name` in east, at 192.0.2.1 and before 10.1.0.0/16; strongSwan in west, with the addresses `outer` outside and 10.2.0.1 and `inner` inside."""
    with Lab() as lab:
        for address in outer:
            lab.ip("west", "addr", "add", f"{address}/32", "dev", lab.wire("west"))
        for host, address in inner:
            lab.ip(host, "addr", "add", f"{address}/32", "dev", "lo")
        peer = StrongSwan(lab, "west", theirs, settings)
        martlet = installed(lab, "east", name)
        try:
            yield lab, martlet, peer
        except BaseException:
            print_tails(martlet, peer)
            raise


def half(name, address, secret, proposals, esp, local_ts="10.2.0.0/16", remote_ts="10.1.0.0/16", connection="", child="", local_id=None, remote_id="192.0.2.1"):
    """The other side of one tunnel."""
    local_id = local_id or address
    return f"""
connections {{ {name} {{
    local_addrs = {address}
    remote_addrs = 192.0.2.1
    version = 2
    proposals = {proposals}
    {connection}
    local {{ auth = psk
        id = {local_id} }}
    remote {{ auth = psk
        id = {remote_id} }}
    children {{ {name} {{
        local_ts = {local_ts}
        remote_ts = {remote_ts}
        esp_proposals = {esp}
        {child}
    }} }}
}} }}
secrets {{ ike-{name} {{
    id-1 = {local_id}
    id-2 = {remote_id}
    secret = "{secret}"
}} }}
"""


def exchanged(text, *pairs):
    for one, other in pairs:
        text = text.replace(one, "\0").replace(other, one).replace("\0", other)
    return text


def packets(daemon):
    return {way: sum(int(child[way]["packets"] or 0) for child in daemon.children()) for way in ("inbound", "outbound")}


def carries_pings(lab, martlet, peer, pairs=(("10.1.0.1", "10.2.0.1"),), count=4):
    """Pings both ways between each pair of inner addresses, and the counters of both sides."""
    before = packets(martlet), packets(peer)
    for ours, theirs in pairs:
        lab.ping("east", theirs, source=ours, size=400, count=count)
        lab.ping("west", ours, source=theirs, size=400, count=count)
    after = packets(martlet), packets(peer)
    least = 2 * count * len(pairs)
    for old, new in zip(before, after):
        expect(all(new[way] - old[way] >= least for way in new), lambda: f"the counters do not show {least} pings each way: {before} {after}")


def both_up(martlet, peer, count=1, seconds=20):
    wait(lambda: len(martlet.children()) == count and len(peer.children()) == count, f"{count} children are up on both sides", seconds)


def settled(martlet, peer, count=1):
    """Waits until at least `count` children are up, both sides have the same, and no SA comes or goes: both sides may have begun."""

    def calm():
        ours, theirs = martlet.status()["ike_sas"], peer.list_sas()
        if any(sa["state"] != "ESTABLISHED" for sa in ours + theirs) or any(key.startswith("tasks-") for sa in theirs for key in sa):
            return False
        return len(spis(martlet)) >= count and spis(martlet) == {pair[::-1] for pair in spis(peer)}

    wait(calm, f"{count} children are up, and both sides have the same", 40)


def inbound(daemon):
    return {child["inbound"]["spi"] for child in daemon.children()}


def renewed(martlet, peer, what):
    """Waits until both have new keys in place of those that `what` was."""
    wait(lambda: len(martlet.children()) == 1 and not inbound(martlet) & what[0] and len(peer.children()) == 1 and not inbound(peer) & what[1], "the child has new keys on both sides", 15)


def used(peer, name, *keys):
    """What strongSwan says of the child of `name`."""
    [child] = [child for sa in peer.list_sas() for child in sa["child-sas"].values() if child["name"] == name and child["state"] == "INSTALLED"]
    return [child.get(key) for key in keys]


def test_example_site_to_site():
    # The other side has this very text with both sides exchanged, as its first lines say.
    theirs = exchanged((EXAMPLES / "site-to-site.conf").read_text(), ("192.0.2.1", "198.51.100.7"), ("@hq.example", "@branch.example"), ("10.1.0.0/16", "10.2.0.0/16"))
    with against("site-to-site", ["198.51.100.7"], theirs.replace("start_action = trap|start", "start_action = none")) as (lab, martlet, peer):
        peer.start()
        martlet.start()
        both_up(martlet, peer)
        carries_pings(lab, martlet, peer)
        # The peer closes the child: it comes back.
        old = inbound(martlet), inbound(peer)
        peer.down(child="office")
        renewed(martlet, peer, old)
        carries_pings(lab, martlet, peer)


# Amazon's proposals with the lowest values first, as its end weighs them.
AWS_IKE = "aes128-sha1-modp1024, aes128-sha256-modp2048, aes256-sha256-modp2048, aes256-sha512-ecp521, aes128gcm16-prfsha256-ecp256, aes256gcm16-prfsha384-ecp384"
AWS_ESP = "aes128-sha1-modp1024, aes128-sha256-modp2048, aes256-sha256-modp2048, aes128gcm16-ecp256, aes256gcm16-ecp384"


def aws(number, address, secret, start="none"):
    return half(
        f"vpn{number}", address, secret, AWS_IKE, AWS_ESP, connection="dpd_delay = 10s\n rekey_time = 8h", child=f"replay_window = 1024\n rekey_time = 1h\n dpd_action = restart\n start_action = {start}",
        local_ts="10.2.0.0/16", remote_ts="10.1.0.0/16")


def is_strongest(peer):
    for sa in peer.sas():
        found = [sa.get(key) for key in ("encr-alg", "encr-keysize", "prf-alg", "dh-group")]
        expect(found == ["AES_GCM_16", "256", "PRF_HMAC_SHA2_384", "ECP_384"], f"a tunnel has {found}")
        expect(all(child["encr-alg"] == "AES_GCM_16" and child["encr-keysize"] == "256" for child in sa["child-sas"].values()), "a child is weaker than the example says")


def test_example_aws():
    """Two tunnels, each with an end of its own; weaker proposals stand first at the other side, and none of them is taken, whoever begins."""
    ends = ((1, "203.0.113.11", "replace this by the first tunnel's key"), (2, "203.0.113.22", "replace this by the second tunnel's key"))
    whole = "\n".join(aws(*end) for end in ends)
    with against("aws", [address for _, address, _ in ends], whole) as (lab, martlet, peer):
        peer.start()
        martlet.start()
        both_up(martlet, peer, 2)
        is_strongest(peer)
        carries_pings(lab, martlet, peer)
        # One end is taken away, as in a maintenance of Amazon's, and the other carries on.
        peer.write(aws(*ends[1]))
        peer.load()
        peer.down(ike="vpn1")
        both_up(martlet, peer, 1)
        carries_pings(lab, martlet, peer)
        peer.write(whole)
        peer.load()
        martlet.up("aws-1")
        both_up(martlet, peer, 2)
        carries_pings(lab, martlet, peer)
    # Startup action "start": the other side begins.
    with against("aws", [address for _, address, _ in ends], "\n".join(aws(*end, start="start") for end in ends)) as (lab, martlet, peer):
        martlet.start()
        peer.start()
        settled(martlet, peer, 2)
        is_strongest(peer)
        carries_pings(lab, martlet, peer)


def test_example_azure():
    """Selectors of everything, and children without a key exchange when the other side begins: both are taken, and ours come with one where it is taken."""
    for groups, ours in (("", None), ("-ecp384", "ECP_384")):
        theirs = half(
            "azure", "203.0.113.40", "replace this by the connection's shared key", "aes256-sha384-ecp384", f"aes256gcm16{groups}, aes256gcm16", local_ts="0.0.0.0/0", remote_ts="0.0.0.0/0",
            connection="rekey_time = 8h\n dpd_delay = 45s", child="rekey_time = 27000s")
        with against("azure", ["203.0.113.40"], theirs) as (lab, martlet, peer):
            peer.start()
            martlet.start()
            both_up(martlet, peer)
            expect(used(peer, "azure", "local-ts", "remote-ts") == [["10.2.0.0/16"], ["10.1.0.0/16"]], "the selectors were not narrowed to the example's")
            carries_pings(lab, martlet, peer)
            old = inbound(martlet), inbound(peer)
            martlet.rekey(child="azure")
            renewed(martlet, peer, old)
            expect(used(peer, "azure", "dh-group") == [ours], f"our rekey had the group {used(peer, 'azure', 'dh-group')}, not {ours}")
            carries_pings(lab, martlet, peer)
            old = inbound(martlet), inbound(peer)
            peer.rekey(child="azure")
            renewed(martlet, peer, old)
            carries_pings(lab, martlet, peer)


def test_example_azure_begins():
    theirs = half("azure", "203.0.113.40", "replace this by the connection's shared key", "aes256-sha384-ecp384", "aes256gcm16", local_ts="0.0.0.0/0", remote_ts="0.0.0.0/0", child="start_action = start")
    with against("azure", ["203.0.113.40"], theirs) as (lab, martlet, peer):
        martlet.start()
        peer.start()
        settled(martlet, peer)
        carries_pings(lab, martlet, peer)


GOOGLE_NETWORKS = "10.2.0.0/20, 10.2.64.0/20, 10.2.128.0/20, 172.16.20.0/24"
GOOGLE_OURS = "10.1.0.0/17, 10.1.128.0/18, 172.16.10.0/24"
GOOGLE_INNER = (("east", "10.1.130.1"), ("east", "172.16.10.1"), ("west", "10.2.64.1"), ("west", "10.2.130.1"), ("west", "172.16.20.1"))
GOOGLE_PAIRS = (("10.1.0.1", "10.2.0.1"), ("10.1.130.1", "10.2.64.1"), ("172.16.10.1", "10.2.130.1"), ("172.16.10.1", "172.16.20.1"))


def test_example_google():
    """Every network of both sides in one child, whoever begins, and after new keys."""
    for begins in ("martlet", "peer"):
        start = "start" if begins == "peer" else "none"
        theirs = half(
            "google", "203.0.113.60", "replace this by the tunnel's key", "aes256gcm16-prfsha256-modp2048", "aes256gcm16-modp2048", local_ts=GOOGLE_NETWORKS, remote_ts=GOOGLE_OURS,
            connection="rekey_time = 36000s\n dpd_delay = 20s", child=f"rekey_time = 10800s\n start_action = {start}")
        with against("google", ["203.0.113.60"], theirs, GOOGLE_INNER) as (lab, martlet, peer):
            for daemon in (peer, martlet) if begins == "martlet" else (martlet, peer):
                daemon.start()
            settled(martlet, peer)
            for child in peer.children():
                expect([", ".join(child["local_selectors"]), ", ".join(child["remote_selectors"])] == [GOOGLE_NETWORKS, GOOGLE_OURS], f"a child has other networks: {child}")
            carries_pings(lab, martlet, peer, GOOGLE_PAIRS, count=2)
            if begins == "martlet":
                old = inbound(martlet), inbound(peer)
                peer.rekey(child="google")
                renewed(martlet, peer, old)
                carries_pings(lab, martlet, peer, GOOGLE_PAIRS, count=2)


def user(name, secret):
    """A strongSwan host of `name`, as its swanctl.conf would be."""
    return f"""
connections {{ {name} {{
    remote_addrs = 192.0.2.1
    version = 2
    vips = 0.0.0.0
    proposals = aes256gcm16-prfsha384-ecp384
    local {{ auth = psk
        id = {name}@example.com }}
    remote {{ auth = psk
        id = vpn.example.com }}
    children {{ {name} {{
        remote_ts = 10.1.0.0/16
        esp_proposals = aes256gcm16-ecp384
    }} }}
}} }}
secrets {{ ike-{name} {{
    id-1 = {name}@example.com
    id-2 = vpn.example.com
    secret = "{secret}"
}} }}
"""


def test_example_road_warrior():
    """Two users with an address each; one with another's key, and one that nobody knows, have none."""
    # Anna has the example for a host, as it is.
    users = {"boris": "replace this by a key for Boris", "carla": "replace this by a key for Anna", "dora": "replace this by a key for Boris"}
    example = (EXAMPLES / "road-warrior-client.conf").read_text().replace("start_action = start", "start_action = none").replace("close_action = start", "close_action = none")
    text = "\n".join([example] + [user(name, secret) for name, secret in users.items()])
    with against("road-warrior", [], text) as (lab, martlet, peer):
        martlet.start()
        peer.start()
        for name in ("office", "boris"):
            peer.up(name)
        lent = {sa["name"]: sa["local-vips"] for sa in peer.sas()}
        expect(lent == {"office": ["10.3.0.1"], "boris": ["10.3.0.2"]}, f"strongSwan was lent {lent}")
        carries_pings(lab, martlet, peer, (("10.1.0.1", "10.3.0.1"), ("10.1.0.1", "10.3.0.2")))
        for name in ("carla", "dora"):
            expect(peer.up(name, check=False).returncode != 0 and len(martlet.sas()) == 2, f"{name} came in")
        peer.write(text.replace("a key for Boris", "a key for Anna"))
        peer.load()
        peer.down(ike="boris")
        expect(peer.up("boris", check=False).returncode != 0, "boris came in with the key of anna")
        # Who comes back has the same address again.
        peer.down(ike="office")
        peer.up("office")
        carries_pings(lab, martlet, peer, (("10.1.0.1", "10.3.0.1"),))


OFFICE = """
connections { rw {
    local_addrs = 192.0.2.1
    version = 2
    pools = rw
    proposals = aes256gcm16-prfsha384-ecp384
    local { auth = psk
        id = vpn.example.com }
    remote { auth = psk
        id = *@example.com }
    children { lan {
        local_ts = 10.1.0.0/16
        esp_proposals = aes256gcm16-ecp384
    } }
} }
pools { rw { addrs = 10.3.0.0/24 } }
secrets { ike-anna {
    id-1 = anna@example.com
    secret = "replace this by a key for Anna"
} }
"""


def test_example_road_warrior_client():
    with Lab(nat=True) as lab:
        # East is the host, behind a NAT; west is the gateway, with the address that the example names.
        lab.ip("nat", "addr", "flush", "dev", "to-west")
        lab.ip("nat", "addr", "add", "192.0.2.99/24", "dev", "to-west")
        lab.ip("west", "addr", "add", "192.0.2.1/24", "dev", lab.wire("west"))
        # The network behind the gateway is west's here.
        lab.ip("east", "addr", "del", "10.1.0.1/16", "dev", "lo")
        lab.ip("west", "addr", "add", "10.1.0.1/16", "dev", "lo")
        peer = StrongSwan(lab, "west", OFFICE)
        martlet = installed(lab, "east", "road-warrior-client")
        try:
            peer.start()
            martlet.start()
            both_up(martlet, peer)
            expect(peer.sas()[0]["remote-vips"] == ["10.3.0.1"], "another address was lent")
            carries_pings(lab, martlet, peer, (("10.3.0.1", "10.1.0.1"),))
        except BaseException:
            print_tails(martlet, peer)
            raise


def test_every_example_has_a_test():
    names = {file.stem for file in EXAMPLES.glob("*.conf")}
    source = Path(__file__).read_text()
    untested = {name for name in names if f'"{name}' not in source}
    expect(not untested, f"examples that no test brings up: {sorted(untested)}")


def access_client(user, password, name="office", remote_ts="10.1.0.0/16"):
    """What docs/REMOTE-ACCESS.md tells a Linux client to write."""
    return f"""
connections {{ {name} {{
    remote_addrs = 192.0.2.1
    version = 2
    proposals = aes256-sha256-modp2048
    vips = 0.0.0.0
    local {{ auth = eap-mschapv2
        eap_id = {user} }}
    remote {{ auth = pubkey
        id = vpn.example.org }}
    children {{ {name} {{ remote_ts = {remote_ts}
        esp_proposals = aes256-sha256 }} }}
}} }}
secrets {{ eap-{name} {{
    id = {user}
    secret = "{password}"
}} }}
"""


def test_example_remote_access():
    """A certificate for the gateway, users of a slapd, their groups: what each of them gets, and who gets nothing."""
    with Lab() as lab:
        slapd = Directory(lab, "east")
        root = Authority("Corporate Root")
        gateway = remote_access(lab, slapd, root, apart)
        peer = StrongSwan(lab, "west", access_client("carol", HASHED_PASSWORD), load=EAP_PLUGINS + " resolve attr")
        (peer.file.parent / "x509ca" / "root.pem").write_bytes(root.certificate)
        try:
            gateway.start()
            peer.start()
            # Carol is an administrator, however she writes her name.
            peer.up("office")
            expect(peer.sas()[0]["local-vips"] == ["10.9.0.1"] and [sa["name"] for sa in gateway.sas()] == ["admins"], lambda: gateway.sas())
            carries_pings(lab, gateway, peer, (("10.1.0.1", "10.9.0.1"),))
            peer.down(ike="office")
            wait(lambda: not gateway.sas(), "carol is gone")
            # The group chooses the pool, the networks and the name server.
            for user, lent, connection, networks, server in (("CAROL", "10.9.0.1", "admins", ["10.1.0.0/16"], "10.1.0.53"), ("dave", "10.8.0.1", "staff", ["10.1.4.0/24"], "10.1.4.53")):
                peer.write(access_client(user, HASHED_PASSWORD))
                peer.load()
                peer.up("office")
                expect(peer.sas()[0]["local-vips"] == [lent] and [sa["name"] for sa in gateway.sas()] == [connection], lambda: (user, gateway.sas(), peer.sas()))
                expect([child["remote_selectors"] for child in peer.children()] == [networks], lambda: (user, peer.children()))
                wait(lambda: peer.resolved.exists() and f"nameserver {server}" in peer.resolved.read_text(), f"{user} has the name server {server}")
                peer.down(ike="office")
                wait(lambda: not gateway.sas(), f"{user} is gone")
            slapd.leave("staff", "dave")
            expect(peer.up("office", check=False).returncode != 0, "who is in no group came in")
            wait(lambda: "is in none of the groups that are taken" in gateway.log(), "the log says why")
        except BaseException:
            print_tails(gateway, peer)
            raise


def device(ike, esp, identity, password=HASHED_PASSWORD, vips="0.0.0.0", remote="%any", name="device"):
    """What a system's own client offers, as docs/REMOTE-ACCESS.md has it; without an IDr where `remote` is %any."""
    return f"""
connections {{ {name} {{
    remote_addrs = 192.0.2.1
    version = 2
    proposals = {ike}
    vips = {vips}
    local {{ auth = eap-mschapv2
        id = {identity}
        eap_id = dave }}
    remote {{ auth = pubkey
        id = {remote} }}
    children {{ {name} {{ remote_ts = 0.0.0.0/0
        esp_proposals = {esp} }} }}
}} }}
secrets {{ eap-{name} {{
    id = dave
    secret = "{password}"
}} }}
"""


ANDROID = (
    "aes256-aes192-aes128-sha512-sha384-sha256-aesxcbc-prfsha512-prfsha384-prfsha256-prfaesxcbc-modp4096-x25519-modp3072-modp2048, "
    "chacha20poly1305-aes256gcm16-aes256gcm12-aes128gcm16-prfsha512-prfsha384-prfsha256-prfaesxcbc-modp4096-x25519-modp3072-modp2048"
)
# Name, proposals of IKE and ESP, identity, addresses asked for, what comes of it: the group of the IKE SA, ESP, and that of renewed keys.
DEVICES = (
    ("Windows, by PowerShell", "aes256-sha256-modp2048", "aes256gcm16", "192.168.1.7", "0.0.0.0, ::", ("MODP_2048", "AES_GCM_16", None)),
    ("Windows, by the registry", "aes256-sha256-modp2048", "aes256-sha1, aes128-sha1", "192.168.1.7", "0.0.0.0, ::", ("MODP_2048", "HMAC_SHA1_96", None)),
    ("Apple", "aes256-sha256-modp2048", "aes256-sha256", "10.0.0.9", "0.0.0.0", ("MODP_2048", "HMAC_SHA2_256_128", None)),
    ("Apple, with PFS", "aes256-sha256-modp2048", "aes256-sha256-modp2048", "10.0.0.9", "0.0.0.0", ("MODP_2048", "HMAC_SHA2_256_128", "MODP_2048")),
    ("Apple, with PFS and ECP", "aes256-sha256-ecp256", "aes256-sha256-ecp256", "10.0.0.9", "0.0.0.0", ("ECP_256", "HMAC_SHA2_256_128", "ECP_256")),
    ("Android", ANDROID, "aes256gcm16-aes256gcm12-chacha20poly1305, aes256-aes128-sha512-sha384-sha256", "keyid:dave", "0.0.0.0", ("CURVE_25519", "AES_GCM_16", None)),
)


def apart(text):
    """The example with networks and a name server of the staff's own."""
    begin, pool = text.index("    staff : users {"), text.index("    staff {", text.index("pools {"))
    return text[:begin] + text[begin:pool].replace("local_ts = 10.1.0.0/16", "local_ts = 10.1.4.0/24") + text[pool:].replace("10.1.0.53", "10.1.4.53", 1)


def remote_access(lab, slapd, root, change=lambda text: text):
    """The example, at a directory of the lab's, with a certificate of `root`."""
    gateway = Gateway(lab, "east", GATEWAY)
    text = change((EXAMPLES / "remote-access.conf").read_text())
    text = text.replace("ldaps://ldap1.example.org, ldaps://ldap2.example.org", f'"{slapd.uri}"').replace("uid=martlet,ou=services,dc=example,dc=org", SERVICE)
    target = gateway.folder / "example.conf"
    target.write_text(text.replace("vpn-admins", "admins").replace("vpn-users", "staff").replace("/etc/martlet", str(gateway.folder)))
    target.chmod(0o600)
    own = root.issue("vpn.example.org", kind="rsa", eku="serverAuth")
    # What docs/REMOTE-ACCESS.md says to do, as it stands there.
    (gateway.folder / "fullchain.pem").write_bytes(own.certificate + root.certificate)
    (gateway.folder / "privkey.pem").write_bytes(own.key)
    commands = [line.split("#")[0] for line in (ROOT / "docs/REMOTE-ACCESS.md").read_text().splitlines() if line.startswith("    install ")]
    expect(len(commands) == 3, f"the page has {commands}")
    for command in commands:
        subprocess.run(command.replace("/etc/martlet", str(gateway.folder)), shell=True, check=True, cwd=gateway.folder, input=SERVICE_PASSWORD + "\n", text=True)
    check = run(BUILD / "martlet", "check", gateway.file)
    expect("warning" not in check.stdout + check.stderr, lambda: check.stdout + check.stderr)
    return gateway


def test_example_remote_access_takes_what_each_system_offers():
    with Lab() as lab:
        root = Authority("Corporate Root")
        slapd = Directory(lab, "east")
        gateway = remote_access(lab, slapd, root)
        peer = StrongSwan(lab, "west", device(*DEVICES[0][1:4]), load=EAP_PLUGINS)
        (peer.file.parent / "x509ca" / "root.pem").write_bytes(root.certificate)
        try:
            gateway.start()
            peer.start()
            for name, ike, esp, identity, vips, (group, algorithms, renewed) in DEVICES:
                peer.write(device(ike, esp, identity, vips=vips))
                peer.load()
                up = peer.up("device", check=False)
                expect(up.returncode == 0, lambda: f"{name}: {up.stdout}{up.stderr}")
                sa, child = peer.sas()[0], peer.children()[0]
                expect(sa["dh-group"] == group and algorithms in child["algorithms"] and child["remote_selectors"] == ["10.1.0.0/16"], lambda: f"{name}: {sa}")
                # Who it is shows, whatever the device calls itself.
                expect("dave" in gateway.cli("status").stdout, lambda: gateway.cli("status").stdout)
                before = spis(peer)
                peer.rekey(child="device")
                wait(lambda: spis(peer) != before and len(peer.children()) == 1, f"{name}: the child has new keys")
                got = peer.children()[0]["algorithms"]
                expect((renewed is None) == ("MODP" not in got and "ECP" not in got) and (renewed or "") in got, lambda: f"{name}: {got}")
                peer.down(ike="device")
                wait(lambda: not gateway.sas(), f"{name} is gone")
            # Windows as it comes.
            peer.write(device("aes256-sha1-modp1024, aes256-sha256-modp1024, aes128-sha1-modp1024", "aes256-sha1", "192.168.1.7"))
            peer.load()
            expect(peer.up("device", check=False).returncode != 0, "MODP 1024 was taken")
            wait(lambda: "no-common-proposal" in gateway.log() and "aes256-sha256-modp1024" in gateway.log(), "the log says why")
        except BaseException:
            print_tails(gateway, peer)
            raise
