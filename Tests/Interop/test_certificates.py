"""`auth = pubkey`: certificates from files, against strongSwan in both roles and between two Martlets; and why certificates are refused."""

import base64
import contextlib
import re

from certificates import connection, martlet, place
from lab import Gateway, Lab, carries, expect, print_tails, wait
from pki import CA, Authority, Identity, openssl
from strongswan import StrongSwan, both_roles, required


@contextlib.contextmanager
def opposite(east, west, trusted, ours=None, theirs=None, settings="", start=True, chain=True):
    """A Martlet in the east and a strongSwan in the west, each with its identity and the authorities that it trusts."""
    required()
    with Lab() as lab:
        a, b = Gateway(lab, "east", martlet("east", **(ours or {}))), StrongSwan(lab, "west", connection("west", **(theirs or {})), settings)
        place(a.folder, east, trusted)
        place(b.file.parent, west, trusted, chain=chain)
        try:
            if start:
                b.start()
                a.start()
            yield lab, a, b
        except BaseException:
            print_tails(a, b)
            raise


@contextlib.contextmanager
def martlets(east, west, trusted_east, trusted_west=None, ours=None, theirs=None, crls=(), east_chain=True, start=True):
    """Two Martlets; the east begins, and the west is the one that judges."""
    with Lab() as lab:
        a, b = Gateway(lab, "east", martlet("east", **(ours or {}))), Gateway(lab, "west", martlet("west", **(theirs or {})))
        place(a.folder, east, trusted_east, chain=east_chain)
        place(b.folder, west, trusted_west if trusted_west is not None else trusted_east, crls=crls)
        try:
            if start:
                b.start()
                a.start()
            yield lab, a, b
        except BaseException:
            print_tails(a, b)
            raise


def secrets_of(*identities):
    """What no log may hold of private keys: every line of their PEM, and the bytes as digits."""
    found = []
    for identity in identities:
        lines = [line for line in identity.key.decode().splitlines() if not line.startswith("-----")]
        found += [line for line in lines if len(line) > 30]
        # The last octets of the key proper.
        found.append(base64.b64decode("".join(lines))[-24:-4].hex())
    return found


def quiet_about(secrets, *daemons):
    for daemon in daemons:
        text = daemon.log()
        expect(not any(secret in text for secret in secrets), f"the log of {daemon.host} holds a private key")


def tunnel(kind, root=None, **settings):
    root = root or Authority("Root", kind)
    east, west = root.issue("east.example", kind), root.issue("west.example", kind)
    with opposite(east, west, [root], **settings) as (lab, a, b):
        for _ in both_roles(a, b):
            carries(lab, a, b, bytes_each=10_000)
        quiet_about(secrets_of(east), a)
        return a.log(), b.log()


def test_ecdsa_with_strongswan():
    _, theirs = tunnel("ecdsa")
    expect("authentication of 'east.example' with ECDSA_WITH_SHA256_DER successful" in theirs, "Martlet has not signed with RFC 7427")


def test_a_peer_that_never_asks():
    """It sends no CERTREQ, as Apple's clients, and is sent our certificate all the same."""
    root = Authority("Root")
    with opposite(root.issue("east.example"), root.issue("west.example"), [root], theirs=dict(connection="send_certreq = no")) as (lab, a, b):
        b.up()
        wait(lambda: a.children() and b.children(), "both have a child")
        carries(lab, a, b, bytes_each=10_000)
        expect(not b.logged("sending cert request for") and b.logged("received end entity cert"), "strongSwan has asked, or has no certificate from us")


def test_sixty_authorities():
    """Each end trusts sixty and says so, as Windows does."""
    root, others = Authority("Root"), []
    for number in range(59):
        made = openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", root.folder / "other.key", "-subj", f"/CN=Other {number}", "-addext", "basicConstraints=critical,CA:TRUE")
        others.append(Identity(made.stdout.encode(), b""))
    with opposite(root.issue("east.example"), root.issue("west.example"), [*others, root]) as (lab, a, b):
        for _ in both_roles(a, b):
            carries(lab, a, b, bytes_each=10_000)
        expect(b.log().count("sending cert request for") >= 120, "strongSwan has not told of all of its authorities")


