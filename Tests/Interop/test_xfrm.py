"""The kernel's data plane, in a kernel that has ESP: User-Mode-Linux. The functions `guest_*` run in there; each is a boot, so that one does much."""

import re
import subprocess
import sys

from lab import carries, expect, pair, wait
from strongswan import WITH_KERNEL, both_roles, facing
from test_strongswan_collisions import one_left
from test_strongswan_rekey import rekeyed
from uml import in_guest

TUN = dict(gateway="plane = tun")
# One child for each way to be safe, and for each pair of families that selectors can have.
ESP = ("aes256gcm16", "aes128gcm16-esn", "chacha20poly1305", "aes256-sha256", "aes128-sha512-esn")


def children(local, remote):
    return "".join(
        f"c{n} {{ local_ts = 10.{local}.{n}.0/24, fd0{local}:{n}::/64\n remote_ts = 10.{remote}.{n}.0/24, fd0{remote}:{n}::/64\n esp_proposals = {what}\n replay_window = {(64, 32, 4096, 0, 128)[n]} }}\n"
        for n, what in enumerate(ESP)
    )


def inner_addresses(lab):
    for host, number in (("east", 1), ("west", 2)):
        for n in range(len(ESP)):
            lab.ip(host, "addr", "replace", f"10.{number}.{n}.1/32", "dev", "lo")
            lab.ip(host, "-6", "addr", "replace", f"fd0{number}:{n}::1/128", "dev", "lo", "nodad")


def counted(gateway):
    return {child["name"]: [child[direction]["packets"] for direction in ("inbound", "outbound")] for child in gateway.children()}


def kernel(lab, host, what):
    """Heads of what the kernel holds of XFRM: `state` or `policy`; those of sockets aside."""
    lines = lab.inside(host, "ip", "xfrm", what).stdout.splitlines()
    heads = [n for n, line in enumerate(lines) if line.startswith("src ")] + [len(lines)]
    return [" ".join(part) for part in (lines[a:b] for a, b in zip(heads, heads[1:])) if "socket" not in " ".join(part)]


def nothing_left(lab, host):
    left = kernel(lab, host, "state") + kernel(lab, host, "policy")
    expect(not left, lambda: f"{host} still has {left}")
    rules = lab.inside(host, "ip", "rule").stdout + lab.inside(host, "ip", "-6", "rule").stdout
    expect("52100" not in rules and "521" not in rules, lambda: f"{host} still has {rules}")
    routes = [lab.inside(host, "ip", family, "route", "show", "table", "52100", check=False).stdout for family in ("-4", "-6")]
    expect(not any(routes) and "martlet0" not in lab.inside(host, "ip", "link").stdout, lambda: f"{host} still has {routes}, or its interface")


def guest_pair():
    """Two gateways with the kernel's ESP: algorithms, families, what is left after the end and after a crash."""
    for outer in (dict(), dict(local="2001:db8::1", remote="2001:db8::2")):
        back = dict(local=outer["remote"], remote=outer["local"]) if outer else {}
        with pair(east=dict(outer, children=children(1, 2)), west=dict(back, children=children(2, 1)), start=False) as (lab, east, west):
            # Of somebody else, for other traffic.
            other = ("src", "198.51.100.1", "dst", "198.51.100.2")
            lab.ip("east", "xfrm", "state", "add", *other, "proto", "esp", "spi", "0x1234", "reqid", "7", "mode", "tunnel", "aead", "rfc4106(gcm(aes))", "0x" + "11" * 20, "128")
            lab.ip("east", "xfrm", "policy", "add", "src", "198.51.100.0/24", "dst", "203.0.113.0/24", "dir", "out", "tmpl", *other, "proto", "esp", "reqid", "7", "mode", "tunnel")
            inner_addresses(lab)
            west.start()
            east.start()
            expect("carries the packets" in east.cli("plugins").stdout, "no plane says that it carries the packets")
            for n in range(len(ESP)):
                (east, west)[n % 2].up(f"c{n}")
                for size in (1, 1200):
                    lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1", size=size)
                    lab.ping("west", f"fd01:{n}::1", source=f"fd02:{n}::1", size=size)
            for gateway in (east, west):
                counts = counted(gateway)
                expect(all(counts[f"c{n}"] == [12, 12] for n in range(len(ESP))), lambda: f"{gateway.host} counted {counts}, not 12 packets each way")
            # What no selector of a child has goes nowhere.
            expect(lab.ping("east", "10.2.0.1", source="10.1.1.1", count=1, check=False) == 0, "a packet outside the selectors passed")
            if outer:
                continue
            lab.transfer("east", "west", "10.1.0.1", "10.2.0.1", 200_000)
            east.kill()
            expect(len(kernel(lab, "east", "state")) == 1 + 2 * len(ESP), "a killed daemon has left nothing, so that there is nothing to find")
            east.start()
            wait(lambda: east.logged("that an earlier daemon has left in the kernel"), "what was left is found")
            left = kernel(lab, "east", "state")
            expect(len(left) == 1 and "198.51.100.1" in left[0], lambda: f"SAs after the restart: {left}")
            east.up("c0")
            lab.ping("east", "10.2.0.1", source="10.1.0.1")
            for gateway in (east, west):
                gateway.stop()
            lab.ip("east", "xfrm", "policy", "delete", "src", "198.51.100.0/24", "dst", "203.0.113.0/24", "dir", "out")
            lab.ip("east", "xfrm", "state", "delete", *other, "proto", "esp", "spi", "0x1234")
            nothing_left(lab, "east")
            nothing_left(lab, "west")


