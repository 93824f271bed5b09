"""Every certificate that must be refused, at one gateway: for its own reason in the log, and by AUTHENTICATION_FAILED alone on the wire."""

import json
import pathlib
import subprocess
import sys

from certificates import connection, martlet, place
from lab import Gateway, Lab, expect, print_tails, wait
from pki import Authority, Identity, openssl
from responder import AT, Responder
from strongswan import StrongSwan, required

PEER = pathlib.Path(__file__).with_name("certifiedpeer.py")
AUTHENTICATION_FAILED, NAME = 24, "east.example"
OCSP = f"authorityInfoAccess = OCSP;URI:{AT}/ocsp\n"


class Cases:
    """By name: the identity, and words of its reason; nothing for one that is good."""

    def __init__(self):
        self.root, other = Authority("Root"), Authority("Other")
        sub, leaf = Authority("Sub", parent=self.root), Authority("Leaf", parent=self.root, ca=False)
        bound = Authority("Bound", parent=self.root, extensions="nameConstraints = critical, permitted;DNS:.allowed.example\n")
        root, self.bound = self.root, bound
        self.revoked, self.by_ocsp = root.issue(NAME), root.issue(NAME, extensions=OCSP)
        below = sub.issue(NAME)
        self.all = {
            "good": (root.issue(NAME), []),
            "good-with-sub": (below, []),
            "expired": (root.issue(NAME, start=-60, end=-30), ["its certificate has expired: it was valid until"]),
            "not-yet-valid": (root.issue(NAME, start=30, end=60), ["its certificate is not yet valid"]),
            "revoked": (self.revoked, ["its certificate was revoked on", 'as the CRL of "C=CH, O=Martlet Tests, CN=Root" says']),
            "revoked-by-ocsp": (self.by_ocsp, ["its certificate was revoked on", f"as the OCSP responder {AT}/ocsp says"]),
            "wrong-authority": (other.issue(NAME), ["leads to no authority that is trusted", "CN=Other"]),
            "authority-of-the-same-name": (Authority("Root").issue(NAME), ["of the wrong authority (CA)"]),
            "wrong-use": (root.issue(NAME, eku="codeSigning"), ["for another use", "codeSigning"]),
            "missing-intermediate": (Identity(below.certificate, below.key), ["the certificate of its issuer", "CN=Sub", "is missing"]),
            "name-constraint": (bound.issue(NAME), ["violates a name constraint"]),
        }
        # What no honest daemon sends.
        self.scripted = {
            "unknown-extension": (root.issue(NAME, extensions="1.3.6.1.4.1.99999.9 = critical, DER:05:00\n"), ["its certificate has a critical extension that is not known here"]),
            "wrong-key-identifier": (
                root.issue(NAME, extensions=f"basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n2.5.29.35 = DER:30:16:80:14{':77' * 20}\n"),
                ["its certificate was issued wrongly", "its authorityKeyIdentifier names another certificate"],
            ),
            "wrong-name": (root.issue("other.example"), ["its certificate is of another name", "other.example", "and not for east.example"]),
            "issued-by-no-authority": (leaf.issue(NAME), ['its certificate was issued by "C=CH, O=Martlet Tests, CN=Leaf", which is no authority (CA)']),
        }


def gateway(lab, cases, crl, **settings):
    gateway = Gateway(lab, "west", martlet("west", **settings))
    place(gateway.folder, cases.root.issue("west.example"), [cases.root], crls=[crl])
    return gateway


def judged(log, says):
    expect(all(word in log for word in says), lambda: f"the log does not say {says}:\n" + "\n".join(line for line in log.splitlines() if "certificate" in line))


def test_by_a_scripted_peer():
    cases = Cases()
    cases.root.revoke(cases.revoked)
    crl = cases.root.crl()
    # What the responder knows, and the list does not.
    cases.root.revoke(cases.by_ocsp)
    with Lab() as lab:
        west = gateway(lab, cases, crl, ike="aes256-sha256-modp2048", esp="aes256-sha256", connection="remote_port = 5600")
        # The selectors of the script.
        west.write(west.file.read_text().replace("remote_ts = 10.1.0.0/16", "remote_ts = 10.9.0.0/16"))
        folder = lab.folder / "cases"
        everything = {**cases.all, **cases.scripted}
        for name, (identity, _) in everything.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "name").write_text(NAME)
            (folder / name / "key.pem").write_bytes(identity.key)
            pem = (identity.certificate + identity.chain).split(b"-----BEGIN")[1:]
            for number, part in enumerate(pem):
                (folder / name / "pem").write_bytes(b"-----BEGIN" + part)
                openssl("x509", "-in", folder / name / "pem", "-outform", "DER", "-out", folder / name / f"{number}.der")
        try:
            Responder(lab, "west", cases.root)
            west.start()
            done = lab.inside("east", sys.executable, PEER, "192.0.2.2", folder, check=False, timeout=240)
            expect(done.returncode == 0, lambda: f"the script says: {done.stderr or done.stdout}")
            answers = json.loads(done.stdout)
            for name, (_, says) in everything.items():
                if says:
                    expect(answers[name] == [AUTHENTICATION_FAILED], lambda: f"{name}: the peer was answered {answers[name]}")
                    judged(west.log(), says)
                else:
                    expect("payload 39" in answers[name], lambda: f"{name}: the peer was answered {answers[name]}")
            wait(lambda: not west.status()["ike_sas"], "nothing half alive is left", 60)
        except BaseException:
            print_tails(west)
            raise


