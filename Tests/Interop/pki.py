"""Authorities and certificates for tests, made when they run, by the program openssl: `Authority("Root")`, `root.issue(...)`, `root.crl()`.

Certificates and keys are bytes, PEM; `Identity` is a certificate with its key and the certificates above it.
"""

import datetime
import shutil
import tempfile
from pathlib import Path

from lab import Skipped, run

KEYS = {
    "rsa": ("RSA", "rsa_keygen_bits:2048"),
    "rsa4096": ("RSA", "rsa_keygen_bits:4096"),
    "rsa1024": ("RSA", "rsa_keygen_bits:1024"),
    "ecdsa": ("EC", "ec_paramgen_curve:P-256"),
    "ecdsa384": ("EC", "ec_paramgen_curve:P-384"),
    "ecdsa521": ("EC", "ec_paramgen_curve:P-521"),
    "ed25519": ("ED25519", None),
    "ed448": ("ED448", None),
}
LEAF = "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
CA = "basicConstraints = critical, CA:TRUE{pathlen}\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n"


def openssl(*words, **options):
    if not shutil.which("openssl"):
        raise Skipped("there is no openssl program (make deps)")
    return run("openssl", *words, **options)


def date(days):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")


class Identity:
    def __init__(self, certificate, key, chain=b""):
        self.certificate, self.key, self.chain = certificate, key, chain


class Authority:
    """`parent`: the authority above; none for a root. `extensions` go into its certificate."""

    count = 0

    def __init__(self, name, kind="ecdsa", parent=None, extensions="", pathlen=None, start=-1, end=730, ca=True):
        self.folder = Path(tempfile.mkdtemp(prefix="martlet-pki-"))
        self.name, self.parent = name, parent
        for file, text in (("index.txt", ""), ("serial", f"{0x100000 + Authority.count * 0x10000:08x}\n"), ("crlnumber", "01\n")):
            (self.folder / file).write_text(text)
        Authority.count += 1
        (self.folder / "ca.conf").write_text(
            f"""[ca]
default_ca = here
[here]
database = {self.folder}/index.txt
serial = {self.folder}/serial
crlnumber = {self.folder}/crlnumber
new_certs_dir = {self.folder}
default_md = default
default_crl_days = 30
policy = any
unique_subject = no
email_in_dn = yes
[any]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
emailAddress = optional
[empty]
"""
        )
        self.key_file, self.file = self.folder / "ca.key", self.folder / "ca.pem"
        own = (CA.format(pathlen=f", pathlen:{pathlen}" if pathlen is not None else "") if ca else LEAF.replace("authorityKeyIdentifier = keyid\n", "")) + extensions
        subject = f"/C=CH/O=Martlet Tests/CN={name}"
        self.new_key(self.key_file, kind)
        signer = parent or self
        self.request(self.key_file, subject, self.folder / "ca.csr")
        signer.sign(self.folder / "ca.csr", self.file, own, start, end, selfsign=parent is None)

    def __del__(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def new_key(file, kind):
        algorithm, option = KEYS[kind]
        openssl("genpkey", "-algorithm", algorithm, *(("-pkeyopt", option) if option else ()), "-out", file)

    @staticmethod
    def request(key, subject, file):
        openssl("req", "-new", "-key", key, "-subj", subject, "-utf8", "-out", file)

    def sign(self, request, file, extensions, start, end, selfsign=False, digest=None):
        (self.folder / "ext.conf").write_text(extensions)
        who = ("-selfsign", "-keyfile", self.key_file) if selfsign else ("-cert", self.file, "-keyfile", self.key_file)
        openssl(
            "ca", "-batch", "-notext", "-config", self.folder / "ca.conf", *who, "-in", request, "-out", file, "-startdate", date(start), "-enddate", date(end), "-extfile",
            self.folder / "ext.conf", *(("-md", digest) if digest else ()),
        )

    @property
    def certificate(self):
        return self.file.read_bytes()

    @property
    def chain(self):
        """The certificates of the authorities from this one up, without the root's."""
        return b"" if self.parent is None else self.certificate + self.parent.chain

    def issue(self, name, kind="ecdsa", san="DNS:{}", eku="serverAuth, clientAuth", extensions="", subject=None, start=-1, end=365, digest=None):
        """A certificate of a host; `{}` in `san` is its name."""
        key, request, file = (self.folder / f"{name}.{ending}" for ending in ("key", "csr", "pem"))
        self.new_key(key, kind)
        self.request(key, subject or f"/C=CH/O=Martlet Tests/CN={name}", request)
        more = (f"subjectAltName = {san.format(name)}\n" if san else "") + (f"extendedKeyUsage = {eku}\n" if eku else "")
        base = "" if "basicConstraints" in extensions else LEAF
        if "keyUsage" in extensions.replace("extendedKeyUsage", ""):
            base = base.replace("keyUsage = critical, digitalSignature\n", "")
        self.sign(request, file, base + more + extensions, start, end, digest=digest)
        return Identity(file.read_bytes(), key.read_bytes(), self.chain)

    def revoke(self, identity):
        file = self.folder / "revoked.pem"
        file.write_bytes(identity.certificate)
        openssl("ca", "-batch", "-config", self.folder / "ca.conf", "-cert", self.file, "-keyfile", self.key_file, "-revoke", file, "-crl_reason", "keyCompromise")

    def crl(self, days=30, extensions=""):
        """The list of what was revoked; with `days` below 0 one that is out of date. `extensions`: of the list."""
        file, conf = self.folder / "crl.pem", self.folder / "crl.conf"
        conf.write_text((self.folder / "ca.conf").read_text() + f"[crl]\n{extensions or 'authorityKeyIdentifier = keyid'}\n")
        times = ("-crl_lastupdate", date(-30), "-crl_nextupdate", date(days)) if days < 0 else ("-crldays", days)
        openssl("ca", "-gencrl", "-config", conf, *(("-crlexts", "crl") if extensions else ()), "-cert", self.file, "-keyfile", self.key_file, *times, "-out", file)
        return file.read_bytes()
