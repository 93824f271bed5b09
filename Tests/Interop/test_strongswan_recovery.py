"""Tunnels with strongSwan that were cut: liveness, re-establishment, re-authentication."""

from lab import carries, expect, wait
from strongswan import facing

QUICK = "retransmit_tries = 3"
ALIVE = dict(connection="dpd_delay = 1s\n keyingtries = 0", child="dpd_action = restart")


def up(martlet, peer):
    wait(lambda: martlet.children() and peer.children() and len(martlet.sas()) == 1 and len(peer.sas()) == 1, "the tunnel is up", 40)


def test_strongswan_is_killed_and_martlet_brings_it_back():
    for first in ("martlet", "strongswan"):
        with facing(martlet=dict(ALIVE, gateway=QUICK)) as (lab, martlet, peer):
            (martlet if first == "martlet" else peer).up()
            up(martlet, peer)
            peer.kill()
            wait(lambda: not martlet.sas(), "Martlet notices that strongSwan is dead", 30)
            expect(martlet.logged("no-answer"), "the log does not say that there was no answer")
            peer.start()
            up(martlet, peer)
            carries(lab, martlet, peer, bytes_each=100_000)


def test_martlet_is_killed_and_strongswan_brings_it_back():
    for first in ("martlet", "strongswan"):
        with facing(peer=ALIVE) as (lab, martlet, peer):
            (martlet if first == "martlet" else peer).up()
            up(martlet, peer)
            martlet.kill()
            wait(lambda: not peer.sas(), "strongSwan notices that Martlet is dead", 40)
            martlet.start()
            up(martlet, peer)
            carries(lab, martlet, peer, bytes_each=100_000)


def test_martlet_is_killed_and_starts_again_by_itself():
    """strongSwan has not noticed anything when Martlet is back: INITIAL_CONTACT tells it which SA is the true one."""
    with facing(martlet=dict(connection="keyingtries = 0", child="start_action = start")) as (lab, martlet, peer):
        up(martlet, peer)
        old = peer.children()[0]["inbound"]["spi"]
        martlet.kill()
        martlet.start()
        wait(lambda: peer.children() and peer.children()[0]["inbound"]["spi"] != old, "Martlet has brought up a new tunnel", 30)
        up(martlet, peer)
        carries(lab, martlet, peer, bytes_each=100_000)


def test_strongswan_is_killed_and_starts_again_by_itself():
    with facing(peer=dict(connection="keyingtries = 0", child="start_action = start")) as (lab, martlet, peer):
        # It was loaded before Martlet listened, and tries again.
        up(martlet, peer)
        old = martlet.children()[0]["inbound"]["spi"]
        peer.kill()
        peer.start()
        wait(lambda: martlet.children() and martlet.children()[0]["inbound"]["spi"] != old, "strongSwan has brought up a new tunnel", 30)
        up(martlet, peer)
        expect(martlet.logged("the peer has begun anew"), "Martlet does not log why it dropped the old SA")
        carries(lab, martlet, peer, bytes_each=100_000)


def test_strongswan_is_away_for_a_while_when_martlet_starts():
    with facing(martlet=dict(connection="keyingtries = 0", child="start_action = start", gateway="retransmit_tries = 2"), start=False) as (lab, martlet, peer):
        martlet.start()
        wait(lambda: martlet.logged("no-answer"), "Martlet has tried in vain", 30)
        peer.start()
        up(martlet, peer)
        carries(lab, martlet, peer, bytes_each=100_000)


def reauthenticates(first, settings):
    """strongSwan authenticates anew; a moment later there is one IKE SA, another one, with its child."""
    with facing(settings=settings) as (lab, martlet, peer):
        (martlet if first == "martlet" else peer).up()
        up(martlet, peer)
        for _ in range(2):
            old = {sa["initiator-spi"] for sa in peer.sas()}
            peer.rekey(ike="peer", reauth=True)
            wait(lambda: peer.sas() and not old & {sa["initiator-spi"] for sa in peer.sas()} and martlet.children(), "strongSwan has authenticated anew", 30)
            up(martlet, peer)
            carries(lab, martlet, peer, bytes_each=100_000)


def test_reauthentication_that_breaks_first():
    for first in ("strongswan", "martlet"):
        reauthenticates(first, "make_before_break = no")


def test_reauthentication_that_makes_first():
    for first in ("strongswan", "martlet"):
        reauthenticates(first, "make_before_break = yes")


def test_reauthentication_by_time():
    with facing(peer=dict(connection="reauth_time = 4s\n rand_time = 0\n over_time = 60s")) as (lab, martlet, peer):
        peer.up()
        up(martlet, peer)
        old = {sa["initiator-spi"] for sa in peer.sas()}
        wait(lambda: peer.sas() and not old & {sa["initiator-spi"] for sa in peer.sas()}, "strongSwan has authenticated anew", 30)
        up(martlet, peer)
        carries(lab, martlet, peer, bytes_each=100_000)
