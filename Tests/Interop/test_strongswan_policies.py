"""What brings tunnels up and ends them, with strongSwan at the other end: traps, close_action, dpd_action, one identity that comes twice, pools that are full."""

import signal

from lab import carries, connections, counters, expect, outer, wait
from strongswan import WITH_KERNEL, facing
from test_leases import CLIENT, GATEWAY
from test_mobike import a_nat_appears_and_vanishes
from test_strongswan_collisions import one_left
from uml import in_guest

ALIVE = dict(connection="dpd_delay = 1s", gateway="retransmit_tries = 1")


def knock(lab, host="east", count=20):
    """Packets that a tunnel is wanted for; while it comes up, some of them are lost."""
    near, far = (1, 2) if host == "east" else (2, 1)
    return lab.ping(host, f"10.{far}.0.1", source=f"10.{near}.0.1", count=count, check=False, wait_each=0.3)


def passes(lab, client, gateway):
    """Packets pass both ways, and are counted at both ends."""
    wait(lambda: lab.ping("east", "10.2.0.1", source="10.1.0.1", count=1, check=False), "a packet passes again", 15)
    before = [counters(daemon) for daemon in (client, gateway)]
    lab.ping("east", "10.2.0.1", source="10.1.0.1", count=5, size=1000)
    lab.ping("west", "10.1.0.1", source="10.2.0.1", count=5, size=1000)
    for daemon, old in zip((client, gateway), before):
        expect(all(counters(daemon)[way] - old[way] >= 10_000 for way in old), lambda: f"{daemon.host} counted {counters(daemon)} after {old}")


def up(martlet, peer):
    wait(lambda: one_left(martlet, peer), "the tunnel is up", 20)


def reload(martlet, old, new):
    """Changes Martlet's configuration, and waits until it counts."""
    text, times = martlet.file.read_text(), martlet.log().count("the new configuration is in use")
    expect(old in text, f"nothing to change: {old}")
    martlet.write(text.replace(old, new))
    martlet.signal(signal.SIGHUP)
    wait(lambda: martlet.log().count("the new configuration is in use") > times, "the new configuration counts")


def test_a_trap_of_martlets():
    """Twenty packets, one negotiation, with the packet's selectors before those of the policy; what strongSwan closes the next packet brings back."""
    with facing(martlet=dict(remote_ts="10.0.0.0/8", child="start_action = trap"), peer=dict(local_ts="10.2.0.0/16, 10.7.0.0/16")) as (lab, martlet, peer):
        # Without an address in a network strongSwan has no route from there.
        lab.ip("west", "addr", "add", "10.7.0.1/32", "dev", "lo")
        wait(lambda: martlet.logged("traffic brings site up"), "the trap is there")
        expect(not martlet.sas() and not peer.list_sas(), "a trap alone has brought something up")
        for times in (1, 2):
            wait(lambda: knock(lab) and one_left(martlet, peer), "traffic brings the tunnel up", 30)
            expect(martlet.log().count("asks for site") == times, lambda: f"{martlet.log().count('asks for site')} negotiations, and not {times}")
            offered = [line for line in peer.log().splitlines() if "looking for a child config for" in line]
            expect(len(offered) == times and "looking for a child config for 10.2.0.1/32[icmp" in offered[-1] and "10.0.0.0/8 === 10.1.0.1/32[icmp" in offered[-1], lambda: f"strongSwan was offered {offered}")
            expect(sorted(martlet.children()[0]["remote_selectors"]) == ["10.2.0.0/16", "10.7.0.0/16"], lambda: f"Martlet has {martlet.children()[0]}")
            carries(lab, martlet, peer, bytes_each=100_000)
            # The child alone, then the IKE SA with it.
            peer.down(**(dict(child="site") if times == 1 else {}))
            wait(lambda: not martlet.children(), "strongSwan has closed it")
        expect(martlet.log().count("asks for site") == 2, "Martlet brings up what it was told to wait with")


def guest_trap():
    """strongSwan's trap is its kernel's, and Martlet narrows what it asks for."""
    with facing(martlet=dict(gateway="plane = tun"), peer=dict(remote_ts="10.0.0.0/8", child="start_action = trap"), load=WITH_KERNEL) as (lab, martlet, peer):
        for times in (1, 2):
            wait(lambda: knock(lab, "west") and one_left(martlet, peer), "traffic brings the tunnel up", 30)
            begun = [line for line in peer.log().splitlines() if "creating acquire job" in line]
            expect(len(begun) == times, lambda: f"strongSwan has begun {begun}")
            expect(martlet.children()[0]["local_selectors"] == ["10.1.0.0/16"], lambda: f"Martlet has {martlet.children()[0]}")
            carries(lab, martlet, peer, bytes_each=100_000)
            martlet.down()
            wait(lambda: not peer.sas() and not martlet.sas(), "Martlet has closed it")
            print("a trap of strongSwan's brought the tunnel up", flush=True)


