"""Users that log in by EAP with a password: Martlet against itself and against strongSwan, in both roles; wrong passwords, unknown users, hashes, and what the logs keep to themselves."""

import contextlib
import hashlib
import signal
import subprocess

from lab import SECRET, Gateway, Lab, carries, expect, print_tails, wait
from strongswan import PLUGINS, StrongSwan, required

METHODS = ("mschapv2", "md5", "gtc")
PASSWORD = "carols rather long words 71"
# Dave's is known to the gateway by its hash alone.
DAVES = "password"
DAVES_HASH = "8846f7eaee8fb117ad06bdd830b7586c"
EAP_PLUGINS = PLUGINS + " eap-identity eap-md5 eap-gtc eap-mschapv2 xauth-generic"
GTC_BACKEND = "eap-gtc { backend = generic }"
COMMON = "proposals = aes256gcm16-prfsha256-x25519\n mobike = no"


def users(carol=PASSWORD, dave=f"ntlm-dave {{ id = dave\n secret = 0x{DAVES_HASH} }}"):
    return f'secrets {{ ike-peer {{ secret = "{SECRET}" }}\n eap-carol {{ id = carol\n secret = "{carol}" }}\n {dave} }}\n'


def server(methods=METHODS, connection="", remote="eap_id = %any"):
    """A gateway with a connection for each method: a client asks for one by the gateway's identity. It lends addresses."""
    return "connections {" + "".join(
        f"""
    {name} {{
        local_addrs = 192.0.2.2
        remote_addrs = %any
        {COMMON}
        pools = rw
        {connection}
        local {{ auth = psk
 id = @{name}.example }}
        remote {{ auth = eap-{name}
 id = %any
 {remote} }}
        children {{ {name} {{ local_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}"""
        for name in methods
    ) + "\n}\npools { rw { addrs = 10.3.0.0/24 } }\n"


def client(methods=METHODS, user="carol", auth=None):
    return "connections {" + "".join(
        f"""
    {name} {{
        local_addrs = 192.0.2.1
        remote_addrs = 192.0.2.2
        {COMMON}
        vips = 0.0.0.0
        local {{ auth = {auth or 'eap-' + name}
 id = @east.example
 eap_id = {user} }}
        remote {{ auth = psk
 id = @{name}.example }}
        children {{ {name} {{ remote_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}"""
        for name in methods
    ) + "\n}\n"


def martlet(lab, host, text):
    return Gateway(lab, host, "gateway { control = @FOLDER@/vici.sock\n state = @FOLDER@/state\n resolver = no\n log { level = trace }\n retransmit_initial = 0.5 }\n" + text)


@contextlib.contextmanager
def pair(east, west, peer=None):
    """A client in east and a gateway in west, of which `peer` is a strongSwan."""
    if peer:
        required()
    with Lab() as lab:
        daemons = []
        for host, text in (("west", west), ("east", east)):
            daemons.append((StrongSwan(lab, host, text, plugins=GTC_BACKEND, load=EAP_PLUGINS) if host == peer else martlet(lab, host, text)))
        try:
            for daemon in daemons:
                daemon.start()
            yield lab, daemons[1], daemons[0]
        except BaseException:
            print_tails(*daemons)
            raise


def come_and_go(lab, a, b, name, who="carol", **sizes):
    """The client's connection comes up, carries packets from the address that it is lent, is known by its user's name, and goes."""
    a.up(name)
    wait(lambda: a.children() and b.children(), f"{name}: both have a child")
    sas = b.vici("list-sas", events="list-sa")
    known = [sa for event in sas for sa in event.values()][0]
    expect(known.get("remote-eap-id") == who, lambda: f"{name}: the gateway knows {known.get('remote-eap-id')!r}")
    expect(known["remote-id"] == "east.example", lambda: f"{name}: {known['remote-id']}")
    carries(lab, a, b, source="10.3.0.1", bytes_each=20_000)
    a.down(name)
    wait(lambda: not a.sas() and not b.sas(), f"{name}: both have closed it")


def reload(gateway):
    before = gateway.log().count("the new configuration is in use")
    gateway.signal(signal.SIGHUP)
    wait(lambda: gateway.log().count("the new configuration is in use") > before, "the new configuration is in use")


def keeps_secrets(*daemons, secrets=(PASSWORD, DAVES_HASH)):
    """No secret is in a log at any level, neither as it is nor as octets."""
    for daemon in daemons:
        text = daemon.log()
        expect(len(text) > 1000, "there is no log to look at")
        for secret in secrets:
            nt = subprocess.run(["openssl", "dgst", "-md4", "-provider", "legacy", "-provider", "default"], input=secret.encode("utf-16le"), capture_output=True, check=False).stdout.decode().split()[-1:]
            for form in [secret, secret.encode().hex(), secret.encode().hex().upper(), ", ".join(map(str, secret.encode())), hashlib.md5(secret.encode()).hexdigest(), *nt]:
                expect(form not in text, f"{type(daemon).__name__} in {daemon.host} has a secret in its log: {form[:12]}...")


def test_martlet_and_martlet():
    with pair(client() + users(), server() + users()) as (lab, a, b):
        for name in METHODS:
            come_and_go(lab, a, b, name)
        status = b.cli("status")
        expect(status.returncode == 0, status.stderr)
        keeps_secrets(a, b)


