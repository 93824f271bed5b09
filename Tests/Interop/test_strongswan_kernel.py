"""Bare ESP (protocol 50) between Martlet's TUN plane and strongSwan with a kernel's ESP, which User-Mode-Linux has. The functions `guest_*` run in there."""

import signal
import subprocess

from lab import carries, expect, run, wait
from strongswan import WITH_KERNEL, both_roles, facing
from test_strongswan_collisions import one_left
from test_strongswan_rekey import rekeyed
from uml import in_guest

# The guest has ESP of its own, which Martlet would take.
TUN = dict(gateway="plane = tun")
V6 = dict(martlet=dict(TUN, local="2001:db8::1", remote="2001:db8::2"), peer=dict(local="2001:db8::2", remote="2001:db8::1"))


def bare(lab, martlet, peer, work):
    """Does `work`, and looks at the wire: there is nothing but IKE on port 4500, and there are packets of protocol 50."""
    file = lab.folder / "wire.pcap"
    capture = lab.start("west", "tcpdump", "-i", lab.wire("west"), "-Z", "root", "-U", "--immediate-mode", "-s", "64", "-w", file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    expect(any("listening on" in line for line in capture.stderr), "tcpdump did not start")
    work()
    capture.send_signal(signal.SIGINT)
    capture.wait(timeout=20)

    def packets(what):
        return len(run("tcpdump", "-n", "-r", file, what).stdout.splitlines())

    esp = [packets(f"(ip proto 50 or ip6 proto 50) and src host ({four} or {six})") for four, six in (("192.0.2.1", "2001:db8::1"), ("192.0.2.2", "2001:db8::2"))]
    # IKE has four octets of zero in front.
    in_udp = packets("udp port 4500 and ((ip and udp[8:4] != 0) or (ip6 and ip6[48:4] != 0))")
    print(f"on the wire were {esp[0]} and {esp[1]} packets of protocol 50, and {in_udp} of ESP in UDP")
    expect(min(esp) >= 20 and in_udp == 0, "that is not bare ESP")
    for gateway in (martlet, peer):
        expect(not any(child["udp_encapsulated"] for child in gateway.children()), f"{gateway.host} says that ESP is in UDP")


def guest_bare():
    with facing(martlet=TUN, load=WITH_KERNEL) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            print(role, flush=True)
            bare(lab, martlet, peer, lambda: carries(lab, martlet, peer, bytes_each=300_000))


def guest_bare_over_ipv6():
    with facing(load=WITH_KERNEL, **V6) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            print(role, flush=True)
            bare(lab, martlet, peer, lambda: carries(lab, martlet, peer, bytes_each=300_000))


def guest_rekeys():
    def work():
        for kind in ("child", "ike"):
            for by in ([martlet], [peer]):
                rekeyed(martlet, peer, kind, by)
                carries(lab, martlet, peer, bytes_each=100_000)

    with facing(martlet=TUN, load=WITH_KERNEL) as (lab, martlet, peer):
        martlet.up()
        wait(lambda: one_left(martlet, peer), "the tunnel is up")
        bare(lab, martlet, peer, work)


def guest_extended_sequence_numbers():
    """A child for each way to be safe, all with ESN."""
    esp = ("aes256gcm16-esn", "aes128gcm16-esn", "chacha20poly1305-esn", "aes256-sha256-esn", "aes128-sha384-esn", "aes256-sha512-esn")

    def children(local, remote):
        return "".join(f"c{n} {{ local_ts = 10.{local}.{n}.0/24\n remote_ts = 10.{remote}.{n}.0/24\n esp_proposals = {what} }}\n" for n, what in enumerate(esp))

    def work():
        for n, what in enumerate(esp):
            (martlet, peer)[n % 2].up(f"c{n}")
            for size in (1, 56, 1200):
                lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1", size=size)

    with facing(martlet=dict(TUN, children=children(1, 2)), peer=dict(children=children(2, 1)), load=WITH_KERNEL) as (lab, martlet, peer):
        for n in range(1, len(esp)):
            for host, number in (("east", 1), ("west", 2)):
                lab.ip(host, "addr", "add", f"10.{number}.{n}.1/32", "dev", "lo")
        bare(lab, martlet, peer, work)
        ours = {child["name"]: child for child in martlet.children()}
        theirs = {child["name"]: child for sa in peer.list_sas() for child in sa["child-sas"].values()}
        for n, what in enumerate(esp):
            expect(ours[f"c{n}"]["extended_sequence_numbers"] and theirs[f"c{n}"].get("esn") == "1", f"{what}: no ESN")
            counted = [ours[f"c{n}"][direction]["packets"] for direction in ("inbound", "outbound")] + [int(theirs[f"c{n}"][key]) for key in ("packets-in", "packets-out")]
            expect(counted == [9] * 4, f"{what}: both counted {counted} packets, not 9 each")
            print(what, flush=True)


def in_kernel(function):
    print("    ", in_guest(f"test_strongswan_kernel.{function}").replace("\n", "\n     "))


def test_bare_esp():
    in_kernel("guest_bare")


def test_bare_esp_over_ipv6():
    in_kernel("guest_bare_over_ipv6")


def test_rekeys_over_bare_esp():
    in_kernel("guest_rekeys")


def test_extended_sequence_numbers():
    in_kernel("guest_extended_sequence_numbers")
