"""Martlet and strongSwan, each in both roles: the outer address families, NAT on either side, what is inside, children, selectors."""

from lab import carries, expect, wait
from strongswan import facing


def both_roles(check, **options):
    """Runs `check(lab, martlet, peer, up)` with Martlet as the initiator and then as the responder."""
    with facing(**options) as (lab, martlet, peer):
        for name, begin, end in (
            ("Martlet initiates", lambda child="site": martlet.cli("up", child), lambda: martlet.cli("down", "peer")),
            ("strongSwan initiates", lambda child="site": peer.up(child), lambda: peer.down("peer")),
        ):
            check(lab, martlet, peer, begin)
            end()
            wait(lambda: not martlet.sas() and not peer.sas(), f"{name}: both have closed it", 10)


def test_plain():
    def check(lab, martlet, peer, up):
        up()
        wait(lambda: martlet.children() and peer.children(), "both have a child")
        carries(lab, martlet, peer)

    both_roles(check)
