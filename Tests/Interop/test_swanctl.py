"""Debian's swanctl against martletd: everything that an administrator types, with the same answers as from charon."""

import contextlib
import time

from lab import carries, connections, expect, outer, pair, wait
from strongswan import facing
from swanctl import BARE, Swanctl, expect_lines
from vicisocket import ViciSocket


@contextlib.contextmanager
def managed(text=None, **settings):
    """A martletd without connections, a strongSwan opposite, and swanctl with a swanctl.conf: `lab, martlet, peer, swanctl`."""
    with facing(start=False) as (lab, ours, theirs):
        ours.write(BARE)
        theirs.start()
        ours.start()
        swanctl = Swanctl(ours)
        swanctl.write(text or connections("east", **{**outer("east"), **settings}))
        yield lab, ours, theirs, swanctl


def identities(gateway):
    """What tells one set of SAs from another."""
    return sorted((sa["uniqueid"], sorted((child["spi-in"], child["spi-out"]) for child in sa["child-sas"].values())) for event in gateway.vici("list-sas", events="list-sa") for sa in event.values())


def test_load_all_is_a_tunnel():
    with managed() as (lab, ours, theirs, swanctl):
        expect_lines(swanctl("--load-all"), r"^loaded ike secret 'ike-peer'$", r"^no authorities found, 0 unloaded$", r"^no pools found, 0 unloaded$", r"^loaded connection 'peer'$", r"^successfully loaded 1 connections, 0 unloaded$")
        expect_lines(swanctl("--initiate", "--child", "site"), r"^\[IKE\] .*initiating", r"^\[IKE\] .*established", r"^\[CHD\] child site\{\d+\} up", r"^initiate completed successfully$")
        carries(lab, ours, theirs)
        before = identities(ours)
        # As cron and configuration management do: again and again.
        for _ in range(2):
            expect_lines(swanctl("--load-all"), r"^successfully loaded 1 connections, 0 unloaded$")
        expect(identities(ours) == before, "loading the same again has disturbed the tunnel")
        # What is gone from the file is unloaded; what somebody initiated lives on.
        swanctl.write(swanctl.file.read_text().replace("    peer {", "    other {").replace("ike-peer", "ike-other"))
        expect_lines(swanctl("--load-all"), r"^loaded ike secret 'ike-other'$", r"^loaded connection 'other'$", r"^successfully loaded 1 connections, 1 unloaded$")
        expect(ours.vici("get-conns")["conns"] == ["other"] and ours.vici("get-shared")["keys"] == ["ike-other"], "the lists of what was loaded are wrong")
        expect(identities(ours) == before, "unloading a connection has ended a tunnel that an operator began")


def test_parts_of_load_all():
    with managed() as (lab, ours, theirs, swanctl):
        expect_lines(swanctl("--load-conns"), r"^successfully loaded 1 connections, 0 unloaded$")
        swanctl.fails("--initiate", "--child", "site", says="secret")
        expect_lines(swanctl("--load-creds", "--noprompt"), r"^loaded ike secret 'ike-peer'$")
        expect_lines(swanctl("--load-pools"), r"^no pools found, 0 unloaded$")
        expect_lines(swanctl("--load-authorities"), r"^no authorities found, 0 unloaded$")
        swanctl("--initiate", "--child", "site")
        expect_lines(swanctl("--rekey", "--child", "site"), r"^rekey completed successfully$")
        expect_lines(swanctl("--rekey", "--ike", "peer"), r"^rekey completed successfully$")
        swanctl.fails("--rekey", "--ike", "nobody", says="rekey failed")
        expect_lines(swanctl("--terminate", "--child", "site"), r"^terminate completed successfully$")
        expect_lines(swanctl("--terminate", "--ike", "peer", "--timeout", "5"), r"^\[IKE\] IKE SA closed", r"^terminate completed successfully$")
        swanctl.fails("--terminate", "--ike", "peer", says="terminate failed")
        # Secrets that clients loaded, and no others.
        swanctl.write("secrets { }")
        swanctl("--load-creds", "--clear", "--noprompt")
        expect(ours.vici("get-shared")["keys"] == [], "a secret is left")
        swanctl.fails("--initiate", "--child", "site", says="secret")