def test_ecdsa_384_and_521_with_strongswan():
    for kind, name in (("ecdsa384", "ECDSA_WITH_SHA384_DER"), ("ecdsa521", "ECDSA_WITH_SHA512_DER")):
        _, theirs = tunnel(kind)
        expect(f"with {name} successful" in theirs, f"Martlet has not signed with {name}")


def test_rsa_with_strongswan():
    _, theirs = tunnel("rsa")
    expect("with RSA_EMSA_PKCS1_SHA2_256 successful" in theirs, "Martlet has not signed with SHA-256")


def test_rsa_pss_with_strongswan():
    _, theirs = tunnel("rsa", ours=dict(auth="rsa/pss-sha384", remote_auth="rsa/pss"), settings="rsa_pss = yes")
    expect("with RSA_EMSA_PSS_SHA2_384" in theirs, "Martlet has not signed with PSS")


def test_ed25519_and_ed448_with_strongswan():
    for kind, name in (("ed25519", "ED25519"), ("ed448", "ED448")):
        _, theirs = tunnel(kind)
        expect(f"with {name} successful" in theirs, f"Martlet has not signed with {name}")


def test_a_peer_without_rfc_7427():
    """Then ECDSA is method 9 (RFC 4754), and RSA method 1 with SHA-1."""
    for kind, name in (("ecdsa", "ECDSA-256"), ("ecdsa384", "ECDSA-384"), ("ecdsa521", "ECDSA-521")):
        _, theirs = tunnel(kind, settings="signature_authentication = no")
        expect(f"authentication of 'east.example' with {name} signature successful" in theirs, f"not by RFC 4754: {name}")
    _, theirs = tunnel("rsa", settings="signature_authentication = no")
    expect(re.search(r"authentication of 'east.example' with RSA signature successful", theirs), "not by method 1")


def test_a_long_chain_in_fragments():
    """RSA with 4096 bits over two intermediate authorities: IKE_AUTH does not fit into a packet."""
    root = Authority("Root", "rsa4096")
    sub = Authority("Sub", "rsa4096", root)
    last = Authority("Last", "rsa4096", sub)
    east, west = last.issue("east.example", "rsa4096"), last.issue("west.example", "rsa4096")
    # What swanctl sends of a chain is its first certificate; the others are known from x509ca.
    with opposite(east, west, [root], start=False, chain=False) as (lab, a, b):
        for number, authority in enumerate((sub, last)):
            (b.file.parent / "x509ca" / f"sub{number}.pem").write_bytes(authority.certificate)
        b.start()
        a.start()
        for _ in both_roles(a, b):
            carries(lab, a, b, bytes_each=10_000)
        expect(b.logged("splitting IKE message") and b.logged("received fragment #1 of"), "nothing went in fragments")
        expect(b.logged("received issuer cert"), "Martlet has not sent the certificates above its own")


def test_between_martlets():
    root = Authority("Root")
    east, west = root.issue("east.example"), root.issue("west.example", "rsa")
    with martlets(east, west, [root]) as (lab, a, b):
        a.up()
        carries(lab, a, b, bytes_each=10_000)
        a.rekey()
        a.cli("down", "peer")
        b.up()
        carries(lab, a, b, bytes_each=10_000)
        quiet_about(secrets_of(east, west), a, b)