def test_strongswan_logs_in():
    with pair(client() + users(), server() + users(), peer="east") as (lab, peer, gateway):
        for name in METHODS:
            come_and_go(lab, peer, gateway, name)
        keeps_secrets(gateway)


def test_logging_in_at_strongswan():
    with pair(client() + users(), server() + users(), peer="west") as (lab, gateway, peer):
        for name in METHODS:
            come_and_go(lab, gateway, peer, name)
        keeps_secrets(gateway)


def test_a_hash_will_do():
    daves = f'eap-dave {{ id = dave\n secret = "{DAVES}" }}'
    with pair(client(("mschapv2", "gtc"), user="dave") + users(dave=daves), server(("mschapv2", "gtc", "md5")) + users(), peer="east") as (lab, peer, gateway):
        come_and_go(lab, peer, gateway, "mschapv2", who="dave")
        come_and_go(lab, peer, gateway, "gtc", who="dave")
        keeps_secrets(gateway, secrets=(DAVES_HASH,))


def test_a_gateway_that_takes_any_method():
    text = server(("any",)).replace("auth = eap-any", "auth = eap-dynamic")
    with pair(client(("any",), auth="eap-md5") + users(), text + users(), peer="east") as (lab, peer, gateway):
        come_and_go(lab, peer, gateway, "any")


def test_our_nak_at_strongswan():
    """It asks for MD5, which this client does not do: it says what it does, and the end is a clean one at both."""
    text = server(("mschapv2",)).replace("auth = eap-mschapv2", "auth = eap-md5")
    with pair(client(("mschapv2",)) + users(), text + users(), peer="west") as (lab, gateway, peer):
        said = gateway.up("mschapv2", check=False)
        expect(said.returncode != 0 and peer.logged("received EAP_NAK"), lambda: said.stdout + said.stderr)
        wait(lambda: not gateway.status()["ike_sas"] and not peer.list_sas(), "nothing is left at either end")


def test_who_is_not_let_in():
    """The reason is in the gateway's log alone: the peer hears EAP-Failure and AUTHENTICATION_FAILED, and says what to look at."""
    with pair(client() + users(carol="not the words of carol"), server() + users()) as (lab, a, b):
        for number, name in enumerate(METHODS):
            said = a.up(name, check=False)
            text = said.stdout + said.stderr
            expect(said.returncode != 0 and "authentication-failed" in text, lambda: text)
            expect("gave a wrong password" not in text, lambda: f"the client was told: {text}")
            wait(lambda: b.log().count("gave a wrong password") == number + 1, f"{name}: the gateway says why")
        expect("carol, in IKE east.example at 192.0.2.1" in b.log(), "the gateway does not say who")
        # A user that nobody knows is refused alike.
        a.write(a.file.read_text().replace("eap_id = carol", "eap_id = mallory").replace("id = carol", "id = mallory"))
        reload(a)
        said = a.up("mschapv2", check=False)
        expect(said.returncode != 0 and "is no user" not in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
        wait(lambda: "mallory, in IKE east.example at 192.0.2.1" in b.log() and "is no user" in b.log(), "the gateway says that nobody knows the user")
        expect(not a.sas() and not b.sas(), "somebody came in")
        keeps_secrets(a, b, secrets=(PASSWORD, DAVES_HASH, "not the words of carol"))


def test_strongswan_with_a_wrong_password():
    with pair(client() + users(carol="not the words of carol"), server() + users(), peer="east") as (lab, peer, gateway):
        for number, name in enumerate(METHODS):
            expect(peer.up(name, check=False).returncode != 0, f"{name}: it came in")
            wait(lambda: gateway.log().count("gave a wrong password") == number + 1, f"{name}: the gateway says why")
        expect(not gateway.sas(), "somebody came in")
    with pair(client(("mschapv2",)) + users(carol="not the words of carol"), server(("mschapv2",)) + users(), peer="west") as (lab, gateway, peer):
        said = gateway.up("mschapv2", check=False)
        expect(said.returncode != 0 and "E=691" in said.stdout + said.stderr, lambda: said.stdout + said.stderr)


def test_users_that_a_client_of_the_control_socket_loads():
    """As `swanctl --load-creds` does: users come and go without a restart."""
    none = f'secrets {{ ike-peer {{ secret = "{SECRET}" }}\n eap-other {{ id = other\n secret = other }} }}\n'
    with pair(client(("mschapv2",)) + users(), server(("mschapv2",)) + none) as (lab, a, b):
        expect(a.up("mschapv2", check=False).returncode != 0, "carol came in before she was there")
        b.vici("load-shared", {"id": "eap-carol", "type": "EAP", "data": PASSWORD.encode(), "owners": ["carol"]})
        come_and_go(lab, a, b, "mschapv2")
        expect("eap-carol" in b.vici("get-shared")["keys"], "it is not listed")
        b.vici("unload-shared", {"id": "eap-carol"})
        expect(a.up("mschapv2", check=False).returncode != 0, "carol came in after she had gone")
        b.vici("load-shared", {"id": "ntlm-carol", "type": "NTLM", "data": bytes.fromhex(DAVES_HASH), "owners": ["carol"]})
        a.write(a.file.read_text().replace(PASSWORD, DAVES))
        reload(a)
        come_and_go(lab, a, b, "mschapv2")
        keeps_secrets(a, b, secrets=(PASSWORD, DAVES_HASH))