def test_what_is_wrong_is_refused_by_name():
    with managed() as (lab, ours, theirs, swanctl):
        good = swanctl.file.read_text()
        swanctl("--load-all")
        swanctl("--initiate", "--child", "site")
        before = identities(ours), ours.vici("list-conns", events="list-conn")
        for old, new, says in (
            ("mode = ", "mode = transport", "peer.children.site.mode: 'mode = transport'"),
            ("", "if_id_in = 7", "peer.if_id_in: 'if_id_in = 7' cannot be: the data plane tun"),
            ("", "remote_adrs = 192.0.2.9", "peer.remote_adrs: a connection has no key 'remote_adrs'; did you mean 'remote_addrs'?"),
            ("", "rekey_time = soon", "peer.rekey_time: 'rekey_time' is a time"),
        ):
            where = "esp_proposals" if old else "proposals = aes256gcm16-prf"
            swanctl.write(good.replace(where, new + "\n" + where, 1))
            swanctl.fails("--load-conns", says=("loading connection 'peer' failed: " + says,))
        swanctl.write(good + "secrets { ppk-user { id = user\n secret = password }\n}")
        # swanctl goes on after a secret that is refused, and says so.
        expect("loading shared secret failed: postquantum" in swanctl.result("--load-creds").stderr, "a postquantum secret was taken")
        expect((identities(ours), ours.vici("list-conns", events="list-conn")) == before, "a refused load has changed something")
        # What is not there yet is said so.
        swanctl.write(good + "authorities { ca { crl_uris = http://ca.example/crl } }")
        swanctl.fails("--load-authorities", says="certificate")
        swanctl.fails("--redirect", "--ike", "peer", "--gateway", "192.0.2.9", says="redirect")


def test_two_sources_one_configuration():
    with facing() as (lab, ours, theirs):
        swanctl = Swanctl(ours)
        both = connections("east", **outer("east"))
        swanctl.write(both)
        swanctl.fails("--load-conns", says=("the connection 'peer' is configured in", "martlet.conf:"))
        expect("the secret 'ike-peer' is configured in" in swanctl.result("--load-creds").stderr, "a secret of the files was replaced")
        expect(ours.vici("get-conns")["conns"] == [] and ours.vici("get-shared")["keys"] == [], "a client's list names what the files have")
        # Beside the files. `--load-all` unloads what its own files lack, and must not meet the others.
        swanctl.write(connections("east", **{**outer("east"), "peer": "second", "name": "other"}).replace("ike-peer", "ike-second"))
        expect_lines(swanctl("--load-all"), r"^successfully loaded 1 connections, 0 unloaded$")
        listed = swanctl("--list-conns")
        expect_lines(listed, r"^peer: IKEv2", r"^second: IKEv2")
        # The files are read again: what clients loaded stays.
        swanctl("--reload-settings")
        expect(swanctl("--list-conns") == listed and ours.vici("get-conns")["conns"] == ["second"], "reading the files again has changed what clients loaded")
        # A file that takes a client's name is refused, as is one that is wrong; the running configuration stays.
        good = ours.file.read_text()
        ours.write(good.replace("    peer {", "    second {"))
        expect("a client has loaded a connection of the name 'second' too" in ours.vici("reload-settings").get("errmsg", ""), "the same name in both was taken")
        ours.write(good.replace("proposals = aes", "proposals = aex"))
        expect("aex256gcm16" in ours.vici("reload-settings").get("errmsg", ""), "a wrong file is not explained")
        expect(swanctl("--list-conns") == listed, "a refused file has changed something")
        ours.write(good)
        expect(ours.vici("unload-conn", {"name": "peer"})["errmsg"].count("martlet.conf"), "a client unloaded what a file has")
        expect(ours.vici("unload-conn", {"name": "second"}) == {"success": "yes"}, "a loaded connection cannot be unloaded")


def test_pools():
    with managed() as (lab, ours, theirs, swanctl):
        good = swanctl.file.read_text()
        pool = "pools { rw { addrs = 10.9.0.0/24\n dns = 10.1.0.53, 10.1.0.54 } }"
        swanctl.write(good.replace("children {", "pools = rw\n children {", 1) + pool)
        swanctl.fails("--load-conns", says="peer.pools: there is no pool 'rw'")
        expect_lines(swanctl("--load-all"), r"^loaded pool 'rw'$", r"^successfully loaded 1 pools, 0 unloaded$", r"^loaded connection 'peer'$")
        expect_lines(swanctl("--list-pools"), r"^rw +10\.9\.0\.1 +0 / 0 / 254$")
        swanctl.write(good + pool.replace("10.9.0.0/24", "10.9.0.0/33"))
        swanctl.fails("--load-pools", says="loading pool 'rw' failed: ")
        swanctl.write(good)
        # Pools go before connections are loaded: the old connection still names it, and is named.
        done = swanctl.result("--load-all")
        expect("the connection 'peer' names the pool 'rw'" in done.stderr, f"a pool in use is unloaded: {done}")
        expect_lines(done.stdout, r"^successfully loaded 1 connections, 0 unloaded$")
        expect_lines(swanctl("--load-all"), r"^successfully loaded 1 connections, 0 unloaded$")
        expect(swanctl("--list-pools") == "" and ours.vici("get-pools") == {}, "the pool is left")


