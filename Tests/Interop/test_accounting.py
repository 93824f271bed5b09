"""Accounting: what the observer's file says of users who come, carry packets and go, each in its own way."""

import contextlib
import json
import signal

from lab import Lab, carries, expect, print_tails, run, wait
from strongswan import PLUGINS, StrongSwan
from test_eap import EAP_PLUGINS, GTC_BACKEND, PASSWORD, client, martlet, server, users

OBSERVER = "plugins { observer { accounting_file = accounting/records.jsonl } }\ngateway { accounting_interval = 1s }\n"
CLIENT = f'secrets {{ ike-peer {{ secret = "correct horse battery staple, and more" }}\n eap-own {{ id = carol\n secret = "{PASSWORD}" }} }}\n'


def records(gateway, name="records.jsonl"):
    file = gateway.folder / "accounting" / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def of(gateway, event, name="records.jsonl"):
    return [record for record in records(gateway, name) if record["event"] == event]


def stopped(gateway, count, cause):
    """The last of so many stops, whose cause is as expected."""
    wait(lambda: len(of(gateway, "stop")) == count, f"{count} sessions have ended", 60)
    last = of(gateway, "stop")[-1]
    expect(last["cause"] == cause, lambda: f"not {cause}: {last}")
    return last


@contextlib.contextmanager
def accounted(connection="", peer=True):
    """A gateway that keeps accounts, in west, and a client in east."""
    with Lab() as lab:
        b = martlet(lab, "west", OBSERVER + server(("mschapv2",), connection) + users())
        (b.folder / "accounting").mkdir()
        text = client(("mschapv2",)) + CLIENT
        a = StrongSwan(lab, "east", text, plugins=GTC_BACKEND, load=EAP_PLUGINS) if peer else martlet(lab, "east", text)
        try:
            b.start()
            a.start()
            yield lab, a, b
        except BaseException:
            print_tails(a, b)
            raise


def test_a_session_from_its_start_to_its_stop():
    with accounted() as (lab, a, b):
        a.up("mschapv2")
        start = wait(lambda: of(b, "start"), "the session is told")[0]
        expect(start["user"] == "carol" and start["connection"] == "mschapv2" and start["role"] == "responder", lambda: start)
        expect(start["addresses"] == ["10.3.0.1"] and start["remote"].startswith("192.0.2.1:") and start["local"].startswith("192.0.2.2:") and "east.example" in start["identity"], lambda: start)
        carries(lab, a, b, source="10.3.0.1", bytes_each=200_000)
        first = wait(lambda: [r for r in of(b, "interim") if r["bytes_in"] >= 200_000], "an interim record has the bytes", 30)[0]
        # New keys of both kinds begin no session, and take no bytes away.
        b.rekey(child="mschapv2")
        b.rekey("mschapv2")
        carries(lab, a, b, source="10.3.0.1", bytes_each=200_000)
        second = wait(lambda: [r for r in of(b, "interim") if r["bytes_in"] >= 400_000], "and grows", 30)[0]
        expect(second["bytes_out"] > first["bytes_out"] >= 200_000 and second["packets_in"] > first["packets_in"], lambda: (first, second))
        totals = {way: sum(int(child[direction]["total-bytes"] if "total-bytes" in child[direction] else 0) for child in b.children()) for way, direction in (("in", "inbound"), ("out", "outbound"))}
        a.down("mschapv2")
        stop = stopped(b, 1, "peer")
        expect(stop["bytes_in"] >= 400_000 and stop["bytes_out"] >= 400_000 and stop["bytes_in"] >= totals["in"], lambda: (stop, totals))
        expect({r["session"] for r in records(b) if "session" in r} == {start["session"]}, "it has become several sessions")
        expect(len(of(b, "start")) == 1 and records(b)[0]["event"] == "begin", lambda: records(b))
        expect(oct((b.folder / "accounting" / "records.jsonl").stat().st_mode & 0o777) == "0o600", "others may read the file")
        expect(PASSWORD not in (b.folder / "accounting" / "records.jsonl").read_text(), "a password is in the file")


def test_each_end_has_its_own_cause():
    with accounted("dpd_delay = 1s") as (_, a, b):
        a.up("mschapv2")
        wait(lambda: b.children(), "carol is in")
        b.down("mschapv2")
        stopped(b, 1, "operator")
        a.up("mschapv2")
        wait(lambda: b.children(), "carol is in again")
        # Nobody is there any more.
        a.kill()
        stopped(b, 2, "no-answer")
        a.start()
        a.up("mschapv2")
        wait(lambda: b.children(), "carol is back")
        b.stop()
        stopped(b, 3, "daemon")
        expect(records(b)[-1]["event"] == "end", lambda: records(b))
        b.start()
        a.kill()
        a.start()
        a.up("mschapv2")
        wait(lambda: len(of(b, "start")) == 4, "another life tells of sessions as well")
        expect(len({record["session"] for record in of(b, "start")}) == 4, "two sessions have one name")


def test_a_daemon_whose_peers_are_gone_still_tells_their_end():
    with accounted() as (_, a, b):
        a.up("mschapv2")
        wait(lambda: b.children(), "carol is in")
        a.kill()
        b.stop(20)
        stopped(b, 1, "daemon")


def test_files_that_are_moved_away_and_disks_that_are_full():
    with accounted() as (lab, a, b):
        folder = b.folder / "accounting"
        a.up("mschapv2")
        wait(lambda: of(b, "start"), "the session is told")
        (folder / "records.jsonl").rename(folder / "old.jsonl")
        b.signal(signal.SIGHUP)
        wait(lambda: of(b, "interim"), "records go to a new file", 30)
        expect(not of(b, "begin") and of(b, "start", "old.jsonl"), "they were mixed up")
        # A disk without room: nobody is kept from coming or going, and what was not written is counted.
        disk = b.folder / "small"
        disk.mkdir()
        lab.inside("west", "true")
        b.stop()
        b.write(b.file.read_text().replace("accounting/records.jsonl", "small/records.jsonl"))
        run("mount", "-t", "tmpfs", "-o", "size=16k", "none", disk)
        try:
            (disk / "ballast").write_bytes(b"x" * 4096 * 4)
            a.kill()
            a.start()
            b.start()
            a.up("mschapv2")
            wait(lambda: b.children(), "carol is in without a record")
            wait(lambda: "records of accounting are lost" in b.log(), "the log says so")
            a.down("mschapv2")
            wait(lambda: not b.sas(), "carol goes")
            (disk / "ballast").unlink()
            a.up("mschapv2")
            told = wait(lambda: [json.loads(line) for line in (disk / "records.jsonl").read_text().splitlines()][:2], "there is room again", 30)
            expect(told[0]["event"] == "lost" and told[0]["records"] >= 2, lambda: told)
            expect(b.log().count("records of accounting are lost") == 1, "the log repeats itself")
            b.stop()
        finally:
            run("umount", "-l", disk)
