"""Files of certificates, keys and CRLs that change under a running Martlet: used without a restart, and no tunnel notices."""

import contextlib
import os

from certificates import martlet, place
from lab import Gateway, Lab, carries, expect, print_tails, wait
from pki import Authority


@contextlib.contextmanager
def running(root, east, west, **theirs):
    with Lab() as lab:
        a, b = Gateway(lab, "east", martlet("east")), Gateway(lab, "west", martlet("west", **theirs))
        place(a.folder, east, [root])
        place(b.folder, west, [root])
        (b.folder / "x509" / "peer.pem").write_bytes(east.certificate)
        try:
            b.start()
            a.start()
            a.up()
            yield lab, a, b
        except BaseException:
            print_tails(a, b)
            raise


def renew(path, data):
    """As editors and package managers do it."""
    new = path.with_name(path.name + ".tmp~")
    new.write_bytes(data)
    new.chmod(0o600)
    os.replace(new, path)


def said(gateway, text, count=1):
    wait(lambda: gateway.log().count(text) >= count, f"{gateway.host} says {text!r}", 30)


def serials(gateway):
    return {cert["data"] for cert in gateway.vici("list-certs", events="list-cert") if cert.get("has_privkey") == "yes"}


IN_USE = "the new configuration is in use"


def test_a_renewed_certificate_and_key():
    root = Authority("Root")
    with running(root, root.issue("east.example"), root.issue("west.example")) as (lab, a, b):
        before, sa = serials(b), b.sas()[0]["unique_id"]
        new = root.issue("west.example")
        # The key comes a moment later, as it does: between the two there is no pair.
        renew(b.folder / "x509" / "own.pem", new.certificate)
        renew(b.folder / "private" / "own.key", new.key)
        said(b, IN_USE)
        expect(serials(b) != before and len(serials(b)) == 1, "the new certificate is not in use")
        carries(lab, a, b, bytes_each=10_000)
        expect(b.sas()[0]["unique_id"] == sa and len(b.sas()) == 1, "the tunnel has not stayed")
        a.down()
        a.up()
        carries(lab, a, b, bytes_each=10_000)


def test_links_as_certbot_makes_them():
    root = Authority("Root")
    first, second = root.issue("west.example"), root.issue("west.example")
    with Lab() as lab:
        a, b = Gateway(lab, "east", martlet("east")), Gateway(lab, "west", martlet("west"))
        place(a.folder, root.issue("east.example"), [root])
        place(b.folder, None, [root])
        archive, live = lab.folder / "archive", lab.folder / "live"
        archive.mkdir()
        live.mkdir()
        for number, identity in ((1, first), (2, second)):
            (archive / f"cert{number}.pem").write_bytes(identity.certificate)
            (archive / f"key{number}.pem").write_bytes(identity.key)
        for name, target in (("cert", "x509/own.pem"), ("key", "private/own.key")):
            (live / f"{name}.pem").symlink_to(f"../archive/{name}1.pem")
            (b.folder / target).symlink_to(live / f"{name}.pem")
        try:
            b.start()
            a.start()
            a.up()
            before = serials(b)
            for name in ("cert", "key"):
                (live / "new").symlink_to(f"../archive/{name}2.pem")
                os.replace(live / "new", live / f"{name}.pem")
            said(b, IN_USE)
            expect(serials(b) != before, "the new certificate is not in use")
            carries(lab, a, b, bytes_each=10_000)
            a.down()
            a.up()
        except BaseException:
            print_tails(a, b)
            raise


def test_broken_files_leave_what_they_held():
    root = Authority("Root")
    with running(root, root.issue("east.example"), root.issue("west.example")) as (lab, a, b):
        before = serials(b)
        renew(b.folder / "x509" / "own.pem", b"-----BEGIN CERTIFICATE-----\nbroken\n")
        said(b, "own.pem cannot be used")
        expect(b.logged("what it held before stays in use"), "nobody says that the old one stays")
        expect(serials(b) == before, "the old certificate is gone")
        a.down()
        a.up()
        # A certificate without its key changes nothing either.
        renew(b.folder / "x509" / "own.pem", root.issue("west.example").certificate)
        said(b, "what they hold now cannot be used")
        expect(b.logged("there is no private key for our certificate") and serials(b) == before, "half of a pair is in use")
        a.down()
        a.up()
        carries(lab, a, b, bytes_each=10_000)


def test_a_new_list_revokes():
    root = Authority("Root")
    east = root.issue("east.example")
    with running(root, east, root.issue("west.example")) as (lab, a, b):
        root.revoke(east)
        renew(b.folder / "x509crl" / "root.pem", root.crl())
        said(b, IN_USE)
        a.down()
        done = a.up(check=False)
        expect(done.returncode != 0 and b.logged("was revoked on"), "the list is not in use")
        # A damaged one takes nothing back.
        renew(b.folder / "x509crl" / "root.pem", b"-----BEGIN X509 CRL-----\nbroken\n")
        said(b, "root.pem cannot be used")
        done = a.up(check=False)
        expect(done.returncode != 0 and b.log().count("was revoked on") >= 2, "a damaged list has taken it back")


def test_a_missing_file_keeps_no_list_out():
    """One peer's certificate is gone; a list that comes later counts all the same."""
    root = Authority("Root")
    east = root.issue("east.example")
    with running(root, east, root.issue("west.example"), remote="certs = peer.pem") as (lab, a, b):
        (b.folder / "x509" / "peer.pem").unlink()
        said(b, "peer.pem cannot be read")
        expect(b.logged("what it held before stays in use"), "nobody says that the old one stays")
        root.revoke(east)
        renew(b.folder / "x509crl" / "root.pem", root.crl())
        wait(lambda: any(cert["type"] == "X509_CRL" for cert in b.vici("list-certs", events="list-cert")), "the list is in use", 30)
        a.down()
        done = a.up(check=False)
        expect(done.returncode != 0 and b.logged("was revoked on"), "the list is not in use")


def test_expiry_in_the_status():
    root = Authority("Root")
    with running(root, root.issue("east.example"), root.issue("west.example", end=20)) as (lab, a, b):
        [item] = b.status()["expiring_certificates"]
        expect("west.example" in item["subject"] and not item["expired"] and not item["authority"], lambda: f"{item}")
        page = b.cli("status").stdout
        expect("Our certificate" in page and "expires on" in page, lambda: f"the status does not say that it expires:\n{page}")
        expect(b.logged("expires in"), "nothing is said of it at the start")
        expect(a.status()["expiring_certificates"] == [], "something expires that does not")
        renew(b.folder / "x509" / "own.pem", (old := root.issue("west.example", start=-3, end=-1)).certificate)
        renew(b.folder / "private" / "own.key", old.key)
        said(b, IN_USE)
        [item] = b.status()["expiring_certificates"]
        expect(item["expired"], lambda: f"{item}")
        expect("has expired on" in b.cli("status").stdout, "the status does not say that it has expired")