def test_by_strongswan():
    """One strongSwan with a connection for each, loaded and begun one after the other."""
    required()
    cases = Cases()
    cases.root.revoke(cases.revoked)
    crl = cases.root.crl()
    cases.root.revoke(cases.by_ocsp)
    with Lab() as lab:
        a, west = StrongSwan(lab, "east", "", settings="retry_initiate_interval = 0"), gateway(lab, cases, crl)
        # It sends those in between that it knows.
        place(a.file.parent, None, [cases.root, cases.bound])
        texts = []
        for name, (identity, says) in cases.all.items():
            (a.file.parent / "x509" / f"{name}.pem").write_bytes(identity.certificate)
            (a.file.parent / "private" / f"{name}.key").write_bytes(identity.key)
            text = connection("east").replace("own.pem", f"{name}.pem").replace("    peer {", f"    {name} {{", 1).replace("site {", f"{name} {{", 1)
            texts.append(text)
        a.write("\n".join(texts))
        try:
            Responder(lab, "west", cases.root)
            west.start()
            a.start()
            for name, (_, says) in cases.all.items():
                if name == "good-with-sub":
                    continue
                begun = len(west.log())
                done = a.up(name, check=False)
                text = done.stdout + done.stderr
                if not says:
                    expect(done.returncode == 0, lambda: f"{name}: {text}")
                    a.down(name)
                    wait(lambda: not west.sas(), f"{name} is over")
                    continue
                expect(done.returncode != 0 and "received AUTHENTICATION_FAILED notify error" in text, lambda: f"{name}: the peer has learnt something else: {text}")
                expect("parsed IKE_AUTH response 1 [ N(AUTH_FAILED) ]" in text, lambda: f"{name}: there is more in the answer: {text}")
                judged(west.log()[begun:], says)
            expect(not west.sas(), "an SA is left")
        except BaseException:
            print_tails(a, west)
            raise


def test_lists_that_cannot_be_used():
    """Said when they are loaded, with the reason; and where a log-in needs what they would have said."""
    root, same = Authority("Root"), Authority("Root")
    east = root.issue(NAME)
    forged, stale, complete = same.crl(), root.crl(days=-2), root.crl()
    root.revoke(east)
    delta = root.crl(extensions="2.5.29.27 = critical, DER:02:01:01\n")
    unknown = root.crl(extensions="1.3.6.1.4.1.99999.7 = critical, DER:05:00\n")
    broken = b"-----BEGIN X509 CRL-----\nbroken\n-----END X509 CRL-----\n"
    with Lab() as lab:
        a, west = Gateway(lab, "east", martlet("east")), Gateway(lab, "west", martlet("west", remote="revocation = strict"))
        place(a.folder, east, [root])
        place(west.folder, root.issue("west.example"), [root])

        def said(*crls):
            for file in (west.folder / "x509crl").iterdir():
                file.unlink()
            place(west.folder, crls=crls)
            done = west.cli("check", west.file)
            return done.stdout + done.stderr

        for crl, word in ((broken, "cannot be used"), (unknown, "a critical extension that is not known here"), (stale, "is out of date since"), (delta, "is a delta CRL")):
            expect("crl0.pem" in (text := said(crl)) and word in text, lambda: f"nothing is said of {word!r}: {text}")
        expect("crl0.pem" not in (text := said(complete)), lambda: f"a good list is warned of: {text}")
        try:
            # Nobody but the authority says who is revoked; and what a delta CRL has revoked since the complete one counts.
            for crls, word in (([forged], "is not signed by the key of its authority"), ([unknown], "a critical extension that is not known here"), ([complete, delta], "its certificate was revoked on")):
                said(*crls)
                west.start()
                a.start()
                done = a.up(check=False)
                expect(done.returncode != 0 and "AUTHENTICATION_FAILED" in done.stdout + done.stderr and not west.sas(), lambda: f"{word}: {done.stdout}{done.stderr}")
                judged(west.log(), [word])
                a.stop()
                west.stop()
        except BaseException:
            print_tails(a, west)
            raise
