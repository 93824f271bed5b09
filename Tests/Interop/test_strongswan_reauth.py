"""Re-authentication with strongSwan in both roles, with pings meanwhile, and IKE SAs without a child."""

import concurrent.futures
import re
import signal
import subprocess
import time

from lab import carries, expect, pair, wait
from strongswan import facing


def spis(gateway):
    return {(sa.get("initiator_spi") or sa["initiator-spi"]) for sa in gateway.sas()}


def calm(*gateways):
    return all(len(gateway.sas()) == 1 and len(gateway.children()) == 1 for gateway in gateways)


class Pings:
    """One every 20 ms from east to west, through the tunnel."""

    def __init__(self, lab):
        self.begun = time.monotonic()
        self.process = lab.start("east", "ping", "-n", "-i", "0.02", "-W", "2", "-I", "10.1.0.1", "10.2.0.1", stdout=subprocess.PIPE, text=True)

    def lost(self):
        # However fast it went: enough of them to tell.
        time.sleep(max(0, 2 - (time.monotonic() - self.begun)))
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=10)[0]
        sent, received = (int(number) for number in re.search(r"(\d+) packets transmitted, (\d+) received", text).groups())
        expect(sent > 50, lambda: f"only {sent} pings were sent")
        # The one that is under way when the count ends.
        return sent - received - (1 if sent - received == 1 else 0)


def renewed(lab, a, b, at_most, what):
    """Another IKE SA on both sides, while pings go on."""
    wait(lambda: calm(a, b), "the tunnel is up")
    before, pings = spis(a), Pings(lab)
    wait(lambda: calm(a, b) and not before & spis(a) and spis(a) == spis(b), f"{what}: both have another IKE SA, and one", 40)
    lost = pings.lost()
    print(f"     {what}: {lost} pings lost", flush=True)
    expect(lost <= at_most, f"{what}: {lost} pings were lost")
    carries(lab, a, b, bytes_each=50_000)


BY_TIME = "reauth_time = 4s\n rand_time = 0\n over_time = 60s"


def test_two_martlets_by_time():
    """The initiator's own clock; no ping is lost."""
    with pair(east=dict(connection=BY_TIME)) as (lab, east, west):
        east.up()
        renewed(lab, east, west, 0, "Martlet with Martlet")


def test_martlet_by_its_own_time():
    with facing(martlet=dict(connection=BY_TIME)) as (lab, martlet, peer):
        martlet.up()
        # strongSwan sends on the new pair before its answer is here.
        renewed(lab, martlet, peer, 3, "Martlet initiates")


def test_martlet_when_the_responder_says_so():
    """AUTH_LIFETIME from another Martlet: strongSwan 5.9.8 sends none to a peer that it can ask itself."""
    with pair(west=dict(connection="reauth_time = 12s\n rand_time = 0\n over_time = 60s")) as (lab, east, west):
        east.up()
        wait(lambda: east.logged("authenticate anew within"), "Martlet is told the time")
        renewed(lab, east, west, 0, "Martlet is told the time")


def test_strongswan_when_martlet_says_so():
    """AUTH_LIFETIME from Martlet."""
    with facing(martlet=dict(connection="reauth_time = 20s\n over_time = 30s"), peer=dict(connection="over_time = 15s"), settings="make_before_break = yes") as (lab, martlet, peer):
        peer.up()
        expect(peer.logged("AUTH_LFT"), "strongSwan has seen no AUTH_LIFETIME")
        renewed(lab, martlet, peer, 0, "strongSwan is told the time")


def test_operators_ask_for_it():
    """swanctl --rekey --reauth, to each as the initiator, and to Martlet as the responder."""
    with facing(settings="make_before_break = yes") as (lab, martlet, peer):
        martlet.up()
        wait(lambda: calm(martlet, peer), "the tunnel is up")
        before = spis(martlet)
        martlet.vici("rekey", {"ike": "peer", "reauth": "yes"})
        wait(lambda: calm(martlet, peer) and not before & spis(martlet), "Martlet has authenticated anew", 30)
        carries(lab, martlet, peer, bytes_each=50_000)
    with facing(settings="make_before_break = yes") as (lab, martlet, peer):
        peer.up()
        wait(lambda: calm(martlet, peer), "the tunnel is up")
        before, pings = spis(martlet), Pings(lab)
        peer.rekey(ike="peer", reauth=True)
        wait(lambda: calm(martlet, peer) and not before & spis(martlet), "strongSwan has authenticated anew", 30)
        lost = pings.lost()
        expect(lost == 0, f"strongSwan authenticates anew: {lost} pings were lost")


