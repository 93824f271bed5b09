"""Policies without a tunnel: what is dropped inside a tunnel's range, and what passes by a tunnel to everywhere."""

from lab import carries, expect, pair, wait

# As in strongSwan's documentation: a connection that only holds policies has no peer and proves nothing.
SHUNTS = """
connections {
    shunts {
        remote_addrs = 127.0.0.1
        children {
            blocked { mode = drop
 start_action = trap
 remote_ts = 10.2.9.0/24 }
            lan { mode = pass
 %s
 remote_ts = 198.51.100.0/24 }
        }
    }
}
"""


def packets(gateway, direction="outbound"):
    return sum(int(child[direction]["packets"]) for child in gateway.children())


def answered(lab, target, source, host="east", count=3):
    return lab.ping(host, target, source=source, count=count, check=False) == count


def policies(gateway, **kinds):
    return [next(iter(event)) for event in gateway.vici("list-policies", kinds, events="list-policy")]


def test_what_is_dropped_inside_a_tunnel():
    with pair(start=False) as (lab, a, b):
        a.write(a.file.read_text() + SHUNTS % "start_action = none")
        lab.ip("west", "addr", "add", "10.2.9.1/32", "dev", "lo")
        b.start()
        a.start()
        wait(lambda: a.logged("blocked is dropped: "), "the policy is installed", 10)
        expect(policies(a, drop="yes") == ["shunts/blocked"] and policies(a, **{"pass": "yes"}) == [], "list-policies shows other policies")
        # With no tunnel there, it already drops; nothing asks for one.
        expect(not answered(lab, "10.2.9.1", "10.1.0.1") and a.drops().get("policy", 0) >= 3, lambda: f"what is dropped: {a.drops()}")
        expect(not a.sas(), "a policy has brought something up")
        a.up()
        carries(lab, a, b, bytes_each=100_000)
        before, dropped = packets(a), a.drops().get("policy", 0)
        expect(not answered(lab, "10.2.9.1", "10.1.0.1"), "what should be dropped was carried")
        expect(packets(a) == before and a.drops()["policy"] == dropped + 3, lambda: f"{packets(a) - before} packets went out; {a.drops()}")
        # What the peer sends from there is dropped as well, although the tunnel's selectors would take it.
        came = packets(a, "inbound")
        expect(not answered(lab, "10.1.0.1", "10.2.9.1", host="west"), "what should be dropped was taken in")
        expect(a.drops()["policy"] == dropped + 6 and packets(a, "inbound") - came <= 3, lambda: f"{a.drops()}")
        # Without the policy the same packets pass.
        a.vici("uninstall", dict(child="blocked"))
        expect(answered(lab, "10.2.9.1", "10.1.0.1") and packets(a) == before + 3, "the tunnel does not carry what is no longer dropped")
        a.vici("install", dict(child="blocked", ike="shunts"))
        expect(not answered(lab, "10.2.9.1", "10.1.0.1"), "a policy that was installed by hand drops nothing")
        expect(a.cli("up", "blocked", check=False).returncode != 0, "a policy was brought up")


def test_what_passes_by_a_tunnel_to_everywhere():
    everywhere = dict(local_ts="10.1.0.0/16", remote_ts="0.0.0.0/0")
    with pair(start=False, east=everywhere, west=dict(local_ts="0.0.0.0/0", remote_ts="10.1.0.0/16")) as (lab, a, b):
        a.write(a.file.read_text() + SHUNTS % "start_action = trap")
        for address in ("198.51.100.7", "203.0.113.7"):
            lab.ip("west", "addr", "add", f"{address}/32", "dev", "lo")
        # Of the networks behind it, west answers for none on the link.
        lab.ip("east", "route", "replace", "default", "via", "192.0.2.2")
        b.start()
        a.start()
        wait(lambda: a.logged("lan passes all tunnels: "), "the policy is installed", 10)
        a.up()
        expect(sorted(policies(a, drop="yes", **{"pass": "yes"})) == ["shunts/blocked", "shunts/lan"], lambda: f"{policies(a)}")
        before = packets(a)
        expect(answered(lab, "203.0.113.7", "10.1.0.1") and packets(a) == before + 3, "the tunnel does not carry what is everywhere")
        # Past the tunnel, whoever sends it: the peer has a way to it in clear.
        out, came = packets(a), packets(a, "inbound")
        expect(answered(lab, "198.51.100.7", "192.0.2.1"), "what should pass in clear does not arrive")
        expect(packets(a) == out and packets(a, "inbound") == came, lambda: f"{packets(a) - out} packets of it went through the tunnel")
        a.vici("uninstall", dict(child="lan"))
        expect(answered(lab, "198.51.100.7", "10.1.0.1") and packets(a) == out + 3, "the tunnel does not carry what no longer passes by")
