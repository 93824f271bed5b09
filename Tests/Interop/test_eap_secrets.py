"""What users log in with is nowhere to be read: passwords, hashes, private keys and the keys that methods give, at the highest log level, in both roles, by every method; in the log, the
daemon's output, what the control socket says, and `--json`."""

import base64
import re
import subprocess

from lab import expect, run, wait
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
    """What a strongSwan has logged of keys, which it does at its highest level: SKEYSEED, SK_* and the shared secret of the exchange, the MSK as `secret`, the keys of ESP. By what it calls them."""
    found, name, rows, size = [], None, b"", 0
    for line in peer.log().splitlines():
        head = re.search(r"\] (SKEYSEED|SK_p|(?:[\w ]+ )?secret|(?:encryption|integrity) \w+ key) => (\d+) bytes", line)
        if head:
            name, size, rows = head.group(1), int(head.group(2)), b""
        elif name is not None:
            row = re.search(r"\] +\d+: ((?:[0-9A-F]{2} ){1,16})", line)
            rows += bytes.fromhex(row.group(1)) if row else b""
            if len(rows) >= size or not row:
                found.append((name, rows[:size]))
                name = None
    return found


def pieces(key):
    """Sixteen octets each: parts of a key are secret too, and a salt may stand behind one."""
    return [key[n : n + 16] for n in range(0, len(key), 16) if len(key[n : n + 16]) >= 8 and any(key[n : n + 16])]


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


def test_keys_of_everything():
    """A strongSwan opposite says what they were: MSK, SKEYSEED, SK_*, those of ESP. Ours does not."""
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
                # New keys of both kinds.
                a.rekey("rw")
                wait(lambda: theirs.log().count("SKEYSEED =>") >= 2, "the IKE SA has new keys")
                keys = keys_of(theirs)
                names = {name for name, key in keys if len(key) >= 16}
                wanted = {"SKEYSEED", "Sk_d secret", "Sk_pi secret", "Sk_pr secret", "Sk_ei secret", "Sk_er secret", "shared Diffie Hellman secret", "encryption initiator key", "encryption responder key"}
                expect(wanted <= names and any(name == "secret" and len(key) == 64 for name, key in keys), lambda: f"{method}: strongSwan has told of {sorted(names)} alone")
                searched([PASSWORD.encode(), *(piece for _, key in keys for piece in pieces(key))], ours)


KEYLOG = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int SSL_export_keying_material(void *s, unsigned char *out, size_t size, const char *label, size_t length, const unsigned char *context, size_t count, int use) {
    int (*real)(void *, unsigned char *, size_t, const char *, size_t, const unsigned char *, size_t, int) = dlsym(dlopen("libssl.so.3", RTLD_NOW | RTLD_NOLOAD), "SSL_export_keying_material");
    int result = real(s, out, size, label, length, context, count, use);
    FILE *file = fopen(getenv("MARTLET_TEST_KEYS"), "a");
    for (size_t n = 0; file && result == 1 && n < size; n++) fprintf(file, "%02x", out[n]);
    if (file) { fputc('\n', file); fclose(file); }
    return result;
}
"""


def test_keys_that_tls_gives():
    """PEAP's and TLS 1.3's, which no strongSwan here has: a library before OpenSSL's notes what methods take out of TLS."""
    users = f'secrets {{ eap-carol {{ id = {USER}\n secret = "{PASSWORD}" }} }}'
    for method in ("eap-peap", "eap-tls"):
        local = f"auth = {method}" + ("\n certs = own.pem" if method == "eap-tls" else "")
        with pair(PKI(), west=server(remote=f"auth = {method}"), east=client(local=local), users=users) as (lab, a, b):
            (lab.folder / "keys.c").write_text(KEYLOG)
            run("gcc", "-shared", "-fPIC", "-o", lab.folder / "keys.so", lab.folder / "keys.c", "-ldl")
            for daemon in (a, b):
                daemon.stop()
                daemon.environment = {"LD_PRELOAD": str(lab.folder / "keys.so"), "MARTLET_TEST_KEYS": str(lab.folder / f"keys.{daemon.host}")}
                daemon.start()
            a.up("rw")
            wait(lambda: a.children() and b.children(), f"{method}: both have a child")
            known = [{line for line in (lab.folder / f"keys.{host}").read_text().split() if len(line) >= 128} for host in ("east", "west")]
            expect(known[0] & known[1], lambda: f"{method}: the two ends have taken no key out of TLS that is the same: {[len(keys) for keys in known]}")
            searched([piece for key in known[0] | known[1] for piece in pieces(bytes.fromhex(key))], a, b)
