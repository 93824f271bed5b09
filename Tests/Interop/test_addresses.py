"""Inner addresses: pools of a gateway, and a client that is lent one; between two Martlets, and with strongSwan on either side."""

import json
import signal
import sys
from pathlib import Path

from lab import carries, expect, pair, wait
from strongswan import ASKING_FOR_DNS, PLUGINS, facing

POOLS = "pools { rw { addrs = 10.3.0.0/24\n dns = 10.2.0.53 }\n six { addrs = fd03::/64 } }"
CLIENT = dict(local_ts="dynamic", remote_ts="10.2.0.0/16,fd02::/64", connection="vips = 0.0.0.0, ::")
GATEWAY = dict(local_ts="10.2.0.0/16,fd02::/64", remote_ts="dynamic", connection="pools = rw, six")


def ways(lab):
    """The routes and rules of the client's host."""
    return sorted(line.strip() for family in ("-4", "-6") for what in (("route", "show", "table", "all"), ("rule",)) for line in lab.inside("east", "ip", family, *what).stdout.splitlines())


def across(lab, a, b):
    carries(lab, a, b, source="10.3.0.1", bytes_each=200_000)
    lab.ping("east", "fd02::1", source="fd03::1", size=200)


def test_client_and_gateway():
    with pair(east=CLIENT, west=GATEWAY, start=False) as (lab, a, b):
        b.write(b.file.read_text() + POOLS)
        b.start()
        a.start()
        before = ways(lab)
        a.cli("up", "site")
        expect("10.3.0.1" in lab.inside("east", "ip", "addr", "show", "martlet0").stdout, "the client's host has not got the address")
        expect(any("10.2.0.0/16" in way and "10.3.0.1" in way for way in ways(lab)) and any("fd02::/64" in way and "fd03::1" in way for way in ways(lab)), lambda: f"no routes from the addresses: {ways(lab)}")
        across(lab, a, b)
        # It survives the renewal of both keys.
        for name in ("peer", "site"):
            a.cli("rekey", name)
        across(lab, a, b)
        a.cli("down", "peer")
        wait(lambda: "10.3.0.1" not in lab.inside("east", "ip", "addr", "show", "martlet0").stdout, "the address has gone", 10)
        wait(lambda: ways(lab) == before, "the routes and rules are as before", 10)
        # Whoever comes back has it again.
        a.cli("up", "site")
        expect("10.3.0.1" in lab.inside("east", "ip", "addr", "show", "martlet0").stdout, "the same client got another address")


def test_strongswan_is_lent_an_address():
    # Where there is a resolvconf, strongSwan gives the name servers to it instead of its file, and so to the machine.
    asks = not Path("/sbin/resolvconf").exists()
    if not asks:
        print("     name servers are not tried here: there is a /sbin/resolvconf")
    with facing(martlet_host="west", martlet={**GATEWAY, "connection": ""}, peer=CLIENT, load=ASKING_FOR_DNS if asks else PLUGINS) as (lab, martlet, peer):
        martlet.write(martlet.file.read_text().replace("children {", "pools = rw, six\n children {", 1) + POOLS)
        martlet.signal(signal.SIGHUP)
        wait(lambda: martlet.logged("the new configuration is in use"), "the pools are there", 10)
        peer.up()
        expect(peer.list_sas()[0]["local-vips"] == ["10.3.0.1", "fd03::1"], lambda: f"strongSwan has {peer.list_sas()[0].get('local-vips')}")
        if asks:
            expect("nameserver 10.2.0.53" in peer.resolved.read_text(), lambda: f"strongSwan was lent the name servers {peer.resolved.read_text()!r}")
        across(lab, peer, martlet)
        peer.rekey(ike="peer")
        wait(lambda: martlet.logged("IKE SA rekeyed"), "strongSwan has renewed the IKE SA", 10)
        peer.rekey(child="site")
        wait(lambda: martlet.logged("rekeyed as") and len(peer.children()) == 1, "strongSwan has renewed the child", 10)
        across(lab, peer, martlet)


