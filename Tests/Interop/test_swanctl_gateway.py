"""A whole remote-access gateway that `swanctl --load-all` brings into a martletd which has nothing but its plugins: certificates, encrypted keys, containers, CRLs and authorities that are really
asked, pools with name servers, users by password, by hash and of a directory; strongSwan logs in by each. And clients that swanctl loads, with `aaa_id`."""

import re

from certificates import martlet, place
from lab import Gateway, Lab, carries, expect, print_tails, wait
from pki import Authority, openssl
from responder import AT, PORT, Responder
from strongswan import ASKING_FOR_DNS, StrongSwan, required
from swanctl import BARE, Swanctl, expect_lines
from test_directory import BIND_PASSWORD, HASH, HASHED_PASSWORD, Directory
from test_eap import GTC_BACKEND, keeps_secrets
from test_eap_tls import client, server

PASSWORD, PASSPHRASE = "emils rather long words 71", "sword and fish 99"
OTHER = AT.replace(str(PORT), "8088")


def door(name, local, remote, identity, pool, more=""):
    """A connection of the gateway, and its child of the same name."""
    return f"""
    {name} {{
        local_addrs = 192.0.2.2
        remote_addrs = %any
        proposals = aes256gcm16-prfsha256-x25519
        mobike = no
        pools = {pool}
        {more}
        local {{ {local}
 id = {identity} }}
        remote {{ {remote} }}
        children {{ {name} {{ local_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}"""


def visitor(name, local, identity):
    return f"""
    {name} {{
        local_addrs = 192.0.2.1
        remote_addrs = 192.0.2.2
        proposals = aes256gcm16-prfsha256-x25519
        mobike = no
        vips = 0.0.0.0
        local {{ {local} }}
        remote {{ auth = pubkey
 id = {identity} }}
        children {{ {name} {{ remote_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}"""


GATEWAY = (
    "connections {"
    + door("staff", "auth = pubkey\n certs = own.pem", "auth = eap-gtc\n id = %any\n eap_id = %any\n groups = vpn-admins; \"cn=staff,ou=groups,dc=example,dc=org\"", "vpn.example", "staff")
    + door("certified", "auth = pubkey\n certs = own.pem", "auth = pubkey\n id = %any\n cacerts = ca1.pem, ca2.pem\n cacert1 { file = @FOLDER@/x509ca/ca0.pem }\n revocation = strict", "vpn.example", "partners")
    + door("partners", "auth = pubkey", 'auth = eap-mschapv2\n id = %any\n eap_id = "*@partner.example"', "partner.example", "partners")
    + f"""
}}
pools {{
    staff {{ addrs = 10.3.0.0/24
 dns = 10.2.0.53, 10.2.0.54 }}
    partners {{ addrs = 10.4.0.0/24
 dns = 10.2.0.55 }}
}}
authorities {{
    root {{ file = @FOLDER@/x509ca/ca0.pem
 crl_uris = {AT}/crl }}
    users {{ cacert = ca1.pem
 ocsp_uris = {OTHER}/ocsp }}
}}
secrets {{
    pkcs8-own {{ file = own.key
 secret = "{PASSPHRASE}" }}
    pkcs12-partner {{ file = partner.p12
 secret = "{PASSPHRASE}" }}
    eap-emil {{ id = emil@partner.example
 secret = "{PASSWORD}" }}
    eap-all {{ secret = "{PASSWORD}" }}
    ntlm-nora {{ id = nora@partner.example
 secret = 0x{HASH} }}
}}
"""
)

VISITORS = (
    "connections {"
    + visitor("carol", "auth = eap-gtc\n id = carol@east.example\n eap_id = carol", "vpn.example")
    + visitor("rolf", "auth = eap-gtc\n id = rolf@east.example\n eap_id = rolf", "vpn.example")
    + visitor("emil", "auth = eap-mschapv2\n id = emil@partner.example", "partner.example")
    + visitor("nora", "auth = eap-mschapv2\n id = nora@partner.example", "partner.example")
    + visitor("sven", "auth = eap-mschapv2\n id = sven@partner.example", "partner.example")
    + visitor("zoe", "auth = eap-mschapv2\n id = zoe@other.example", "partner.example")
    + "".join(visitor(name, f"auth = pubkey\n certs = {name}.pem\n id = {name}.example", "vpn.example") for name in ("good", "revoked", "listed"))
    + f"""
}}
secrets {{
    eap-carol {{ id = carol
 secret = "{BIND_PASSWORD}" }}
    eap-rolf {{ id = rolf
 secret = "{BIND_PASSWORD}" }}
    eap-emil {{ id = emil@partner.example
 secret = "{PASSWORD}" }}
    eap-nora {{ id = nora@partner.example
 secret = "{HASHED_PASSWORD}" }}
    eap-sven {{ id = sven@partner.example
 secret = "{PASSWORD}" }}
    eap-zoe {{ id = zoe@other.example
 secret = "{PASSWORD}" }}
}}
"""
)