def test_certificates_by_file_and_inline():
    """`cert1 { file }` and `cacert1 { file }` in the east, wherever the files are; in the west the certificates themselves stand in the configuration."""
    root, other = Authority("Root"), Authority("Other")
    east, west = root.issue("east.example"), root.issue("west.example")

    def inline(identity):
        return f'"{identity.certificate.decode()}"'

    ours = dict(local="cert1 { file = elsewhere/own.pem }", remote="cacert1 { file = elsewhere/ca.pem }\n cacert2 { file = other.pem }")
    theirs = dict(local=f"certs = {inline(west)}", remote=f"cacerts = {inline(other)}, {inline(root)}")
    with martlets(None, None, [], ours=ours, theirs=theirs, start=False) as (lab, a, b):
        for daemon, identity in ((a, east), (b, west)):
            daemon.write(daemon.file.read_text().replace(" certs = own.pem\n", "", 1))
            (daemon.folder / "private" / "own.key").write_bytes(identity.key)
            (daemon.folder / "private" / "own.key").chmod(0o600)
        (a.folder / "elsewhere").mkdir()
        (a.folder / "elsewhere" / "own.pem").write_bytes(east.certificate)
        (a.folder / "elsewhere" / "ca.pem").write_bytes(root.certificate)
        (a.folder / "x509ca" / "other.pem").write_bytes(other.certificate)
        b.start()
        a.start()
        for first, second in ((a, b), (b, a)):
            first.up()
            carries(lab, a, b, bytes_each=10_000)
            first.cli("down", "peer")
            wait(lambda: not second.sas(), "it is over")
        # One that is only there, and that this connection does not name.
        b.write(b.file.read_text().replace(f", {inline(root)}", ""))
        (b.folder / "x509ca" / "root.pem").write_bytes(root.certificate)
        b.signal(1)
        wait(lambda: b.logged("the new configuration is in use"), "the new configuration is in use")
        expect(a.up(check=False).returncode != 0, "an authority that the connection does not name was believed")
        wait(lambda: b.logged("of another authority (CA) than this connection takes"), "the log says why")


def test_the_chain_that_is_sent():
    """What stands above a certificate in its own file goes out with it, whatever else of that authority lies in the folders: earlier certificates of it, or its own as a root."""
    root, new = Authority("Root"), Authority("New Root")
    west = root.issue("west.example")

    def again(signer, authority, number, start, end):
        file = authority.folder / f"again{number}.pem"
        signer.sign(authority.folder / "ca.csr", file, CA.format(pathlen=""), start, end, selfsign=signer is authority)
        return Identity(file.read_bytes(), b"")

    sub = Authority("Sub", parent=root)
    old = [again(root, sub, number, -60, -30) for number in range(4)]
    with martlets(sub.issue("east.example"), west, [*old, root], [root]) as (lab, a, b):
        a.up()
    # The new root is known to few: its file has the certificate that the old one has given it.
    cross, roots = again(root, new, 9, -1, 300), [again(new, new, number, -1, 300) for number in range(4)]
    below = Authority("Below", parent=new).issue("east.example")
    with martlets(Identity(below.certificate, below.key, below.chain + cross.certificate), west, [*roots, new, root], [root]) as (lab, a, b):
        a.up()


def test_a_certificate_opposite_a_shared_key():
    """The gateway proves itself with a certificate, who connects to it with a shared key (RFC 7296 section 4)."""
    root = Authority("Root")
    east, west = root.issue("east.example"), root.issue("west.example", "rsa")
    shared = 'secrets { ike-peer { secret = "a shared key that both ends know" } }'
    with martlets(east, west, [root], ours=dict(auth="psk", more=shared), theirs=dict(remote_auth="psk", more=shared)) as (lab, a, b):
        a.up()
        carries(lab, a, b, bytes_each=10_000)


def test_distinguished_names():
    """Identities that are subjects, in another string type and case than the certificate has, and with a wildcard."""
    root = Authority("Root")
    east, west = root.issue("east.example", san=None), root.issue("west.example", san=None)
    names = {host: f"C=CH, O=Martlet Tests, CN={host}.example" for host in ("east", "west")}
    with opposite(
        east, west, [root], ours=dict(local_id='"C=ch, O=MARTLET  tests, CN=East.Example"', remote_id='"C=CH, O=Martlet Tests, CN=*"'), theirs=dict(local_id=f'"{names["west"]}"', remote_id=f'"{names["east"]}"')
    ) as (lab, a, b):
        for _ in both_roles(a, b):
            carries(lab, a, b, bytes_each=10_000)


# Refusals: the peer learns AUTHENTICATION_FAILED, the log says why.


