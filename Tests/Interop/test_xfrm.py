"""The kernel's data plane, in a kernel that has ESP: User-Mode-Linux. The functions `guest_*` run in there; each is a boot, so that one does much."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time

from lab import BUILD, Failed, Gateway, Lab, carries, configuration, counters, expect, outer, pair, wait
from strongswan import WITH_KERNEL, both_roles, facing
from test_strongswan_collisions import one_left
from test_strongswan_rekey import rekeyed
import test_mobike
from uml import MODULES, UML_MODULES, in_guest, load_modules

LONG = True
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
            numbers = (1, 3) if outer else range(len(ESP))
            for n in numbers:
                (east, west)[n % 2].up(f"c{n}")
                lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1", size=1200)
                lab.ping("west", f"fd01:{n}::1", source=f"fd02:{n}::1")
            # Replay windows as they were asked for, in words of 32 bits.
            windows = [re.search(r"replay_window (\d+), bitmap-length (\d+)", state) for state in kernel(lab, "east", "state")]
            found = {(int(window[1]), int(window[2])) for window in windows if window}
            expect(found >= ({(32, 1)} if outer else {(64, 2), (32, 1), (4096, 128), (128, 4)}), lambda: f"the replay windows are {found}")
            for gateway in (east, west):
                counts = counted(gateway)
                expect(all(counts[f"c{n}"] == [6, 6] for n in numbers), lambda: f"{gateway.host} counted {counts}, not 6 packets each way")
            # What no selector of a child has goes nowhere.
            expect(lab.ping("east", "10.2.3.1", source="10.1.1.1", count=1, check=False) == 0, "a packet outside the selectors passed")
            if outer:
                continue
            lab.transfer("east", "west", "10.1.0.1", "10.2.0.1", 100_000)
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
    stream.send_signal(signal.SIGINT)
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
            carries(lab, martlet, peer, bytes_each=50_000)
            print(role, flush=True)
        martlet.up()
        wait(lambda: one_left(martlet, peer), "the tunnel is up")
        expect(not any(child["udp_encapsulated"] for child in martlet.children()), "ESP is in UDP although there is no NAT")
        stream = lab.start("east", "ping", "-n", "-i", "0.05", "-c", "2000", "-W", "2", "-I", "10.1.0.1", "10.2.0.1", stdout=subprocess.PIPE, text=True)
        for kind in ("child", "ike"):
            for by in ([martlet], [peer]):
                rekeyed(martlet, peer, kind, by)
        no_ping_lost(stream)


def guest_transport():
    """Transport mode against strongSwan, asked for by either side; and policies that pass and drop beside it."""
    mode = dict(local_ts="dynamic", remote_ts="dynamic", child="mode = transport")
    with facing(both=mode, load=WITH_KERNEL) as (lab, martlet, peer):
        for role in both_roles(martlet, peer):
            expect(martlet.status()["ike_sas"][0]["children"][0]["mode"] == "TRANSPORT", "that is not transport mode")
            before = counted(martlet)["site"]
            lab.transfer("east", "west", "192.0.2.1", "192.0.2.2", 100_000)
            lab.ping("west", "192.0.2.1", source="192.0.2.2")
            expect(min(a - b for a, b in zip(counted(martlet)["site"], before)) > 20, "the packets did not go through the SAs")
            expect("mode transport" in " ".join(kernel(lab, "east", "state")), "the kernel has no SA in transport mode")
            # IKE passes by what its own SAs cover: its sockets have policies of their own.
            own = lab.inside("east", "ip", "xfrm", "policy").stdout
            expect("socket in" in own and "socket out" in own, lambda: f"the sockets of IKE have no policies of their own: {own}")
            print(role, flush=True)
    # Whose child is a tunnel gives no transport mode, and takes no tunnel for the transport mode that its child is to have.
    hosts = dict(local_ts="dynamic", remote_ts="dynamic")
    with facing(martlet=hosts, peer={**hosts, "child": "mode = transport"}, load=WITH_KERNEL) as (lab, martlet, peer):
        peer.up()
        wait(lambda: martlet.children() and peer.children(), "both have a child")
        for host in ("east", "west"):
            states = " ".join(kernel(lab, host, "state"))
            expect("mode tunnel" in states and "mode transport" not in states, lambda: f"{host} has {states}")
        lab.ping("west", "192.0.2.1", source="192.0.2.2")
        # The tunnel would take IKE as well: it reaches the peer also when nothing can come out of the tunnel there.
        lab.inside("west", "ip", "xfrm", "state", "deleteall")
        expect(not lab.ping("east", "192.0.2.2", source="192.0.2.1", count=1, check=False), "a packet passes without an SA")
        martlet.down()
        wait(lambda: not martlet.sas() and not peer.sas(), "IKE has reached the peer")
    with facing(martlet={**hosts, "child": "mode = transport"}, peer=hosts, load=WITH_KERNEL) as (lab, martlet, peer):
        done = martlet.up(check=False)
        expect(done.returncode != 0 and "makes site a tunnel" in done.stdout + done.stderr, lambda: f"{done.stdout}{done.stderr}")
        wait(lambda: not kernel(lab, "east", "state") and not kernel(lab, "west", "state"), lambda: f"no SA stays: {kernel(lab, 'east', 'state')}")
    print("refused", flush=True)


def guest_algorithms():
    """Each algorithm of the kernel against strongSwan's use of it, over IPv4 and some over IPv6, asked for by either side."""
    algorithms = (
        "aes128gcm8", "aes256gcm12", "aes192gcm16", "aes128ccm8", "aes192ccm12", "aes256ccm16-esn", "aes256gmac", "chacha20poly1305-esn", "camellia256-sha256", "aes128-aesxcbc", "aes128-aescmac",
        "aes128-sha1", "aes192-sha384", "aes256-sha512-esn", "aes128ctr-sha256", "null-sha256",
    )
    for six, chosen in ((False, range(len(algorithms))), (True, (2, 5, 7, 13))):
        def ways(here, there):
            return "".join(
                f"c{n} {{ local_ts = 10.{here}.{n}.0/24, fd0{here}:{n}::/64\n remote_ts = 10.{there}.{n}.0/24, fd0{there}:{n}::/64\n esp_proposals = {algorithms[n]} }}\n" for n in chosen
            )

        ends = ("2001:db8::1", "2001:db8::2")
        ours = dict(children=ways(1, 2), **(dict(local=ends[0], remote=ends[1]) if six else {}))
        theirs = dict(children=ways(2, 1), **(dict(local=ends[1], remote=ends[0]) if six else {}))
        with facing(martlet=ours, peer=theirs, load=WITH_KERNEL) as (lab, martlet, peer):
            for host, number in (("east", 1), ("west", 2)):
                for n in chosen:
                    lab.ip(host, "addr", "replace", f"10.{number}.{n}.1/32", "dev", "lo")
                    lab.ip(host, "-6", "addr", "replace", f"fd0{number}:{n}::1/128", "dev", "lo", "nodad")
            for n in chosen:
                (martlet, peer)[n % 2].up(f"c{n}")
                wait(lambda: f"c{n}" in counted(martlet), f"{algorithms[n]} is up")
                lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1", size=1000)
                lab.ping("west", f"fd01:{n}::1", source=f"fd02:{n}::1")
                expect(counted(martlet)[f"c{n}"] == [6, 6], lambda: f"{algorithms[n]}: {counted(martlet)}")
    print(f"{len(algorithms)} algorithms", flush=True)


