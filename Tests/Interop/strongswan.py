"""strongSwan as a peer in a lab: one charon-systemd in a host, with a configuration, a control socket and ESP in user space of its own.

Its plugin kernel-libipsec stands in for a kernel that has no ESP. It always wants ESP in UDP, and makes charon pretend to be behind a NAT.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from lab import Failed, Gateway, Lab, Skipped, configuration, connections, outer, print_tails, run, wait
from vicisocket import ViciSocket

CHARON, SWANCTL = Path("/usr/sbin/charon-systemd"), Path("/usr/sbin/swanctl")
PLUGINS = (
    "random nonce openssl pem pkcs1 pkcs8 pkcs12 pubkey x509 constraints revocation hmac kdf gcm ccm ctr aes sha1 sha2 md5 xcbc cmac mgf1 chapoly curve25519 gmp drbg "
    "socket-default kernel-libipsec kernel-netlink vici counters"
)
# It asks for name servers as well, and writes those it is lent into the file `resolved` of its folder.
ASKING_FOR_DNS = PLUGINS + " resolve"
# The same with the kernel's ESP, which takes one that has it.
WITH_KERNEL = PLUGINS.replace("kernel-libipsec ", "")
# Its own ESP packets must not enter the tunnel again.
USER_SPACE = "kernel-netlink { fwmark = !0x42 }\n socket-default { fwmark = 0x42 }\n kernel-libipsec { allow_peer_ts = yes }"


def unconfined(program, lab):
    """A copy of the program in the lab's folder. AppArmor's profiles go by the path: that of /usr/sbin/swanctl would keep it from the lab's files and sockets."""
    copy = lab.folder / "bin" / program.name
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(program, copy)
    return copy


def required():
    """Skips the test where strongSwan is not installed."""
    for file in (CHARON, SWANCTL, Path("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"), Path("/usr/lib/ipsec/plugins/libstrongswan-chapoly.so")):
        if not file.exists():
            raise Skipped(f"strongSwan is not installed whole: there is no {file} (make deps)")


