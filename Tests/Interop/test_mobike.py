"""Tunnels that stay up while addresses change: RFC 4555, Martlet with strongSwan in both roles, and Martlet with itself."""

import subprocess
import time

from lab import carries, expect, pair, wait
from strongswan import facing

ANYWHERE = dict(local="%any")
NEW = "198.51.100.7"


def readdress(lab, host, new, old, *route):
    """Takes one address of the host's outer interface away and gives it another, as a network that it has moved to does."""
    device = lab.wire(host)
    lab.ip(host, "addr", "del", f"{old}/24", "dev", device)
    time.sleep(0.5)
    lab.ip(host, "addr", "add", f"{new}/24", "dev", device)
    # With the last address of an interface its routes went.
    lab.ip(host, "route", "replace", "default", *route, "dev", device)


def only_ipv4(lab):
    """Otherwise the other family is a way out at once."""
    for host in ("east", "west"):
        lab.ip(host, "-6", "addr", "flush", "dev", lab.wire(host))


def addresses(martlet, peer):
    """Where each end says that both are: `local, remote` of Martlet, then of the peer."""
    ours, theirs = martlet.sas()[0], peer.sas()[0]
    place = (ours["local"]["host"], ours["remote"]["host"])
    if "local-host" in theirs:
        return place + (theirs["local-host"], theirs["remote-host"])
    return place + (theirs["local"]["host"], theirs["remote"]["host"])


def moved(martlet, peer, local, remote):
    wait(lambda: martlet.sas() and peer.sas() and addresses(martlet, peer) == (local, remote, remote, local), f"both ends are between {local} and {remote}", 30)
    expect(len(martlet.sas()) == 1 and len(peer.sas()) == 1, "the tunnel was not moved: it was made anew")


def goes_on(lab, martlet, peer):
    """Traffic passes again, and is counted at both ends."""
    wait(lambda: lab.ping("east", "10.2.0.1", source="10.1.0.1", count=1, check=False), "a packet passes again", 15)
    carries(lab, martlet, peer, bytes_each=100_000)


def identity(gateway):
    """What stays the same where an SA moves, and does not where it is made anew."""
    sa = gateway.sas()[0]
    return sa.get("initiator-spi") or (sa["initiator_spi"], sa["responder_spi"])


def test_martlets_address_changes():
    for first in ("martlet", "strongswan"):
        with facing(martlet=ANYWHERE, peer=dict(remote="%any" if first == "martlet" else "192.0.2.1")) as (lab, martlet, peer):
            only_ipv4(lab)
            (martlet if first == "martlet" else peer).up()
            wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
            goes_on(lab, martlet, peer)
            was = identity(martlet)
            readdress(lab, "east", NEW, "192.0.2.1")
            moved(martlet, peer, NEW, "192.0.2.2")
            goes_on(lab, martlet, peer)
            readdress(lab, "east", "192.0.2.1", NEW)
            moved(martlet, peer, "192.0.2.1", "192.0.2.2")
            goes_on(lab, martlet, peer)
            expect(identity(martlet) == was, "the IKE SA is another one")


def test_strongswans_address_changes():
    for first in ("martlet", "strongswan"):
        with facing(martlet=ANYWHERE, peer=ANYWHERE) as (lab, martlet, peer):
            only_ipv4(lab)
            (martlet if first == "martlet" else peer).up()
            wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
            was = identity(martlet)
            readdress(lab, "west", NEW, "192.0.2.2")
            moved(martlet, peer, "192.0.2.1", NEW)
            goes_on(lab, martlet, peer)
            expect(identity(martlet) == was, "the IKE SA is another one")


def test_between_martlets():
    for mover in ("east", "west"):
        with pair(both=ANYWHERE, west=dict(remote="%any")) as (lab, east, west):
            only_ipv4(lab)
            east.up()
            wait(lambda: east.children() and west.children(), "the tunnel is up")
            was = identity(east)
            expect(not east.children()[0]["udp_encapsulated"], "ESP is in UDP without a NAT")
            if mover == "east":
                readdress(lab, "east", NEW, "192.0.2.1")
                moved(east, west, NEW, "192.0.2.2")
            else:
                readdress(lab, "west", NEW, "192.0.2.2")
                moved(east, west, "192.0.2.1", NEW)
            goes_on(lab, east, west)
            expect(identity(east) == was, "the IKE SA is another one")


def test_to_the_other_address_family():
    """The IPv4 address goes, the IPv6 one stays: each end has told the other of its own."""
    with facing(martlet=dict(local="%any", remote="192.0.2.2"), peer=ANYWHERE) as (lab, martlet, peer):
        martlet.up()
        wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
        lab.ip("east", "addr", "del", "192.0.2.1/24", "dev", "to-west")
        moved(martlet, peer, "2001:db8::1", "2001:db8::2")
        goes_on(lab, martlet, peer)


def test_the_path_fails_without_a_word():
    """Both addresses are there, and nothing passes between two of them any more: the liveness check is tried over the others."""
    with facing(martlet=dict(local="%any", remote="192.0.2.2", connection="dpd_delay = 1s"), peer=ANYWHERE) as (lab, martlet, peer):
        martlet.up()
        wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
        lab.inside("west", "nft", 'table ip wall { chain in { type filter hook input priority 0; udp dport { 500, 4500 } drop; }; }')
        moved(martlet, peer, "2001:db8::1", "2001:db8::2")
        expect(martlet.logged("is tried over"), "the log does not say that other paths were tried")
        goes_on(lab, martlet, peer)