def guest_policies():
    """What passes and what drops, inside a tunnel and without one."""
    alone = """
        shunts { children {
            out { mode = pass
 local_ts = 10.1.0.0/16
 remote_ts = 10.2.7.0/24[tcp/9]
 start_action = trap }
            no { mode = drop
 local_ts = 10.1.0.0/16
 remote_ts = 10.2.8.0/24
 start_action = trap }
        } }"""
    with pair(start=False) as (lab, east, west):
        east.write(east.file.read_text().replace("connections {", "connections {" + alone, 1))
        west.start()
        east.start()
        # Ready is who lets nothing pass any more. A policy that somebody else's is in the way of comes when that has gone.
        wait(lambda: east.logged("is ready in"), "the daemon is ready")
        log = east.log()
        expect(0 < log.find("no is dropped") < log.find("is ready in"), "the daemon was ready before what is to be dropped was")
        foreign = ("src", "10.1.0.0/16", "dst", "10.2.6.0/24", "dir", "out")
        lab.ip("east", "xfrm", "policy", "add", *foreign)
        text = east.file.read_text()
        east.write(text.replace("children {", "children { late { mode = drop\n local_ts = 10.1.0.0/16\n remote_ts = 10.2.6.0/24\n start_action = trap }", 1))
        east.signal(signal.SIGHUP)
        wait(lambda: east.logged("It is tried again"), "the policy is refused")
        lab.ip("east", "xfrm", "policy", "delete", *foreign)
        wait(lambda: east.logged("late is dropped"), "the policy is there after all", 20)
        east.write(text)
        east.signal(signal.SIGHUP)
        wait(lambda: east.logged("late is no longer dropped"), "the policy has gone")
        for address in ("10.2.7.1", "10.2.8.1"):
            lab.ip("west", "addr", "add", address + "/32", "dev", "lo")
        wait(lambda: len(kernel(lab, "east", "policy")) >= 6 + 4, "the policies are installed")
        east.up()
        # The routes say what fits: a packet of that size passes whole, and none that is larger leaves.
        size = re.search(r"10\.2\.0\.0/16 dev martlet0 .*mtu (\d+) advmss (\d+)", lab.inside("east", "ip", "route", "show", "table", "52100").stdout)
        expect(size and int(size[1]) - 40 == int(size[2]) and 1400 < int(size[1]) < 1480, lambda: lab.inside("east", "ip", "route", "show", "table", "52100").stdout)
        largest = int(size[1]) - 28
        for length, passes in ((largest, True), (largest + 1, False)):
            done = lab.inside("east", "ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", length, "-I", "10.1.0.1", "10.2.0.1", check=False)
            expect((done.returncode == 0) == passes, lambda: f"a packet of {length + 28} bytes, which the route {'takes' if passes else 'does not take'}: {done.stdout}{done.stderr}")
        lab.ping("east", "10.2.7.1", source="10.1.0.1")
        expect(lab.ping("east", "10.2.8.1", source="10.1.0.1", count=2, check=False) == 0, "what is dropped passed")
        expect(lab.ping("west", "10.1.0.1", source="10.2.8.1", count=2, check=False) == 0, "what is dropped passed when it came out of an SA")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        # A number in place of what was computed, and nothing at all.
        for settings, said in (("mtu = 1300\n clamp_mss = no", "mtu 1300"), ("mtu = no\n clamp_mss = no", "")):
            east.stop()
            east.write(text.replace("plugins {", f"plugins {{ xfrm {{ {settings} }}", 1))
            east.start()
            east.up()
            route = lab.inside("east", "ip", "route", "show", "table", "52100", "10.2.0.0/16").stdout
            expect(route and said in route and "advmss" not in route and ("mtu" in route) == bool(said), lambda: f"with {settings} the route is {route}")
            lab.ping("east", "10.2.0.1", source="10.1.0.1")
        east.stop()
        east.write(text)
        rules_and_routes_of_others(lab, east)
    # A child that is closed leaves its packets to a wider one at once, at both ends.
    def nested(here, there):
        return f"narrow {{ local_ts = 10.{here}.5.0/24\n remote_ts = 10.{there}.5.0/24 }}\n wide {{ local_ts = 10.{here}.0.0/16\n remote_ts = 10.{there}.0.0/16 }}\n"

    with pair(east=dict(children=nested(1, 2)), west=dict(children=nested(2, 1))) as (lab, east, west):
        for host, number in (("east", 1), ("west", 2)):
            lab.ip(host, "addr", "add", f"10.{number}.5.1/32", "dev", "lo")
        for name in ("narrow", "wide"):
            east.up(name)
        lab.ping("east", "10.2.5.1", source="10.1.5.1")
        expect(counted(east) == {"narrow": [3, 3], "wide": [0, 0]}, lambda: f"with both there were {counted(east)}")
        east.down(child="narrow")
        lab.ping("east", "10.2.5.1", source="10.1.5.1")
        expect(counted(east)["wide"] == [3, 3], lambda: f"with the wider one alone there were {counted(east)}")