def refused(west, trusted, says, theirs=None, east=None, ours=None, crls=(), east_chain=True, trusted_east=None):
    """`east` begins with a certificate that `west` does not believe."""
    with martlets(east, west, trusted_east or trusted, trusted, ours=ours, theirs=theirs, crls=crls, east_chain=east_chain) as (lab, a, b):
        done = a.up(check=False)
        expect(done.returncode != 0, "the tunnel came up")
        expect("AUTHENTICATION_FAILED" in done.stdout + done.stderr, lambda: f"the peer has learnt something else: {done.stdout}{done.stderr}")
        for word in says:
            wait(lambda: b.logged(word), f"the log says {word!r}")
            expect(word not in done.stdout + done.stderr, f"the peer has learnt {word!r}")
        expect(not b.sas(), "an SA is left")


def test_refusals_of_time_and_authority():
    root, other = Authority("Root"), Authority("Other")
    west = root.issue("west.example")
    cases = [
        (root.issue("east.example", start=-60, end=-30), ["has expired: it was valid until"]),
        (root.issue("east.example", start=30, end=60), ["is not yet valid"]),
        (other.issue("east.example"), ["leads to no authority that is trusted", '"C=CH, O=Martlet Tests, CN=Other"']),
        (Authority("Root").issue("east.example"), ["of the wrong authority (CA)"]),
    ]
    for east, says in cases:
        refused(west, [root], says, east=east)


def test_refusals_of_the_path():
    root = Authority("Root")
    west = root.issue("west.example")
    sub = Authority("Sub", parent=root)
    refused(west, [root], ["the certificate of its issuer", "is missing", "intermediate"], east=sub.issue("east.example"), east_chain=False)
    short = Authority("Short", parent=root, pathlen=0)
    refused(west, [root], ["path length"], east=Authority("Deep", parent=short).issue("east.example"))
    for constraint, word in (("permitted;DNS:.allowed.example", "permitted"), ("excluded;DNS:east.example", "excluded")):
        bound = Authority("Bound", parent=root, extensions=f"nameConstraints = critical, {constraint}\n")
        refused(west, [root], ["violates a name constraint", word], east=bound.issue("east.example"))


def test_refusals_of_use_and_name():
    root = Authority("Root")
    west = root.issue("west.example")
    refused(west, [root], ["for another use", "codeSigning"], east=root.issue("east.example", eku="codeSigning"))
    refused(west, [root], ["key usage without digitalSignature"], east=root.issue("east.example", extensions="keyUsage = critical, keyEncipherment\n"))
    refused(west, [root], ["its RSA key has 1024 bits"], east=root.issue("east.example", "rsa1024"))
    refused(west, [root], ["signed with a hash that is broken"], east=root.issue("east.example", digest="sha1"))


PINNED = "certs = ../../east/x509/own.pem"


def test_pinned_certificates():
    """A peer's certificate that is trusted as it is needs no authority, unless the connection asks for one; its time and its revocation count all the same."""
    root, other = Authority("Root"), Authority("Other")
    west, east, bad = other.issue("west.example"), root.issue("east.example"), root.issue("east.example")
    with martlets(east, west, [other], [], theirs=dict(remote=PINNED)) as (lab, a, b):
        a.up()
        carries(lab, a, b, bytes_each=10_000)
    root.revoke(bad)
    for identity, more, trusted, crls, says in (
        (root.issue("east.example", start=-60, end=-30), "", [], [], ["its certificate has expired"]),
        (east, f'ca_id = "C=CH, O=Martlet Tests, CN=Root"', [], [], ["leads to no authority that is trusted"]),
        (east, "cert_policy = 1.3.6.1.4.1.99999.1", [root], [], ["certificate policies that are asked for"]),
        (east, "revocation = strict", [], [], ["its authority is not known here", "revocation = strict"]),
        (bad, "", [root], [root.crl()], ["was revoked on"]),
        (other.issue("east.example", eku="codeSigning"), "", [], [], ["for another use"]),
    ):
        with martlets(identity, west, [other], trusted, theirs=dict(remote=f"{PINNED}\n {more}"), crls=crls) as (lab, a, b):
            done = a.up(check=False)
            expect(done.returncode != 0 and not b.sas() and "AUTHENTICATION_FAILED" in done.stdout + done.stderr, lambda: f"{more}: {done.stdout}{done.stderr}")
            for word in says:
                wait(lambda: b.logged(word), f"{more}: the log says {word!r}")