def test_start_action_begins_on_load():
    with managed(child="start_action = start") as (lab, ours, theirs, swanctl):
        swanctl("--load-all")
        wait(ours.children, "the child is up")
        before = identities(ours)
        swanctl("--load-all")
        expect(identities(ours) == before, "loading the same again has begun something")
        # charon ends what start_action began when its connection goes.
        swanctl.write("")
        swanctl("--load-conns")
        wait(lambda: not ours.sas(), "the tunnel ends with its connection")


def test_traps():
    with managed() as (lab, ours, theirs, swanctl):
        swanctl("--load-all")
        expect(swanctl("--list-pols") == "", "a policy is listed before there is one")
        swanctl.fails("--install", "--child", "nobody", says="nobody")
        expect_lines(swanctl("--install", "--child", "site"), r"^install completed successfully$")
        expect_lines(swanctl("--list-pols"), r"^peer/site, TUNNEL$", r"^  local:  10\.1\.0\.0/16$", r"^  remote: 10\.2\.0\.0/16$")
        expect(swanctl("--list-pols", "--child", "other") == "" and swanctl("--list-pols", "--drop", "--pass") == "", "the filters do not hold")
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=20, check=False)
        wait(ours.children, "a packet brings the child up")
        expect_lines(swanctl("--uninstall", "--child", "site"), r"^uninstall completed successfully$")
        swanctl.fails("--uninstall", "--child", "site", says="uninstall failed")
        expect(swanctl("--list-pols") == "", "the policy is still listed")


def test_initiate_says_why():
    with managed(secret="another secret than the other end has") as (lab, ours, theirs, swanctl):
        swanctl("--load-all")
        text = swanctl.fails("--initiate", "--child", "site", says=("initiate failed: ", "[IKE]"))
        expect("authentication-failed" in text or "refused" in text, text)
        swanctl.fails("--initiate", "--child", "sight", says="There is no child sight")
        quiet = swanctl.fails("--initiate", "--child", "site", "--loglevel", "-1")
        expect("[IKE]" not in quiet, f"--loglevel -1 is not silent: {quiet}")
        # Nobody answers: the command ends at its time-out and says so, the attempt goes on.
        theirs.kill()
        begun = time.monotonic()
        swanctl.fails("--initiate", "--child", "site", "--timeout", "1", says="not done after its time-out")
        expect(time.monotonic() - begun < 15, "the time-out is not kept")


def test_streams():
    with managed() as (lab, ours, theirs, swanctl):
        monitor, log, raw = swanctl.listen("--monitor-sa"), swanctl.listen("--log"), swanctl.listen("--monitor-sa", "--raw")
        # Registered: the daemon has answered whatever came before.
        wait(lambda: len(clients(ours)) >= 3, "three listeners")
        swanctl("--load-all")
        swanctl("--initiate", "--child", "site")
        swanctl("--rekey", "--child", "site")
        swanctl("--rekey", "--ike", "peer")
        swanctl("--terminate", "--ike", "peer")
        wait(lambda: "ike-updown" in raw.seen() and raw.seen().count("ike-updown") >= 2, "both ends of the IKE SA are told")
        expect_lines(raw.seen(), r"^ike-updown event \{up=yes peer \{", r"^child-updown event \{up=yes peer \{", r"^child-updown event \{peer \{", r"^ike-updown event \{peer \{")
        expect(raw.seen().count("updown event") == 4, f"a rekey is no end and no beginning:\n{raw.seen()}")
        # Three processes: each prints in its own time.
        wait(lambda: "IKE SA closed" in log.seen() and "site" in monitor.seen() and "peer" in monitor.seen(), "--log and --monitor-sa show it as well")
        expect_lines(log.seen(), r"load-conn 'peer'", r"established", r"child site\{\d+\} up")
        for process in (monitor, log, raw):
            process.terminate()
            process.wait()
        expect(ours.vici("version")["daemon"] == "martletd", "the daemon has suffered from listeners that left")


def test_alerts():
    """What a monitoring program is told: each wrong once, by its type."""
    with managed(secret="another secret than the other end has") as (lab, ours, theirs, swanctl):
        swanctl("--load-all")
        good = swanctl.file.read_text()
        with ViciSocket(ours.socket) as watcher:
            watcher.listen("alert")

            def alert(seconds=20):
                return next(watcher.events(seconds))[1]

            swanctl.fails("--initiate", "--child", "site")
            told = alert()
            expect(told["type"] == "local-auth-failed" and told["ike-sa"]["peer"]["remote-host"] == "192.0.2.2", f"a secret that differs: {told}")
            swanctl.write(good.replace("proposals = aes256gcm16-prfsha256-x25519", "proposals = aes256gcm16-prfsha384-x25519", 1))
            swanctl("--load-conns")
            swanctl.fails("--initiate", "--child", "site")
            expect(alert()["type"] == "proposal-mismatch-ike", "proposals that differ")