def guest_nat():
    """A NAT that comes and goes: strongSwan is the client, then Martlet."""
    for host in ("west", "east"):
        anywhere = dict(local="%any")
        with facing(nat=True, martlet_host=host, martlet=dict(anywhere, gateway="plane = tun"), peer=anywhere, load=WITH_KERNEL, start=False) as (lab, martlet, peer):
            a_nat_appears_and_vanishes(lab, *((peer, martlet) if host == "west" else (martlet, peer)), passes)
            print(f"Martlet in the {host}: a NAT came and went", flush=True)


def guest_with_strongswan():
    guest_trap()
    guest_nat()


def test_in_a_kernel():
    """strongSwan with a kernel that has ESP: its traps, and ESP that goes bare, in UDP, and bare again."""
    print("    ", in_guest("test_strongswan_policies.guest_with_strongswan").replace("\n", "\n     "))


def test_close_action():
    """Of Martlet, where strongSwan closes the child; then of strongSwan, where Martlet does."""
    with facing(martlet=dict(child="close_action = start")) as (lab, martlet, peer):
        martlet.up()
        up(martlet, peer)
        for action in ("start", "trap", "none"):
            if action != "start":
                reload(martlet, "close_action = start" if action == "trap" else "close_action = trap", f"close_action = {action}")
                martlet.up()
                up(martlet, peer)
            old, traps = martlet.children()[0]["inbound"]["spi"], martlet.log().count("asks for site")
            peer.down(child="site")
            wait(lambda: all(child["inbound"]["spi"] != old for child in martlet.children()), "the child is closed")
            if action == "start":
                up(martlet, peer)
            elif action == "trap":
                expect(not martlet.children(), "the child came back without traffic")
                wait(lambda: martlet.logged("traffic brings site up"), "there is a trap in its place")
                knock(lab)
                up(martlet, peer)
                expect(martlet.log().count("asks for site") == traps + 1, "it was not traffic that brought the child back")
            else:
                # Nothing waits and nothing begins: the IKE SA that is left has no exchange under way.
                knock(lab, count=5)
                expect(not martlet.children() and martlet.log().count("asks for site") == traps, "a child that was closed for good has come back")
                continue
            expect(martlet.children()[0]["inbound"]["spi"] != old, "the child is the old one")
            carries(lab, martlet, peer, bytes_each=100_000)
        peer.write(connections("west", **outer("west"), child="close_action = start"))
        peer.load()
        martlet.down("peer")
        wait(lambda: not peer.sas() and not martlet.sas(), "all is down")
        peer.up()
        up(martlet, peer)
        old = martlet.children()[0]["inbound"]["spi"]
        martlet.down(child="site")
        wait(lambda: one_left(martlet, peer) and martlet.children()[0]["inbound"]["spi"] != old, "strongSwan has brought the child back", 20)


def test_dpd_action():
    """strongSwan dies; what was a tunnel is forgotten (clear), brought back (restart), or waits for traffic (trap)."""
    with facing(martlet=dict(ALIVE, child="dpd_action = clear")) as (lab, martlet, peer):
        actions = ("clear", "trap", "restart")
        for number, action in enumerate(actions):
            if number:
                reload(martlet, f"dpd_action = {actions[number - 1]}", f"dpd_action = {action}")
                peer.start()
            martlet.up()
            up(martlet, peer)
            old, deaths, traps = martlet.sas()[0], martlet.log().count("no-answer"), martlet.log().count("asks for site")
            peer.kill()

            def dead():
                left = martlet.status()["ike_sas"]
                return None if any(sa["initiator_spi"] == old["initiator_spi"] for sa in left) else [left]

            left = wait(dead, "Martlet notices that strongSwan is dead", 40)[0]
            expect(martlet.log().count("no-answer") > deaths, "the log does not say that there was no answer")
            if action == "clear":
                knock(lab, count=5)
                expect(not left and not martlet.status()["ike_sas"], lambda: f"something was begun: {left}")
            elif action == "trap":
                expect(not left, lambda: f"something was begun without traffic: {left}")
                peer.start()
                wait(lambda: knock(lab, count=2) and one_left(martlet, peer), "traffic has brought the tunnel back", 30)
                expect(martlet.log().count("asks for site") > traps, "it was not traffic that brought the tunnel back")
                carries(lab, martlet, peer, bytes_each=100_000)
                martlet.down("peer")
                wait(lambda: not peer.sas() and not martlet.sas(), "all is down")
                peer.stop()
            else:
                peer.start()
                up(martlet, peer)
                carries(lab, martlet, peer, bytes_each=100_000)


