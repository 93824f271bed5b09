"""What either may ask of the other before a handshake goes on: another key exchange group, a cookie, both."""

from lab import carries, expect, wait
from strongswan import facing


def ike(*groups):
    return "aes256gcm16-prfsha256-" + "-".join(groups)


def test_strongswan_wants_another_group():
    """INVALID_KE_PAYLOAD in IKE_SA_INIT, to Martlet."""
    with facing(martlet=dict(ike=ike("x25519", "ecp384")), peer=dict(ike=ike("ecp384"))) as (lab, martlet, peer):
        martlet.up()
        expect(peer.logged("N(INVAL_KE)"), "strongSwan has not asked for another group")
        expect(martlet.sas()[0]["key_exchange"] == "ECP_384", lambda: f"the group is {martlet.sas()[0]['key_exchange']}")
        carries(lab, martlet, peer, bytes_each=10_000)


def test_martlet_wants_another_group():
    with facing(martlet=dict(ike=ike("modp3072")), peer=dict(ike=ike("x25519", "modp3072"))) as (lab, martlet, peer):
        peer.up()
        expect(peer.logged("N(INVAL_KE)"), "Martlet has not asked for another group")
        expect(martlet.sas()[0]["key_exchange"] == "MODP_3072", lambda: f"the group is {martlet.sas()[0]['key_exchange']}")
        carries(lab, martlet, peer, bytes_each=10_000)


def test_another_group_for_a_rekey():
    """INVALID_KE_PAYLOAD in CREATE_CHILD_SA, asked by each of the other, for the child and for the IKE SA."""
    with facing(martlet=dict(esp="aes256gcm16-x25519-ecp256"), peer=dict(esp="aes256gcm16-ecp256")) as (lab, martlet, peer):
        rekeys_with(lab, martlet, peer, martlet, "ECP_256")
    with facing(martlet=dict(esp="aes256gcm16-ecp384"), peer=dict(esp="aes256gcm16-x25519-ecp384")) as (lab, martlet, peer):
        rekeys_with(lab, martlet, peer, peer, "ECP_384")


def rekeys_with(lab, martlet, peer, by, group):
    martlet.up()
    old = martlet.children()[0]["inbound"]["spi"]
    by.rekey(child="site")
    wait(lambda: len(martlet.children()) == 1 and martlet.children()[0]["inbound"]["spi"] != old and len(peer.children()) == 1, "the child is rekeyed")
    expect(peer.logged("N(INVAL_KE)"), "nobody asked for another group")
    expect(martlet.children()[0]["key_exchange"] == group, lambda: f"the group is {martlet.children()[0]['key_exchange']}")
    carries(lab, martlet, peer, bytes_each=10_000)


def test_martlet_wants_a_cookie():
    with facing(martlet=dict(gateway="cookie_threshold = 0")) as (lab, martlet, peer):
        peer.up()
        expect(peer.logged("N(COOKIE)"), "Martlet has not asked for a cookie")
        carries(lab, martlet, peer, bytes_each=10_000)


def test_martlet_wants_a_cookie_and_another_group():
    with facing(martlet=dict(gateway="cookie_threshold = 0", ike=ike("ecp256")), peer=dict(ike=ike("x25519", "ecp256"))) as (lab, martlet, peer):
        peer.up()
        expect(peer.logged("N(COOKIE)") and peer.logged("N(INVAL_KE)"), "Martlet has not asked for a cookie and for another group")
        carries(lab, martlet, peer, bytes_each=10_000)


def half_open(lab, martlet):
    """Leaves strongSwan with an IKE SA that was begun and never authenticated: what makes it ask for cookies."""
    lab.inside("west", "nft", "table inet wall { chain in { type filter hook input priority 0; udp dport 4500 drop; }; }")
    done = martlet.up(check=False)
    expect(done.returncode == 1, "the tunnel came up through a wall")
    lab.inside("west", "nft", "delete table inet wall")


def test_strongswan_wants_a_cookie():
    with facing(martlet=dict(gateway="retransmit_tries = 1"), settings="cookie_threshold = 1\n cookie_threshold_ip = 1") as (lab, martlet, peer):
        half_open(lab, martlet)
        martlet.up()
        expect(peer.logged("N(COOKIE)"), "strongSwan has not asked for a cookie")
        carries(lab, martlet, peer, bytes_each=10_000)


def test_strongswan_wants_a_cookie_and_another_group():
    settings = "cookie_threshold = 1\n cookie_threshold_ip = 1"
    with facing(martlet=dict(gateway="retransmit_tries = 1", ike=ike("x25519", "ecp521")), peer=dict(ike=ike("ecp521")), settings=settings) as (lab, martlet, peer):
        half_open(lab, martlet)
        martlet.up()
        expect(peer.logged("N(COOKIE)") and peer.logged("N(INVAL_KE)"), "strongSwan has not asked for a cookie and for another group")
        carries(lab, martlet, peer, bytes_each=10_000)
