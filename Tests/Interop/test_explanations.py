"""What a person is told when one thing is wrong between Martlet and a strongSwan: `martlet up`, `martlet log` and `martlet status` must name the cause, both sides' values, and the line to change."""

import contextlib
import re

from lab import Failed, expect, wait
from strongswan import facing

FILE = r"martlet\.conf:\d+"


def says(place, text, words):
    """Each word, as a regular expression, must stand in the text, however its lines are broken."""
    flat = re.sub(r"\s+", " ", text)
    for word in words:
        expect(re.search(word, flat), lambda: f"{place} does not say {word!r}:\n{text}")
    expect("correct horse" not in text and "another secret" not in text, lambda: f"{place} shows a secret:\n{text}")


def shown(gateway, in_log, in_status):
    """Waits for what `martlet log` and `martlet status` must hold: the refusal is on its way while the peer has its answer already."""
    for command, words in (("log", in_log), ("status", in_status)):
        text = ""

        def has_all():
            nonlocal text
            text = gateway.cli(command).stdout
            return all(re.search(word, re.sub(r"\s+", " ", text)) for word in words)

        with contextlib.suppress(Failed):
            wait(has_all, "it says it", 5)
        says(f"martlet {command}", text, words)


def begun_by_martlet(code, words, martlet=None, peer=None, nat=False, started=True, prepare=None, tries=2):
    """Martlet initiates and fails: all three commands must hold the words."""
    settings = dict(gateway=f"retransmit_tries = {tries}", level="info", **(martlet or {}))
    with facing(martlet=settings, peer=peer, nat=nat, start=False) as (lab, ours, theirs):
        if started:
            theirs.start()
        ours.start()
        if prepare:
            prepare(lab, theirs)
        done = ours.cli("up", "site", check=False, timeout=60)
        text = done.stdout + done.stderr
        expect(done.returncode == 1, lambda: f"up ended with {done.returncode}:\n{text}")
        expect(text.count("->") == len(re.findall(r"^  -> ", text, re.M)) > 0 and "try:" not in text, lambda: f"up says the advice twice, or not at all:\n{text}")
        words = [re.escape(f"({code})"), *words]
        says("martlet up", text, words)
        says("martlet status", ours.cli("status").stdout, words)
        says("martlet log", ours.cli("log").stdout, [f"{code}:", *words[1:]])


def begun_by_strongswan(code, words, martlet=None, peer=None, connection="peer"):
    """strongSwan initiates, and Martlet refuses: its log and its status must hold the words."""
    with facing(martlet=dict(level="info", **(martlet or {})), peer=peer) as (lab, ours, theirs):
        done = theirs.up(check=False, seconds=5)
        expect(done.returncode != 0, lambda: f"swanctl says that it is up:\n{done.stdout}")
        shown(ours, [f"{code}:", *words], [re.escape(f"({code})"), *words])
        if connection:
            says(f"martlet status {connection}", ours.cli("status", connection).stdout, [re.escape(f"({code})"), *words])


IKE = dict(ike="aes128-sha256-modp2048")
GROUP = dict(ike="aes256gcm16-prfsha256-ecp384")
OURS = "aes256gcm16-prfsha256-x25519"
OFFERED = [f"we offered {OURS}", "answered NO_PROPOSAL_CHOSEN", rf"`proposals` \(\S+{FILE}\)", "key exchange", r"no connection loaded for 192\.0\.2\.1"]


def test_ike_proposal():
    begun_by_martlet("no-common-proposal", OFFERED, peer=IKE)


def test_ike_proposal_refused():
    begun_by_strongswan(
        "no-common-proposal",
        ["peer offers aes128-sha256-modp2048", f"connection peer accepts {OURS}", r"key exchange \(there modp2048, here x25519\)", rf"add aes128-sha256-modp2048 to `proposals` \(\S+{FILE}\)", f"have the peer offer {OURS}"],
        peer=IKE,
    )


def test_weak_ike_proposal_refused():
    begun_by_strongswan(
        "no-common-proposal",
        ["peer offers aes128-sha1-modp1024", f"Better have the peer offer {OURS}: what it offers is weak", rf"To accept it nevertheless, add aes128-sha1-modp1024 to `proposals` \(\S+{FILE}\)"],
        peer=dict(ike="aes128-sha1-modp1024"),
    )


def test_ike_proposal_that_no_plugin_has():
    begun_by_strongswan("no-common-proposal", ["peer offers 3des-sha1-modp2048", "cannot be accepted: no loaded plugin has 3des", f"have the peer offer {OURS}"], peer=dict(ike="3des-sha1-modp2048"))


def test_group():
    begun_by_martlet("no-common-proposal", [*OFFERED, "DH group"], peer=GROUP)