def rules_and_routes_of_others(lab, east):
    """In our own table and with our own priorities: they stay as they are through all that becomes of a daemon."""
    networks = {"-4": "10.9.0.0/16", "-6": "fd09::/64"}

    def lines(family, *words):
        return [line.strip() for line in lab.inside("east", "ip", family, "-d", *words, check=False).stdout.splitlines()]

    def check(when, has_ours):
        for family, network in networks.items():
            rules, routes = lines(family, "rule"), lines(family, "route", "show", "table", "52100")
            for words in (("5210:", "lookup 52100"), ("5211:", "lookup main"), ("5212:", "lookup 52100")):
                theirs = [rule for rule in rules if all(word in rule for word in words) and "proto 77" not in rule]
                expect(len(theirs) == 1, lambda: f"{when}, with {words}: {rules}")
            expect(sum(network in route and "to-west" in route for route in routes) == 1, lambda: f"{when}: {routes}")
            found = [bool([line for line in those if "proto 77" in line]) for those in (rules, routes)]
            # All the tunnels are IPv4's, the rules both families'.
            expect(found == [has_ours, has_ours and family == "-4"], lambda: f"{when} there are {rules} and {routes}")

    for family, network in networks.items():
        for priority, table in ((5210, 52100), (5211, "main"), (5212, 52100)):
            lab.ip("east", family, "rule", "add", "pref", str(priority), "lookup", str(table))
        lab.ip("east", family, "route", "add", network, "dev", "to-west", "table", "52100")
    check("at first", False)
    east.start()
    east.up()
    lab.ping("east", "10.2.0.1", source="10.1.0.1")
    check("with a tunnel", True)
    east.kill()
    check("after the crash", True)
    east.start()
    expect(re.search(r"removed \d+ routes and 6 rules left in table 52100", east.log()), "the log does not say what was left")
    check("after the restart", True)
    east.stop()
    check("at the end", False)
    # A route for the tunnel's own network is not replaced.
    lab.ip("east", "route", "add", "10.2.0.0/16", "dev", "to-west", "table", "52100")
    east.start()
    east.up()
    expect(east.logged("table 52100 has a route to 10.2.0.0/16 of somebody else's, which is left as it is"), "the log does not say that a route is in the way")
    east.stop()
    expect("10.2.0.0/16 dev to-west" in " ".join(lines("-4", "route", "show", "table", "52100")), lambda: f"{lines('-4', 'route', 'show', 'table', '52100')}")


def guest_bare():
    """A kernel without ESP, and one without an algorithm: each is one line at the start, and nothing of it is offered."""
    missing = "the kernel has no ESP for IPv4 (CONFIG_INET_ESP)"
    with Lab() as lab:
        unload("esp4", "esp6")
        gateway = Gateway(lab, "east", configuration("east", gateway="plane = xfrm", **outer("east")))
        gateway.start(ready=False)
        expect(gateway.process.wait(timeout=60) != 0 and missing in gateway.log(), lambda: f"without ESP the plane that was asked for is no plain error:\n{gateway.log()}")
        gateway.write(configuration("east", **outer("east")))
        gateway.start()
        expect(gateway.logged(f"the data plane tun carries the packets, not xfrm: {missing}"), lambda: f"the log does not say why tun was chosen:\n{gateway.log()}")
        expect(missing in " ".join(gateway.cli("plugins").stdout.split()), "'martlet plugins' does not say why tun was chosen")
        gateway.stop()
        load_modules(UML_MODULES, MODULES)
        unload("chacha20poly1305", "ccm")
        gateway.write(configuration("east", esp="chacha20poly1305", **outer("east")))
        gateway.start(ready=False)
        expect(gateway.process.wait(timeout=60) != 0 and re.search(r"error: .*chacha20poly1305.* cannot be served by the data plane", gateway.log()), lambda: f"an algorithm that the kernel has not is no plain error:\n{gateway.log()}")
        gateway.write(configuration("east", esp="default", **outer("east")))
        gateway.start()
        said = " ".join(gateway.cli("plugins").stdout.split()).partition("cannot do ESP with ")[2]
        expect("CHACHA20_POLY1305" in said and "AES_CCM_16_256" in said and "AES_GCM" not in said and "SHA2_256" not in said, lambda: gateway.cli("plugins").stdout)
        gateway.stop()
        load_modules(UML_MODULES, MODULES)


def unload(*names):
    """Takes modules out of the guest's kernel."""
    for name in names:
        if ctypes.CDLL(None, use_errno=True).syscall(176, name.encode(), os.O_NONBLOCK) != 0:  # delete_module, on x86-64
            raise Failed(f"{name} cannot be unloaded: {os.strerror(ctypes.get_errno())}")


