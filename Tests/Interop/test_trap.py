"""Tunnels that the first packet brings up."""

import signal
import time

from lab import carries, expect, pair, wait


def test_traffic_brings_the_tunnel_up():
    with pair(east=dict(child="start_action = trap"), both=dict(gateway="retransmit_tries = 3")) as (lab, a, b):
        wait(lambda: a.logged("traffic brings site up"), "the trap is installed", 10)
        expect(not a.sas(), "a trap alone has brought something up")
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=20, check=False)
        expect(len(a.sas()) == 1 and len(a.children()) == 1, lambda: f"{len(a.sas())} IKE SAs, {len(a.children())} children for one trap")
        expect(a.log().count("asks for site") == 1, "one negotiation for several packets")
        carries(lab, a, b, bytes_each=100_000)
        # The trap outlives the tunnel.
        b.cli("down", "site")
        wait(lambda: not a.children(), "the tunnel is down", 10)
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=20, check=False)
        carries(lab, a, b, bytes_each=100_000)


def test_trap_against_a_dead_peer_does_not_spin():
    with pair(east=dict(child="start_action = trap"), both=dict(gateway="retransmit_tries = 1"), start=False) as (lab, a, b):
        a.start()
        wait(lambda: a.logged("traffic brings site up"), "the trap is installed", 10)
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            lab.ping("east", "10.2.0.1", source="10.1.0.1", count=5, check=False)
        tries = a.log().count("asks for site")
        expect(1 <= tries <= 3, f"{tries} negotiations within six seconds for a peer that is not there")
        expect(a.logged("no-answer"), "the log does not say why")


def test_reload_moves_the_trap():
    with pair(east=dict(child="start_action = trap")) as (lab, a, b):
        wait(lambda: a.logged("traffic brings site up"), "the trap is installed", 10)
        text = a.file.read_text()
        a.write(text.replace("start_action = trap", "start_action = none"))
        a.signal(signal.SIGHUP)
        wait(lambda: a.logged("traffic no longer brings site up"), "the trap is gone", 10)
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=3, check=False)
        expect(not a.sas(), "a trap that is gone has brought something up")