def test_strongswan_lends_an_address():
    with facing(martlet_host="east", martlet=CLIENT, peer=GATEWAY) as (lab, martlet, peer):
        peer.write(peer.file.read_text() + POOLS)
        peer.load()
        martlet.cli("up", "site")
        expect(peer.list_sas()[0]["remote-vips"] == ["10.3.0.1", "fd03::1"], lambda: f"strongSwan lent {peer.list_sas()[0].get('remote-vips')}")
        across(lab, martlet, peer)
        martlet.cli("rekey", "peer")
        across(lab, martlet, peer)
        martlet.cli("down", "peer")
        wait(lambda: "10.3.0.1" not in lab.inside("east", "ip", "addr", "show", "martlet0").stdout, "the address has gone", 10)


def test_strongswan_has_no_address_left():
    with facing(martlet_host="east", martlet={**CLIENT, "connection": "vips = 0.0.0.0"}, peer={**GATEWAY, "connection": "pools = six"}) as (lab, martlet, peer):
        peer.write(peer.file.read_text() + POOLS)
        peer.load()
        said = martlet.cli("up", "site", check=False)
        expect(said.returncode != 0 and "INTERNAL_ADDRESS_FAILURE" in said.stdout + said.stderr and "vips" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
        expect(not martlet.sas(), "an IKE SA without an address stays")


# Of a configuration: what a pool tells beside addresses, with every way to say it.
TELLS = """pools {
    four { addrs = 10.3.0.0/24
        dns = 10.2.0.53, 10.2.0.54
        nbns = 10.2.0.55
        netmask = 255.255.255.0
        split_include = 10.2.0.0/16, 10.7.0.0/16
        dns_domain = corp.example, Lab.Example.
        25 = more.example
        28675 = corp.example lab.example }
    six { addrs = fd03::/64
        dns = fd02::53
        subnet = fd02::/48 }
}"""
ON_THE_WIRE = {
    "1": ["0a030002"], "2": ["ffffff00"], "3": ["0a020035", "0a020036"], "4": ["0a020037"], "8": ["fd03" + "00" * 13 + "0280"], "10": ["fd02" + "00" * 12 + "0053"],
    "13": ["0a020000ffff0000", "0a070000ffff0000"], "15": ["fd02" + "00" * 14 + "30"],
    "25": [name.encode().hex() for name in ("corp.example", "lab.example", "more.example")], "28675": [b"corp.example lab.example".hex()],
}


def test_what_a_pool_tells_is_on_the_wire():
    """RFC 7296 section 3.15.1, RFC 8598: to strongSwan, which logs what it is told, and to a peer of our own, which shows the octets."""
    mallory = dict(secret="what mallory was given", ike="aes256-sha256-modp2048", esp="aes256-sha256")
    martlet = {**GATEWAY, **mallory, "connection": "pools = four, six", "remote_id": "@mallory.example"}
    with facing(martlet_host="west", martlet=martlet, peer={**CLIENT, **mallory, "local_id": "@mallory.example"}, start=False) as (lab, martlet, peer):
        martlet.write(martlet.file.read_text() + TELLS)
        peer.start()
        martlet.start()
        peer.up()
        for name in "INTERNAL_IP4_ADDRESS INTERNAL_IP4_NETMASK INTERNAL_IP4_DNS INTERNAL_IP4_NBNS INTERNAL_IP6_ADDRESS INTERNAL_IP6_DNS INTERNAL_IP4_SUBNET INTERNAL_IP6_SUBNET UNITY_SPLITDNS_NAME".split():
            expect(f"processing {name} attribute" in peer.log(), f"strongSwan was told no {name}")
        said = lab.inside("east", sys.executable, Path(__file__).with_name("hostilepeer.py"), "client", "192.0.2.2", 1, *(kind for kind in map(int, ON_THE_WIRE) if kind != 2))
        told = json.loads(said.stdout)
        expect(told == ON_THE_WIRE, lambda: f"on the wire was {told}, and not {ON_THE_WIRE}")