def test_one_identity_twice():
    """Two connections of one strongSwan with one identity, towards a Martlet with each value of `unique`; then strongSwan begins anew, and says so (INITIAL_CONTACT)."""
    # Otherwise strongSwan takes the IKE SA of the first for the second; and from one address it would be a client that authenticates itself anew.
    second = connections("east", **{**outer("east"), "local": "192.0.2.3"}, peer="other", name="more", connection="rekey_time = 3h").replace("ike-peer", "ike-other")
    with facing(martlet_host="west", martlet=dict(connection="unique = no", remote="%any")) as (lab, martlet, peer):
        lab.ip("east", "addr", "add", "192.0.2.3/24", "dev", lab.wire("east"))
        peer.write(peer.file.read_text() + second)
        peer.load()
        values = ("no", "keep", "replace", "never")
        for number, value in enumerate(values):
            if number:
                reload(martlet, f"unique = {values[number - 1]}", f"unique = {value}")
            peer.up()
            wait(lambda: len(martlet.sas()) == 1, f"{value}: the first is there")
            first = martlet.sas()[0]["initiator_spi"]
            established = martlet.log().count("IKE SA established")
            came = peer.up("more", check=False, seconds=10).returncode == 0
            # With `keep` it is refused: there was never a second one.
            expect(came == (value != "keep"), f"{value}: the second {'has come' if came else 'does not come'} up")
            expect(value != "keep" or "AUTHENTICATION_FAILED" in peer.log(), "keep: strongSwan was not told that it is refused")
            expect(value != "keep" or martlet.log().count("IKE SA established") == established, "keep: the second was there for a moment")
            expected = {"no": 2, "never": 2, "keep": 1, "replace": 1}[value]
            wait(lambda: len(martlet.sas()) == expected and len(martlet.children()) == expected and len(peer.sas()) == expected, f"{value}: {expected} are left")
            expect(value != "keep" or martlet.logged("`unique = keep` leaves one for each peer"), "the log does not say why")
            stayed = any(sa["initiator_spi"] == first for sa in martlet.sas())
            expect(stayed == (value != "replace"), f"{value}: the first {'stays' if stayed else 'is gone'}")
            if value in ("no", "never"):
                peer.kill()
                peer.start()
                peer.up()
                # INITIAL_CONTACT ends the others, but where they are `never` looked at.
                expected = {"no": 1, "never": 3}[value]
                wait(lambda: len(martlet.sas()) == expected, f"{value}: after INITIAL_CONTACT {expected} are left")
                expect(any(sa["initiator_spi"] == first for sa in martlet.sas()) == (value == "never"), f"{value}: INITIAL_CONTACT")
            if value == "never":
                # Some are of a strongSwan that was killed, and nobody would answer for them.
                break
            martlet.down("peer", check=False)
            wait(lambda: not martlet.status()["ike_sas"], f"{value}: all is down", 20)
            wait(lambda: not peer.list_sas(), f"{value}: all is down at strongSwan", 20)


def test_full_pools():
    """The second client of a pool of one address is told so: strongSwan as the client, then Martlet."""
    for host in ("west", "east"):
        client = {**CLIENT, "connection": "vips = 0.0.0.0"}
        gateway = {**GATEWAY, "connection": "pools = one"}
        if host == "east":
            gateway["remote_id"] = "%any"
        martlet, peer = (gateway, client) if host == "west" else (client, gateway)
        with facing(martlet_host=host, martlet=martlet, peer=peer, start=False) as (lab, ours, theirs):
            second = connections("east", **{**outer("east"), **client}, local_id="@second.example", peer="other", name="more").replace("ike-peer", "ike-other")
            lends, asks = (ours, theirs) if host == "west" else (theirs, ours)
            lends.write(lends.file.read_text() + "pools { one { addrs = 10.4.0.1-10.4.0.1 } }")
            asks.write(asks.file.read_text() + second)
            theirs.start()
            ours.start()
            asks.up()
            said = asks.up("more", check=False)
            expect(said.returncode != 0, lambda: f"a second address came out of a pool of one: {said.stdout}")
            if host == "west":
                expect("received INTERNAL_ADDRESS_FAILURE notify" in theirs.log(), "strongSwan was not told that there is no address")
                expect(ours.logged("the pool one (10.4.0.1 to 10.4.0.1) has lent 1 of its 1: 10.4.0.1 to east.example"), "Martlet does not say why")
            else:
                expect("INTERNAL_ADDRESS_FAILURE" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
            lab.ping("east", "10.2.0.1", source="10.4.0.1")
            # Once the first is gone, there is one.
            for name in ("peer", "other"):
                asks.down(name, check=False)
            wait(lambda: not lends.sas() and not asks.sas(), "the first is gone")
            asks.up("more")
            lab.ping("east", "10.2.0.1", source="10.4.0.1")