def test_a_whole_gateway():
    required()
    root = Authority("Root")
    users, listed = Authority("Users", parent=root), Authority("Listed", parent=root)
    vpn, partner = root.issue("vpn.example", "rsa", eku="serverAuth"), root.issue("partner.example", eku="serverAuth")
    certified = {"good": users.issue("good.example"), "revoked": users.issue("revoked.example"), "listed": listed.issue("listed.example")}
    users.revoke(certified["revoked"])
    listed.revoke(certified["listed"])
    with Lab() as lab:
        slapd = Directory(lab, "west", [("rolf", "people", "U", [])])
        b = Gateway(lab, "west", BARE + slapd.plugin())
        a = StrongSwan(lab, "east", VISITORS, plugins=GTC_BACKEND, load=ASKING_FOR_DNS + " eap-identity eap-gtc eap-mschapv2 md4 xauth-generic")
        place(a.file.parent, None, [root, users, listed])
        for name, identity in certified.items():
            (a.file.parent / "x509" / f"{name}.pem").write_bytes(identity.certificate)
            (a.file.parent / "private" / f"{name}.key").write_bytes(identity.key)
        try:
            b.start()
            a.start()
            swanctl = Swanctl(b)
            place(swanctl.folder, None, [root, users, listed], crls=[listed.crl()])
            (swanctl.folder / "x509" / "own.pem").write_bytes(vpn.certificate)
            for name, data in (("vpn.key", vpn.key), ("partner.key", partner.key), ("partner.pem", partner.certificate)):
                (lab.folder / name).write_bytes(data)
            openssl("pkcs8", "-topk8", "-in", lab.folder / "vpn.key", "-out", swanctl.folder / "pkcs8" / "own.key", "-passout", f"pass:{PASSPHRASE}")
            openssl("pkcs12", "-export", "-in", lab.folder / "partner.pem", "-inkey", lab.folder / "partner.key", "-passout", f"pass:{PASSPHRASE}", "-out", swanctl.folder / "pkcs12" / "partner.p12")
            openssl("pkey", "-in", lab.folder / "vpn.key", "-pubout", "-out", swanctl.folder / "pubkey" / "own.pub")
            # Its certificate does not come with its answers.
            signer = users.issue("ocsp", eku="OCSPSigning")
            (swanctl.folder / "x509ocsp" / "responder.pem").write_bytes(signer.certificate)
            swanctl.write(GATEWAY.replace("@FOLDER@", str(swanctl.folder)))
            lists, answers = Responder(lab, "west", root), Responder(lab, "west", users, signer=signer, no_certs=True, port=8088)
            expect_lines(
                swanctl("--load-all", "--noprompt"), r"own.pem'$", r"ca2.pem'$", r"responder.pem'$", r"crl0.pem'$", r"own.pub'$", r"^loaded .*pkcs8/own.key'$", r"^loaded .*pkcs12/partner.p12'$", r"^loaded eap secret 'eap-emil'$",
                r"^loaded ntlm secret 'ntlm-nora'$", r"^loaded authority 'root'$", r"^loaded authority 'users'$", r"^loaded pool 'staff'$", r"^loaded pool 'partners'$", r"^loaded connection 'staff'$",
                r"^loaded connection 'certified'$", r"^loaded connection 'partners'$",
            )
            for name, address, servers, who in (
                ("carol", "10.3.0.1", ("10.2.0.53", "10.2.0.54"), "carol"), ("emil", "10.4.0.1", ("10.2.0.55",), "emil@partner.example"), ("nora", "10.4.0.2", ("10.2.0.55",), "nora@partner.example"),
                ("good", "10.4.0.3", ("10.2.0.55",), None),
            ):
                a.up(name)
                wait(lambda: a.children() and b.children(), f"{name}: both have a child")
                known = [sa for event in b.vici("list-sas", events="list-sa") for sa in event.values()][0]
                expect(known.get("remote-eap-id") == who, lambda: f"{name}: the gateway knows {known}")
                expect(all(f"nameserver {server}" in a.resolved.read_text() for server in servers), lambda: f"{name} has the name servers {a.resolved.read_text()}")
                carries(lab, a, b, source=address, bytes_each=10_000)
                a.down(name)
                wait(lambda: not a.sas() and not b.sas(), f"{name}: both have closed it")
            expect("/ocsp" in answers.requests() and "/crl" in lists.requests(), lambda: f"not each authority was asked: {lists.requests()}, {answers.requests()}")
            for name, reason in (
                ("rolf", "is in none of the groups that are taken \\(vpn-admins, cn=staff,ou=groups,dc=example,dc=org\\)"), ("sven", "there is no user sven@partner.example"), ("zoe", "zoe@other.example .* fits no `eap_id`"), ("revoked", f"was revoked on .*as the OCSP responder {OTHER}/ocsp says"), ("listed", "was revoked on .*CN=Listed"),
            ):
                begun = len(b.log())
                expect(a.up(name, check=False).returncode != 0, f"{name} came in")
                wait(lambda: re.search(reason, b.log()[begun:]), f"{name}: the gateway says why: {reason}")
            expect(not b.sas(), "somebody is left")
            keeps_secrets(b, secrets=(PASSWORD, PASSPHRASE, BIND_PASSWORD, HASH))
            # The same once more disturbs nothing; what is gone from the file goes.
            a.up("carol")
            swanctl("--load-all", "--noprompt")
            expect(b.children(), "loading the same again has ended a tunnel")
            swanctl.write("")
            for kind in ("private", "pkcs8", "pkcs12", "x509", "x509ca", "x509crl"):
                for file in (swanctl.folder / kind).iterdir():
                    file.unlink()
            swanctl("--load-all", "--noprompt", "--clear")
            left = {command: b.vici(command) for command in ("get-conns", "get-keys", "get-shared", "get-authorities")}
            expect(not any(value for answer in left.values() for value in answer.values()), lambda: f"something is left: {left}")
        except BaseException:
            print_tails(a, b)
            raise


