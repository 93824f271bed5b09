"""Martlet and strongSwan, each in both roles: outer address families, NAT on either side, what is inside, children, selectors, a large transfer."""

from lab import carries, expect, wait
from strongswan import both_roles, facing

V6 = dict(east=dict(local="2001:db8::1", remote="2001:db8::2"), west=dict(local="2001:db8::2", remote="2001:db8::1"))
INSIDE_V6 = dict(east=dict(local_ts="fd01::/64", remote_ts="fd02::/64"), west=dict(local_ts="fd02::/64", remote_ts="fd01::/64"))


def settings(*parts):
    """Settings of Martlet in the east and strongSwan in the west."""
    both = {host: {key: value for part in parts for key, value in part[host].items()} for host in ("east", "west")}
    return dict(martlet=both["east"], peer=both["west"])


def test_plain():
    with facing() as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            carries(lab, martlet, peer)
        expect(not martlet.drops(), lambda: f"packets were dropped: {martlet.drops()}")


def test_50_megabytes_each_way():
    with facing() as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            carries(lab, martlet, peer, bytes_each=50_000_000)
        lost = {name: count for name, count in martlet.drops().items() if name in ("icv", "malformed", "unknown_spi", "selector")}
        expect(not lost, lambda: f"packets were dropped: {lost}")


def test_martlet_behind_a_nat():
    behind_a_nat("east")


def test_strongswan_behind_a_nat():
    behind_a_nat("west")


def behind_a_nat(martlet_host):
    with facing(nat=True, martlet_host=martlet_host) as (lab, martlet, peer):
        (martlet.up if martlet_host == "east" else peer.up)()
        wait(lambda: martlet.children() and peer.children(), "both have a child")
        carries(lab, martlet, peer)
        expect(martlet.sas()[0]["local" if martlet_host == "east" else "remote"]["behind_nat"], "Martlet has not seen the NAT")
        expect(martlet.children()[0]["udp_encapsulated"] and peer.children()[0]["udp_encapsulated"], "ESP is bare behind a NAT")
        # The end in front of the NAT rekeys through it.
        (peer if martlet_host == "east" else martlet).rekey(child="site")
        (peer if martlet_host == "east" else martlet).rekey(ike="peer")
        wait(lambda: len(martlet.sas()) == 1 and len(peer.sas()) == 1 and len(martlet.children()) == 1 and len(peer.children()) == 1, "the rekeys have ended")
        carries(lab, martlet, peer)


def test_ipv6_outside_and_inside():
    with facing(**settings(V6, INSIDE_V6)) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            carries(lab, martlet, peer, "fd01::1", "fd02::1")


def test_ipv4_in_ipv6():
    with facing(**settings(V6)) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            carries(lab, martlet, peer)


def test_ipv6_in_ipv4():
    with facing(**settings(INSIDE_V6)) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            carries(lab, martlet, peer, "fd01::1", "fd02::1")


def test_both_families_in_one_child():
    with facing(martlet=dict(local_ts="10.1.0.0/16, fd01::/64", remote_ts="10.2.0.0/16, fd02::/64"), peer=dict(local_ts="10.2.0.0/16, fd02::/64", remote_ts="10.1.0.0/16, fd01::/64")) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            carries(lab, martlet, peer)
            carries(lab, martlet, peer, "fd01::1", "fd02::1")


def test_several_children():
    def children(local, remote):
        esp = ("aes256gcm16", "aes128gcm16-x25519", "aes256-sha256-ecp256")
        return "".join(f"c{n} {{ local_ts = 10.{local}.{n}.0/24\n remote_ts = 10.{remote}.{n}.0/24\n esp_proposals = {esp[n]} }}\n" for n in range(3))

    with facing(martlet=dict(children=children(1, 2)), peer=dict(children=children(2, 1))) as (lab, martlet, peer):
        for host, number in (("east", 1), ("west", 2)):
            for n in (1, 2):
                lab.ip(host, "addr", "add", f"10.{number}.{n}.1/32", "dev", "lo")
        for first, second in ((martlet, peer), (peer, martlet)):
            first.up("c0")
            expect(lab.ping("east", "10.2.1.1", source="10.1.1.1", check=False, wait_each=0.3) == 0, "a child that is down carries traffic")
            # One from each side: an IKE SA has room for the children of both.
            first.up("c1")
            second.up("c2")
            for n in range(3):
                lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1")
                lab.ping("west", f"10.1.{n}.1", source=f"10.2.{n}.1")
            for gateway in (martlet, peer):
                expect(len(gateway.sas()) == 1 and len(gateway.children()) == 3, lambda: f"{gateway.host} has {len(gateway.sas())} IKE SAs and {len(gateway.children())} children")
                for child in gateway.children():
                    for direction in ("inbound", "outbound"):
                        expect(child[direction]["packets"] == 6, lambda: f"{gateway.host} counted {child[direction]['packets']} packets {direction} in {child['name']}, not 6")
            second.down(child="c1")
            wait(lambda: len(martlet.children()) == 2 and len(peer.children()) == 2, "both have closed one child")
            for n in (0, 2):
                lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1")
            first.down(ike="peer")
            wait(lambda: not martlet.sas() and not peer.sas(), "both have closed it")


def narrowed(lab, martlet, peer, selectors):
    for gateway, (local, remote) in ((martlet, selectors), (peer, selectors[::-1])):
        (child,) = gateway.children()
        expect((child["local_selectors"], child["remote_selectors"]) == ([local], [remote]), lambda: f"{gateway.host} has {child['local_selectors']} === {child['remote_selectors']}, not {local} === {remote}")
    carries(lab, martlet, peer)


def test_narrowed_by_strongswan():
    with facing(martlet=dict(remote_ts="10.0.0.0/8")) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            narrowed(lab, martlet, peer, ("10.1.0.0/16", "10.2.0.0/16"))


def test_narrowed_by_martlet():
    with facing(peer=dict(remote_ts="10.0.0.0/8, 172.20.0.0/16")) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            narrowed(lab, martlet, peer, ("10.1.0.0/16", "10.2.0.0/16"))


def test_narrowed_by_both():
    """Each is wider than the other at one end."""
    with facing(martlet=dict(local_ts="10.1.0.0/24", remote_ts="10.0.0.0/8"), peer=dict(local_ts="10.2.0.0/24", remote_ts="10.0.0.0/8")) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            narrowed(lab, martlet, peer, ("10.1.0.0/24", "10.2.0.0/24"))