def guest_addresses():
    """A host that is lent addresses, and sends everything through the tunnel: its own packets to the peer stay out, and its links work. Beside it, what two killed daemons have left
    comes to its end by itself."""
    client = dict(local_ts="dynamic", remote_ts="0.0.0.0/0,::/0", connection="vips = 0.0.0.0, ::")
    gateway = dict(local_ts="0.0.0.0/0,::/0", remote_ts="dynamic", connection="pools = rw, six")
    # The kernel ends it ten seconds after the daemons should have. Meanwhile the others go on.
    with pair(both=dict(child="rekey_time = 0\n life_time = 10s")) as (left, early, late):
        early.up()
        wait(lambda: early.children() and late.children(), "the child is up")
        for killed in (early, late):
            killed.kill()
            states = left.inside(killed.host, "ip", "-s", "xfrm", "state").stdout
            expect(states.count("hard 20(sec)") == len(kernel(left, killed.host, "state")) == 2, lambda: f"{killed.host} has {states}")
        with pair(east=client, west=gateway, start=False) as (lab, east, west):
            west.write(west.file.read_text() + "pools { rw { addrs = 10.3.0.0/24 }\n six { addrs = fd03::/64 } }")
            west.start()
            east.start()
            east.up()
            # The lab's own default routes lead to the peer, too: what is not in the tunnel would arrive as well.
            for target in ("10.2.0.1", "fd02::1"):
                before = counted(east)["site"]
                lab.ping("east", target)
                expect([a - b for a, b in zip(counted(east)["site"], before)] == [3, 3], lambda: f"pings to {target} went another way: {counted(east)}")
            lab.transfer("east", "west", "10.3.0.1", "10.2.0.1", 50_000)
            east.rekey(child="site")
            lab.ping("east", "10.2.0.1", source="10.3.0.1")
            east.down()
            wait(lambda: "10.3.0.1" not in lab.inside("east", "ip", "addr").stdout, "the address has gone")
        for host in ("east", "west"):
            wait(lambda: not kernel(left, host, "state"), f"what was left in {host} has come to its end", 60)
        expect(not left.ping("east", "10.2.0.1", source="10.1.0.1", count=1, check=False), "what has no SA any more passes in clear")


def passes(lab, martlet, peer):
    """Packets pass both ways, and are counted at both ends. Cheaper in a slow kernel than a transfer, which has been made once."""
    wait(lambda: lab.ping("east", "10.2.0.1", source="10.1.0.1", count=1, check=False), "a packet passes again", 15)
    before = counters(martlet), counters(peer)
    lab.ping("east", "10.2.0.1", source="10.1.0.1", count=5, size=1000)
    lab.ping("west", "10.1.0.1", source="10.2.0.1", count=5, size=1000)
    for gateway, old in zip((martlet, peer), before):
        expect(all(counters(gateway)[way] - old[way] >= 10 * 1000 for way in old), lambda: f"{gateway.host} counted {counters(gateway)} after {old}")


def guest_roaming():
    """MOBIKE with the kernel's SAs: with strongSwan in both roles, and between two Martlets when a NAT comes and goes."""
    anywhere = dict(local="%any")
    for first in ("martlet", "strongswan"):
        with facing(martlet=anywhere, peer=dict(remote="%any" if first == "martlet" else "192.0.2.1"), load=WITH_KERNEL) as (lab, martlet, peer):
            test_mobike.only_ipv4(lab)
            (martlet if first == "martlet" else peer).up()
            wait(lambda: martlet.children() and peer.children(), "the tunnel is up")
            spis = {child["inbound"]["spi"] for child in martlet.children()}
            carries(lab, martlet, peer, bytes_each=20_000)
            before = counted(martlet)["site"]
            for new, old in ((test_mobike.NEW, "192.0.2.1"), ("192.0.2.1", test_mobike.NEW)):
                test_mobike.readdress(lab, "east", new, old)
                test_mobike.moved(martlet, peer, new, "192.0.2.2")
                passes(lab, martlet, peer)
                expect({child["inbound"]["spi"] for child in martlet.children()} == spis, "the SAs are others: they were not moved")
                expect(sum(new in state for state in kernel(lab, "east", "state")) == 2, lambda: f"the kernel's SAs are not at {new}")
            # What was counted before the moves is still there.
            expect(all(a > b for a, b in zip(counted(martlet)["site"], before)) and not martlet.drops().get("replay"), lambda: f"{counted(martlet)} after {before}, {martlet.drops()}")
            print(f"{first} begins: moved twice", flush=True)
    test_mobike.test_a_nat_appears_and_vanishes(passes)


