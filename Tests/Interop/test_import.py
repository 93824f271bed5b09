"""`martlet import`: the two configurations that tutorials show for ipsec.conf, imported, checked, and brought up against a strongSwan with the other half."""

import contextlib
import json
import os
import pty
import re
import subprocess
import tempfile
from pathlib import Path

from lab import BUILD, Gateway, Lab, connections, expect, print_tails, run, wait
from strongswan import StrongSwan
from test_strongswan_algorithms import KEYWORDS

GATEWAY = """
gateway {
    control = @FOLDER@/vici.sock
    state = @FOLDER@/state
    resolver = no
    log { level = debug }
    retransmit_initial = 0.5
}
include imported.conf
"""

SITE_TO_SITE = """
# Two offices with a preshared key, as a tutorial shows it for the gateway of the first.
config setup
        charondebug="all"
        uniqueids=yes

conn office-to-branch
        type=tunnel
        auto=start
        keyexchange=ikev2
        authby=secret
        left=192.0.2.1
        leftsubnet=10.1.0.0/16
        right=192.0.2.2
        rightsubnet=10.2.0.0/16
        ike=aes256-sha1-modp1024!
        esp=aes256-sha1!
        aggressive=no
        keyingtries=%forever
        ikelifetime=28800s
        lifetime=3600s
        dpddelay=30s
        dpdtimeout=120s
        dpdaction=restart
"""
SITE_SECRETS = """
# the first gateway, the second
192.0.2.1 192.0.2.2 : PSK "one secret of two offices"
"""

# A gateway in a cloud's network, behind an address that is translated for it, and the two ends that the cloud offers.
AWS = """
conn %default
    leftauth=psk
    rightauth=psk
    keyexchange=ikev2
    ike=aes128-sha256-modp2048
    ikelifetime=8h
    esp=aes128-sha256-modp2048
    lifetime=1h
    keyingtries=%forever
    dpddelay=10s
    dpdtimeout=30s
    dpdaction=restart
    type=tunnel
    left=%defaultroute
    leftid=203.0.113.10
    leftsubnet=0.0.0.0/0
    rightsubnet=0.0.0.0/0
    auto=start

conn Tunnel1
    right=192.0.2.2
    MARKmark=100

conn Tunnel2
    right=192.0.2.3
    MARKmark=200
"""
AWS_SECRETS = """
203.0.113.10 192.0.2.2 : PSK "the first tunnel's own secret"
203.0.113.10 192.0.2.3 : PSK "the second tunnel's own secret"
"""


def imported(lab, conf, secrets, status, beyond=None):
    """Imports the files for a gateway at 192.0.2.1, and checks the result; what the import said on standard error. `beyond`: what a data plane in user space does not take of it."""
    folder = lab.folder / "east"
    folder.mkdir(exist_ok=True)
    (folder / "ipsec.conf").write_text(conf)
    (folder / "ipsec.secrets").write_text(secrets)
    target = folder / "imported.conf"
    target.unlink(missing_ok=True)
    done = run(BUILD / "martlet", "import", folder / "ipsec.conf", "--output", target, "--local", "192.0.2.1", check=False)
    expect(done.returncode == status, lambda: f"the import ended with {done.returncode}:\n{done.stderr}")
    expect("secret" not in re.sub(r"ipsec\.secrets|\d+ secrets?", "", done.stderr), lambda: f"the import shows a secret:\n{done.stderr}")
    expect(target.stat().st_mode & 0o777 == 0o600, "the imported file is not private")
    check = run(BUILD / "martlet", "check", target, check=False)
    if beyond and check.returncode != 0:
        found = [line for line in (check.stdout + check.stderr).splitlines() if "error:" in line]
        expect(found and all(beyond in line and "the data plane tun" in line for line in found), lambda: f"the result is not taken:\n{found}")
        return done.stderr
    expect(check.returncode == 0, lambda: f"the result is not taken:\n{check.stdout}{check.stderr}\n{target.read_text()}")
    return done.stderr


def on_a_terminal(*command):
    """What a command prints on a terminal, and its status."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
    os.close(follower)
    output = b""
    with contextlib.suppress(OSError):
        while part := os.read(leader, 4096):
            output += part
    os.close(leader)
    return output.decode(), process.wait()


def test_import_shows_no_secret_on_a_terminal():
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ipsec.conf").write_text(SITE_TO_SITE)
        (Path(folder) / "ipsec.secrets").write_text(SITE_SECRETS)
        shown, status = on_a_terminal(BUILD / "martlet", "import", Path(folder) / "ipsec.conf", "--local", "192.0.2.1")
        expect(status == 0 and "remote_addrs = 192.0.2.2" in shown and "secrets are not shown on a terminal" in shown, shown)
        expect("one secret of two offices" not in shown, "a secret is on the terminal")


def carries_pings(lab, martlet, peer, tunnels=1):
    """Pings that no CBC of strongSwan's user space chokes on, both ways, and the counters of both."""
    count = 5

    def packets(daemon, way):
        return sum(int(child[way]["packets"] or 0) for child in daemon.children())

    before = [packets(daemon, way) for daemon in (martlet, peer) for way in ("inbound", "outbound")]
    lab.ping("east", "10.2.0.1", source="10.1.0.1", size=400, count=count)
    lab.ping("west", "10.1.0.1", source="10.2.0.1", size=400, count=count)
    after = [packets(daemon, way) for daemon in (martlet, peer) for way in ("inbound", "outbound")]
    expect(all(new - old >= 2 * count for old, new in zip(before, after)), lambda: f"the counters do not show the pings: {before} {after}")


