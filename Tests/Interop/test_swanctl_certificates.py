"""Debian's swanctl with its folders of certificates and keys, against martletd: `--load-all`, the lists, encrypted keys, and what is unloaded again."""

import contextlib
import tempfile
from pathlib import Path

from certificates import connection, place
from lab import carries, expect
from pki import Authority, openssl
from strongswan import facing
from swanctl import BARE, Swanctl, expect_lines


@contextlib.contextmanager
def managed(root):
    """A martletd without connections, a strongSwan opposite, and a swanctl with folders: `lab, martlet, peer, swanctl`."""
    with facing(start=False) as (lab, ours, theirs):
        ours.write(BARE)
        theirs.write(connection("west"))
        place(theirs.file.parent, root.issue("west.example"), [root])
        theirs.start()
        ours.start()
        yield lab, ours, theirs, Swanctl(ours)


def test_load_all_with_folders():
    root = Authority("Root")
    with managed(root) as (lab, ours, theirs, swanctl):
        own = root.issue("east.example")
        place(swanctl.folder, own, [root], crls=[root.crl()])
        # As `openssl pkcs12` writes it: swanctl sends the file of a connection's certificate as it is.
        (swanctl.folder / "x509" / "own.pem").write_bytes(b"Bag Attributes\n    friendlyName: east\n" + own.certificate)
        swanctl.write(connection("east", remote="cacerts = ca0.pem\n revocation = strict") + "authorities { tests { cacert = ca0.pem } }\n")
        expect_lines(
            swanctl("--load-all", "--noprompt"), r"^loaded certificate from '.*own.pem'$", r"^loaded certificate from '.*ca0.pem'$", r"^loaded certificate from '.*crl0.pem'$",
            r"^loaded .* key from '.*own.key'$", r"^loaded authority 'tests'$", r"^loaded connection 'peer'$",
        )
        swanctl("--initiate", "--child", "site")
        carries(lab, ours, theirs, bytes_each=10_000)
        expect_lines(swanctl("--list-certs"), r"CN=east.example", r"has private key")
        expect_lines(swanctl("--list-certs"), r"CN=Root")
        expect("CRL" in swanctl("--list-certs", "--type", "x509_crl"), "the CRL is not listed")
        expect_lines(swanctl("--list-authorities"), r"^tests:$", r"CN=Root")
        # Again and again, and nothing is disturbed.
        before = [child["inbound"]["spi"] for child in ours.children()]
        swanctl("--load-all", "--noprompt")
        expect([child["inbound"]["spi"] for child in ours.children()] == before, "loading the same again has disturbed the tunnel")
        # What is gone from the folders is unloaded.
        (swanctl.folder / "private" / "own.key").unlink()
        swanctl.write(connection("east"))
        swanctl("--load-all", "--noprompt", "--clear")
        expect(ours.vici("get-keys")["keys"] == [] and ours.vici("get-authorities")["authorities"] == [], "something is left of what was unloaded")
        swanctl("--terminate", "--ike", "peer", "--timeout", "5")
        swanctl.fails("--initiate", "--child", "site", says="private key")
        secret = [line for line in own.key.decode().splitlines() if len(line) > 30]
        expect(not any(line in ours.log() for line in secret), "a log line holds a private key")


def test_keys_of_every_form():
    """PKCS#8 encrypted and not, the older forms, PKCS#12: from files of Martlet's own, and each makes the same tunnel come up."""
    root = Authority("Root")
    own = root.issue("east.example")
    with tempfile.TemporaryDirectory() as folder, managed(root) as (lab, ours, theirs, swanctl):
        folder = Path(folder)
        (folder / "key").write_bytes(own.key)
        (folder / "pem").write_bytes(own.certificate)
        openssl("pkcs8", "-topk8", "-in", folder / "key", "-out", folder / "pkcs8", "-passout", "pass:swordfish")
        openssl("ec", "-in", folder / "key", "-out", folder / "ecdsa", "-aes128", "-passout", "pass:swordfish")
        pkcs12 = ("pkcs12", "-export", "-in", folder / "pem", "-inkey", folder / "key", "-certfile", root.file, "-passout", "pass:swordfish", "-out")
        openssl(*pkcs12, folder / "pkcs12")
        # RC2 with 40 bits and Triple-DES, as Windows, Java and older versions of OpenSSL write it.
        openssl(*pkcs12, folder / "old pkcs12", "-legacy")
        for form in ("pkcs8", "ecdsa", "pkcs12", "old pkcs12"):
            kind = form.split()[-1]
            ours.stop()
            place(ours.folder, None, [root])
            # The certificate comes out of the container, where there is one.
            (ours.folder / "x509" / "own.pem").unlink(missing_ok=True)
            if kind != "pkcs12":
                (ours.folder / "x509" / "own.pem").write_bytes(own.certificate)
            for other in ("private", "pkcs8", "ecdsa", "pkcs12"):
                for file in (ours.folder / other).iterdir():
                    file.unlink()
            (ours.folder / kind / "own").write_bytes((folder / form).read_bytes())
            (ours.folder / kind / "own").chmod(0o600)
            text = connection("east").replace(" certs = own.pem\n", "") if kind == "pkcs12" else connection("east")
            ours.write(BARE + text + f'secrets {{ {kind}-own {{ file = own\n secret = "swordfish" }} }}\n')
            ours.start()
            ours.up()
            ours.down()
            expect("swordfish" not in ours.log(), "a log line holds the passphrase")
        ours.write(BARE + connection("east") + f'secrets {{ {kind}-own {{ file = own\n secret = "wrong" }} }}\n')
        ours.cli("check", ours.file, check=False)
        done = ours.cli("check", ours.file, check=False)
        expect(done.returncode != 0 and "passphrase" in done.stdout + done.stderr, lambda: f"a wrong passphrase is not an error: {done.stdout}{done.stderr}")