def seen(daemon, end):
    """Where a daemon sees one of the two ends, and whether behind a NAT."""
    sa = daemon.sas()[0]
    if f"{end}-host" in sa:
        return sa[f"{end}-host"], sa.get(f"nat-{end}") == "yes"
    return sa[end]["host"], sa[end]["behind_nat"]


def a_nat_appears_and_vanishes(lab, client, gateway, goes_on=goes_on):
    """ESP goes bare, in UDP behind the NAT, and bare again. The client is in the east; neither is started yet."""
    lab.translate(False)
    lab.ip("west", "route", "add", "172.16.0.0/24", "via", "192.0.2.1")
    gateway.start()
    client.start()
    client.up()
    wait(lambda: client.children() and gateway.children(), "the tunnel is up")
    was = identity(client)

    def at(address, outside, hidden):
        wait(
            lambda: client.sas() and gateway.sas() and seen(client, "local") == (address, hidden) and seen(gateway, "remote") == (outside, hidden)
            and all(daemon.children()[0]["udp_encapsulated"] == hidden for daemon in (client, gateway)),
            f"the client is at {address}, seen as {outside}", 30,
        )
        goes_on(lab, client, gateway)
        expect(identity(client) == was, "the IKE SA is another one")

    at("172.16.0.1", "172.16.0.1", False)
    lab.translate(True)
    readdress(lab, "east", "172.16.0.9", "172.16.0.1", "via", "172.16.0.254")
    at("172.16.0.9", "192.0.2.1", True)
    lab.translate(False)
    readdress(lab, "east", "172.16.0.1", "172.16.0.9", "via", "172.16.0.254")
    at("172.16.0.1", "172.16.0.1", False)


def test_a_nat_appears_and_vanishes(goes_on=goes_on):
    """Between two Martlets; with strongSwan it needs a kernel with ESP (test_strongswan_policies)."""
    with pair(nat=True, both=ANYWHERE, start=False) as (lab, east, west):
        a_nat_appears_and_vanishes(lab, east, west, goes_on)
        expect("moved_from" in east.sas()[0] and east.sas()[0]["mobike"], lambda: f"status does not tell of the moves: {east.sas()[0]}")


def test_an_initiation_goes_to_the_next_address():
    """RFC 4555 section 3.1: nobody is at the first."""
    with facing(martlet=dict(remote="192.0.2.99, 192.0.2.2", gateway="retransmit_tries = 1"), peer=ANYWHERE) as (lab, martlet, peer):
        martlet.up()
        wait(lambda: martlet.children() and peer.children(), "the tunnel is up", 20)
        carries(lab, martlet, peer, bytes_each=100_000)


def test_switched_off_it_authenticates_anew():
    """Without MOBIKE at either end: who has begun the IKE SA begins another from its new address, and the traffic goes on."""
    for switched_off in ("martlet", "peer"):
        mobike = {switched_off: dict(connection="mobike = no")}
        with facing(martlet=dict(local="%any", **mobike.get("martlet", {})), peer=dict(remote="%any", **mobike.get("peer", {}))) as (lab, martlet, peer):
            only_ipv4(lab)
            martlet.up()
            wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
            expect(not martlet.sas()[0]["mobike"], "MOBIKE is in use")
            was = identity(martlet)
            readdress(lab, "east", NEW, "192.0.2.1")
            wait(lambda: martlet.logged("MOBIKE is not in use: authenticating anew"), "Martlet says what it does")
            goes_on(lab, martlet, peer)
            wait(lambda: len(martlet.sas()) == 1 and identity(martlet) != was, "one new IKE SA stays", 60)
            expect(martlet.sas()[0]["local"]["host"] == NEW, "it is not from the new address")
            goes_on(lab, martlet, peer)


def test_an_address_written_out_is_not_left():
    with facing(martlet=dict(connection="mobike = no")) as (lab, martlet, peer):
        only_ipv4(lab)
        martlet.up()
        wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
        readdress(lab, "east", NEW, "192.0.2.1")
        wait(lambda: martlet.logged("no other one leads to the peer"), "Martlet says why it stays")
        expect(martlet.sas()[0]["local"]["host"] == "192.0.2.1", "the SA has moved")


def test_without_mobike_a_nat_gets_another_address():
    """RFC 7296 section 2.23: the client knows nothing of it. Its packets say where it is, and its answer to a request that goes there proves it."""
    with facing(nat=True, martlet_host="west", peer=dict(connection="mobike = no")) as (lab, martlet, peer):
        peer.up()
        wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
        expect(not martlet.sas()[0]["mobike"] and martlet.sas()[0]["remote"]["behind_nat"], "MOBIKE is in use, or no NAT was seen")
        was = identity(martlet)
        for new, old in (("192.0.2.77", "192.0.2.1"), ("192.0.2.1", "192.0.2.77")):
            pings = lab.start("east", "ping", "-n", "-i", "0.2", "-c", "25", "-W", "1", "-I", "10.1.0.1", "10.2.0.1", stdout=subprocess.PIPE, text=True)
            wait(lambda: martlet.children()[0]["inbound"]["packets"] > 5, "packets come")
            # Its entries for connections go with the address.
            lab.ip("nat", "addr", "del", f"{old}/24", "dev", "to-west")
            lab.ip("nat", "addr", "add", f"{new}/24", "dev", "to-west")
            wait(lambda: martlet.sas()[0]["remote"]["host"] == new, "Martlet has followed", 20)
            received = int(pings.communicate()[0].split(" received")[0].split()[-1])
            expect(received >= 18, f"{received} of 25 packets came back")
            carries(lab, martlet, peer, bytes_each=100_000)
            expect(identity(martlet) == was, "the IKE SA is another one")
