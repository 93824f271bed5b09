"""Leases that outlive the daemon, users who return, pools that are full; and name servers that this host is told of."""

import os
import shutil
import signal
import sqlite3

from lab import carries, connections, expect, outer, pair, wait
from strongswan import facing

POOLS = "pools { rw { addrs = 10.3.0.0/24\n dns = 10.2.0.53\n dns_domain = corp.example, lab.example } six { addrs = fd03::/64 } one { addrs = 10.4.0.1-10.4.0.1 } }"
CLIENT = dict(local_ts="dynamic", remote_ts="10.2.0.0/16,fd02::/64", connection="vips = 0.0.0.0")
GATEWAY = dict(local_ts="10.2.0.0/16,fd02::/64", remote_ts="dynamic", connection="pools = rw, six", remote_id="%any")


def as_user(client, name, ike="peer"):
    """Starts the client anew with another identity, brings the tunnel up, and returns its inner address."""
    if client.process is not None and client.process.poll() is None:
        client.stop()
    client.write(client.text.replace("@east.example", f"@{name}.example"))
    client.start()
    client.cli("up", "site")
    return client.sas()[0]["children"][0]["local_selectors"][0].split("/")[0]


def prepare(a, b, pools=POOLS):
    a.text = a.file.read_text()
    b.write(b.file.read_text() + pools)
    b.start()


def database(gateway):
    return gateway.folder / "state" / "leases.db"


def test_users_return_after_a_restart():
    with pair(east=CLIENT, west=GATEWAY, start=False) as (lab, a, b):
        prepare(a, b)
        first = {name: as_user(a, name) for name in ("anna", "boris", "carl")}
        expect(sorted(first.values()) == ["10.3.0.1", "10.3.0.2", "10.3.0.3"], f"the addresses are {first}")
        b.stop()
        file = database(b)
        expect(file.stat().st_mode & 0o777 == 0o600 and [f.name for f in file.parent.iterdir()] == ["leases.db"], "the file is not as it should be after an orderly end")
        with sqlite3.connect(file) as leases:
            kept = leases.execute("SELECT address, identity, online FROM leases ORDER BY address").fetchall()
        expect(kept == [("10.3.0.1", b"anna.example", 0), ("10.3.0.2", b"boris.example", 0), ("10.3.0.3", b"carl.example", 0)], f"the file has {kept}")
        b.start()
        expect(as_user(a, "dora") == "10.3.0.4", "a new user gets what somebody may come back for")
        again = {name: as_user(a, name) for name in ("carl", "anna", "boris")}
        expect(again == first, f"the addresses were {first} and are {again}")
        carries(lab, a, b, source=again["boris"], bytes_each=100_000)


