"""A peer that breaks every rule, over real UDP, beside a tunnel that goes on: the daemon lives, and holds no more afterwards than before.

The whole matrix of generated cases is the endpoint's (Tests/IKECoreTests/HostileMatrix.swift). Here each payload of each message is wrong in the plain ways, with what
the RFC says to it (hostilecases.py); and octets are spoiled at random, from a seed that is printed.
"""

import json
import pathlib
import random
import sys

from lab import Gateway, Lab, carries, configuration, expect, outer, pair, print_tails, wait

PEER = pathlib.Path(__file__).with_name("hostilepeer.py")
CASES = pathlib.Path(__file__).with_name("hostilecases.py")
# What west knows of mallory: a connection and a secret, and nothing that it trusts more than others.
CONNECTION = """
    mallory {
        local_addrs = 192.0.2.2
        remote_addrs = 192.0.2.1
        proposals = aes256-sha256-modp2048
        keyingtries = 1
        local { auth = psk
 id = @west.example }
        remote { auth = psk
 id = @mallory.example }
        children { mallory { local_ts = 10.2.0.0/16
 remote_ts = 10.9.0.0/16
 esp_proposals = aes256-sha256 }
 second { local_ts = 10.2.0.0/16
 remote_ts = 10.8.0.0/16
 esp_proposals = aes256-sha256 } }
    }
"""
SECRETS = 'ike-mallory { id-1 = @west.example\n id-2 = @mallory.example\n secret = "what mallory was given" }'


def with_mallory(text):
    text = text.replace("connections {", "connections {" + CONNECTION, 1)
    return text.replace('secrets { ike-peer { secret', f"secrets {{ {SECRETS}\n ike-peer {{ id-1 = @west.example\n id-2 = @east.example\n secret", 1)


def resident(gateway):
    """KiB."""
    status = pathlib.Path(f"/proc/{gateway.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def seed():
    number = random.SystemRandom().randrange(1_000_000)
    print(f"seed {number}")
    return number


def test_hostile_initiator_beside_a_tunnel():
    with pair(start=False) as (lab, a, b):
        b.write(with_mallory(b.file.read_text()))
        b.start()
        a.start()
        a.cli("up", "site")
        carries(lab, a, b, bytes_each=100_000)

        def attack(rounds):
            said = lab.inside("east", sys.executable, PEER, "initiator", "192.0.2.2", seed(), rounds, check=False, timeout=120)
            expect(said.returncode == 0, lambda: f"the hostile peer says: {said.stderr or said.stdout}")
            done = json.loads(said.stdout)
            print(done)
            return done

        first = attack(12)
        before = resident(b)
        done = attack(24)
        expect(done["octets in"] <= 3 * done["octets out"], f"a stranger sent {done['octets out']} octets and was sent {done['octets in']}")
        expect(b.process.poll() is None, "the daemon has ended")
        # What the first attack did not need already, the second must not add.
        rekeyed = sum(what.get("IKE SAs rekeyed", 0) for what in (first, done))
        wait(lambda: len(b.sas()) <= 1 + rekeyed, f"the honest SA is left, and at most {rekeyed} that were rekeyed", 60)
        expect(resident(b) < before + 8 * 1024, f"{before} KiB were resident, and now {resident(b)}")
        carries(lab, a, b, bytes_each=100_000)
        # An IKE SA that the hostile peer rekeyed holds its child until it is found dead: that child is not the honest tunnel's.
        here = [[child["name"] for child in gateway.children() if child["name"] != "mallory"] for gateway in (a, b)]
        expect(here == [["site"], ["site"]], lambda: f"the honest tunnel has changed: {here}")


def test_hostile_responder():
    with Lab() as lab:
        text = configuration("west", gateway="retransmit_tries = 1", **outer("west"))
        west = Gateway(lab, "west", with_mallory(text)).start()
        try:
            hostile = lab.start("east", sys.executable, PEER, "responder", "-", seed(), 8, stdout=-1, text=True)
            expect(hostile.stdout.readline() == "ready\n", "the hostile peer does not listen")
            tries = 0
            while hostile.poll() is None and tries < 12:
                west.cli("up", "mallory", check=False, timeout=30)
                west.cli("down", "mallory", check=False)
                tries += 1
            said = hostile.communicate(timeout=30)[0]
            print(tries, "tries;", said.strip())
            expect(west.process.poll() is None, "the daemon has ended")
            expect(json.loads(said), "nothing was answered")
            wait(lambda: not west.status()["ike_sas"], "nothing half alive is left", 60)
        except BaseException:
            print_tails(west)
            raise


def wrong_in_every_way(role, cases):
    """`cases`: how many there are of each scene, so that none goes without being missed."""
    with Lab() as lab:
        west = Gateway(lab, "west", with_mallory(configuration("west", gateway="retransmit_tries = 1", **outer("west")))).start()
        try:
            said = lab.inside("east", sys.executable, CASES, role, "192.0.2.2", west.socket, seed(), check=False, timeout=300)
            expect(said.returncode == 0, lambda: f"the hostile peer says: {said.stdout}{said.stderr}")
            tried = json.loads(said.stdout.splitlines()[-1])
            print(tried)
            expect(tried.pop("wrong") == 0, lambda: said.stdout)
            expect(tried == cases, lambda: f"{tried} were tried, and not {cases}")
            expect(west.process.poll() is None, "the daemon has ended")
            wait(lambda: not west.status()["ike_sas"], "nothing half alive is left", 20)
        except BaseException:
            print_tails(west)
            raise


def test_requests_wrong_in_every_way():
    wrong_in_every_way("requests", {"IKE_SA_INIT": 29, "IKE_AUTH": 53, "new child": 37, "rekey of the child": 45, "rekey of the IKE SA": 29, "delete of the child": 12})


def test_responses_wrong_in_every_way():
    wrong_in_every_way("responses", {"IKE_SA_INIT": 29, "IKE_AUTH": 45, "new child": 37, "rekey of the child": 37, "rekey of the IKE SA": 29, "delete of the child": 12})
