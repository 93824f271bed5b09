"""Network namespaces with gateways in them, for tests that use the real daemon, real sockets and real packets.

Needs root and /dev/net/tun. Everything stays inside namespaces that the lab made; every process is ended by its pid.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vicisocket import ViciSocket

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("MARTLET_BUILD", ROOT / ".build" / "debug"))
# Of the names of this process's namespaces.
PREFIX = f"mt{os.getpid()}x"
_serial = itertools.count()


class Failed(Exception):
    """A test's expectation does not hold."""


class Skipped(Exception):
    """A test cannot run here, and why."""


def run(*command, check=True, timeout=30, **options):
    """Runs a command and returns its result; raises Failed with its output where it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, **options)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait(condition, what, seconds=10.0, step=0.05):
    """Waits until `condition()` is true, and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(step)


class Lab:
    """Two hosts, east and west, on one link; with `nat`, east is behind a third host that translates. With `latency`, every frame takes so many seconds (a wire for IKE, not for a load)."""

    def __init__(self, nat=False, mtu=1500, latency=0):
        self.prefix = f"{PREFIX}{next(_serial)}"
        self.nat = nat
        self.mtu = mtu
        self.latency = latency
        self.folder = Path(tempfile.mkdtemp(prefix="martlet-lab-"))
        self.folder.chmod(0o700)
        self.processes = []
        self.namespaces = []

    def name(self, host):
        return f"{self.prefix}{host[0]}"

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def ip(self, host, *words):
        run("ip", "-n", self.name(host), *words)

    def inside(self, host, *command, **options):
        return run("ip", "netns", "exec", self.name(host), *command, **options)

    def start(self, host, *command, **options):
        """Starts a process in a host; it ends with the lab."""
        process = subprocess.Popen(["ip", "netns", "exec", self.name(host), *map(str, command)], start_new_session=True, **options)
        self.processes.append(process)
        return process

    def _build(self):
        for host in ("east", "west") + (("nat",) if self.nat else ()) + (("middle",) if self.latency else ()):
            run("ip", "netns", "add", self.name(host))
            self.namespaces.append(self.name(host))
            self.ip(host, "link", "set", "lo", "up")
            for setting in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"):
                self.inside(host, "sh", "-c", f"echo 0 > /proc/sys/net/{setting}")
            # An address of a link that is found to be nobody else's a second later is a change of addresses to whoever speaks MOBIKE, in the middle of a test.
            self.inside(host, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
        if self.nat:
            self._link("east", "nat")
            self._link("nat", "west")
            self.ip("east", "addr", "add", "172.16.0.1/24", "dev", "to-nat")
            self.ip("nat", "addr", "add", "172.16.0.254/24", "dev", "to-east")
            self.ip("nat", "addr", "add", "192.0.2.1/24", "dev", "to-west")
            self.ip("west", "addr", "add", "192.0.2.2/24", "dev", "to-nat")
            self.ip("east", "route", "add", "default", "via", "172.16.0.254")
            self.ip("west", "route", "add", "default", "dev", "to-nat")
            self.inside("nat", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            self.translate(True)
        else:
            self._link("east", "west")
            for host, other, number in (("east", "west", 1), ("west", "east", 2)):
                self.ip(host, "addr", "add", f"192.0.2.{number}/24", "dev", f"to-{other}")
                self.ip(host, "-6", "addr", "add", f"2001:db8::{number}/64", "dev", f"to-{other}", "nodad")
                self.ip(host, "route", "add", "default", "dev", f"to-{other}")
        # The protected networks. Nobody answers for them on the link, so that nothing passes in clear.
        for host, number in (("east", 1), ("west", 2)):
            self.inside(host, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore")
            self.ip(host, "addr", "add", f"10.{number}.0.1/16", "dev", "lo")
            self.ip(host, "-6", "addr", "add", f"fd0{number}::1/64", "dev", "lo", "nodad")

    def translate(self, on):
        """The host in the middle translates, or no longer does."""
        # User-Mode-Linux has no nftables for IPv4.
        if os.getpid() == 1:
            return self.inside("nat", "iptables-legacy", "-w", "-t", "nat", "-A" if on else "-D", "POSTROUTING", "-o", "to-west", "-j", "MASQUERADE", "--random")
        rules = 'table ip nat { chain post { type nat hook postrouting priority 100; oifname "to-west" masquerade random; }; }'
        return self.inside("nat", "nft", *((rules,) if on else ("delete", "table", "ip", "nat")))

    def _link(self, a, b):
        if self.latency:
            self._cable(a, f"to-{b}", "middle", f"to-{a}")
            self._cable(b, f"to-{a}", "middle", f"to-{b}")
            wire = self.start("middle", sys.executable, Path(__file__).with_name("wire.py"), self.latency, f"to-{a}", f"to-{b}", stdout=subprocess.PIPE, text=True)
            if wire.stdout.readline().strip() != "ready":
                raise Failed("the slow wire did not start")
        else:
            self._cable(a, f"to-{b}", b, f"to-{a}")

    def _cable(self, a, name, b, other):
        run("ip", "link", "add", name, "netns", self.name(a), "mtu", str(self.mtu), "type", "veth", "peer", "name", other, "netns", self.name(b), "mtu", str(self.mtu))
        self.ip(a, "link", "set", name, "up")
        self.ip(b, "link", "set", other, "up")

    def wire(self, host="west"):
        """The name of a host's outer interface."""
        return ("to-nat" if self.nat else {"east": "to-west", "west": "to-east"}[host])

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for name in self.namespaces:
            run("ip", "netns", "del", name, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Traffic

    def ping(self, host, target, count=3, source=None, size=None, wait_each=1, check=True):
        """Pings; returns how many answers came."""
        command = ["ping", "-n", "-c", count, "-i", "0.05", "-W", wait_each]
        if source:
            command += ["-I", source]
        if size:
            command += ["-s", size]
        done = self.inside(host, *command, target, check=False, timeout=30 + count)
        found = re.search(r"(\d+) received", done.stdout)
        received = int(found.group(1)) if found else 0
        if check and received != count:
            raise Failed(f"ping from {host} to {target}: {received} of {count} answered\n{done.stdout}{done.stderr}")
        return received

    def transfer(self, source, target, source_address, target_address, count=2_000_000, seconds=60):
        """Sends `count` bytes over TCP from one host to another and compares what arrives."""
        program = Path(__file__).with_name("transfer.py")
        server = self.start(target, sys.executable, program, "receive", target_address, count, stdout=subprocess.PIPE, text=True)
        line = server.stdout.readline().split()
        if line[:1] != ["listening"]:
            raise Failed(f"the receiving end of a transfer did not start: {line}")
        self.inside(source, sys.executable, program, "send", source_address, target_address, line[1], count, timeout=seconds)
        if server.wait(timeout=seconds) != 0:
            raise Failed(f"a transfer of {count} bytes from {source} to {target} did not arrive whole")


class Gateway:
    """A martletd in one host of a lab."""

    def __init__(self, lab, host, configuration, plugins=None):
        self.lab, self.host = lab, host
        self.folder = lab.folder / host
        self.folder.mkdir(exist_ok=True)
        self.socket = self.folder / "vici.sock"
        self.log_file = self.folder / "log"
        self.file = self.folder / "martlet.conf"
        self.process = None
        # Variables of its environment beside the tests' own.
        self.environment = {}
        self.write(configuration)

    def write(self, configuration):
        self.file.write_text(configuration.replace("@FOLDER@", str(self.folder)))
        self.file.chmod(0o600)

    def start(self, ready=True, extra=(), stderr=None):
        output = open(self.log_file, "a") if stderr is None else stderr
        self.process = self.lab.start(self.host, BUILD / "martletd", "--config", self.file, "--foreground", *extra, stdout=output, stderr=output, env={**os.environ, **self.environment})
        if ready:
            wait(lambda: self.process.poll() is not None or self.answers(), f"{self.host} is ready", 20)
            if self.process.poll() is not None:
                raise Failed(f"{self.host}'s daemon ended with {self.process.returncode}:\n{self.log()}")
        return self

    def answers(self):
        return self.socket.exists() and self.cli("version", check=False).returncode == 0

    @property
    def pid(self):
        """Of the daemon itself: `ip netns exec` becomes it."""
        return self.process.pid

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=10):
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def cli(self, *words, check=True, timeout=60):
        return self.lab.inside(self.host, BUILD / "martlet", "--socket", self.socket, *words, check=check, timeout=timeout)

    def up(self, child="site", check=True):
        return self.cli("up", child, check=check)

    def down(self, ike=None, child=None, check=True):
        return self.cli("down", child or ike or "peer", check=check)

    def rekey(self, ike=None, child=None):
        return self.cli("rekey", *(("--child", child) if child else (ike or "peer",)))

    def vici(self, command, message=None, events=None, seconds=60):
        """One command on the control socket: its response, or the events it streams."""
        with ViciSocket(self.socket, seconds) as client:
            return client.request(command, message, events)

    def status(self):
        return json.loads(self.cli("status", "--json").stdout)

    def sas(self):
        return [sa for sa in self.status()["ike_sas"] if sa["state"] in ("ESTABLISHED", "REKEYING")]

    def children(self):
        return [child for sa in self.sas() for child in sa["children"] if child["state"] in ("INSTALLED", "REKEYING")]

    def drops(self):
        return {name: count for name, count in (self.status().get("drops") or {}).items() if count}

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def logged(self, text):
        return text in self.log()


SECRET = "correct horse battery staple, and more"


def outer(host, nat=False):
    """Where a host of a lab is on the link, and what is behind it: settings for `connections`."""
    if host == "east":
        return dict(local="172.16.0.1" if nat else "192.0.2.1", remote="192.0.2.2", local_ts="10.1.0.0/16", remote_ts="10.2.0.0/16")
    return dict(local="192.0.2.2", remote="%any" if nat else "192.0.2.1", local_ts="10.2.0.0/16", remote_ts="10.1.0.0/16")


def connections(
    host, local="192.0.2.1", remote="192.0.2.2", local_ts="10.1.0.0/16", remote_ts="10.2.0.0/16", ike="aes256gcm16-prfsha256-x25519", esp="aes256gcm16", connection="", child="",
    local_id=None, remote_id=None, secret=SECRET, name="site", children=None, peer="peer",
):
    """The sections `connections` and `secrets` with one connection, `peer`, and one child; the keyword arguments are swanctl.conf's values."""
    other = "west" if host == "east" else "east"
    body = children if children is not None else f"{name} {{ local_ts = {local_ts}\n remote_ts = {remote_ts}\n esp_proposals = {esp}\n {child} }}"
    return f"""
connections {{
    {peer} {{
        local_addrs = {local}
        remote_addrs = {remote}
        proposals = {ike}
        local {{ auth = psk
 id = {local_id or '@' + host + '.example'} }}
        remote {{ auth = psk
 id = {remote_id or '@' + other + '.example'} }}
        {connection}
        children {{ {body} }}
    }}
}}
secrets {{ ike-peer {{ secret = "{secret}" }} }}
"""


def configuration(host, gateway="", plugins="", level="debug", **settings):
    """A whole configuration of Martlet around `connections`."""
    return f"""
gateway {{
    control = @FOLDER@/vici.sock
    state = @FOLDER@/state
    {'' if 'resolver' in gateway else 'resolver = no'}
    log {{ level = {level} }}
    retransmit_initial = 0.5
    {gateway}
}}
plugins {{ {plugins} }}
{connections(host, **settings)}"""


def print_tails(*daemons, lines=80):
    """Prints the end of each daemon's log, without the tests' own comings and goings on the control socket and what charon says of a configuration that it loads."""
    for daemon in daemons:
        kept = [line for line in daemon.log().splitlines() if not re.search(r"vici client|stopped listening|\[CFG\] {2,}[\w ]+ =|\[CFG\] {2,}\w+:$", line)]
        print(f"--- the end of the log of {type(daemon).__name__} in {daemon.host}", *kept[-lines:], sep="\n", file=sys.stderr)
        with contextlib.suppress(Exception):
            children = {child["name"]: [child[direction]["packets"] for direction in ("inbound", "outbound")] for child in daemon.children()}
            print(f"packets in and out: {children}", f"dropped: {daemon.drops()}" if isinstance(daemon, Gateway) else "", file=sys.stderr)


@contextlib.contextmanager
def pair(nat=False, east=None, west=None, both=None, start=True, mtu=1500):
    """Two gateways, started. `both` are settings of each; `east` and `west` of one."""
    both, east, west = both or {}, east or {}, west or {}
    with Lab(nat=nat, mtu=mtu) as lab:
        a = Gateway(lab, "east", configuration("east", **{**outer("east", nat), **both, **east}))
        b = Gateway(lab, "west", configuration("west", **{**outer("west", nat), **both, **west}))
        if start:
            b.start()
            a.start()
        try:
            yield lab, a, b
        except BaseException:
            print_tails(a, b)
            raise


def carries(lab, a, b, source="10.1.0.1", target="10.2.0.1", bytes_each=1_000_000):
    """Pings and transfers both ways, and reads the counters of both gateways: a ping that could pass in clear proves nothing."""
    before = [counters(g) for g in (a, b)]
    lab.ping("east", target, source=source)
    lab.ping("west", source, source=target)
    lab.transfer("east", "west", source, target, bytes_each)
    lab.transfer("west", "east", target, source, bytes_each)
    for gateway, old in zip((a, b), before):
        new = counters(gateway)
        for direction in ("inbound", "outbound"):
            if new[direction] - old[direction] < bytes_each:
                raise Failed(f"{gateway.host} counted only {new[direction] - old[direction]} bytes {direction}")


def counters(gateway):
    totals = {"inbound": 0, "outbound": 0}
    for child in gateway.children():
        for direction in totals:
            totals[direction] += int(child[direction]["bytes"] or 0)
    return totals


def expect(condition, message):
    if not condition:
        raise Failed(message() if callable(message) else message)
