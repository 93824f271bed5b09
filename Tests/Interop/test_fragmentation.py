"""IKE messages in fragments (RFC 7383), with strongSwan on the other side."""

from lab import carries, expect, wait
from strongswan import facing


# Enough selectors that a message with them does not fit.
EAST, WEST = (",".join(f"10.{number}.0.0/16[{protocol}]" for protocol in ("icmp", "tcp", "udp", "gre", "sctp")) for number in (1, 2))


def exchanged(martlet_host):
    selectors = {"east": dict(local_ts=EAST, remote_ts=WEST), "west": dict(local_ts=WEST, remote_ts=EAST)}
    ours, theirs = selectors[martlet_host], selectors["west" if martlet_host == "east" else "east"]
    with facing(martlet_host=martlet_host, martlet=dict(gateway="fragment_size = 256", **ours), peer=dict(connection="fragmentation = yes", **theirs), settings="fragment_size = 256") as (
        lab, martlet, peer
    ):
        if martlet_host == "east":
            martlet.cli("up", "site")
        else:
            peer.up()
        for said in ("splitting IKE message", "received fragment #1 of", "reassembled fragmented IKE message"):
            expect(peer.logged(said), lambda: f"strongSwan's log has no `{said}`: nothing went in fragments")
        carries(lab, *((martlet, peer) if martlet_host == "east" else (peer, martlet)), bytes_each=100_000)
        # The SA that a rekey makes goes on with them.
        martlet.cli("rekey", "peer")
        before = peer.log().count("reassembled fragmented IKE message")
        martlet.cli("rekey", "site")
        wait(lambda: peer.log().count("reassembled fragmented IKE message") > before, "the rekey of the child came in fragments", 5)


def test_martlet_initiates():
    exchanged("east")


def test_strongswan_initiates():
    exchanged("west")


def test_not_where_one_side_says_no():
    with facing(martlet=dict(gateway="fragment_size = 256", connection="fragmentation = no"), settings="fragment_size = 256") as (lab, martlet, peer):
        martlet.cli("up", "site")
        expect(not peer.logged("splitting IKE message") and not peer.logged("received fragment"), "fragments went where nobody takes them")