def test_what_clients_would_refuse():
    """Said when the configuration is checked, each with whom it keeps out."""
    root = Authority("Root")
    with Lab() as lab:
        for identity, says in (
            (root.issue("west.example", san=None), ["no subjectAltName with a host name or an address: Windows, Apple and Android"]),
            (root.issue("west.example", eku="clientAuth"), ["has no serverAuth", "Windows and Apple refuse it"]),
            (root.issue("west.example", eku=None), ["no extended key usage serverAuth"]),
            (root.issue("west.example", "ed25519"), ["Windows, Apple and Android do not know it"]),
            (root.issue("west.example", "rsa1024"), ["clients want 2048"]),
            (root.issue("west.example", digest="sha1"), ["signed with a hash that clients no longer take"]),
            (root.issue("west.example", end=1_000), ["Apple takes no server certificate for more than 825"]),
            (root.issue("west.example", end=10), ["expires in"]),
            (root.issue("west.example", start=-10, end=-1), ["has expired"]),
            (root.issue("west.example", start=5, end=60), ["is not yet valid"]),
        ):
            gateway = Gateway(lab, "west", martlet("west", local_id='"C=CH, O=Martlet Tests, CN=west.example"'))
            place(gateway.folder, identity, [root])
            done = gateway.cli("check", gateway.file)
            for word in says:
                expect(word in done.stdout + done.stderr, lambda: f"nothing is said of {word!r}: {done.stdout}{done.stderr}")
        place(gateway.folder, root.issue("west.example"), [root])
        done = gateway.cli("check", gateway.file)
        expect("our certificate" not in done.stdout + done.stderr, lambda: f"a good certificate is warned of: {done.stdout}{done.stderr}")
        # Our name is the last of many.
        gateway.write(martlet("west"))
        place(gateway.folder, root.issue("west.example", san="".join(f"DNS:n{number}.example, " for number in range(300)) + "DNS:west.example"), [root])
        done = gateway.cli("check", gateway.file)
        expect("does not prove" not in done.stdout + done.stderr, lambda: f"the last of many names is not seen: {done.stdout}{done.stderr}")


def test_what_clients_would_refuse_of_what_is_found():
    """The same where no `certs` names it: by our identity, for IKE, and for TLS at a gateway with a shared key."""
    root = Authority("Root")
    bad, good, sub = root.issue("west.example", eku="clientAuth"), root.issue("west.example"), Authority("Sub", parent=root)
    users = 'secrets { eap-carol { id = carol\n secret = "swordfish" } ike-all { secret = "a shared key that nobody has" } }'
    for settings in (dict(), dict(auth="psk", remote_auth="eap-ttls", remote="eap_id = %any", remote_id="%any", more=users)):
        with Lab() as lab:
            gateway = Gateway(lab, "west", martlet("west", **settings).replace(" certs = own.pem\n", "", 1))
            below = sub.issue("west.example")

            def said(identity):
                place(gateway.folder, identity, [root])
                done = gateway.cli("check", gateway.file)
                return done.stdout + done.stderr

            expect("has no serverAuth" in (text := said(bad)), lambda: f"nothing is said of what is found: {text}")
            expect("our certificate" not in (text := said(good)), lambda: f"a good certificate is warned of: {text}")
            expect("our certificate" not in (text := said(below)), lambda: f"a certificate with its chain is warned of: {text}")
            # Of an authority that nobody here has a certificate of.
            below.chain = b""
            expect('the certificate of its issuer, "C=CH, O=Martlet Tests, CN=Sub", is not here' in (text := said(below)).replace("'", '"'), lambda: f"nothing is said of what is missing: {text}")


def test_constraints_on_the_proof_alone():
    """`ike:` is about the signature in IKE: that of the certificate may have another hash."""
    root = Authority("Root")
    tunnel("ecdsa384", root, ours=dict(remote_auth="ike:ecdsa-sha384"))


