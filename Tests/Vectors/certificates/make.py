#!/usr/bin/env python3
"""Makes the certificates, keys and lists beside this file anew, with the openssl program: valid from 2020 to 2119, or what their names say."""

import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent.parent / "Interop"))
import pki

pki.date = lambda days: {-1: "20200101000000Z", 365: "21190101000000Z", 730: "21190101000000Z", -60: "20200101000000Z", -30: "20200201000000Z", 30: "21100101000000Z"}[days]
root, other = pki.Authority("Root"), pki.Authority("Other")
sub = pki.Authority("Sub", parent=root)
bound = pki.Authority("Bound", parent=root, extensions="nameConstraints = critical, permitted;DNS:.allowed.example\n")
NAMES = "DNS:east.example, DNS:second.example, email:east@example.org, IP:192.0.2.1, IP:2001:db8::1"


def save(name, data):
    (here / name).write_bytes(data)


def pair(name, identity):
    save(name + ".pem", identity.certificate)
    save(name + ".key", identity.key)


save("root.pem", root.certificate)
save("other.pem", other.certificate)
save("sub.pem", sub.certificate)
save("bound.pem", bound.certificate)
for kind in ("ecdsa", "ecdsa384", "ecdsa521", "rsa", "ed25519", "ed448"):
    pair(kind, sub.issue("east.example", kind, san=NAMES))
pair("direct", root.issue("east.example"))
pair("expired", root.issue("east.example", start=-60, end=-30))
pair("future", root.issue("east.example", start=30))
pair("code-signing", root.issue("east.example", eku="codeSigning"))
pair("client", root.issue("east.example", eku="clientAuth"))
pair("of-other", other.issue("east.example"))
pair("violating", bound.issue("east.example"))
leaf = pki.Authority("Leaf", parent=root, ca=False)
save("no-authority.pem", leaf.certificate)
pair("by-no-authority", leaf.issue("east.example"))
pair("plain", root.issue("east.example", san=None, eku=None))
pair("policy", root.issue("east.example", extensions="certificatePolicies = 1.3.6.1.4.1.99999.1, 1.3.6.1.4.1.99999.2\n"))
revoked = root.issue("east.example")
pair("revoked", revoked)
root.revoke(revoked)
file = root.folder / "crl.pem"
pki.openssl(
    "ca", "-gencrl", "-config", root.folder / "ca.conf", "-cert", root.file, "-keyfile", root.key_file, "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "21190101000000Z", "-out", file
)
save("root.crl", file.read_bytes())
key = here / "direct.key"
pki.openssl("pkcs8", "-topk8", "-in", key, "-out", here / "encrypted.key", "-passout", "pass:swordfish", "-v2", "aes-256-cbc")
pki.openssl("ec", "-in", key, "-out", here / "traditional.key", "-aes256", "-passout", "pass:swordfish")
pki.openssl("pkcs12", "-export", "-in", here / "direct.pem", "-inkey", key, "-certfile", here / "root.pem", "-out", here / "direct.p12", "-passout", "pass:swordfish")
pki.openssl("pkey", "-in", key, "-pubout", "-out", here / "direct.pub")
pki.openssl("x509", "-in", here / "direct.pem", "-outform", "DER", "-out", here / "direct.der")
# What Windows, Java and versions of OpenSSL before 3 write.
pki.openssl(
    "pkcs12", "-export", "-legacy", "-in", here / "direct.pem", "-inkey", key, "-certfile", here / "root.pem", "-out", here / "rc2.p12", "-passout", "pass:swordfish")
pki.openssl(
    "pkcs12", "-export", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1", "-in", here / "direct.pem", "-inkey", key, "-certfile", here / "root.pem", "-out",
    here / "3des.p12", "-passout", "pass:swordfish")
for name, algorithm in (("3des", "PBE-SHA1-3DES"), ("des", "PBE-MD5-DES")):
    pki.openssl("pkcs8", "-topk8", "-in", key, "-out", here / f"{name}.key", "-passout", "pass:swordfish", "-v1", algorithm, *(("-provider", "legacy", "-provider", "default") if name == "des" else ()))
