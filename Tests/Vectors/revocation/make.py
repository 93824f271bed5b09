#!/usr/bin/env python3
"""Makes the certificates, keys and CRLs beside this file anew, with the openssl program: valid from 2020 to 2119, or what their names say."""

import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent.parent / "Interop"))
import pki

pki.date = lambda days: {-1: "20200101000000Z", 365: "21190101000000Z", 730: "21190101000000Z", -60: "20200101000000Z", -30: "20200201000000Z"}[days]
POINT = "http://crl.example/part1.crl"
root, other = pki.Authority("Root"), pki.Authority("Other")


def save(name, data):
    (here / name).write_bytes(data)


def pair(name, identity):
    save(name + ".pem", identity.certificate)
    save(name + ".key", identity.key)


def crl(name, authority, since="20200101000000Z", until="21190101000000Z", extensions=""):
    file, conf = authority.folder / "crl.pem", authority.folder / "crl.conf"
    conf.write_text((authority.folder / "ca.conf").read_text() + "\n[crl]\n" + (extensions or "authorityKeyIdentifier = keyid\n"))
    pki.openssl(
        "ca", "-gencrl", "-config", conf, "-crlexts", "crl", "-cert", authority.file, "-keyfile", authority.key_file, "-crl_lastupdate", since, "-crl_nextupdate", until, "-out", file
    )
    pki.openssl("crl", "-in", file, "-outform", "DER", "-out", here / name)


for name, authority in (("root", root), ("other", other)):
    save(name + ".pem", authority.certificate)
    save(name + ".key", authority.key_file.read_bytes())
good, bad = root.issue("good.example"), root.issue("bad.example")
pair("good", good)
pair("bad", bad)
pair("named", root.issue("named.example", extensions=f"crlDistributionPoints = URI:{POINT}\nauthorityInfoAccess = OCSP;URI:http://ocsp.example/, OCSP;URI:ldap://ocsp.example/\n"))
pair("responder", root.issue("responder", eku="OCSPSigning"))
pair("expired-responder", root.issue("responder", eku="OCSPSigning", start=-60, end=-30))
revoked = root.issue("responder", eku="OCSPSigning")
pair("revoked-responder", revoked)
pair("impostor", root.issue("impostor"))
pair("foreign-responder", other.issue("responder", eku="OCSPSigning"))
crl("before.crl", root, since="20200101000000Z")
root.revoke(bad)
root.revoke(revoked)
crl("root.crl", root, since="20210101000000Z")
crl("stale.crl", root, until="20210101000000Z")
crl("other.crl", other)
crl("part.crl", root, extensions=f"issuingDistributionPoint = critical, @part\n[part]\nfullname = URI:{POINT}\n")
crl("other-part.crl", root, extensions="issuingDistributionPoint = critical, @part\n[part]\nfullname = URI:http://crl.example/part2.crl\n")
crl("delta.crl", root, extensions="2.5.29.27 = critical, DER:02:01:01\n")