def test_options_of_the_plugin():
    """Extended key usages, sizes of keys, and what `auth` asks of signatures."""
    root = Authority("Root")
    west = root.issue("west.example")
    ike = "1.3.6.1.5.5.7.3.17"
    with martlets(root.issue("east.example", eku=ike), west, [root], theirs=dict(plugins="x509 { client_eku = clientAuth, ipsecIKE }")) as (lab, a, b):
        a.up()
        carries(lab, a, b, bytes_each=10_000)
    use = ["for another use", "serverAuth"]
    refused(west, [root], use, east=root.issue("east.example", eku="serverAuth"), theirs=dict(plugins="x509 { client_eku = clientAuth }"))
    refused(west, [root], ["its RSA key has 2048 bits", "fewer than 3072"], east=root.issue("east.example", "rsa"), theirs=dict(plugins="x509 { rsa_bits = 3072 }"))
    refused(west, [root], ["it signs with SHA-256, which the connection does not take"], east=root.issue("east.example"), theirs=dict(remote_auth="ecdsa-sha384"))
    # More names than a message of a stranger may hold.
    large = root.issue("east.example", san="".join(f"DNS:number{number}.example, " for number in range(2000)) + "DNS:east.example")
    with martlets(large, west, [root]) as (lab, a, b):
        done = a.up(check=False)
        expect(done.returncode != 0, lambda: f"the tunnel came up: {done.stdout}{done.stderr}")
        wait(lambda: b.logged("its IKE_AUTH request is larger than what is taken of a peer"), "the log says that it was too much")
    # As the one who connects.
    with martlets(root.issue("east.example"), west, [root], ours=dict(plugins="x509 { gateway_eku = 1.2.3.4 }")) as (lab, a, b):
        done = a.up(check=False)
        expect(done.returncode != 0 and a.logged("for another use") and not a.sas() and not b.sas(), lambda: f"the gateway was believed: {done.stdout}{done.stderr}")
        # The gateway knows that it was not.
        wait(lambda: "does not accept that we are west.example" in b.cli("status").stdout, "the status of the gateway has the refusal")
        a.write(martlet("east", plugins="x509 { gateway_eku = serverAuthh }"))
        done = a.cli("check", a.file, check=False)
        expect("serverAuthh is no extended key usage" in done.stdout + done.stderr, lambda: f"a word that is not known is taken: {done.stdout}{done.stderr}")


def test_refusals_by_the_connection():
    root, other = Authority("Root"), Authority("Other")
    east, west = root.issue("east.example"), root.issue("west.example")
    refused(west, [root, other], ["of another authority (CA) than this connection takes"], east=east, theirs=dict(remote="cacerts = ca1.pem"))
    refused(west, [root], ["none of those that the connection takes"], east=east, theirs=dict(remote="certs = own.pem"))
    refused(west, [root], ["certificate policies that are asked for"], east=east, theirs=dict(remote="cert_policy = 1.3.6.1.4.1.99999.1"))
    refused(west, [root], ["`ca_id` asks for"], east=east, theirs=dict(remote='ca_id = "C=CH, O=Martlet Tests, CN=Other"'))
    refused(west, [root], ["asks for 384"], east=east, theirs=dict(remote_auth="ecdsa-384"))


def test_revocation_by_files():
    root = Authority("Root")
    west, good, bad = root.issue("west.example"), root.issue("east.example"), root.issue("east.example")
    root.revoke(bad)
    refused(west, [root], ["was revoked on", "key compromise"], east=bad, crls=[root.crl()])
    # Out of date it still says what was revoked.
    stale = root.crl(days=-2)
    refused(west, [root], ["was revoked on"], east=bad, crls=[stale])
    refused(west, [root], ["is out of date since"], east=good, crls=[stale], theirs=dict(remote="revocation = strict"))
    refused(west, [root], ["there is no CRL of"], east=good, theirs=dict(remote="revocation = strict"))
    for crls, rule in (([root.crl()], "strict"), ([], "ifuri"), ([stale], "relaxed")):
        with martlets(good, west, [root], theirs=dict(remote=f"revocation = {rule}"), crls=crls) as (lab, a, b):
            a.up()
            carries(lab, a, b, bytes_each=10_000)