def guest_tun():
    """The kernel's ESP against Martlet's own, in UDP: a trap, rekeys from both sides under pings, a limit of bytes that is reached."""
    limits = "start_action = trap\n rekey_bytes = 300000\n life_bytes = 400000\n rand_bytes = 0"
    with pair(both=dict(connection="encap = yes"), east=dict(child=limits), west=TUN) as (lab, east, west):
        wait(lambda: east.logged("traffic brings site up"), "the trap is installed")
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=20, check=False)
        wait(lambda: east.children() and west.children(), "a packet has brought the tunnel up")
        expect(all(child["udp_encapsulated"] for child in east.children()), "ESP is not in UDP although encap says so")
        before = {child["inbound"]["spi"] for child in east.children()}
        lab.transfer("east", "west", "10.1.0.1", "10.2.0.1", 350_000)
        wait(lambda: {child["inbound"]["spi"] for child in east.children()} - before, "the bytes have brought new keys")
        wait(lambda: one_left(east, west), "one child is left")
        stream = lab.start("east", "ping", "-n", "-i", "0.05", "-c", "2000", "-W", "2", "-I", "10.1.0.1", "10.2.0.1", stdout=subprocess.PIPE, text=True)
        for kind in ("child", "ike"):
            for by in ([east], [west]):
                rekeyed(east, west, kind, by)
        no_ping_lost(stream)
        # Without a peer to agree on new keys, the kernel stops at the hard limit, and nothing leaves in clear.
        west.kill()
        flood(lab, 500)
        wait(lambda: not [state for state in kernel(lab, "east", "state") if "spi 0x0000" not in state and "src 192.0.2.1" in state], "the outgoing SA is gone at its limit", 10)


def flood(lab, count):
    program = "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('10.1.0.1', 0))\nfor _ in range(int(sys.argv[1])):\n    try: s.sendto(bytes(1000), ('10.2.0.1', 9))\n    except OSError: pass\n"
    lab.inside("east", sys.executable, "-c", program, count)


def no_ping_lost(stream):
    stream.send_signal(2)
    text = stream.communicate(timeout=30)[0]
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+)", text)}
    last = max(answered, default=0)
    lost = sorted(set(range(1, last + 1)) - answered)
    expect(last > 20 and not lost, lambda: f"of {last} pings {len(lost)} were lost: {lost[:20]}")
    print(f"{last} pings, none lost", flush=True)


def guest_strongswan():
    """Against strongSwan with the same kernel's ESP, in both roles: bare ESP, and rekeys of both kinds from both sides under pings."""
    with facing(load=WITH_KERNEL) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            carries(lab, martlet, peer, bytes_each=100_000)
            print(role, flush=True)
        martlet.up()
        wait(lambda: one_left(martlet, peer), "the tunnel is up")
        expect(not any(child["udp_encapsulated"] for child in martlet.children()), "ESP is in UDP although there is no NAT")
        stream = lab.start("east", "ping", "-n", "-i", "0.05", "-c", "2000", "-W", "2", "-I", "10.1.0.1", "10.2.0.1", stdout=subprocess.PIPE, text=True)
        for kind in ("child", "ike"):
            for by in ([martlet], [peer]):
                rekeyed(martlet, peer, kind, by)
        no_ping_lost(stream)


def in_kernel(function):
    print("    ", in_guest(f"test_xfrm.{function}").replace("\n", "\n     "))


def test_pair():
    in_kernel("guest_pair")


def test_against_tun():
    in_kernel("guest_tun")


def test_against_strongswan():
    in_kernel("guest_strongswan")
