"""Rekeys with strongSwan, of both kinds, from either side and from both, under 20 Mbit/s each way: no ping is lost."""

import threading

from lab import expect, wait
from strongswan import facing
from traffic import Load, Overrun

LOSSES = ("unknown_spi", "replay", "no_sa", "icv", "malformed")


def keys(gateway, kind):
    """What a rekey changes."""
    if kind == "child":
        return {child["inbound"]["spi"] for child in gateway.children()}
    return {(sa.get("initiator_spi") or sa["initiator-spi"], sa.get("responder_spi") or sa["responder-spi"]) for sa in gateway.sas()}


def settled(*gateways):
    return all(len(gateway.sas()) == 1 and len(gateway.children()) == 1 for gateway in gateways)


def rekeyed(martlet, peer, kind, by):
    """Starts a rekey and waits for its end on both sides."""
    before = [keys(gateway, kind) for gateway in (martlet, peer)]
    threads = [threading.Thread(target=gateway.vici, args=("rekey", {"child": "site"} if kind == "child" else {"ike": "peer"})) for gateway in by]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    who = " and ".join("Martlet" if gateway is martlet else "strongSwan" for gateway in by)
    wait(lambda: settled(martlet, peer) and all(not keys(gateway, kind) & old for gateway, old in zip((martlet, peer), before)), f"{who} rekeyed the {kind} SA, and one is left", 20)


def used(gateway):
    """How many packets the child has carried, in the direction that had fewer."""
    return min(child[direction]["packets"] for child in gateway.children() for direction in ("inbound", "outbound"))


def under_load(first, esp="aes256gcm16"):
    """`first` is who initiates the IKE SA. Three attempts, where the machine is too busy to carry the load."""
    for attempt in (1, 2, 3):
        try:
            return attempted(first, esp)
        except Overrun as overrun:
            print(f"     {overrun}", flush=True)
            if attempt == 3:
                raise


def attempted(first, esp):
    with facing(both=dict(esp=esp)) as (lab, martlet, peer):
        (martlet if first == "martlet" else peer).up()
        wait(lambda: settled(martlet, peer), "the tunnel is up")
        load = Load(lab)
        for kind in ("child", "ike", "child"):
            for by in ([martlet], [peer], [martlet, peer]):
                rekeyed(martlet, peer, kind, by)
                wait(lambda: all(used(gateway) > 1000 for gateway in (martlet, peer)), "the new child carries the load", 20)
        # strongSwan keeps the inbound half of an old child for a while.
        wait(lambda: [len(sa["child-sas"]) for sa in peer.list_sas()] == [1], "strongSwan has let go of the old SAs", 20)
        arrived = load.finish()
        lost = {name: count for name, count in martlet.drops().items() if name in LOSSES}
        expect(not lost, lambda: f"Martlet dropped packets: {lost}")
        print(f"     {first} initiates: of the stream arrived {arrived} %")


def test_martlet_initiates():
    under_load("martlet")


def test_strongswan_initiates():
    under_load("strongswan")


def test_martlet_initiates_with_pfs():
    under_load("martlet", "aes128-sha256-ecp256")


def test_strongswan_initiates_with_pfs():
    under_load("strongswan", "aes128-sha256-ecp256")
