"""What users log in with is nowhere to be read: passwords, hashes, private keys and the keys that methods give, at the highest log level, in both roles, by every method; in the log, the
daemon's output, what the control socket says, and `--json`."""

import base64
import re
import subprocess

from lab import expect, wait
from test_certificates import secrets_of
from test_eap_tls import PKI, USER, client, pair, server

PASSWORD = "carols rather long words 71"
GUESS = "not the words of carol 17"


def nt_hash(text):
    done = subprocess.run(["openssl", "dgst", "-md4", "-binary", "-provider", "legacy", "-provider", "default"], input=text.encode("utf-16le"), capture_output=True, check=False)
    expect(done.returncode == 0 and len(done.stdout) == 16, lambda: f"openssl makes no MD4: {done.stderr}")
    return done.stdout


def forms(secret):
    """How octets get into a text by accident."""
    text = secret.decode("latin-1")
    yield text
    for octets in {secret, text.encode("utf-16le")}:
        hexadecimal = octets.hex()
        yield hexadecimal
        yield hexadecimal.upper()
        yield hexadecimal[8:-8] if len(hexadecimal) >= 32 else hexadecimal
        yield " ".join(hexadecimal[n : n + 2] for n in range(0, len(hexadecimal), 2))
        yield ":".join(hexadecimal[n : n + 2] for n in range(0, len(hexadecimal), 2))
        # Of any place in a longer text.
        for shift in range(3):
            yield base64.b64encode(b"\0" * shift + octets).decode()[4 if shift else 0 : -4]
        yield ", ".join(map(str, octets))


def everything(gateway):
    """All that a Martlet says of itself to anybody."""
    yield "its log", gateway.log()
    for name in ("out", "err", "stdout", "stderr", "output"):
        for file in gateway.folder.glob(f"*{name}*"):
            if file.is_file():
                yield file.name, file.read_text(errors="replace")
    for command, events in (("list-sas", "list-sa"), ("list-conns", "list-conn"), ("list-certs", "list-cert")):
        yield command, repr(gateway.vici(command, events=events))
    for command in ("get-shared", "get-keys", "get-conns", "stats", "version"):
        yield command, repr(gateway.vici(command))
    for words in (("status",), ("status", "--json"), ("connections", "--json"), ("plugins", "--json")):
        said = gateway.cli(*words, check=False)
        yield " ".join(words), said.stdout + said.stderr


def searched(secrets, *gateways):
    for gateway in gateways:
        said = list(everything(gateway))
        # What is no secret is found by the same search, in each way of writing that there is.
        expect(sum(USER in text for _, text in said) > 3, "there is nothing to search")
        for where, text in said:
            for secret in secrets:
                for form in forms(secret):
                    expect(len(form) < 8 or form not in text, f"{where} of {gateway.host} has a secret: {form[:6]}...")
        expect("has proven by EAP" in gateway.log() or "initiating IKE SA" in gateway.log(), "there is no log to look at")


def keys_of(peer):
    """The MSKs that a strongSwan has logged, which it does at its highest level."""
    found, rows = [], None
    for line in peer.log().splitlines():
        if re.search(r"\bsecret => 64 bytes", line):
            rows = b""
        elif rows is not None:
            row = re.search(r"\] +\d+: ((?:[0-9A-F]{2} ){1,16})", line)
            rows += bytes.fromhex(row.group(1)) if row else b""
            if len(rows) >= 64 or not row:
                found.append(rows[:64])
                rows = None
    return [key for key in found if len(key) == 64]


def test_every_method_in_both_roles():
    secrets = [PASSWORD.encode(), GUESS.encode(), nt_hash(PASSWORD), nt_hash(GUESS)]
    for method, plugins in (
        ("eap-mschapv2", ""), ("eap-md5", ""), ("eap-gtc", ""), ("eap-tls", ""), ("eap-ttls", "eap { ttls = pap }"), ("eap-ttls", ""), ("eap-ttls", "eap { ttls = eap\n ttls_eap = gtc }"), ("eap-peap", "")
    ):
        pki = PKI()
        users = f'secrets {{ eap-carol {{ id = {USER}\n secret = "{PASSWORD}" }} }}'
        local = f"auth = {method}" + ("\n certs = own.pem" if method == "eap-tls" else "")
        with pair(pki, west=server(remote=f"auth = {method}"), east=client(local=local), plugins=plugins, users=users) as (lab, a, b):
            a.up("rw")
            wait(lambda: a.children() and b.children(), f"{method}: both have a child")
            pems = [base64.b64decode("".join(line for line in identity.key.decode().splitlines() if not line.startswith("-")))[-60:-10] for identity in (pki.user, pki.gateway)]
            searched(secrets + pems, a, b)
            for text in secrets_of(pki.user, pki.gateway):
                expect(text not in a.log() + b.log(), "a private key is in a log")
            a.down("rw")
            if method != "eap-tls":
                a.write(a.file.read_text().replace(PASSWORD, GUESS))
                a.signal(1)
                wait(lambda: a.logged("the new configuration is in use"), "the new password is in use")
                expect(a.up("rw", check=False).returncode != 0, f"{method}: a wrong password was right")
                searched(secrets + pems, a, b)


def test_keys_that_methods_give():
    """A strongSwan opposite says what the MSK was; ours does not."""
    users = f'secrets {{ eap-carol {{ id = {USER}\n secret = "{PASSWORD}" }} }}'
    for method in ("eap-mschapv2", "eap-tls", "eap-ttls"):
        for peer in ("east", "west"):
            local = f"auth = {method}" + ("\n certs = own.pem" if method == "eap-tls" else "")
            with pair(
                PKI(), west=server(remote=f"auth = {method}"), east=client(local=local), peer=peer, users=users, plugins="eap { ttls = eap }", peer_plugins="eap-ttls { phase2_method = mschapv2 }", loud=True
            ) as (lab, a, b):
                a.up("rw")
                wait(lambda: a.children() and b.children(), f"{method}: both have a child")
                theirs, ours = (a, b) if peer == "east" else (b, a)
                keys = keys_of(theirs)
                expect(keys, f"{method}: strongSwan does not say what the MSK was: " + "".join(line + "\n" for line in theirs.log().splitlines() if "=>" in line)[:2000])
                searched([PASSWORD.encode(), *(key[n : n + 32] for key in keys for n in (0, 32) if any(key[n : n + 32]))], ours)
