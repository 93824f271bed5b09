"""Users of a directory at a gateway with a certificate: TTLS with PAP or GTC by a bind, TTLS and PEAP with MSCHAPv2 by the NT hash, EAP-TLS by look-up alone; groups, and accounts that are disabled."""

import contextlib

from certificates import martlet, place
from lab import Gateway, Lab, carries, expect, print_tails, wait
from pki import Authority
from strongswan import StrongSwan, required
from test_directory import BASE, BIND_PASSWORD, HASH, HASHED_PASSWORD, SERVICE_PASSWORD, Directory
from test_eap import keeps_secrets
from test_eap_tls import EAP_PLUGINS, client, server


@contextlib.contextmanager
def directory(method, password="none", remote="", plugins="", local="", schema="samba", peer=False):
    if peer:
        required()
    with Lab() as lab:
        slapd = Directory(lab, "west")
        root = Authority("Root")
        b = Gateway(lab, "west", martlet("west").split("connections {")[0] + slapd.plugin().replace("schema = samba", f"schema = {schema}") + server(remote=f"auth = {method}\n {remote}"))
        users = f'secrets {{ eap-carol {{ id = carol\n secret = "{password}" }} }}'
        east = client(local=f"auth = {method}\n {local}", user="carol") + users
        if peer:
            a = StrongSwan(lab, "east", east, plugins="eap-gtc { backend = generic }", load=EAP_PLUGINS)
        else:
            a = Gateway(lab, "east", martlet("east", plugins=plugins).split("connections {")[0] + east)
        place(b.folder, root.issue("vpn.example", eku="serverAuth"), [root])
        place(a.file.parent, root.issue("carol", san=None, eku="clientAuth"), [root])
        try:
            b.start()
            a.start()
            yield lab, a, b, slapd
        except BaseException:
            print_tails(a, b)
            raise


def comes_and_is_kept_out(lab, a, b, slapd, *secrets):
    a.up("rw")
    wait(lambda: a.children() and b.children(), "both have a child")
    carries(lab, a, b, source="10.3.0.1", bytes_each=10_000)
    a.down("rw")
    wait(lambda: not a.sas() and not b.sas(), "both have closed it")
    slapd.flags("carol", "[UD         ]")
    said = a.up("rw", check=False)
    expect(said.returncode != 0 and "disabled" not in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
    wait(lambda: "the account carol is disabled: sambaAcctFlags has D" in b.log(), "the gateway says why")
    expect(not b.sas(), "a disabled account came in")
    keeps_secrets(a, b, secrets=(BIND_PASSWORD, HASH, SERVICE_PASSWORD, *secrets))


def test_passwords_by_a_bind():
    for plugins in ("eap { ttls = pap }", "eap { ttls = eap\n ttls_eap = gtc }"):
        with directory("eap-ttls", BIND_PASSWORD, plugins=plugins) as (lab, a, b, slapd):
            comes_and_is_kept_out(lab, a, b, slapd)


def test_what_the_directory_cannot_verify_is_not_offered_inside():
    """A schema without hashes: inside of TTLS a client that takes any method is asked for GTC, and not first for MSCHAPv2."""
    for peer in (False, True):
        with directory("eap-ttls", BIND_PASSWORD, plugins="eap { ttls = eap }", schema="posix", peer=peer) as (lab, a, b, slapd):
            a.up("rw")
            wait(lambda: a.children() and b.children(), "both have a child")
            carries(lab, a, b, source="10.3.0.1", bytes_each=10_000)


def test_passwords_by_the_hash():
    for method in ("eap-ttls", "eap-peap"):
        with directory(method, HASHED_PASSWORD) as (lab, a, b, slapd):
            comes_and_is_kept_out(lab, a, b, slapd)


def test_certificates_by_look_up():
    with directory("eap-tls", remote="groups = staff", local="certs = own.pem") as (lab, a, b, slapd):
        comes_and_is_kept_out(lab, a, b, slapd)
        slapd.flags("carol", "[U          ]")
        slapd.leave("staff", "carol")
        expect(a.up("rw", check=False).returncode != 0, "who is in no group came in")
        wait(lambda: "is in none of the groups" in b.log(), "the gateway says why")


def test_certificates_of_people_whom_no_directory_knows():
    """Without a word the directory is asked about users of EAP-TLS; `user_lookup = no` takes those as well whom it does not know."""
    for remote in ("", "user_lookup = no"):
        with directory("eap-tls", remote=remote, local="certs = own.pem") as (_, a, b, slapd):
            slapd.change(f"dn: uid=carol,ou=people,{BASE}\nchangetype: delete\n")
            up = a.up("rw", check=False)
            expect((up.returncode == 0) == bool(remote), lambda: f"{remote}: {up.stdout}{up.stderr}")
            if not remote:
                wait(lambda: "there is no user carol" in b.log(), "the gateway says why")
                continue
            expect("there is no user" not in b.log() and b.children(), "the directory was asked")


def test_a_wrong_password_is_the_directorys_word():
    with directory("eap-ttls", "not the words of carol", plugins="eap { ttls = pap }") as (_, a, b, _slapd):
        expect(a.up("rw", check=False).returncode != 0, "it came in")
        wait(lambda: "the directory refuses the password of carol" in b.log(), "the gateway says why")
        keeps_secrets(a, b, secrets=(BIND_PASSWORD, "not the words of carol"))
