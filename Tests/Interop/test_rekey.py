"""Rekeys of both kinds, from both sides, under traffic: no ping is lost, and no packet is dropped for an unknown SPI or a replay."""

import time

from lab import expect, pair, wait
from traffic import Load

LOSSES = ("unknown_spi", "replay", "no_sa", "icv", "malformed")


def rekeys(kind, who, both=None):
    with pair(both=both or {}) as (lab, a, b):
        a.cli("up", "site")
        # What `up` has promised carries the first packet.
        first = lab.ping("east", "10.2.0.1", source="10.1.0.1", check=False)
        expect(first == 3, lambda: f"{first} of the first 3 pings were answered; drops: {a.drops()} {b.drops()}")
        load = Load(lab)
        time.sleep(0.5)
        before = {gateway.children()[0]["inbound"]["spi"] for gateway in (a, b)}, a.sas()[0]["initiator_spi"]
        for round in range(3):
            for gateway in {"east": [a], "west": [b], "both": [a, b]}[who]:
                gateway.cli("rekey", "site" if kind == "child" else "peer")
            time.sleep(1.5)
        load.finish()
        wait(lambda: len(a.children()) == 1 and len(b.children()) == 1, "one child is left on each side", 10)
        after = {gateway.children()[0]["inbound"]["spi"] for gateway in (a, b)}, a.sas()[0]["initiator_spi"]
        expect(after[0 if kind == "child" else 1] != before[0 if kind == "child" else 1], "nothing was rekeyed")
        for gateway in (a, b):
            lost = {name: count for name, count in gateway.drops().items() if name in LOSSES}
            expect(not lost, f"{gateway.host} dropped packets: {lost}")
        expect(len(a.sas()) == 1 and len(b.sas()) == 1, "more than one IKE SA is left")


def test_child_by_the_initiator():
    rekeys("child", "east")


def test_child_by_the_responder_with_pfs():
    rekeys("child", "west", both=dict(esp="aes256gcm16-x25519"))


def test_child_by_both():
    rekeys("child", "both")


def test_ike_by_the_initiator():
    rekeys("ike", "east")


def test_ike_by_the_responder():
    rekeys("ike", "west")


def test_ike_by_both():
    rekeys("ike", "both")


def test_by_time():
    with pair(east=dict(child="rekey_time = 2s\n rand_time = 0", connection="rekey_time = 3s\n rand_time = 0")) as (lab, a, b):
        a.cli("up", "site")
        first = a.children()[0]["inbound"]["spi"], a.sas()[0]["initiator_spi"]
        load = Load(lab)
        time.sleep(7)
        load.finish()
        last = a.children()[0]["inbound"]["spi"], a.sas()[0]["initiator_spi"]
        expect(first[0] != last[0] and first[1] != last[1], f"not rekeyed by time: {first} {last}")
        for gateway in (a, b):
            lost = {name: count for name, count in gateway.drops().items() if name in LOSSES}
            expect(not lost, f"{gateway.host} dropped packets: {lost}")


def test_by_packets_and_bytes():
    for limits in ("rekey_packets = 300\n rand_packets = 0\n life_packets = 100000", "rekey_bytes = 100k\n rand_bytes = 0\n life_bytes = 100m"):
        with pair(east=dict(child=limits)) as (lab, a, b):
            a.cli("up", "site")
            first = a.children()[0]["inbound"]["spi"]
            lab.transfer("east", "west", "10.1.0.1", "10.2.0.1", 2_000_000)
            wait(lambda: a.children() and a.children()[0]["inbound"]["spi"] != first, f"rekeyed by {limits.split()[0]}", 5)
            lab.ping("east", "10.2.0.1", source="10.1.0.1")