def test_group_refused():
    begun_by_strongswan("no-common-proposal", [r"closest pair differs in key exchange \(there ecp384, here x25519\)", rf"add aes256gcm16-prfsha256-ecp384 to `proposals` \(\S+{FILE}\)"], peer=GROUP)


# What comes back is the same for all three: the peer says no more, so that strangers learn nothing.
NOT_BELIEVED = [
    "does not accept that we are east.example", "answered AUTHENTICATION_FAILED", rf"`local.id` \(\S+{FILE}\)", rf"asked for west.example, from `remote.id` \(\S+{FILE}\)",
    rf"secrets may differ: compare `secret` of secrets.ike-peer in \S+{FILE}", "identities may differ: at the peer, the remote identity must be east.example and its own west.example", "peer's log says which",
]


def test_secret():
    begun_by_martlet("authentication-failed", NOT_BELIEVED, peer=dict(secret="another secret entirely"))


def test_secret_refused():
    begun_by_strongswan("authentication-failed", ["says that it is west.example", "the secrets differ", rf"`secret` of secrets.ike-peer in \S+{FILE}", "to the last character"], peer=dict(secret="another secret entirely"))


def test_our_identity():
    begun_by_martlet("authentication-failed", NOT_BELIEVED, peer=dict(remote_id="@north.example"))


def test_our_identity_refused():
    begun_by_strongswan(
        "unknown-identity", ["asks for north.example", "is itself east.example", rf"write north.example to `local.id` \(\S+{FILE}\)", "have the peer expect east.example"], peer=dict(remote_id="@north.example")
    )


def test_the_peers_identity():
    begun_by_martlet("authentication-failed", NOT_BELIEVED, peer=dict(local_id="@south.example"))


def test_the_peers_identity_refused():
    begun_by_strongswan(
        "unknown-identity", ["says that it is south.example", "expects west.example", rf"write south.example to `remote.id` \(\S+{FILE}\)", "have the peer call itself west.example"], peer=dict(local_id="@south.example")
    )


def test_selectors():
    begun_by_martlet(
        "traffic-selectors-unacceptable",
        ["does not allow the networks of site", r"asked for 10\.1\.0\.0/16 here, 10\.2\.0\.0/16 there", "answered TS_UNACCEPTABLE", rf"`local_ts` \(\S+{FILE}\)", rf"`remote_ts` \(\S+{FILE}\)"],
        peer=dict(local_ts="10.7.0.0/16"),
    )


def test_selectors_refused():
    begun_by_strongswan(
        "traffic-selectors-unacceptable",
        [r"peer asks for 10\.1\.0\.0/16 here, 10\.7\.0\.0/16 there", r"child site allows 10\.1\.0\.0/16 here, 10\.2\.0\.0/16 there", rf"add 10\.7\.0\.0/16 to `remote_ts` \(\S+{FILE}\)", r"set the peer's local networks to 10\.2\.0\.0/16"],
        peer=dict(local_ts="10.7.0.0/16"),
    )


def test_esp_proposal():
    begun_by_martlet("no-common-proposal", ["accepts none of the ESP proposals of site", "we offered aes256gcm16; the peer answered NO_PROPOSAL_CHOSEN", rf"`esp_proposals` \(\S+{FILE}\)"], peer=dict(esp="aes128-sha256"))


def test_esp_proposal_refused():
    begun_by_strongswan("no-common-proposal", ["peer offers aes128-sha256", "child site accepts aes256gcm16", rf"add aes128-sha256 to `esp_proposals` \(\S+{FILE}\)", "have the peer offer aes256gcm16"], peer=dict(esp="aes128-sha256"))


def test_pfs():
    """The tunnel comes up, for its first keys need no key exchange of their own; their renewal fails, whoever begins it."""
    with facing(martlet=dict(level="info", esp="aes256gcm16-x25519"), peer=dict(esp="aes256gcm16-ecp384")) as (lab, ours, theirs):
        ours.up()
        done = ours.cli("rekey", "site", check=False)
        words = [r"\(no-common-proposal\)", "we offered aes256gcm16-x25519; the peer answered NO_PROPOSAL_CHOSEN", rf"`esp_proposals` \(\S+{FILE}\)", "shows when keys are renewed"]
        expect(done.returncode == 1, "the rekey succeeds")
        says("martlet rekey", done.stdout + done.stderr, words)
        says("martlet status", ours.cli("status").stdout, ["1 tunnel: 1 up", *words])
        theirs.rekey(child="site")
        words = ["peer offers aes256gcm16-ecp384", r"differs in key exchange \(there ecp384, here x25519\)", rf"add aes256gcm16-ecp384 to `esp_proposals` \(\S+{FILE}\)", "shows when keys are renewed"]
        shown(ours, words, words)


