"""`martlet status` of real tunnels: what it counts over renewals of keys, and what a peer may call itself."""

import re

from lab import expect, pair, wait


def live(gateway):
    (child,) = [child for child in gateway.children() if not child["replaced"]]
    return child


def test_totals_outlive_a_rekey():
    with pair() as (lab, a, b):
        a.cli("up", "site")
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=5)
        before = live(a)
        a.cli("rekey", "site")
        a.cli("rekey", "peer")
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=3)
        for gateway in (a, b):
            child = live(gateway)
            expect(child["inbound"]["spi"] != before["inbound"]["spi"], "the keys were not renewed")
            for direction in ("inbound", "outbound"):
                expect(child[direction]["packets"] == 3 and child[direction]["tunnel_packets"] == 8, lambda: f"{gateway.host} counts {child[direction]}")
        # The replaced pairs go, and what they had counted stays.
        wait(lambda: not any(child["replaced"] for sa in a.status()["ike_sas"] for child in sa["children"]), "the replaced pair is gone", 15)
        child = live(a)
        expect(child["inbound"]["tunnel_packets"] == 8 and child["tunnel_seconds"] >= child["installed_seconds"], lambda: f"the totals have changed: {child}")
        text = a.cli("status").stdout
        expect(text.startswith("1 tunnel: 1 up, 0 down") and "just renewed" not in text, lambda: text)
        a.cli("down", "site")
        a.cli("up", "site")
        expect(live(a)["inbound"]["tunnel_packets"] == 0, "a new tunnel counts what an earlier one carried")


def test_a_peer_with_a_hostile_name():
    """Wide characters, one that turns the line around, and the control character that begins an escape sequence in eight bits."""
    with pair(east=dict(remote_id="%any"), west=dict(local_id='"fqdn:\u5317\u4eac\u202eevil\x9b31m"')) as (lab, a, b):
        b.cli("up", "site")
        for words in (["status"], ["status", "--lines"], ["status", "site"], ["log"], ["top", "--once", "--interval", "0.1"]):
            text = a.cli(*words).stdout
            expect(not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text), lambda: f"{words} prints control characters: {text!r}")
        expect("\u5317\u4eac\\u{202e}evil\\u{9b}31m at 192.0.2.2:4500" in a.cli("status").stdout, lambda: a.cli("status").stdout)
