"""Users that log in by EAP-TLS (RFC 5216, RFC 9190), with TLS 1.2 and 1.3: Martlet against itself and against strongSwan, in both roles, with an address from the pool and a ping; and why certificates are refused."""

import contextlib

from certificates import martlet, place
from lab import Gateway, Lab, carries, expect, print_tails, wait
from pki import Authority
from responder import AT, Responder
from strongswan import PLUGINS, StrongSwan, required
from test_certificates import quiet_about, secrets_of

METHODS = "eap-identity eap-tls eap-ttls eap-md5 eap-gtc eap-mschapv2 xauth-generic"
EAP_PLUGINS = PLUGINS + " " + METHODS
USER = "carol@example.org"
COMMON = "proposals = aes256gcm16-prfsha256-x25519\n mobike = no"


def server(connection="", local="auth = pubkey\n certs = own.pem", remote="auth = eap-tls", identity="vpn.example"):
    """A gateway with a certificate, whose users log in by EAP; it lends addresses."""
    return f"""
connections {{
    rw {{
        local_addrs = 192.0.2.2
        remote_addrs = %any
        {COMMON}
        pools = rw
        {connection}
        local {{ {local}
 id = {identity} }}
        remote {{ {remote}
 id = %any
 eap_id = %any }}
        children {{ rw {{ local_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}
}}
pools {{ rw {{ addrs = 10.3.0.0/24 }} }}
"""


def client(local="auth = eap-tls\n certs = own.pem", remote="auth = pubkey", user=USER, identity="vpn.example", connection=""):
    return f"""
connections {{
    rw {{
        local_addrs = 192.0.2.1
        remote_addrs = 192.0.2.2
        {COMMON}
        vips = 0.0.0.0
        {connection}
        local {{ {local}
 id = {user}
 eap_id = {user} }}
        remote {{ {remote}
 id = {identity} }}
        children {{ rw {{ remote_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}
}}
"""


class PKI:
    """An authority, a gateway and a user."""

    def __init__(self, kind="ecdsa", root=None, san="email:{}", user=USER, gateway="vpn.example", **settings):
        self.root = root or Authority("Root", kind)
        self.gateway = self.root.issue(gateway, kind, eku="serverAuth")
        self.user = self.root.issue("carol", kind, san=san.format(user), **{"eku": "clientAuth", **settings})


@contextlib.contextmanager
def pair(pki, east=None, west=None, peer=None, tls="", load=EAP_PLUGINS, plugins="", peer_plugins="", gateway="", users="", crls=(), more=(), files=None, loud=False):
    """A client in the east and a gateway in the west, of which `peer` is a strongSwan that speaks TLS `tls` at most. `more`: authorities that the gateway trusts as well; `files`: other certificates of the client, by name."""
    if peer:
        required()
    with Lab() as lab:
        daemons = []
        for host, text, own in (("west", west or server(), pki.gateway), ("east", east or client(), pki.user)):
            if host == peer:
                daemon = StrongSwan(lab, host, text + users, settings=(f"tls {{ version_max = {tls} }}\n" if tls else "") + ("filelog { file { ike = 4\n chd = 4 } }" if loud else ""), plugins=peer_plugins, load=load)
                place(daemon.file.parent, own, [pki.root], chain=False)
            else:
                head = martlet(host, plugins=plugins, gateway=gateway).split("connections {")[0]
                daemon = Gateway(lab, host, head + text + users)
                place(daemon.folder, own, [pki.root, *more] if host == "west" else [pki.root], crls=crls if host == "west" else ())
                for name, identity in (files or {}).items() if host == "east" else ():
                    (daemon.folder / "x509" / f"{name}.pem").write_bytes(identity.certificate + identity.chain)
                    (daemon.folder / "private" / f"{name}.key").write_bytes(identity.key)
                    (daemon.folder / "private" / f"{name}.key").chmod(0o600)
            daemons.append(daemon)
        try:
            for daemon in daemons:
                daemon.start()
            yield lab, daemons[1], daemons[0]
        except BaseException:
            print_tails(*daemons)
            raise


def come_and_go(lab, a, b, who=USER):
    a.up("rw")
    wait(lambda: a.children() and b.children(), "both have a child")
    known = [sa for event in b.vici("list-sas", events="list-sa") for sa in event.values()][0]
    expect(known.get("remote-eap-id", known["remote-id"]) == who, lambda: f"the gateway knows {known}")
    carries(lab, a, b, source="10.3.0.1", bytes_each=20_000)
    a.down("rw")
    wait(lambda: not a.sas() and not b.sas(), "both have closed it")


