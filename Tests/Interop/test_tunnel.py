"""Tunnels that come up and carry traffic: families, encapsulation, NAT, algorithms, backends, selectors."""

from lab import Failed, carries, configuration, expect, pair, wait


def up(a, child="site"):
    return a.cli("up", child, timeout=30)


def test_ipv4_bare():
    with pair() as (lab, a, b):
        up(a)
        carries(lab, a, b)
        expect(not a.children()[0]["udp_encapsulated"] and not b.children()[0]["udp_encapsulated"], "ESP is in UDP without a NAT")
        expect(not a.drops() and not b.drops(), lambda: f"packets were dropped: {a.drops()} {b.drops()}")


def test_ipv4_in_udp():
    with pair(both=dict(connection="encap = yes")) as (lab, a, b):
        up(a)
        carries(lab, a, b)
        expect(a.children()[0]["udp_encapsulated"], "ESP is not in UDP in spite of encap = yes")


def test_nat():
    with pair(nat=True) as (lab, a, b):
        up(a)
        carries(lab, a, b)
        expect(a.sas()[0]["local"]["behind_nat"] and b.sas()[0]["remote"]["behind_nat"], "the NAT was not seen")
        expect(a.children()[0]["udp_encapsulated"], "ESP is bare behind a NAT")


def test_ipv6_outside():
    with pair(east=dict(local="2001:db8::1", remote="2001:db8::2"), west=dict(local="2001:db8::2", remote="2001:db8::1")) as (lab, a, b):
        up(a)
        carries(lab, a, b)


def test_ipv6_outside_in_udp():
    with pair(both=dict(connection="encap = yes"), east=dict(local="2001:db8::1", remote="2001:db8::2"), west=dict(local="2001:db8::2", remote="2001:db8::1")) as (lab, a, b):
        up(a)
        carries(lab, a, b)


def test_ipv6_inside():
    with pair(east=dict(local_ts="fd01::/64", remote_ts="fd02::/64"), west=dict(local_ts="fd02::/64", remote_ts="fd01::/64")) as (lab, a, b):
        up(a)
        carries(lab, a, b, "fd01::1", "fd02::1")


def test_both_families_in_one_child():
    with pair(east=dict(local_ts="10.1.0.0/16, fd01::/64", remote_ts="10.2.0.0/16, fd02::/64"), west=dict(local_ts="10.2.0.0/16, fd02::/64", remote_ts="10.1.0.0/16, fd01::/64")) as (lab, a, b):
        up(a)
        carries(lab, a, b)
        carries(lab, a, b, "fd01::1", "fd02::1")


def test_everything_through_the_tunnel():
    """A child to 0.0.0.0/0: the gateway's own packets must not enter it."""
    with pair(east=dict(remote_ts="0.0.0.0/0"), west=dict(local_ts="0.0.0.0/0")) as (lab, a, b):
        up(a)
        carries(lab, a, b)
        lab.ip("west", "addr", "add", "198.51.100.7/32", "dev", "lo")
        lab.ping("east", "198.51.100.7", source="10.1.0.1")


def test_several_children():
    def children(host):
        l, r = (1, 2) if host == "east" else (2, 1)
        return (
            f"first {{ local_ts = 10.{l}.0.0/24\n remote_ts = 10.{r}.0.0/24\n esp_proposals = aes256gcm16 }}\n"
            f"second {{ local_ts = 10.{l}.1.0/24\n remote_ts = 10.{r}.1.0/24\n esp_proposals = aes128gcm16-x25519 }}"
        )

    with pair(east=dict(children=children("east")), west=dict(children=children("west"))) as (lab, a, b):
        lab.ip("east", "addr", "add", "10.1.1.1/32", "dev", "lo")
        lab.ip("west", "addr", "add", "10.2.1.1/32", "dev", "lo")
        up(a, "first")
        expect(lab.ping("east", "10.2.1.1", source="10.1.1.1", check=False, wait_each=0.3) == 0, "a child that is down carries traffic")
        up(a, "second")
        carries(lab, a, b)
        lab.ping("east", "10.2.1.1", source="10.1.1.1")
        expect(len(a.sas()) == 1 and len(a.children()) == 2, "two children do not share one IKE SA")
        a.cli("down", "second")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
        expect(len(wait(lambda: len(b.children()) == 1 and b.children(), "west has one child"),) == 1, "the other child went too")


def test_narrowing():
    with pair(east=dict(remote_ts="10.0.0.0/8")) as (lab, a, b):
        up(a)
        expect(a.children()[0]["remote_selectors"] == ["10.2.0.0/16"], lambda: f"narrowed to {a.children()[0]['remote_selectors']}")
        carries(lab, a, b)