def test_users_return_after_a_kill():
    with pair(east=CLIENT, west=GATEWAY, start=False) as (lab, a, b):
        prepare(a, b)
        as_user(a, "anna")
        expect(as_user(a, "boris") == "10.3.0.2", "the second user's address")

        def written():
            with sqlite3.connect(f"file:{database(b)}?mode=ro", uri=True) as leases:
                return leases.execute("SELECT count(*) FROM leases WHERE online = 1").fetchone()[0] == 1

        wait(written, "the lease is in the file while the daemon runs", 10)
        b.kill()
        b.start()
        with sqlite3.connect(database(b)) as leases:
            expect(leases.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the file is damaged")
        expect(as_user(a, "carl") == "10.3.0.3", "a new user gets the address of one who was online")
        expect(as_user(a, "boris") == "10.3.0.2", "a user who was online has another address")
        expect(as_user(a, "anna") == "10.3.0.1", "a user who was offline has another address")


def test_a_client_leaves_the_file_to_the_gateway():
    shared = {"gateway": "leases = @FOLDER@/../shared.db"}
    with pair(east={**CLIENT, **shared}, west={**GATEWAY, **shared}, start=False) as (lab, a, b):
        a.start()
        expect(not (lab.folder / "shared.db").exists(), "a gateway that lends nothing has made a database")
        a.stop()
        prepare(a, b)
        expect(as_user(a, "anna") == "10.3.0.1", "no address is lent")
        b.stop()
        b.start()
        expect(as_user(a, "boris") == "10.3.0.2" and "leases are in memory alone" not in a.log() + b.log(), "the file was not the gateway's")


def test_a_file_that_is_no_database_stops_nobody():
    with pair(east=CLIENT, west={**GATEWAY, "gateway": "leases = @FOLDER@/notes"}, start=False) as (lab, a, b):
        (b.folder / "notes").write_text("These are not leases.\n")
        prepare(a, b)
        expect(as_user(a, "anna") == "10.3.0.1", "no address is lent")
        carries(lab, a, b, source="10.3.0.1", bytes_each=100_000)
        expect((b.folder / "notes").read_text() == "These are not leases.\n", "the file was changed")
        said = [line for line in b.log().splitlines() if "notes" in line]
        expect(len(said) == 1 and "it is no database of leases" in said[0], lambda: f"the log says {said}")


def test_a_full_pool_is_explained():
    second = connections("east", **{**outer("east"), **CLIENT}, local_id="@second.example", peer="other", name="more").replace("ike-peer", "ike-other")
    with pair(east=CLIENT, west={**GATEWAY, "connection": "pools = one"}, start=False) as (lab, a, b):
        a.write(a.file.read_text() + second)
        prepare(a, b)
        a.start()
        a.cli("up", "site")
        said = a.cli("up", "more", check=False)
        expect(said.returncode != 0 and "INTERNAL_ADDRESS_FAILURE" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
        for words in ("No IPv4 address is left for second.example", "the pool one (10.4.0.1 to 10.4.0.1) has lent 1 of its 1: 10.4.0.1 to east.example"):
            expect(b.logged(words), lambda: f"the gateway does not say: {words}")
        # It comes back with its IKE SA.
        a.cli("down", "peer")
        a.cli("up", "more")
        expect(a.sas()[0]["children"][0]["local_selectors"] == ["10.4.0.1/32"], "the address has not come back")


def test_what_is_left_of_two_families():
    second = connections("east", **{**outer("east"), **CLIENT, "connection": "vips = 0.0.0.0, ::"}, local_id="@second.example", peer="other", name="more").replace("ike-peer", "ike-other")
    with pair(east=CLIENT, west={**GATEWAY, "connection": "pools = one, six"}, start=False) as (lab, a, b):
        a.write(a.file.read_text() + second)
        prepare(a, b)
        a.start()
        a.cli("up", "site")
        a.cli("up", "more")
        given = [sa["children"][0]["local_selectors"] for sa in a.sas() if sa["name"] == "other"]
        expect(given == [["fd03::1/128"]], lambda: f"the client has {given}")
        said = [line for line in b.log().splitlines() if "No IPv4 address is left for second.example" in line]
        expect(len(said) == 1 and "the pool one (10.4.0.1 to 10.4.0.1) has lent 1 of its 1" in said[0], lambda: f"the log says {said}")
        lab.ping("east", "fd02::1", source="fd03::1")


def test_strongswan_users_of_several_pools():
    second = connections("east", **{**outer("east"), **CLIENT, "connection": "vips = 0.0.0.0, ::"}, local_id="@second.example", peer="other", name="more").replace("ike-peer", "ike-other")
    with facing(martlet_host="west", martlet={**GATEWAY, "connection": "pools = one, rw, six\n unique = never"}, peer={**CLIENT, "connection": "vips = 0.0.0.0, ::"}, settings="make_before_break = yes", start=False) as (
        lab, martlet, peer,
    ):
        martlet.write(martlet.file.read_text() + POOLS)
        martlet.start()
        peer.write(peer.file.read_text() + second)
        peer.start()
        peer.up()
        peer.up("more")

        def addresses():
            return {sa["uniqueid"]: (sa["local-id"], sa["local-vips"]) for sa in peer.list_sas()}

        expect(sorted(addresses().values()) == [("east.example", ["10.4.0.1", "fd03::1"]), ("second.example", ["10.3.0.1", "fd03::2"])], lambda: f"strongSwan has {addresses()}")
        before = set(addresses())
        # It authenticates itself again before it ends what it has, and asks for what it has.
        peer.rekey(ike="other", reauth=True)
        wait(lambda: len(addresses()) == 2 and set(addresses()) != before, "strongSwan has authenticated itself again", 15)
        expect(sorted(addresses().values()) == [("east.example", ["10.4.0.1", "fd03::1"]), ("second.example", ["10.3.0.1", "fd03::2"])], lambda: f"strongSwan has {addresses()}")
        lab.ping("east", "10.2.0.1", source="10.3.0.1")


def fake(gateway, *names):
    """Programs in front of PATH that write down how they are called."""
    folder, calls = gateway.folder / "bin", gateway.folder / "calls"
    folder.mkdir()
    for name in names:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{calls}\nsed "s/^/    /" >>{calls}\n')
        program.chmod(0o755)
    if not names:
        # What starts the daemon, and nothing of the machine's that could be told.
        (folder / "ip").symlink_to(shutil.which("ip"))
    gateway.environment = {"PATH": f"{folder}:{os.environ['PATH']}" if names else str(folder)}
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def test_name_servers_go_to_resolved():
    with pair(east={**CLIENT, "gateway": "resolver = resolved"}, west=GATEWAY, start=False) as (lab, a, b):
        prepare(a, b)
        calls = fake(a, "resolvectl")
        a.start()
        a.cli("up", "site")
        told = ["resolvectl dns martlet0 10.2.0.53", "resolvectl domain martlet0 corp.example lab.example", "resolvectl default-route martlet0 no"]
        wait(lambda: calls() == told, "resolved is told of the name servers", 10)
        # A rekey changes nothing.
        a.cli("rekey", "peer")
        wait(lambda: a.logged("IKE SA rekeyed"), "the IKE SA is rekeyed", 10)
        a.cli("down", "peer")
        wait(lambda: calls() == [*told, "resolvectl revert martlet0"], "resolved is told that they are gone", 10)
        # The end of the daemon takes them back too.
        a.cli("up", "site")
        wait(lambda: len(calls()) == 7, "resolved is told again", 10)
        a.stop()
        expect(calls()[7:] == ["resolvectl revert martlet0"], lambda: f"at the end of the daemon: {calls()[7:]}")


def test_name_servers_of_strongswan():
    pools = """pools { rw { addrs = 10.3.0.0/24
        dns = 10.2.0.53
        25 = corp.example, "-h", "a b", "x;touch /tmp/martlet-was-here", lab.example
        28675 = corp.example }
        six { addrs = fd03::/64
        dns = fd02::53 } }"""
    with facing(martlet_host="east", martlet={**CLIENT, "connection": "vips = 0.0.0.0, ::", "gateway": "resolver = auto"}, peer={**GATEWAY, "remote_id": None}, start=False) as (lab, martlet, peer):
        peer.write(peer.file.read_text() + pools)
        peer.start()
        calls = fake(martlet, "resolvectl")
        martlet.start()
        martlet.cli("up", "site")
        told = ["resolvectl dns martlet0 10.2.0.53 fd02::53", "resolvectl domain martlet0 corp.example lab.example", "resolvectl default-route martlet0 no"]
        wait(lambda: calls() == told, "resolved is told what strongSwan says", 10)
        carries(lab, martlet, peer, source="10.3.0.1", bytes_each=100_000)
        # The peer ends the tunnel.
        peer.down()
        wait(lambda: calls() == [*told, "resolvectl revert martlet0"], "resolved is told that they are gone", 10)


def test_name_servers_of_a_daemon_that_was_killed():
    with pair(east={**CLIENT, "gateway": "resolver = resolvconf"}, west=GATEWAY, start=False) as (lab, a, b):
        prepare(a, b)
        calls = fake(a, "resolvconf")
        a.start()
        a.cli("up", "site")
        told = ["resolvconf -a martlet0.martlet", "    nameserver 10.2.0.53", "    search corp.example lab.example"]
        wait(lambda: calls() == told, "resolvconf is told of the name servers", 10)
        a.kill()
        a.start()
        wait(lambda: calls() == [*told, "resolvconf -d martlet0.martlet"], "the next start takes them back", 10)


def test_name_servers_that_nobody_can_be_told_of():
    with pair(east={**CLIENT, "gateway": "resolver = auto"}, west=GATEWAY, start=False) as (lab, a, b):
        prepare(a, b)
        fake(a)
        a.start()
        a.cli("up", "site")
        wait(lambda: a.logged("the name servers 10.2.0.53 are not set up, and names of the other network are unknown here: there is no resolvectl in PATH, and there is no resolvconf in PATH"), "a warning", 10)
        carries(lab, a, b, source="10.3.0.1", bytes_each=100_000)
        a.signal(signal.SIGTERM)
        expect(a.process.wait(timeout=10) == 0, "the daemon did not end well")