def test_martlets_with_both_versions():
    for version in ("1.3", "1.2"):
        pki = PKI()
        with pair(pki, plugins=f"eap {{ tls_max = {version} }}") as (lab, a, b):
            come_and_go(lab, a, b)
            quiet_about(secrets_of(pki.user, pki.gateway), a, b)


def test_strongswan_logs_in_with_tls_1_2():
    with pair(PKI(), peer="east", tls="1.2") as (lab, a, b):
        come_and_go(lab, a, b)


def test_logging_in_at_strongswan_with_tls_1_2():
    with pair(PKI(), peer="west", tls="1.2") as (lab, a, b):
        come_and_go(lab, a, b)


def test_tls_1_3_without_its_end():
    """strongSwan 5.9.8 speaks TLS 1.3 in EAP without the protected success indication of RFC 9190 section 2.5 (and crashes when it gets one, so that the other role cannot be tried)."""
    with pair(PKI(), peer="west", tls="1.3") as (lab, a, b):
        said = a.up("rw", check=False)
        expect(b.logged("negotiated TLS 1.3"), "strongSwan has not spoken TLS 1.3")
        expect(said.returncode != 0 and "claims that EAP has succeeded before its method was done" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
    with pair(PKI(), peer="west", tls="1.3", plugins="eap { tls_max = 1.2 }") as (lab, a, b):
        come_and_go(lab, a, b)


def test_long_chains_go_in_pieces():
    """RSA-4096 over an intermediate authority: the messages of TLS are longer than one of EAP."""
    root = Authority("Root", "rsa4096")
    for peer in ("east", "west"):
        with pair(PKI("rsa4096", root=root), peer=peer, tls="1.2") as (lab, a, b):
            come_and_go(lab, a, b)


def test_a_gateway_that_offers_other_methods_first():
    """It offers MSCHAPv2, and goes on with EAP-TLS after the client's Nak."""
    users = 'secrets { eap-dave { id = dave\n secret = "some words of dave" } }'
    for peer in (None, "east"):
        with pair(PKI(), west=server(remote="auth = eap-dynamic"), users=users, peer=peer, tls="1.2") as (lab, a, b):
            come_and_go(lab, a, b)


def test_a_certificate_of_ours_that_tls_does_not_take():
    """It is ours that is named, not the gateway."""
    pki = PKI()
    pki.user = pki.root.issue("carol", "rsa1024", san=f"email:{USER}", eku="clientAuth")
    with pair(pki) as (lab, a, b):
        said = a.up("rw", check=False)
        text = said.stdout + said.stderr
        expect(said.returncode != 0 and 'our certificate "C=CH, O=Martlet Tests, CN=carol" is of no use in TLS' in text, lambda: text)
        expect(not a.sas() and not b.sas(), "it came up")


def test_a_preshared_gateway():
    """IKE by a preshared key, the users by EAP-TLS: the gateway's certificate is the one of its identity."""
    secret = 'secrets { ike-gateway { secret = "0123456789 0123456789" } }'
    with pair(PKI(), west=server(local="auth = psk"), east=client(remote="auth = psk"), users=secret) as (lab, a, b):
        come_and_go(lab, a, b)


def test_eap_alone():
    """RFC 5998: EAP-TLS proves both ends, and the gateway has no AUTH of its own before."""
    west = server(local="auth = eap-tls\n certs = own.pem", remote="auth = eap-tls")
    east = client(remote="auth = eap-tls")
    for peer in (None, "east", "west"):
        with pair(PKI(), west=west, east=east, peer=peer, tls="1.2") as (lab, a, b):
            come_and_go(lab, a, b)


def test_names_of_users():
    """The common name, a principal name, a distinguished name: each is a user's."""
    for user, settings in (("carol", {"san": None}), ("carol@example.org", {"san": "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:{}"})):
        root = Authority("Root")
        pki = PKI(root=root)
        san = settings["san"]
        pki.user = root.issue("carol", san=san.format(user) if san else None, eku="clientAuth")
        with pair(pki, east=client(user=user)) as (lab, a, b):
            come_and_go(lab, a, b, who=user)


def test_certificates_of_users_that_are_refused():
    """Each for its own reason in the log, and by EAP-Failure alone on the wire."""
    root, other = Authority("Root"), Authority("Other")
    sub = Authority("Sub", parent=root)
    pki = PKI(root=root)
    mail = f"email:{USER}"
    revoked = root.issue("revoked", san=mail, eku="clientAuth")
    root.revoke(revoked)
    crl = root.crl()
    lone = sub.issue("lone", san=mail, eku="clientAuth")
    lone.chain = b""
    cases = [
        (root.issue("expired", san=mail, eku="clientAuth", start=-30, end=-1), "its certificate has expired"),
        (root.issue("early", san=mail, eku="clientAuth", start=3, end=30), "its certificate is not yet valid"),
        (revoked, "its certificate was revoked"),
        (other.issue("stranger", san=mail, eku="clientAuth"), "leads to no authority that is trusted"),
        (root.issue("dave", san="email:dave@example.org", eku="clientAuth"), "its certificate is of another name"),
        (root.issue("server", san=mail, eku="serverAuth"), "its certificate is for another use"),
        (lone, "leads to no authority that is trusted"),
    ]
    # A connection for each; a client has all of them.
    east = client()
    text = "".join(east.replace("connections {", "").replace("rw {", f"rw{n} {{").replace("own.pem", f"{n}.pem").rstrip().removesuffix("}") for n in range(len(cases)))
    with pair(pki, east="connections {" + text + "}\n", crls=[crl], files={f"{n}": identity for n, (identity, _) in enumerate(cases)}) as (lab, a, b):
        for number, (_, words) in enumerate(cases):
            said = a.cli("up", f"rw{number}", check=False)
            text = said.stdout + said.stderr
            expect(said.returncode != 0 and "refused us: EAP-Failure" in text, lambda: text)
            expect("certificate" not in text.lower().replace("certificate of ours", ""), lambda: f"the client was told: {text}")
            wait(lambda: words in b.log(), f"the gateway says {words!r}")
            expect(b.log().count("authentication-failed:") == number + 1, f"{words!r} is not a reason of its own")
        expect(not a.sas() and not b.sas(), "somebody came in")


def test_what_the_connection_asks_of_users():
    """`cacerts`, `cert_policy`, `revocation`, the strength of keys: as for certificates of IKE."""
    pki, other = PKI(), Authority("Other")
    for remote, words in (
        ("cacerts = ca1.pem\n auth = eap-tls", "of another authority (CA) than this connection takes"),
        ("revocation = strict\n auth = eap-tls", "there is no CRL of"),
        ("cert_policy = 1.3.6.1.4.1.99999.1\n auth = eap-tls", "certificate policies"),
        ("auth = eap-tls:ecdsa-384", "asks for 384"),
    ):
        with pair(pki, west=server(remote=remote), more=[other]) as (lab, a, b):
            said = a.up("rw", check=False)
            expect(said.returncode != 0 and "refused us: EAP-Failure" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
            wait(lambda: words in b.log(), f"the gateway says {words!r}")


def test_servers_that_clients_refuse():
    """The gateway proves itself to IKE by a preshared key; its certificate in TLS is of another name, another use or another authority, or not the one that `aaa_id` asks for."""
    root, other = Authority("Root"), Authority("Other")
    secret = 'secrets { ike-gateway { secret = "0123456789 0123456789" } }'
    cases = [
        (root.issue("vpn.example", eku="clientAuth"), "", "its certificate is for another use"),
        (other.issue("vpn.example", eku="serverAuth"), "", "leads to no authority that is trusted"),
        (root.issue("vpn.example", eku="serverAuth"), "aaa_id = radius.example", "its certificate is of another name"),
    ]
    for own, local, words in cases:
        pki = PKI(root=root)
        pki.gateway = own
        with pair(pki, west=server(local="auth = psk"), east=client(local=f"auth = eap-tls\n certs = own.pem\n {local}", remote="auth = psk"), users=secret) as (lab, a, b):
            said = a.up("rw", check=False)
            expect(said.returncode != 0 and words in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
            expect(not a.sas() and not b.sas(), "it came up")
    with pair(PKI(root=root), west=server(local="auth = psk"), east=client(local="auth = eap-tls\n certs = own.pem\n aaa_id = vpn.example", remote="auth = psk"), users=secret) as (lab, a, b):
        come_and_go(lab, a, b)


def test_revocation_that_is_fetched():
    """The authority is asked by OCSP whether a user's certificate is good, in the middle of the handshake; one that was revoked is refused, and so is one of which nobody says anything."""
    for revokes, path, words in ((False, "ocsp", None), (True, "ocsp", "was revoked on"), (False, "dead", "is not known")):
        root = Authority("Root")
        pki = PKI(root=root, extensions=f"authorityInfoAccess = OCSP;URI:{AT}/{path}\n")
        if revokes:
            root.revoke(pki.user)
        with pair(pki, west=server(remote="revocation = strict\n auth = eap-tls")) as (lab, a, b):
            asked = Responder(lab, "west", root)
            if words is None:
                come_and_go(lab, a, b)
                expect("/ocsp" in asked.requests(), "nobody was asked")
                continue
            said = a.up("rw", check=False)
            expect(said.returncode != 0 and "refused us: EAP-Failure" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
            wait(lambda: words in b.log(), f"the gateway says {words!r}")
            expect(not b.sas(), "it came up")