def overlapping(lab, a, b, asking, at_most, what, times=1, several=False):
    """Every end is asked to authenticate anew, all at once, `times` in a row; then both hold the same. `several`: each end may keep an IKE SA that it began itself."""
    wait(lambda: calm(a, b), f"{what}: the tunnel is up")
    before, pings = spis(a), Pings(lab)
    for _ in range(times):
        with concurrent.futures.ThreadPoolExecutor(len(asking)) as pool:
            for asked in [pool.submit(ask) for ask in asking]:
                # What fails in its thread fails here.
                asked.result()
        # So soon that the ones before are still under way, or their IKE SAs on their way out.
        time.sleep(0.3)
    wait(lambda: spis(a) == spis(b) and spis(a) and not before & spis(a) and (several or calm(a, b)), f"{what}: both have other IKE SAs, and the same", 40)
    lost = pings.lost()
    print(f"     {what}: {lost} pings lost", flush=True)
    expect(lost <= at_most, f"{what}: {lost} pings were lost")
    carries(lab, a, b, bytes_each=50_000)


def test_both_ends_at_once():
    """New authentications that overlap. The responder can only ask for one, if it is Martlet; strongSwan as the responder begins one itself."""

    def ours(gateway):
        return lambda: gateway.vici("rekey", {"ike": "peer", "reauth": "yes"})

    with pair() as (lab, east, west):
        east.up()
        overlapping(lab, east, west, [ours(east), ours(west)], 0, "two Martlets", times=4)
    for first in ("Martlet", "strongSwan"):
        with facing(settings="make_before_break = yes") as (lab, martlet, peer):
            (martlet if first == "Martlet" else peer).up()
            # strongSwan as the responder sends on the new pair before its answer is here. As the initiator it may follow AUTH_LIFETIME and its own operator with an IKE SA each.
            lost = 3 if first == "Martlet" else 0
            overlapping(lab, martlet, peer, [ours(martlet), lambda: peer.rekey(ike="peer", reauth=True)], lost, f"with strongSwan, {first} has begun", several=True)


def test_martlet_without_a_child():
    """RFC 6023: the child follows in an exchange of its own."""
    for ours, theirs, childless in (("prefer", "allow", True), ("force", "allow", True), ("prefer", "never", False), ("allow", "allow", False)):
        with facing(martlet=dict(connection=f"childless = {ours}"), peer=dict(connection=f"childless = {theirs}")) as (lab, martlet, peer):
            martlet.up()
            wait(lambda: calm(martlet, peer), "the tunnel is up")
            expect(peer.logged("parsed CREATE_CHILD_SA request") == childless, f"childless = {ours} against {theirs}: CREATE_CHILD_SA or not")
            carries(lab, martlet, peer, bytes_each=20_000)
    with facing(martlet=dict(connection="childless = force"), peer=dict(connection="childless = never")) as (lab, martlet, peer):
        said = martlet.up(check=False)
        expect(said.returncode != 0 and "without a child" in said.stdout + said.stderr, lambda: f"childless = force against never: {said}")


def test_strongswan_without_a_child():
    for theirs, ours, childless in (("force", "allow", True), ("force", "force", True), ("allow", "prefer", False)):
        with facing(martlet=dict(connection=f"childless = {ours}"), peer=dict(connection=f"childless = {theirs}")) as (lab, martlet, peer):
            peer.up()
            wait(lambda: calm(martlet, peer), "the tunnel is up")
            expect(peer.logged("generating CREATE_CHILD_SA request") == childless, f"childless = {theirs} against {ours}: CREATE_CHILD_SA or not")
            carries(lab, martlet, peer, bytes_each=20_000)
