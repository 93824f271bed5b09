"""Revocation that is fetched: CRLs and OCSP from a responder in the lab, by what certificates and the configuration name, under each rule."""

import contextlib
import subprocess

from certificates import connection, martlet, place
from lab import BUILD, Gateway, Lab, carries, connections, expect, outer, print_tails, wait
from pki import Authority
from responder import AT, Responder
from strongswan import StrongSwan, both_roles, required
from swanctl import Swanctl

OCSP = f"authorityInfoAccess = OCSP;URI:{AT}/ocsp\n"
CRL = f"crlDistributionPoints = URI:{AT}/crl\n"


@contextlib.contextmanager
def judged(root, east, rule, authorities="", peer=False, plugins="", more=lambda host: "", **responder):
    """East begins, with a Martlet or a strongSwan, and west judges it by asking the responder of `root`."""
    if peer:
        required()
    with Lab() as lab:
        a = StrongSwan(lab, "east", connection("east")) if peer else Gateway(lab, "east", martlet("east", more=more("east")))
        b = Gateway(lab, "west", martlet("west", plugins=plugins, remote=f"revocation = {rule}", more=more("west")) + authorities)
        place(a.file.parent, east, [root])
        place(b.folder, root.issue("west.example"), [root])
        try:
            asked = Responder(lab, "west", root, **responder)
            b.start()
            a.start()
            yield lab, a, b, asked
        except BaseException:
            print_tails(a, b)
            raise


def refused(a, b, *says):
    done = a.up(check=False)
    text = done.stdout + done.stderr
    expect(done.returncode != 0 and not b.sas(), "the tunnel came up")
    expect("AUTHENTICATION_FAILED" in text or "AUTH_FAILED" in text, lambda: f"the peer has learnt something else: {text}")
    for word in says:
        wait(lambda: b.logged(word), f"the log says {word!r}")
        expect(word not in text, f"the peer has learnt {word!r}")


def test_a_strongswan_that_was_revoked():
    """By OCSP and by a CRL, each by the place that the certificate names."""
    for places, says in ((OCSP, f"as the OCSP responder {AT}/ocsp says"), (CRL, f"({AT}/crl) says")):
        root = Authority("Root")
        bad = root.issue("east.example", extensions=places)
        root.revoke(bad)
        with judged(root, bad, "relaxed", peer=True) as (lab, a, b, asked):
            refused(a, b, "was revoked on", "key compromise", says)


def test_a_strongswan_that_is_good():
    root = Authority("Root")
    east = root.issue("east.example", extensions=OCSP)
    with judged(root, east, "strict", peer=True) as (lab, a, b, asked):
        for _ in both_roles(b, a):
            carries(lab, a, b, bytes_each=10_000)
        expect(asked.requests().count("/ocsp") == 1, lambda: f"it was asked for more than once: {asked.requests()}")
        # Until swanctl has what was fetched forgotten; of another type it is not.
        swanctl = Swanctl(b)
        for type, times in (("x509_crl", 1), ("ocsp_response", 2), ("any", 3)):
            swanctl("--flush-certs", "--type", type)
            a.up()
            a.down()
            wait(lambda: not b.sas(), "it is over")
            expect(asked.requests().count("/ocsp") == times, lambda: f"{type}: {asked.requests()}")
        expect(b.logged("flush-certs") and b.logged("forgets what was fetched: 0 CRLs, 1 answers of OCSP"), "the log does not say what was forgotten")


def test_a_list_is_kept():
    root = Authority("Root")
    east = root.issue("east.example")
    authorities = f"authorities {{ root {{ cacert = ca0.pem\n crl_uris = {AT}/dead, {AT}/crl }} }}\n"
    with judged(root, east, "strict", authorities) as (lab, a, b, asked):
        a.up()
        a.down()
        expect(b.logged("answers with the status 503"), "the place that fails was not asked first")
        asked.process.kill()
        asked.process.wait()
        b.stop()
        b.start()
        a.up()
        carries(lab, a, b, bytes_each=10_000)
        expect(asked.requests().count("/crl") == 1, "the list was not found again")
    # A place in the configuration is one: `ifuri` asks for an answer.
    with judged(root, east, "ifuri", authorities.replace(f", {AT}/crl", "")) as (lab, a, b, asked):
        refused(a, b, "is not known", "answers with the status 503", "revocation = ifuri")


def test_responders_that_may_and_may_not():
    root, other = Authority("Root"), Authority("Other")
    east = root.issue("east.example", extensions=OCSP)
    with judged(root, east, "strict", signer=root.issue("ocsp", eku="OCSPSigning")) as (lab, a, b, asked):
        a.up()
    with judged(root, east, "strict", signer=root.issue("ocsp")) as (lab, a, b, asked):
        refused(a, b, "has no OCSPSigning")
    # One that keeps its certificate to itself has to be known: from the folder x509ocsp.
    signer = root.issue("ocsp", eku="OCSPSigning")
    with judged(root, east, "strict", signer=signer, no_certs=True) as (lab, a, b, asked):
        refused(a, b, "is not signed by")
        (b.folder / "x509ocsp").mkdir()
        (b.folder / "x509ocsp" / "responder.pem").write_bytes(signer.certificate)
        b.stop()
        b.start()
        a.up()
    # It knows of nobody.
    with judged(root, east, "strict", index=other.folder / "index.txt") as (lab, a, b, asked):
        refused(a, b, "does not know the certificate")


def second(host):
    """Another connection, with a shared key."""
    return connections(host, peer="second", name="second", **outer(host))


def test_rules_and_a_responder_that_hangs():
    root = Authority("Root")
    east = root.issue("east.example", extensions=f"authorityInfoAccess = OCSP;URI:{AT}/hang\n")
    plugins = "x509 { fetch_timeout = 1 }"
    with judged(root, east, "relaxed", plugins=plugins) as (lab, a, b, asked):
        a.up()
        expect(b.logged(f"{AT}/hang did not answer in time"), "nobody was asked")
    with judged(root, east, "ifuri", plugins=plugins) as (lab, a, b, asked):
        refused(a, b, "did not answer in time", "revocation = ifuri")
    # It delays nobody else.
    with judged(root, east, "ifuri", more=second, plugins="x509 { fetch_timeout = 15 }") as (lab, a, b, asked):
        waiting = lab.start("east", BUILD / "martlet", "--socket", a.socket, "up", "site", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait(lambda: "/hang" in asked.requests(), "the responder is asked")
        a.up("second")
        expect(b.children() and not b.logged("did not answer in time") and waiting.poll() is None, "another connection has waited for the responder")
    plain = root.issue("east.example")
    with judged(root, plain, "strict", plugins=plugins) as (lab, a, b, asked):
        refused(a, b, "there is no CRL of", "revocation = strict")
    with judged(root, plain, "ifuri", plugins=plugins) as (lab, a, b, asked):
        a.up()
    with judged(root, east, "strict", plugins="x509 { fetch = no }") as (lab, a, b, asked):
        refused(a, b, "there is no CRL of", "revocation = strict")
        expect(asked.requests() == ["ready"], "somebody was asked")


def test_nobody_is_asked_for_a_stranger():
    """A certificate of another authority names places too: they are not asked, whatever the rule."""
    root, stranger = Authority("Root"), Authority("Stranger")
    east = stranger.issue("east.example", extensions=OCSP + CRL)
    with judged(root, east, "strict") as (lab, a, b, asked):
        refused(a, b, "leads to no authority that is trusted")
        expect(asked.requests() == ["ready"], lambda: f"somebody was asked: {asked.requests()}")
