"""The kernel's data plane in a distribution's kernel: what User-Mode-Linux has not. All of it in one boot of a slow machine."""

import subprocess
import sys
import time

from lab import expect, pair, run, wait
from test_xfrm import counted, kernel
from vm import in_vm

LONG = True
# Prints the segment size in the first segment with SYN that comes in on an interface.
OPENING = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.bind((sys.argv[1], 0))
print("ready", flush=True)
while True:
    packet, place = s.recvfrom(65536)
    segment = packet[(packet[0] & 15) * 4:] if packet[0] >> 4 == 4 and packet[9] == 6 else packet[40:] if packet[0] >> 4 == 6 and packet[6] == 6 else b""
    if place[2] == socket.PACKET_OUTGOING or len(segment) < 20 or not segment[13] & 2:
        continue
    options = segment[20:(segment[12] >> 4) * 4]
    while options and options[0] not in (0, 2):
        options = options[1:] if options[0] == 1 else options[options[1]:]
    print(int.from_bytes(options[2:4], "big"), flush=True)
    sys.exit()
"""


def behind(lab, host, name, number):
    """A host behind a gateway, which forwards for it. All of a lab's own networks is the gateway's itself, so that it has another one."""
    run("ip", "netns", "add", lab.name(name))
    lab.namespaces.append(lab.name(name))
    lab._cable(host, f"to-{name}", name, "wire")
    for who, device, last in ((host, f"to-{name}", 254), (name, "wire", 1)):
        lab.ip(who, "addr", "add", f"10.1{number}.9.{last}/24", "dev", device)
        lab.ip(who, "-6", "addr", "add", f"fd1{number}::{last}/64", "dev", device, "nodad")
    lab.ip(name, "route", "add", "default", "via", f"10.1{number}.9.254")
    lab.ip(name, "-6", "route", "add", "default", "via", f"fd1{number}::254")
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        lab.inside(host, "sh", "-c", f"echo 1 > /proc/sys/net/{setting}")


def openings(lab, source, target):
    """Opens a TCP connection from behind east to behind west, and sends something: the sizes that arrive at the other end, and at the own."""
    seen = [lab.start(name, sys.executable, "-c", OPENING, "wire", stdout=subprocess.PIPE, text=True) for name in ("right", "left")]
    for process in seen:
        expect(process.stdout.readline().strip() == "ready", "nobody looks at the segments")
    lab.transfer("left", "right", source, target, 50_000)
    return [int(process.stdout.readline()) for process in seen]


def tables(lab, host):
    return sorted(lab.inside(host, "nft", "list", "tables").stdout.split("\n"))


def segments():
    """Connections of others: their segments fit through the tunnel from the first handshake on, or are left alone where that is the wish."""
    here, there = "10.11.9.0/24,fd11::/64", "10.12.9.0/24,fd12::/64"
    with pair(east=dict(local_ts=here, remote_ts=there), west=dict(local_ts=there, remote_ts=here), start=False) as (lab, east, west):
        behind(lab, "east", "left", 1)
        behind(lab, "west", "right", 2)
        texts = [gateway.file.read_text() for gateway in (east, west)]
        for clamps in (False, True):
            for gateway, text in zip((east, west), texts):
                lab.inside(gateway.host, "nft", "add", "table", "inet", f"others{int(clamps)}")
                gateway.write(text if clamps else text.replace("plugins {", "plugins { xfrm { clamp_mss = no }", 1))
                gateway.start()
            east.up()
            wait(lambda: east.children() and west.children(), "the tunnel is up")
            four, six = openings(lab, "10.11.9.1", "10.12.9.1"), openings(lab, "fd11::1", "fd12::1")
            # Bare AES-GCM between IPv4 addresses over Ethernet: 1446 octets of 1500.
            expect((four, six) == (([1406, 1406], [1386, 1386]) if clamps else ([1460, 1460], [1440, 1440])), lambda: f"segment sizes {four} and {six} where clamp_mss is {clamps}")
            expect(min(counted(east)["site"]) > 30, lambda: f"the connections did not go through the tunnel: {counted(east)}")
            expect(("table inet martlet-xfrm" in tables(lab, "east")) == clamps, lambda: f"the tables are {tables(lab, 'east')}")
            if clamps:
                print(lab.inside("east", "nft", "list", "ruleset").stdout, flush=True)
                said = " ".join(east.cli("plugins").stdout.split())
                expect("carries the packets" in said and "clamp_mss" not in said and "interface_prefix" not in said, said)
                # It goes with the daemon, however that ends; what others have made is as it was.
                west.kill()
            else:
                west.stop()
            east.stop()
            for host in ("east", "west"):
                wait(lambda: tables(lab, host) == sorted(["", "table inet others0", *(["table inet others1"] if clamps else [])]), f"only the tables of others are left in {host}")
        print("segments that fit, and no table left", flush=True)


def interfaces():
    """An XFRM interface for a number, made with the first tunnel and removed with the last, with traffic through it; the number is everybody's choice, or the gateway's."""
    for number in ("42", "%unique"):
        numbered = dict(connection=f"if_id_in = {number}\n if_id_out = {number}", plugins="xfrm { interface_prefix = ipsec }")
        with pair(both=numbered) as (lab, east, west):
            east.up()
            wait(lambda: east.children() and west.children(), "the tunnel is up")

            def made(host):
                lines = lab.inside(host, "ip", "-o", "link", "show", "type", "xfrm").stdout.split("\n")
                return [line.split(": ")[1].split("@")[0] for line in lines if line]

            for gateway, network in ((east, "10.2.0.0/16"), (west, "10.1.0.0/16")):
                name = made(gateway.host)
                expect(len(name) == 1 and (number != "42" or name == ["ipsec42"]), lambda: f"{gateway.host} has made {name}")
                lab.ip(gateway.host, "route", "add", network, "dev", name[0])
            lab.ping("east", "10.2.0.1", source="10.1.0.1")
            lab.transfer("west", "east", "10.2.0.1", "10.1.0.1", 50_000)
            before = counted(east)["site"]
            expect(min(before) >= 10, lambda: f"the packets did not go through the tunnel: {before}")
            east.rekey(child="site")
            was = made("east")
            lab.ping("east", "10.2.0.1", source="10.1.0.1")
            expect(made("east") == was, "a rekey has changed the interface")
            east.down()
            wait(lambda: not made("east") and not made("west") and not kernel(lab, "east", "state"), "the interfaces have gone with the tunnel")
            print(f"if_id = {number}: {was} came and went", flush=True)


def leftovers():
    """What a killed daemon has left is gone with the next one's start; interfaces of others stay, and are not taken for its own."""
    def made(lab):
        lines = lab.inside("east", "ip", "-o", "link", "show", "type", "xfrm").stdout.split("\n")
        return {line.split(": ")[1].split("@")[0] for line in lines if line}

    def begin(gateway):
        """A machine without hardware's help takes its time to load the plugins."""
        gateway.start(ready=False)
        wait(gateway.answers, f"{gateway.host} is ready", 120)

    fixed = "fixed { local_ts = 10.1.0.0/16\n remote_ts = 10.2.0.0/16\n if_id_in = 42\n if_id_out = 42 }\n"
    unique = "unique { local_ts = 10.1.0.0/16\n remote_ts = 10.2.0.0/16\n if_id_in = %unique\n if_id_out = %unique }\n"
    site = "{ local_ts = 10.2.0.0/16\n remote_ts = 10.1.0.0/16\n start_action = none }\n"
    prefix = dict(plugins="xfrm { interface_prefix = ipsec }")
    with pair(east=dict(prefix, children=fixed + unique), west=dict(children=f"fixed {site} unique {site}"), start=False) as (lab, east, west):
        # Others': the first numbers, with which %unique begins, and one with the name that 42 would have.
        theirs = {f"theirs{n}" for n in range(1, 5)}
        for n in range(1, 5):
            lab.ip("east", "link", "add", f"theirs{n}", "type", "xfrm", "if_id", str(n))
        lab.ip("east", "link", "add", "ipsec42", "type", "xfrm", "if_id", "7")
        begin(west)
        begin(east)
        expect(east.up("fixed", check=False).returncode != 0 and east.logged("ipsec42, which is to have if_id 42, is another one"), lambda: f"a name was taken for the number:\n{east.log()}")
        expect(made(lab) == theirs | {"ipsec42"}, lambda: f"there are {made(lab)}")
        lab.ip("east", "link", "del", "ipsec42")
        lab.ip("east", "link", "add", "ipsec42", "type", "xfrm", "if_id", "42")
        # The administrator's own, as the configuration names it.
        east.up("fixed")
        tries = 0
        while east.up("unique", check=False).returncode != 0:
            tries += 1
            expect(tries < 6, lambda: f"%unique finds no number:\n{east.log()}")
        expect(tries and east.logged("somebody else's interface theirs"), "a number of somebody else's was taken")
        own = made(lab) - (theirs | {"ipsec42"})
        expect(len(own) == 1, lambda: f"there are {made(lab)}")
        east.kill()
        expect(made(lab) >= own, "a killed daemon has left nothing, so that there is nothing to find")
        begin(east)
        expect(east.logged(f"removed the interfaces that an earlier daemon has left: {own.copy().pop()}"), "the log does not name what was left")
        expect(made(lab) == theirs | {"ipsec42"}, lambda: f"after the restart there are {made(lab)}")
        east.stop()
        expect(made(lab) == theirs | {"ipsec42"}, lambda: f"after the end there are {made(lab)}")
        print("what was left is gone, and others' interfaces are not", flush=True)


def guest_distribution():
    begun = time.monotonic()
    segments()
    interfaces()
    leftovers()
    print(f"{time.monotonic() - begun:.0f} s in the guest", flush=True)


def test_segments_and_interfaces():
    print("    ", in_vm("test_xfrm_distribution.guest_distribution").replace("\n", "\n     "))