def test_mode():
    """A strongSwan in transport mode finds no selectors for a tunnel between networks, and says so and no more."""
    begun_by_martlet("traffic-selectors-unacceptable", ["answered TS_UNACCEPTABLE", "compare the mode: site is a tunnel here", "mode = tunnel"], peer=dict(child="mode = transport"))


def test_mode_refused():
    begun_by_strongswan("traffic-selectors-unacceptable", ["asks for transport mode", "are tunnels", "mode = tunnel in the peer's child"], peer=dict(child="mode = transport"))


def wall(lab, host, hook, what):
    lab.inside(host, "nft", f"table inet wall {{ chain c {{ type filter hook {hook} priority 0; {what}; }}; }}")


def test_firewall_drops_500():
    begun_by_martlet(
        "no-answer", [r"192\.0\.2\.2 does not answer on UDP port 500", "sent 3 times, and nothing came back", "firewall drop UDP port 500", rf"`remote_addrs` \(\S+{FILE}\)"],
        prepare=lambda lab, peer: wall(lab, "west", "input", "udp dport 500 drop"),
    )


def test_firewall_rejects_500():
    begun_by_martlet(
        "no-answer", [r"a firewall refuses what we send to UDP port 500 of 192\.0\.2\.2", "the peer's host reported"],
        prepare=lambda lab, peer: wall(lab, "west", "input", "udp dport 500 reject with icmpx type admin-prohibited"),
    )


def test_our_own_firewall():
    begun_by_martlet("no-answer", [r"a firewall on this host refuses what we send to UDP port 500 of 192\.0\.2\.2", "nft list ruleset"], prepare=lambda lab, peer: wall(lab, "east", "output", "udp dport 500 drop"))


def test_firewall_drops_4500():
    begun_by_martlet(
        "no-answer", [r"192\.0\.2\.2 answered on UDP port 500, and is silent on UDP port 4500", "IKE_AUTH was sent 3 times", "behind a NAT", "drops UDP port 4500"], nat=True,
        prepare=lambda lab, peer: wall(lab, "nat", "forward", "udp dport 4500 drop"),
    )


def test_peer_down():
    begun_by_martlet("no-answer", [r"nothing listens on UDP port 500 of 192\.0\.2\.2", "the peer's host reported", "Start IKE at the peer"], started=False)


def test_peer_down_over_ipv6():
    addresses = dict(local="2001:db8::1", remote="2001:db8::2")
    begun_by_martlet("no-answer", [r"nothing listens on UDP port 500 of 2001:db8::2", "the peer's host reported", "Start IKE at the peer"], martlet=addresses, started=False)


def test_peer_goes_away():
    """Killed under an established tunnel: what is left says why it is down."""
    with facing(martlet=dict(level="info", gateway="retransmit_tries = 2", connection="dpd_delay = 1s")) as (lab, ours, theirs):
        ours.up()
        theirs.kill()
        wait(lambda: not ours.sas(), "the liveness check has failed", 20)
        words = [r"192\.0\.2\.2 has stopped answering|nothing listens on UDP port 4500", "sent 3 times", "ping|Start IKE"]
        says("martlet status", ours.cli("status").stdout, ["0 up, 1 down", r"\(no-answer\)", *words])
        says("martlet log", ours.cli("log").stdout, ["no-answer:", *words])


def test_name_without_address():
    begun_by_martlet("no-answer", ["name of the peer of peer leads to no address", r"vpn\.nowhere\.invalid", rf"`remote_addrs` \(\S+{FILE}\)", "getent hosts"], martlet=dict(remote="vpn.nowhere.invalid"), started=False)


def test_host_away():
    """Nobody answers on the link: the kernel needs three seconds to be sure."""
    begun_by_martlet("no-answer", [r"the host 192\.0\.2\.77 cannot be reached", "this host reported", "is the host off", rf"`remote_addrs` \(\S+{FILE}\)"], martlet=dict(remote="192.0.2.77"), started=False, tries=4)


def test_no_route():
    begun_by_martlet(
        "no-answer", [r"no route to 192\.0\.2\.2|host 192\.0\.2\.2 cannot be reached", "reported"], prepare=lambda lab, peer: lab.ip("nat", "route", "add", "unreachable", "192.0.2.2/32"), nat=True, started=False
    )


def test_peer_has_it_not_loaded():
    begun_by_martlet("no-common-proposal", [r"has no connection for us", r"no connection loaded for 192\.0\.2\.1"], prepare=lambda lab, peer: peer.vici("unload-conn", {"name": "peer"}))


def test_we_have_none_for_the_peer():
    begun_by_strongswan(
        "no-connection", [r"192\.0\.2\.2 wants to connect to 192\.0\.2\.1", rf"add 192\.0\.2\.2 to `remote_addrs` \(\S+{FILE}\)"], martlet=dict(remote="192.0.2.77"), connection=None
    )