def test_clients_that_are_loaded():
    """`eap_id` and `aaa_id` of a client that swanctl brings: whom the gateway's certificate in TLS has to name."""
    root = Authority("Root")
    secrets = f'secrets {{ ike-gateway {{ secret = "0123456789 0123456789" }}\n eap-carol {{ id = carol\n secret = "{PASSWORD}" }} }}\n'
    with Lab() as lab:
        head = martlet("west").split("connections {")[0]
        b = Gateway(lab, "west", head + server(local="auth = psk", remote="auth = eap-ttls") + secrets)
        place(b.folder, root.issue("vpn.example", san="DNS:vpn.example, DNS:radius.example", eku="serverAuth"), [root])
        a = Gateway(lab, "east", BARE)
        try:
            b.start()
            a.start()
            swanctl = Swanctl(a)
            place(swanctl.folder, None, [root])

            def load(name):
                text = client(local=f"auth = eap-ttls\n aaa_id = {name}", remote="auth = psk", user="carol@east.example")
                swanctl.write(text.replace("eap_id = carol@east.example", "eap_id = carol") + secrets)
                swanctl("--load-all", "--noprompt")

            load("other.example")
            done = a.up("rw", check=False)
            expect(done.returncode != 0 and "its certificate is of another name" in done.stdout + done.stderr, lambda: done.stdout + done.stderr)
            expect(not a.sas() and not b.sas(), "it came up")
            load("radius.example")
            a.up("rw")
            wait(lambda: a.children() and b.children(), "both have a child")
            known = [sa for event in b.vici("list-sas", events="list-sa") for sa in event.values()][0]
            expect(known.get("remote-eap-id") == "carol" and known["remote-id"] == "carol@east.example", lambda: f"the gateway knows {known}")
            carries(lab, a, b, source="10.3.0.1", bytes_each=10_000)
        except BaseException:
            print_tails(a, b)
            raise