def guest_ends():
    """Transport mode behind a NAT, with both kinds of peer; and what ends SAs: a peer that is gone, time, packets."""
    mode = dict(local_ts="dynamic", remote_ts="dynamic", child="mode = transport")
    # Whoever is behind the NAT begins.
    for host in ("east", "west"):
        with facing(both=mode, nat=True, martlet_host=host, load=WITH_KERNEL) as (lab, martlet, peer):
            (martlet if host == "east" else peer).up()
            wait(lambda: martlet.children() and peer.children(), "the child is up")
            child = martlet.status()["ike_sas"][0]["children"][0]
            expect(child["mode"] == "TRANSPORT" and child["udp_encapsulated"], lambda: f"that is not transport mode in UDP: {child}")
            lab.transfer("east", "west", "172.16.0.1", "192.0.2.2", 50_000)
            expect(min(counted(martlet)["site"]) > 10, lambda: f"the packets did not go through the SAs: {counted(martlet)}")
    with pair(both=dict(mode, connection="dpd_delay = 1s", gateway="retransmit_tries = 2"), nat=True) as (lab, east, west):
        east.up()
        wait(lambda: east.children() and west.children(), "the child is up")
        lab.transfer("east", "west", "172.16.0.1", "192.0.2.2", 50_000)
        lab.ping("west", "192.0.2.1", source="192.0.2.2")
        expect(min(counted(east)["site"] + counted(west)["site"]) > 10, lambda: f"the packets did not go through the SAs: {counted(east)}")
        # Nobody there any more: the other end finds out, and its kernel has nothing left.
        west.kill()
        wait(lambda: not east.sas() and not kernel(lab, "east", "state"), "east has noticed that west is gone", 60)
    # A tunnel in UDP, with a peer that is not ours.
    for host in ("east", "west"):
        with facing(nat=True, martlet_host=host, load=WITH_KERNEL) as (lab, martlet, peer):
            (martlet if host == "east" else peer).up()
            wait(lambda: martlet.children() and peer.children(), "the child is up")
            carries(lab, martlet, martlet, bytes_each=50_000)
            expect("encap type espinudp" in " ".join(kernel(lab, host, "state")), "the SA is not in UDP")
    # Packets that call for a rekey.
    with pair(both=dict(child="rekey_packets = 20\n life_packets = 1000"), start=True) as (lab, east, west):
        east.up()
        old = east.children()[0]["inbound"]["spi"]
        lab.ping("east", "10.2.0.1", source="10.1.0.1", count=40)
        wait(lambda: len(east.children()) == 1 and east.children()[0]["inbound"]["spi"] != old, "the child is rekeyed after its packets")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
    timed = "timed { local_ts = 10.%d.0.0/24\n remote_ts = 10.%d.0.0/24\n rekey_time = 0\n life_time = 4s }\n"
    few = "few { local_ts = 10.%d.1.0/24\n remote_ts = 10.%d.1.0/24\n rekey_time = 0\n life_packets = 12 }\n"
    children = {host: "".join(text % ends for text in (timed, few)) for host, ends in (("east", (1, 2)), ("west", (2, 1)))}
    with facing(martlet=dict(children=children["east"]), peer=dict(children=children["west"].replace("life_time = 4s", "").replace("life_packets = 12", "")), load=WITH_KERNEL) as (lab, martlet, peer):
        for host, number in (("east", 1), ("west", 2)):
            lab.ip(host, "addr", "add", f"10.{number}.1.1/32", "dev", "lo")
        for name in ("timed", "few"):
            martlet.up(name)

        def spi(name):
            return next((child["inbound"]["spi"] for child in martlet.children() if child["name"] == name), None)

        first = {name: spi(name) for name in ("timed", "few")}
        wait(lambda: spi("timed") not in (None, first["timed"]), "another child has taken the place of the one whose time was over", 30)
        wait(lambda: first["timed"] not in " ".join(kernel(lab, "east", "state")), "the old one has left the kernel", 30)
        expect(spi("few") == first["few"], "a child has gone that has no time to keep")
        passed = lab.ping("east", "10.2.1.1", source="10.1.1.1", count=20, check=False)
        expect(passed >= 8, f"{passed} pings passed where at least 12 packets may")
        wait(lambda: spi("few") not in (None, first["few"]), "another child has taken the place of the one whose packets were used up", 30)
        wait(lambda: first["few"] not in " ".join(kernel(lab, "east", "state")), "the old one has left the kernel", 30)
        martlet.cli("down", "peer")
        wait(lambda: not martlet.children() and not peer.children(), "both are closed", 30)
        # A packet too many leaves a placeholder for a moment.
        wait(lambda: not kernel(lab, "east", "state"), "the kernel has nothing left", 30)


def guest_carriage():
    """Marks, headers, hardware, numbers of interfaces; AES-CTR and NULL; against strongSwan, in both roles."""
    def child(name, n, local, more, esp="aes256gcm16"):
        there = 3 - local
        return f"{name} {{ local_ts = 10.{local}.{n}.0/24\n remote_ts = 10.{there}.{n}.0/24\n esp_proposals = {esp}\n {more} }}\n"

    marked = "mark_out = 0x42/0xff\n mark_in = 7\n set_mark_in = %same\n mark_in_sa = no\n copy_dscp = no"
    other = "copy_df = no\n copy_ecn = no\n copy_dscp = yes\n hw_offload = auto\n replay_window = 4096"
    # The peer's names are ours, so that either side can ask.
    ours = [("marked", 0, marked, "aes256gcm16"), ("ctr", 1, other, "aes256ctr-sha256"), ("null", 2, "", "null-sha256"), ("numbered", 3, "if_id_in = 42\n if_id_out = 43", "aes256gcm16"),
            ("device", 4, "hw_offload = crypto", "aes256gcm16"), ("whole", 6, "hw_offload = packet", "aes256gcm16"), ("unique", 5, "mark_in = %unique-dir\n mark_out = %unique-dir", "aes256gcm16")]
    theirs = "".join(child(name, n, 2, "", esp) for name, n, _, esp in ours)
    with facing(martlet=dict(children="".join(child(name, n, 1, more, esp) for name, n, more, esp in ours)), peer=dict(children=theirs), load=WITH_KERNEL) as (lab, martlet, peer):
        for n in range(1, 3):
            for host, number in (("east", 1), ("west", 2)):
                lab.ip(host, "addr", "add", f"10.{number}.{n}.1/32", "dev", "lo")
        for first, role in ((martlet, "Martlet initiates"), (peer, "strongSwan initiates")):
            for name in ("marked", "ctr", "null", "numbered", "unique"):
                first.up(name)
            wait(lambda: {"marked", "ctr", "null", "numbered", "unique"} <= {c["name"] for c in martlet.children()}, f"{role}: the children are up")
            # With the mark a packet goes through the tunnel, and its answer comes back marked; without it neither.
            program = ("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", "10.1.0.1", "10.2.0.1")
            expect(lab.inside("east", *program[:1], "-m", "66", *program[1:], check=False).returncode == 0, f"{role}: with the mark nothing passes")
            expect(counted(martlet)["marked"] == [3, 3], lambda: f"{role}: {counted(martlet)}")
            expect(lab.inside("east", *program, check=False).returncode != 0 and counted(martlet)["marked"] == [3, 3], lambda: f"{role}: without the mark packets passed: {counted(martlet)}")
            for n, name in ((1, "ctr"), (2, "null")):
                lab.ping("east", f"10.2.{n}.1", source=f"10.1.{n}.1", size=900)
                expect(counted(martlet)[name] == [3, 3], lambda: f"{role}: {counted(martlet)}")
            states = kernel(lab, "east", "state")

            def has(text, *others):
                expect(any(all(word in state for word in (text, *others)) for state in states), lambda: f"{role}: no SA with {text} {others}: {states}")

            has("mark 0x42/0xff", "src 192.0.2.1")
            has("output-mark 0x7/0xffffffff", "src 192.0.2.2")
            has("rfc3686(ctr(aes))", "src 192.0.2.1", "nopmtudisc", "noecn")
            has("rfc3686(ctr(aes))", "src 192.0.2.2", "decap-dscp")
            has("ecb(cipher_null)")
            has("if_id 0x2a", "src 192.0.2.2")
            has("if_id 0x2b", "src 192.0.2.1")
            for direction, number in (("out", "0x2b"), ("in", "0x2a"), ("fwd", "0x2a")):
                expect(any(f"dir {direction}" in policy and f"if_id {number}" in policy for policy in kernel(lab, "east", "policy")), f"no policy {direction} has the number {number}")
            shown = {c["name"]: c for sa in martlet.vici("list-sas", events="list-sa") for ike in sa.values() for c in ike["child-sas"].values()}
            expect((shown["numbered"]["if-id-in"], shown["numbered"]["if-id-out"], shown["marked"]["mark-mask-out"]) == ("0000002a", "0000002b", "000000ff"), lambda: f"list-sas shows {shown}")
            expect(shown["unique"]["mark-in"] != shown["unique"]["mark-out"] and int(shown["unique"]["mark-in"], 16) >> 31 == 1, lambda: f"list-sas shows {shown['unique']}")
            # What the device cannot do is refused by name, and taken where nobody insists.
            if first is martlet:
                for name, what in (("device", "crypto"), ("whole", "packet")):
                    expect(martlet.up(name, check=False).returncode != 0 and martlet.logged(f"has no hardware for hw_offload = {what}"), f"a device without hardware for {what} was taken")
                # What the outer header has of the inner one: DSCP 10 with ECT(0), and DF, as the children say.
                for n, words, header in (
                    (2, ("-Q", "0x2a", "-M", "do"), (0x2A, 1)), (2, ("-M", "dont"), (0, 0)), (1, ("-Q", "0x2a", "-M", "do"), (0x28, 0)), (0, ("-m", "66", "-Q", "0x2a", "-M", "do"), (0x02, 1)),
                ):
                    found = outer_header(lab, n, *words)
                    expect(found == header, lambda: f"ping {words} through {ours[n][0]}: TOS and DF outside are {found}, not {header}")
            first.down()
            wait(lambda: not martlet.sas() and not peer.sas(), f"{role}: both have closed it")
            expect(not kernel(lab, "east", "state") and len(kernel(lab, "east", "policy")) == 4, lambda: f"{role}: left are {kernel(lab, 'east', 'state')} {kernel(lab, 'east', 'policy')}")
            print(role, flush=True)
        # What this kernel has not is said at the start, and by name.
        unable = " ".join(martlet.cli("plugins").stdout.split())
        expect("cannot do clamp_mss for forwarded connections (nf_tables), interface_prefix (XFRM interfaces)" in unable, unable)
        expect(martlet.log().count("keep their segment size: the kernel has no nf_tables (CONFIG_NF_TABLES_INET)") == 1, "the log does not say that nf_tables are missing, or says it again and again")
        # A kernel without XFRM interfaces is one clear line.
        martlet.stop()
        martlet.write(martlet.file.read_text().replace("plugins {", "plugins { xfrm { interface_prefix = ipsec }", 1))
        martlet.start()
        expect(martlet.logged("the kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE): a tunnel with an if_id will not come up"), "the log does not say at the start that XFRM interfaces are missing")
        expect(martlet.up("numbered", check=False).returncode != 0 and martlet.logged("the kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE), which if_id 42 needs"), "the log does not say what the kernel lacks")
        martlet.stop()
        nothing_left(lab, "east")