def test_import_knows_what_the_plugins_serve():
    """Every algorithm that the daemon has is carried over, and no other is taken for one of them."""
    with Lab() as lab:
        martlet = Gateway(lab, "east", GATEWAY.replace("include imported.conf", "")).start()
        served = {entry["name"] for entry in json.loads(martlet.cli("algorithms", "--json").stdout)}
        words = {kind: [word for name, word in names.items() if name in served] for kind, names in KEYWORDS.items()}
        unknown = served - {name for names in KEYWORDS.values() for name in names} - {"random"}
        rest = words["prf"] + words["ke"]
        proposals = ["-".join(words["aead"] + rest), "-".join(words["encryption"] + words["integrity"] + rest)]
        text = SITE_TO_SITE.replace("aes256-sha1-modp1024!", ", ".join(proposals) + "!")
        imported(lab, text, SITE_SECRETS, 0)
        result = (martlet.folder / "imported.conf").read_text()
        missing = [word for kind in words for word in words[kind] if not re.search(rf"proposals = .*\b{word}\b", result)]
        expect(not missing and len(words["ke"]) > 5, f"the import leaves out {missing}, which the plugins serve")
        print(f"     the import knows {sum(map(len, words.values()))} algorithms; not of its proposals: {' '.join(sorted(unknown))}")


def test_import_of_a_tutorials_site_to_site():
    with Lab() as lab:
        said = imported(lab, SITE_TO_SITE, SITE_SECRETS, 0)
        expect("1 connection and 1 secret carried over" in said, said)
        other = dict(local="192.0.2.2", remote="192.0.2.1", local_ts="10.2.0.0/16", remote_ts="10.1.0.0/16", local_id="192.0.2.2", remote_id="192.0.2.1")
        peer = StrongSwan(lab, "west", connections("west", **other, ike="aes256-sha1-modp1024", esp="aes256-sha1", secret="one secret of two offices")).start()
        martlet = Gateway(lab, "east", GATEWAY)
        try:
            martlet.start()
            wait(lambda: martlet.children() and peer.children(), "the imported connection comes up by itself", 15)
            carries_pings(lab, martlet, peer)
            [sa] = peer.list_sas()
            found = [sa[key] for key in ("encr-alg", "encr-keysize", "integ-alg", "prf-alg", "dh-group")]
            expect(found == ["AES_CBC", "256", "HMAC_SHA1_96", "PRF_HMAC_SHA1", "MODP_1024"], f"strongSwan has {found}")
            [child] = peer.children()
            expect(child["algorithms"] == "AES_CBC/256/HMAC_SHA1_96", f"the child has {child['algorithms']}")
        except BaseException:
            print_tails(martlet, peer)
            raise


def test_import_of_a_cloud_gateways_two_tunnels():
    with Lab() as lab:
        lab.ip("west", "addr", "add", "192.0.2.3/24", "dev", lab.wire("west"))
        # Marks choose what goes into a tunnel, which the kernel's data plane knows.
        said = imported(lab, AWS.replace("MARK", ""), AWS_SECRETS, 0, beyond="mark_")
        text = (lab.folder / "east" / "imported.conf").read_text()
        for value in (100, 200):
            expect(all(re.search(rf"^ +{key} = {value}\b", text, re.M) for key in ("mark_in", "mark_out")), text)
        expect("2 connections and 2 secrets carried over" in said, said)
        said = imported(lab, AWS.replace("MARK", "#"), AWS_SECRETS, 0)
        expect("2 connections and 2 secrets carried over" in said, said)

        proposals = "aes128-sha256-modp2048"
        halves = []
        for number, ending, secret in ((1, 2, "the first tunnel's own secret"), (2, 3, "the second tunnel's own secret")):
            address = f"192.0.2.{ending}"
            text = connections(
                "west", local=address, remote="192.0.2.1", local_ts="0.0.0.0/0", remote_ts="0.0.0.0/0", local_id=address, remote_id="203.0.113.10", ike=proposals, esp=proposals,
                secret=secret, peer=f"vpn{number}", name=f"tunnel{number}", child="replay_window = 1024", connection="dpd_delay = 10s",
            )
            halves.append(text.replace("ike-peer {", f"ike-{number} {{\n id-1 = {address}\n id-2 = 203.0.113.10\n"))
        peer = StrongSwan(lab, "west", "\n".join(halves)).start()
        martlet = Gateway(lab, "east", GATEWAY)
        try:
            martlet.start()
            wait(lambda: len(martlet.children()) == 2 and len(peer.children()) == 2, "both tunnels come up by themselves", 20)
            expect({sa["remote"]["host"] for sa in martlet.sas()} == {"192.0.2.2", "192.0.2.3"}, "the tunnels do not lead to the two ends")
            carries_pings(lab, martlet, peer)
            # One end goes: the other goes on.
            martlet.cli("down", "Tunnel1")
            wait(lambda: len(peer.children()) == 1, "one tunnel is down")
            carries_pings(lab, martlet, peer)
        except BaseException:
            print_tails(martlet, peer)
            raise