class StrongSwan:
    """A charon in one host of a lab. `text` is a swanctl.conf; `settings` goes into the daemon's section of strongswan.conf, `plugins` into its section `plugins`."""

    def __init__(self, lab, host, text="", settings="", plugins="", load=PLUGINS):
        required()
        self.lab, self.host = lab, host
        self.folder = lab.folder / host
        self.folder.mkdir(exist_ok=True)
        self.socket = self.folder / "charon.vici"
        self.log_file = self.folder / "charon.log"
        self.resolved = self.folder / "resolv.conf"
        self.file = self.folder / "swanctl" / "swanctl.conf"
        for name in ("x509", "x509ca", "x509crl", "private"):
            (self.file.parent / name).mkdir(parents=True, exist_ok=True)
        self.environment = dict(os.environ, STRONGSWAN_CONF=str(self.folder / "strongswan.conf"), SWANCTL_DIR=str(self.file.parent))
        self.process = None
        self.write(text)
        self.configure(settings, plugins, load)

    def write(self, text):
        """Replaces swanctl.conf; `load` makes it count."""
        self.file.write_text(text)
        self.file.chmod(0o600)

    def configure(self, settings="", plugins="", load=PLUGINS):
        """Writes strongswan.conf; it counts from the next start."""
        (self.folder / "strongswan.conf").write_text(
            f"""
charon-systemd {{
    load = {load}
    plugins {{
        vici {{ socket = unix://{self.socket} }}
        resolve {{ file = {self.resolved} }}
        {USER_SPACE if "kernel-libipsec" in load else ""}
        {plugins}
    }}
    install_virtual_ip_on = lo
    retransmit_tries = 4
    retransmit_timeout = 0.5
    retransmit_base = 1.5
    filelog {{ file {{ path = {self.log_file}
        time_format = %H:%M:%S
        default = 1
        ike = 2
        cfg = 2
        flush_line = yes
    }} }}
    {settings}
}}
swanctl {{
    load = random openssl pem pkcs1 pkcs8 pkcs12 pubkey x509
    plugins {{ vici {{ socket = unix://{self.socket} }} }}
}}
"""
        )

    # The daemon

    def start(self, load=True):
        self.socket.unlink(missing_ok=True)
        output = open(self.folder / "charon.out", "ab")
        self.process = self.lab.start(self.host, unconfined(CHARON, self.lab), env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait(lambda: self.process.poll() is not None or self.answers(), f"strongSwan in {self.host} is ready", 30)
        if self.process.poll() is not None:
            raise Failed(f"strongSwan in {self.host} ended with {self.process.returncode}:\n{self.log()}\n{(self.folder / 'charon.out').read_text(errors='replace')}")
        if load:
            self.load()
        return self

    def answers(self):
        try:
            return bool(self.vici("version"))
        except OSError:
            return False

    @property
    def pid(self):
        """Of the daemon itself: `ip netns exec` becomes it."""
        return self.process.pid

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=10):
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    # Control

    def vici(self, command, message=None, events=None, seconds=30):
        """One command on the control socket: its response, or the events it streams (see ViciSocket)."""
        with ViciSocket(self.socket, seconds) as client:
            return client.request(command, message, events)

    def swanctl(self, *words, check=True, timeout=60):
        return run(unconfined(SWANCTL, self.lab), *words, check=check, timeout=timeout, env=self.environment)

    def load(self):
        return self.swanctl("--load-all", "--noprompt")

    def up(self, child="site", check=True, seconds=30):
        """Initiates a child; the result's stdout is what charon logged meanwhile."""
        return self.swanctl("--initiate", "--child", child, "--timeout", seconds, check=check, timeout=seconds + 10)

    def down(self, ike=None, child=None, check=True, seconds=10):
        what = ("--child", child) if child else ("--ike", ike or "peer")
        return self.swanctl("--terminate", *what, "--timeout", seconds, check=check, timeout=seconds + 10)

    def rekey(self, ike=None, child=None, reauth=False):
        """Starts a rekey and does not wait for its end."""
        what = ("--child", child) if child else ("--ike", ike or "peer")
        return self.swanctl("--rekey", *what, *(("--reauth",) if reauth else ()))

    def list_sas(self):
        """list-sas as it is: one dictionary for each IKE SA, with its name under `name` and its children under `child-sas`."""
        return [dict(sa, name=name) for event in self.vici("list-sas", events="list-sa") for name, sa in event.items()]

    # What a Gateway of the lab also has, in the same shape

    def sas(self):
        return [sa for sa in self.list_sas() if sa["state"] in ("ESTABLISHED", "REKEYING", "REKEYED")]

    def children(self):
        """The children that are up, in the shape of `martlet status --json`."""
        return [
            {
                "name": child["name"],
                "state": child["state"],
                "local_selectors": child.get("local-ts", []),
                "remote_selectors": child.get("remote-ts", []),
                "udp_encapsulated": child.get("encap") == "yes",
                "algorithms": "/".join(child[key] for key in ("encr-alg", "encr-keysize", "integ-alg", "dh-group", "esn") if key in child),
                "inbound": {"spi": child.get("spi-in"), "bytes": int(child.get("bytes-in", 0)), "packets": int(child.get("packets-in", 0))},
                "outbound": {"spi": child.get("spi-out"), "bytes": int(child.get("bytes-out", 0)), "packets": int(child.get("packets-out", 0))},
            }
            for sa in self.sas()
            for child in sa.get("child-sas", {}).values()
            if child["state"] in ("INSTALLED", "REKEYING")
        ]

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def logged(self, text):
        return text in self.log()


def both_roles(martlet, peer, child="site"):
    """Brings a child up from one side, lets the caller look at it, closes it; then the same from the other side. Yields what happens."""
    for first, role in ((martlet, "Martlet initiates"), (peer, "strongSwan initiates")):
        first.up(child)
        wait(lambda: martlet.children() and peer.children(), f"{role}: both have a child")
        yield role
        first.down()
        wait(lambda: not martlet.sas() and not peer.sas(), f"{role}: both have closed it")


@contextlib.contextmanager
def facing(martlet=None, peer=None, both=None, martlet_host="east", nat=False, start=True, mtu=1500, latency=0, settings="", peer_plugins="", load=PLUGINS):
    """A Martlet in one host and a strongSwan in the other: `lab, martlet, peer`. `martlet` and `peer` are settings of one (see `lab.configuration`), `both` of each."""
    required()
    peer_host = "west" if martlet_host == "east" else "east"
    both, martlet, peer = both or {}, martlet or {}, peer or {}
    with Lab(nat=nat, mtu=mtu, latency=latency) as lab:
        ours = Gateway(lab, martlet_host, configuration(martlet_host, **{**outer(martlet_host, nat), **both, **martlet}))
        theirs = StrongSwan(lab, peer_host, connections(peer_host, **{**outer(peer_host, nat), **both, **peer}), settings, peer_plugins, load)
        try:
            if start:
                theirs.start()
                ours.start()
            yield lab, ours, theirs
        except BaseException:
            print_tails(ours, theirs)
            raise
