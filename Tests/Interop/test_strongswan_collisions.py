"""Exchanges of Martlet and strongSwan that cross on the wire (RFC 7296 section 2.25), each in two ways.

On a slow wire both requests are under way at once. Behind a wall, which drops what IKE sends, both have begun and sent in vain; then the wall goes, and each comes with
what the other no longer expects. ESP passes all the time.
"""

import contextlib
import json
import threading

from lab import Failed, expect, wait
from strongswan import facing

SLOW = 0.15


@contextlib.contextmanager
def wall(lab):
    """No IKE message passes. Yields a function that waits until both sides have tried."""
    drops = "udp dport 500 counter drop; udp dport 4500 @th,64,32 0 counter drop;"
    chain = "chain {0} {{ type filter hook {0} priority -300; {1} }};"
    lab.inside("west", "nft", f"table inet wall {{ {chain.format('input', drops)} {chain.format('output', drops)} }}")

    def stopped(hook):
        rules = json.loads(lab.inside("west", "nft", "-j", "list", "chain", "inet", "wall", hook).stdout)["nftables"]
        return sum(part["counter"]["packets"] for entry in rules if "rule" in entry for part in entry["rule"]["expr"] if "counter" in part)

    yield lambda: wait(lambda: stopped("input") and stopped("output"), "both sides have sent a request", 20)
    lab.inside("west", "nft", "delete table inet wall")


def crossing(lab, *commands):
    """Gives each (gateway, command, message) at the same time, and waits for their ends. What they answer is no matter: the loser of a collision may say that it failed."""
    start = threading.Barrier(len(commands))

    def give(gateway, command, message):
        start.wait()
        gateway.vici(command, dict(message, timeout="30000"))

    threads = [threading.Thread(target=give, args=command, daemon=True) for command in commands]
    with contextlib.nullcontext() if lab.latency else wall(lab) as both_have_sent:
        for thread in threads:
            thread.start()
        if both_have_sent:
            both_have_sent()
    for thread in threads:
        thread.join(60)
        expect(not thread.is_alive(), "an exchange that crossed another does not end")


def each_way(check):
    """Runs `check(lab, martlet, peer, up)` on a slow wire, where Martlet initiates, and behind a wall, where strongSwan does."""
    for latency in (SLOW, 0):
        with facing(latency=latency) as (lab, martlet, peer):

            def up():
                (martlet if latency else peer).up()
                wait(lambda: one_left(martlet, peer), "the tunnel is up")

            try:
                check(lab, martlet, peer, up)
            except Failed as failure:
                raise Failed(f"{'on a slow wire' if latency else 'behind a wall'}: {failure}") from failure


def one_left(*gateways):
    return all(len(gateway.sas()) == 1 and len(gateway.children()) == 1 for gateway in gateways)


def packets(gateway):
    return [sum(child[direction]["packets"] for child in gateway.children()) for direction in ("inbound", "outbound")]


def passes(lab, martlet, peer):
    """Pings both ways, and reads the counters of both sides. Who lost a collision tries again when it likes; a rekey in the middle of it starts new counters, and then it is done again."""
    for _ in range(4):
        spis, before = (ids(martlet), ids(peer)), (packets(martlet), packets(peer))
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        lab.ping("west", "10.1.0.1", source="10.2.0.1")
        after = packets(martlet), packets(peer)
        if (ids(martlet), ids(peer)) == spis:
            break
        wait(lambda: one_left(martlet, peer) and agree(martlet, peer), "both have the one same child after one more rekey", 30)
    else:
        raise Failed("the rekeys do not come to an end")
    for gateway, old, new in zip((martlet, peer), before, after):
        counted = [b - a for a, b in zip(old, new)]
        expect(counted == [6, 6], f"{gateway.host} counted {counted} packets in and out, not 6 and 6")


def agree(martlet, peer):
    """Each side's outbound SPI is the other's inbound one."""
    (ours,), (theirs,) = martlet.children(), peer.children()
    return (ours["inbound"]["spi"], ours["outbound"]["spi"]) == (theirs["outbound"]["spi"], theirs["inbound"]["spi"])


def ids(gateway):
    """Everything that a rekey changes."""
    children = {child["inbound"]["spi"] for child in gateway.children()}
    return children | {sa.get("initiator_spi") or sa["initiator-spi"] for sa in gateway.sas()}


def rekeys(ours, theirs, collision):
    """`collision` is what strongSwan logs when it meets one, which it must at least once on the slow wire."""

    def check(lab, martlet, peer, up):
        up()
        for turn in range(8):
            before = ids(martlet)
            crossing(lab, (martlet, "rekey", ours), (peer, "rekey", theirs))
            wait(lambda: ids(martlet) != before and one_left(martlet, peer) and agree(martlet, peer), "it was rekeyed, and both have the one same child", 30)
            passes(lab, martlet, peer)
            if turn >= 1 and (not lab.latency or peer.logged(collision)):
                break
        else:
            raise Failed(f"the rekeys never met on the wire: strongSwan has not logged {collision!r}")

    each_way(check)


CHILD, IKE = {"child": "site"}, {"ike": "peer"}


def test_child_rekeys():
    rekeys(CHILD, CHILD, "detected CHILD_REKEY collision with CHILD_REKEY")


def test_ike_rekeys():
    rekeys(IKE, IKE, "detected IKE_REKEY collision with IKE_REKEY")


def test_our_child_rekey_and_their_ike_rekey():
    rekeys(CHILD, IKE, "TEMP_FAIL")


def test_our_ike_rekey_and_their_child_rekey():
    rekeys(IKE, CHILD, "TEMP_FAIL")


def closes(ours, theirs, gone):
    """A command of ours crosses one of theirs; then no `gone` is left on either side, and the tunnel comes up again."""

    def check(lab, martlet, peer, up):
        for _ in range(2):
            up()
            crossing(lab, (martlet, *ours), (peer, *theirs))
            wait(lambda: not getattr(martlet, gone)() and not getattr(peer, gone)(), f"no {gone} are left", 30)
        up()
        passes(lab, martlet, peer)

    each_way(check)


def test_deletes_of_the_child():
    closes(("terminate", CHILD), ("terminate", CHILD), "children")


def test_deletes_of_the_ike_sa():
    closes(("terminate", IKE), ("terminate", IKE), "sas")


def test_our_rekey_of_a_child_that_they_delete():
    closes(("rekey", CHILD), ("terminate", CHILD), "children")


def test_our_delete_of_a_child_that_they_rekey():
    closes(("terminate", CHILD), ("rekey", CHILD), "children")


def test_our_rekey_of_an_ike_sa_that_they_delete():
    closes(("rekey", IKE), ("terminate", IKE), "sas")


def test_our_delete_of_an_ike_sa_that_they_rekey():
    closes(("terminate", IKE), ("rekey", IKE), "sas")


def test_both_initiate():
    """Two IKE SAs are as good as one, as long as both ends have the same."""

    def check(lab, martlet, peer, up):
        for _ in range(2):
            crossing(lab, (martlet, "initiate", CHILD), (peer, "initiate", CHILD))
            wait(lambda: martlet.children() and spis(martlet) == {pair[::-1] for pair in spis(peer)}, "both have the same children", 20)
            passes(lab, martlet, peer)
            while martlet.sas():
                martlet.down()
            wait(lambda: not peer.sas(), "both have closed everything")

    each_way(check)


def spis(gateway):
    return {(child["inbound"]["spi"], child["outbound"]["spi"]) for child in gateway.children()}