def test_a_peer_that_moves():
    """The NAT before a peer gets another address: without MOBIKE the tunnel follows, and programs are told where it was and where it is. RFC 7296 section 2.23."""
    with pair(nat=True, both={"connection": "mobike = no"}) as (lab, east, west):
        east.up()
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        with ViciSocket(west.socket) as watcher:
            watcher.listen("ike-update")
            lab.ip("nat", "addr", "add", "192.0.2.9/24", "dev", "to-west")
            lab.ip("nat", "addr", "del", "192.0.2.1/24", "dev", "to-west")
            lab.ip("nat", "addr", "replace", "192.0.2.9/24", "dev", "to-west")
            # What comes through the tunnel says where the peer is. With MOBIKE it would say so of ESP alone (RFC 4555 section 3.8).
            lab.ping("east", "10.2.0.1", source="10.1.0.1", check=False)
            _, moved = next(watcher.events(20))
            expect(moved["remote-host"] == "192.0.2.9" and moved["peer"]["remote-host"] == "192.0.2.1" and moved["local-host"] == "192.0.2.2", f"ike-update: {moved}")
        expect([sa["remote-host"] for event in west.vici("list-sas", events="list-sa") for sa in event.values()] == ["192.0.2.9"], "list-sas has the old address")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")


def clients(gateway):
    """The descriptors of the daemon's accepted control connections."""
    found = []
    for line in open("/proc/net/unix"):
        words = line.split()
        if words[-1] == str(gateway.socket) and words[3] == "00000000" and words[5] == "03":
            found.append(words[6])
    return found


def test_the_other_lists():
    with managed() as (lab, ours, theirs, swanctl):
        swanctl("--load-all")
        swanctl("--initiate", "--child", "site")
        expect_lines(swanctl("--version"), r"^strongSwan swanctl 5\.9\.8")
        expect_lines(swanctl("--version", "--daemon"), r"martletd \(Linux, ")
        expect_lines(swanctl("--stats"), r"^uptime: ", r"^worker threads: \d+ total, \d+ idle", r"^IKE_SAs: 1 total, 0 half-open$", r"^loaded plugins: .*openssl")
        expect_lines(swanctl("--list-sas"), r"^peer: #\d+, ESTABLISHED, IKEv2, [0-9a-f]{16}_i\* [0-9a-f]{16}_r$", r"^  local  'east\.example' @ 192\.0\.2\.1\[4500\]$", r"^  AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519$", r"^  site: #\d+, reqid \d+, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256$")
        expect_lines(swanctl("--list-sas", "--noblock"), r"^peer: #\d+, ESTABLISHED, IKEv2", r"^  site: #\d+, reqid \d+, INSTALLED, TUNNEL-in-UDP", r"^    remote 10\.2\.0\.0/16$")
        expect_lines(swanctl("--list-sas", "--pretty"), r"^list-sa event", r"^ +peer \{$", r"^ +state = ESTABLISHED$", r"^ +child-sas \{$", r"^ +state = INSTALLED$", r"^ +remote-ts = \[$", r"^ +10\.2\.0\.0/16$")
        expect(swanctl("--list-sas", "--ike", "nobody") == "" and swanctl("--list-sas", "--ike-id", "99") == "", "the filters do not hold")
        expect_lines(swanctl("--list-conns"), r"^peer: IKEv2, no reauthentication, rekeying every 14400s$", r"^  local pre-shared key authentication:$", r"^    id: east\.example$", r"^  site: TUNNEL, rekeying every 3600s$")
        expect_lines(swanctl("--list-algs"), r"^encryption:$", r"^  AES_CBC\[", r"^aead:$", r"^  AES_GCM_16\[", r"^dh:$", r"^  CURVE_25519\[")
        for word in ("--list-certs", "--list-pools", "--list-authorities"):
            expect(swanctl(word) == "", f"{word} lists what is not there")
        for word in ("--flush-certs", "--reload-settings"):
            swanctl(word)


def memory(pid, text):
    """How often a process's memory holds some bytes."""
    count = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if mode[:2] != "rw":
                continue
            low, high = (int(part, 16) for part in span.split("-"))
            with contextlib.suppress(OSError, ValueError, OverflowError):
                mem.seek(low)
                count += mem.read(high - low).count(text)
    return count


def test_secrets_are_wiped():
    secret = "a secret to look for in memory: 7d1f0c55"
    with managed(secret=secret) as (lab, ours, theirs, swanctl):
        swanctl("--load-all")
        expect(memory(ours.pid, secret.encode()) == 1, lambda: f"the secret stands {memory(ours.pid, secret.encode())} times in the daemon's memory, not once")
        swanctl.write("secrets { }")
        swanctl("--load-creds", "--clear")
        expect(memory(ours.pid, secret.encode()) == 0, "the secret is left in memory after it was cleared")
        expect(secret not in ours.log(), "the secret is in the log")