# Prints TOS and DF of the outer header of the first ESP packet that comes in on an interface.
OUTER = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
s.bind((sys.argv[1], 0))
print("ready", flush=True)
while True:
    packet, place = s.recvfrom(65536)
    if packet[9] == 50 and place[2] != socket.PACKET_OUTGOING:
        print(packet[1], packet[6] >> 6 & 1, flush=True)
        sys.exit()
"""


def outer_header(lab, n, *words):
    """TOS and DF of what a ping from east becomes on the wire."""
    seen = lab.start("west", sys.executable, "-c", OUTER, "to-east", stdout=subprocess.PIPE, text=True)
    expect(seen.stdout.readline().strip() == "ready", "nobody looks at the packets")
    lab.inside("east", "ping", "-n", "-c", "1", "-W", "2", *words, "-I", f"10.1.{n}.1" if n else "10.1.0.1", f"10.2.{n}.1")
    return tuple(map(int, seen.stdout.readline().split()))


class Plane:
    """The plane alone, without a daemon, in one host of a lab: Tests/PlaneHost, driven by lines."""

    def __init__(self, lab, host, *settings):
        self.log = lab.folder / f"{host}.plane"
        program = (BUILD / "PlaneHost", BUILD / "libmartlet-xfrm.so", *settings)
        self.process = lab.start(host, *program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(self.log, "w"), text=True)
        self.answer()
        self("start 0 4500 1297219585")

    def answer(self):
        line = self.process.stdout.readline().strip()
        expect(line.startswith("ok"), lambda: f"the plane answers {line!r}; its log:\n{self.log.read_text()}")
        return line[3:]

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def refuses(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        expect(answer.startswith("error"), f"the plane answers {answer!r} to {line!r}")

    def child(self, number, spi_in, spi_out, local, remote, local_ts, remote_ts, more="", policy=None):
        for direction, spi, first in ((0, spi_in, spi_in), (1, spi_out, spi_out)):
            self(
                f"sa spi={spi:08x} child={number} policy={policy or number} direction={direction} local={local} remote={remote} key={first.to_bytes(4, 'big').hex() * 9} "
                f"local_ts={local_ts} remote_ts={remote_ts} {more}"
            )
        self(f"activate {number}")


def guest_moves():
    """The plane alone: new addresses and encapsulation for SAs that carry packets, events that get lost, and many children."""
    with Lab() as lab:
        for host in ("east", "west"):
            program = "import socket, time\nkept = []\nfor f in (2,):\n    s = socket.socket(f, socket.SOCK_DGRAM)\n    s.bind(('', 4500))\n    s.setsockopt(17, 100, 2)\n    kept.append(s)\nprint('ready', flush=True)\ntime.sleep(1000)"
            expect(lab.start(host, sys.executable, "-c", program, stdout=subprocess.PIPE, text=True).stdout.readline().strip() == "ready", "no socket for ESP in UDP")
        east, west = Plane(lab, "east", "event_buffer=2048"), Plane(lab, "west")
        ranges = ("10.1.0.0/16", "10.2.0.0/16")
        east.child(1, 0x1001, 0x1002, "192.0.2.1", "192.0.2.2", *ranges, more="hard_seconds=5000")

        def lives():
            """When the SAs of east's first child began, and how long they may live."""
            text = lab.inside("east", "ip", "-s", "xfrm", "state").stdout
            return sorted(re.findall(r"spi 0x0000(100[12]).*?expire add: soft 0\(sec\), (hard \d+)\(sec\).*?\n\s+add (\S+ \S+) ", text, re.S))

        begun = lives()
        expect([life[:2] for life in begun] == [("1001", "hard 5000"), ("1002", "hard 5000")], lambda: f"the SAs live {begun}")
        west.child(1, 0x1002, 0x1001, "192.0.2.2", "192.0.2.1", *reversed(ranges))

        def pings(count, what):
            lab.ping("east", "10.2.0.1", source="10.1.0.1")
            for plane, spi, direction in ((east, "1001", 0), (east, "1002", 1), (west, "1002", 0), (west, "1001", 1)):
                line = plane(f"counters {spi} {direction} 1")
                expect(f"packets={count} " in line and f"sequence={count} " in line, lambda: f"{what}: {line}")

        pings(3, "at the start")
        lab.ip("east", "addr", "add", "192.0.2.3/24", "dev", "to-west")
        east("update 1 192.0.2.3 192.0.2.2 0")
        west("update 1 192.0.2.2 192.0.2.3 0")
        pings(6, "after east has moved")
        east("update 1 192.0.2.3@4500 192.0.2.2@4500 1")
        west("update 1 192.0.2.2@4500 192.0.2.3@4500 1")
        pings(9, "in UDP")
        # As if a NAT had given east another port.
        east("update 1 192.0.2.3@4501 192.0.2.2@4500 1")
        lab.ping("east", "10.2.0.1", source="10.1.0.1", check=False)
        moved = wait(lambda: [event for event in west("events").split(";") if event.startswith("moved")], "west hears that east has moved")
        expect(len(moved) == 1 and "4501" in moved[0], lambda: f"the events: {moved}")
        west("update 1 192.0.2.2@4500 192.0.2.3@4501 1")

        # To and fro under a flood of packets: none is taken for a repeated one, and no number is used twice.
        flood = lab.start("east", "ping", "-q", "-f", "-I", "10.1.0.1", "10.2.0.1", stdout=subprocess.DEVNULL)
        moves = 0
        while int(re.search(r"packets=(\d+)", east("counters 1002 1 1"))[1]) < 200 or moves < 40:
            expect(moves < 2000, "hardly a packet is sent between the moves")
            moves += 2
            port = 4500 if moves % 4 else 4501
            for address, local, remote in (("192.0.2.1", "", ""), ("192.0.2.3", f"@{port}", "@4500")):
                east(f"update 1 {address}{local} 192.0.2.2{remote} {1 if local else 0}")
                west(f"update 1 192.0.2.2{remote} {address}{local} {1 if local else 0}")
        flood.send_signal(signal.SIGINT)
        flood.wait(timeout=20)
        east("update 1 192.0.2.3@4500 192.0.2.2@4500 1")
        west("update 1 192.0.2.2@4500 192.0.2.3@4500 1")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        for sender, receiver, spi in ((east, west, "1002"), (west, east, "1001")):
            sent, came = (dict(word.split("=") for word in plane(f"counters {spi} {direction} 1").split()) for plane, direction in ((sender, 1), (receiver, 0)))
            print(f"{moves} moves: {sent['packets']} packets sent up to number {sent['sequence']}, {came['packets']} came", flush=True)
            expect(sent["packets"] == sent["sequence"] == came["sequence"], lambda: f"sent {sent}, came {came}")
        expect("replay=0 " in west("drops") and "replay=0 " in east("drops"), lambda: f"packets were taken for repeated ones: {west('drops')}")
        expect("last moment" not in east.log.read_text() + west.log.read_text(), "the kernel's last word on an SA was missed")

        expect(lives() == begun, lambda: f"the SAs live {lives()} after their moves, and not {begun}")

        # Somebody else has the number at the new address: the SA stays where it was, and is said to need new keys.
        other = ("src", "192.0.2.2", "dst", "192.0.2.1", "proto", "esp", "spi", "0x1001")
        lab.ip("east", "xfrm", "state", "add", *other, "mode", "tunnel", "aead", "rfc4106(gcm(aes))", "0x" + "11" * 20, "128")
        east("events")
        east.refuses("update 1 192.0.2.1@4500 192.0.2.2@4500 1")
        expect("expired child=1 spi=00001001 direction=0 hard=0" in east("events"), "nobody is told that the SA has not moved")
        lab.ip("east", "xfrm", "state", "delete", *other)
        west("update 1 192.0.2.2@4500 192.0.2.3@4500 1")
        east("update 1 192.0.2.3@4500 192.0.2.2@4500 1")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")

        # Another peer with the same selectors: who came last carries the packets, also after the first one's new keys, until it goes.
        def carrying():
            return [re.search(r"spi 0x0*(\w+) ", policy)[1] for policy in kernel(lab, "east", "policy") if re.search(r"dst 10.2.0.0/16\s+dir out", policy)]

        east.child(2, 0x1101, 0x1102, "192.0.2.3", "192.0.2.9", *ranges)
        expect(carrying() == ["1102"], lambda: f"{carrying()} carries the packets, not who came last")
        expect("takes packets over" in east.log.read_text(), "the log does not say that another peer takes the packets over")
        east.child(3, 0x1201, 0x1202, "192.0.2.3", "192.0.2.2", *ranges, policy=1)
        expect(carrying() == ["1102"], lambda: f"{carrying()} carries the packets after new keys of the first")
        for spi, direction, child in (("1102", 1, 2), ("1101", 0, 2)):
            east(f"remove {spi} {direction} {child}")
        expect(carrying() == ["1202"], lambda: f"{carrying()} carries the packets, not the one that is left")
        for spi, direction, child in (("1202", 1, 3), ("1201", 0, 3)):
            east(f"remove {spi} {direction} {child}")
        expect(carrying() == ["1002"], lambda: f"{carrying()} carries the packets, not the older keys that are left")

        # Somebody takes away what is ours: policies come back at once, and of an SA the host is told.
        policies = len(kernel(lab, "east", "policy"))
        lab.ip("east", "xfrm", "policy", "flush")
        wait(lambda: len(kernel(lab, "east", "policy")) == policies and carrying() == ["1002"], lambda: f"the policies come back: {kernel(lab, 'east', 'policy')}")
        lab.ip("east", "xfrm", "policy", "delete", "src", "10.1.0.0/16", "dst", "10.2.0.0/16", "dir", "out")
        wait(lambda: carrying() == ["1002"], "the policy comes back")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        expect("policies of this daemon's out of the kernel: they are there again" in east.log.read_text(), "the log does not say that somebody has flushed the policies")
        lab.ip("east", "xfrm", "policy", "add", "src", "198.51.100.0/24", "dst", "203.0.113.0/24", "dir", "out")
        lab.ip("east", "xfrm", "policy", "delete", "src", "198.51.100.0/24", "dst", "203.0.113.0/24", "dir", "out")
        east.child(2, 0x1101, 0x1102, "192.0.2.3", "192.0.2.9", "10.1.9.0/24", "10.2.9.0/24")
        east("events")
        lab.ip("east", "xfrm", "state", "delete", "src", "192.0.2.3", "dst", "192.0.2.9", "proto", "esp", "spi", "0x1102")
        wait(lambda: "expired child=2 spi=00001102 direction=1 hard=1" in east("events"), "the host is told of the SA that somebody has taken away")
        for spi, direction in (("1102", 1), ("1101", 0)):
            east(f"remove {spi} {direction} 2")
        expect("spi=00001101" not in east("events"), "what the plane removes itself is taken for somebody else's doing")
        expect(len(kernel(lab, "east", "policy")) == policies, lambda: f"the policies of another one, or of a child that has gone, are there: {kernel(lab, 'east', 'policy')}")

        # One daemon in a network namespace, and nobody else's business.
        second = lab.start("east", BUILD / "PlaneHost", BUILD / "libmartlet-xfrm.so", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = second.communicate("start 0 4500 0\n", timeout=20)
        expect("error" in said[0] and "another daemon of Martlet's" in said[1], lambda: f"a second plane says {said}")

        # More events than there is room for, while nobody reads them.
        count = 40
        for n in range(2, 2 + count):
            east.child(n, 0x2000 + n, 0x3000 + n, "192.0.2.3", "192.0.2.2", "10.1.0.1/32", f"10.3.0.{n}/32", "hard_packets=1")
        east.process.send_signal(signal.SIGSTOP)
        for n in range(2, 2 + count):
            lab.ping("east", f"10.3.0.{n}", source="10.1.0.1", count=2, wait_each=0.1, check=False)
        east.process.send_signal(signal.SIGCONT)
        told = set()
        wait(lambda: told.update(re.findall(r"expired child=(\d+) spi=\w+ direction=1 hard=1", east("events"))) or len(told) == count, "every SA's end is told of", 20)
        expect("more events than there is room for" in east.log.read_text(), "no event was lost, so that there was nothing to make up for")

        # Many children: what they cost, and that they go.
        begun, many = time.monotonic(), 500
        for n in range(many):
            west.child(1000 + n, 0x10000 + n, 0x20000 + n, "192.0.2.2", "192.0.2.3", "10.2.0.0/16", f"10.{100 + n // 250}.{n % 250}.0/24")
        made = time.monotonic() - begun
        expect(len(kernel(lab, "west", "state")) == 2 * many + 2, "not every SA is there")
        begun = time.monotonic()
        for n in range(many):
            for spi, direction in ((0x10000 + n, 0), (0x20000 + n, 1)):
                west(f"remove {spi:x} {direction} {1000 + n}")
        print(f"{many} children: {made:.1f} s to install, {time.monotonic() - begun:.1f} s to remove", flush=True)
        for plane in (east, west):
            plane("stop")
        told = re.search(r"(\d+) messages went to the kernel, and its answer was waited for (\d+) times", west.log.read_text())
        print(told[0], flush=True)
        # An SA that goes and the policies that go with it are one wait.
        expect(int(told[1]) > int(told[2]) + 3 * many, "messages are sent one by one")
        # What the plane does itself it does not hear of.
        events = re.search(r"the kernel has told of (\d+) events", west.log.read_text())
        expect(events and int(events[1]) < 50, lambda: f"of {many} children that came and went, {events and events[1]} events were heard")
        nothing_left(lab, "east")
        nothing_left(lab, "west")


def in_kernel(function):
    print("    ", in_guest(f"test_xfrm.{function}").replace("\n", "\n     "))


def test_pair():
    in_kernel("guest_pair")


def test_against_tun():
    in_kernel("guest_tun")


def test_against_strongswan():
    in_kernel("guest_strongswan")


def test_transport():
    in_kernel("guest_transport")


def test_algorithms():
    in_kernel("guest_algorithms")


def test_policies():
    in_kernel("guest_policies")


def test_without_esp():
    in_kernel("guest_bare")


def test_addresses():
    in_kernel("guest_addresses")


def test_carriage():
    in_kernel("guest_carriage")


def test_roaming():
    in_kernel("guest_roaming")


def test_ends():
    in_kernel("guest_ends")


def test_moves_and_lost_events():
    in_kernel("guest_moves")