def test_selectors_are_enforced():
    with pair() as (lab, a, b):
        up(a)
        lab.ip("east", "addr", "add", "10.9.0.1/32", "dev", "lo")
        lab.ip("west", "route", "add", "10.9.0.0/16", "dev", "martlet0")
        lab.ip("east", "route", "add", "10.2.99.0/24", "dev", "martlet0")
        expect(lab.ping("east", "10.2.0.1", source="10.9.0.1", check=False, wait_each=0.3) == 0, "a packet outside the selectors passed")
        expect(a.drops(), "no drop was counted")


def test_other_algorithms():
    suites = [
        ("aes128-sha256-modp2048", "aes128-sha256"), ("aes256-sha384-ecp384", "aes256-sha384-esn"), ("chacha20poly1305-prfsha512-ecp521", "chacha20poly1305-ecp521"),
        ("aes128gcm16-prfsha384-modp3072", "aes128gcm16-esn"), ("aes256-sha512-ecp256", "aes256-sha512"), ("aes256gcm16-prfsha256-modp4096", "aes256gcm16-modp2048"),
    ]
    for ike, esp in suites:
        with pair(both=dict(ike=ike, esp=esp)) as (lab, a, b):
            up(a)
            carries(lab, a, b, bytes_each=200_000)
            a.cli("rekey", "site")
            lab.ping("east", "10.2.0.1", source="10.1.0.1")


def test_different_backends():
    with pair(both=dict(ike="chacha20poly1305-prfsha256-x25519", esp="chacha20poly1305-ecp256"), east=dict(gateway="crypto = gcrypt"), west=dict(connection="crypto = openssl")) as (lab, a, b):
        up(a)
        carries(lab, a, b)
        a.cli("rekey", "site")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")


def test_another_key_exchange_is_asked_for():
    with pair(both=dict(), east=dict(ike="aes256gcm16-prfsha256-x25519-ecp256"), west=dict(ike="aes256gcm16-prfsha256-ecp256")) as (lab, a, b):
        up(a)
        carries(lab, a, b, bytes_each=100_000)


def test_cookies():
    with pair(west=dict(gateway="cookie_threshold = 0")) as (lab, a, b):
        up(a)
        carries(lab, a, b, bytes_each=100_000)


def test_big_packets():
    """Packets that do not fit: with DF the sender is told, without it they are fragmented; TCP's segments are clamped."""
    with pair() as (lab, a, b):
        up(a)
        lab.ping("east", "10.2.0.1", source="10.1.0.1", size=3000)
        done = lab.inside("east", "ping", "-n", "-c", "2", "-W", "1", "-M", "do", "-s", "1472", "-I", "10.1.0.1", "10.2.0.1", check=False)
        expect("message too long" in (done.stdout + done.stderr).lower() or "frag needed" in (done.stdout + done.stderr).lower(), lambda: f"nobody said that the packet is too big:\n{done.stdout}{done.stderr}")


def test_routes_go_with_the_tunnel():
    with pair() as (lab, a, b):
        def routes():
            lines = [line for family in ("-4", "-6") for what in (("route", "show", "table", "all"), ("rule", "show")) for line in lab.inside("east", "ip", family, *what).stdout.splitlines()]
            # The interface's own multicast route and address come and go with it; link-local addresses appear when their duplicate check ends.
            return "\n".join(line for line in lines if "multicast ff00::/8 dev martlet0" not in line and "local 192.0.0.8 dev martlet0" not in line and "fe80::" not in line)

        before = routes()
        up(a)
        expect("10.2.0.0/16" in routes(), "no route to the other side was installed")
        a.cli("down", "peer")
        wait(lambda: "10.2.0.0/16" not in routes(), "the route is gone")
        a.stop()
        expect(routes() == before, lambda: f"something was left behind:\n{routes()}\nbefore:\n{before}")


def test_listening_on_named_addresses():
    with pair(east=dict(gateway="listen = 192.0.2.1, 2001:db8::1"), west=dict(gateway="listen = 192.0.2.2"), both=dict(connection="encap = yes")) as (lab, a, b):
        up(a)
        carries(lab, a, b)
        sockets = lab.inside("west", "ss", "-Huln").stdout
        expect("0.0.0.0:500" not in sockets and "192.0.2.2:500" in sockets, lambda: f"west listens elsewhere:\n{sockets}")


def test_other_ports_and_shards():
    """Both ends on ports of their own, with ESP in UDP from the first message; more shards than cores on one side, one on the other."""
    both = dict(connection="local_port = 5501\n remote_port = 5501\n encap = yes")
    with pair(both=both, east=dict(gateway="port = 5500\n nat_port = 5501\n shards = 5"), west=dict(gateway="port = 5500\n nat_port = 5501\n shards = 1")) as (lab, a, b):
        up(a)
        carries(lab, a, b)
        a.cli("rekey", "site")
        b.cli("rekey", "peer")
        lab.ping("east", "10.2.0.1", source="10.1.0.1")
