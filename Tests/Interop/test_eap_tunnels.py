"""Users that log in by EAP-TTLS and PEAP, and by passwords at a gateway that proves itself by a certificate, the usual remote access: Martlet against itself and against strongSwan, in both roles.

Debian's strongSwan is built without eap-peap: PEAP is tried between Martlets alone.
"""

from lab import expect, wait
from test_certificates import quiet_about, secrets_of
from test_eap import keeps_secrets
from test_eap_tls import EAP_PLUGINS, PKI, USER, client, come_and_go, pair, server

PASSWORD = "carols rather long words 71"
USERS = f'secrets {{ eap-carol {{ id = {USER}\n secret = "{PASSWORD}" }} }}'
WRONG = USERS.replace(PASSWORD, "not the words of carol")


def through(method, plugins="", peer=None, inside=None, **settings):
    """A user comes and goes by the method, at a gateway with a certificate."""
    peer_plugins = f"eap-ttls {{ phase2_method = {inside} }}\n eap-gtc {{ backend = generic }}" if inside else "eap-gtc { backend = generic }"
    with pair(PKI(), west=server(remote=f"auth = {method}"), east=client(local=f"auth = {method}"), peer=peer, plugins=plugins, peer_plugins=peer_plugins, users=USERS, **settings) as (lab, a, b):
        come_and_go(lab, a, b)
        keeps_secrets(*(daemon for daemon in (a, b) if type(daemon).__name__ == "Gateway"), secrets=(PASSWORD,))
        return a, b


def test_ttls_between_martlets():
    for inside in ("pap", "mschapv2", "eap"):
        through("eap-ttls", f"eap {{ ttls = {inside} }}")


def test_peap_between_martlets():
    through("eap-peap")


def test_strongswan_logs_in_by_ttls():
    for inside in ("mschapv2", "md5", "gtc"):
        through("eap-ttls", f"eap {{ ttls_eap = {inside} }}", peer="east", inside=inside)


def test_logging_in_at_strongswan_by_ttls():
    for inside in ("mschapv2", "md5", "gtc"):
        through("eap-ttls", f"eap {{ ttls = eap\n ttls_eap = {inside} }}", peer="west", inside=inside)


def test_passwords_at_a_gateway_with_a_certificate():
    """What Windows, Apple and Android do."""
    for method in ("eap-mschapv2", "eap-md5", "eap-gtc"):
        for peer in ("east", "west"):
            through(method, peer=peer)


def test_wrong_passwords_inside():
    for method, plugins in (("eap-ttls", "eap { ttls = pap }"), ("eap-ttls", ""), ("eap-ttls", "eap { ttls = eap }"), ("eap-peap", "")):
        with pair(PKI(), west=server(remote=f"auth = {method}") + USERS, east=client(local=f"auth = {method}") + WRONG, plugins=plugins) as (lab, a, b):
            said = a.up("rw", check=False)
            text = said.stdout + said.stderr
            expect(said.returncode != 0 and "wrong password" not in text, lambda: text)
            wait(lambda: "gave a wrong password" in b.log(), f"{method} {plugins}: the gateway says why")
            expect(not a.sas() and not b.sas(), "somebody came in")
            keeps_secrets(a, b, secrets=(PASSWORD, "not the words of carol"))


def test_strongswan_with_a_wrong_password_inside():
    with pair(PKI(), west=server(remote="auth = eap-ttls") + USERS, east=client(local="auth = eap-ttls") + WRONG, peer="east", peer_plugins="eap-ttls { phase2_method = mschapv2 }") as (lab, a, b):
        expect(a.up("rw", check=False).returncode != 0, "it came in")
        wait(lambda: "gave a wrong password" in b.log(), "the gateway says why")


def test_tunnels_alone():
    """RFC 5998: the certificate of TLS is the gateway's proof; one of another authority is none."""
    for method, peer in (("eap-ttls", None), ("eap-ttls", "east"), ("eap-ttls", "west"), ("eap-peap", None)):
        west = server(local=f"auth = {method}\n certs = own.pem", remote=f"auth = {method}")
        with pair(
            PKI(), west=west, east=client(local=f"auth = {method}", remote=f"auth = {method}"), users=USERS, peer=peer, plugins="eap { ttls = eap }", peer_plugins="eap-ttls { phase2_method = mschapv2 }"
        ) as (lab, a, b):
            come_and_go(lab, a, b)
    stranger = PKI()
    pki = PKI()
    pki.gateway = stranger.gateway
    with pair(pki, west=server(local="auth = eap-ttls\n certs = own.pem", remote="auth = eap-ttls"), east=client(local="auth = eap-ttls", remote="auth = eap-ttls"), users=USERS) as (lab, a, b):
        said = a.up("rw", check=False)
        expect(said.returncode != 0 and "wrong authority" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
        keeps_secrets(a, b, secrets=(PASSWORD,))
        quiet_about(secrets_of(pki.gateway), a, b)
