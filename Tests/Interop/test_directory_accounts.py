"""Log-ins at a gateway of every kind of account that a directory can have, each refused for its own reason; several directories behind one gateway; and one that is slow or lies, which delays nobody else."""

import re
import subprocess
import sys
import threading

from lab import SECRET, expect, wait
from test_directory import BASE, BIND_PASSWORD, HASH, HASHED_PASSWORD, SERVICE_PASSWORD, client, connection, directory
from test_eap import keeps_secrets, reload

SETTINGS = "gateway { control = @FOLDER@/vici.sock\n state = @FOLDER@/state\n resolver = no\n log { level = trace }\n retransmit_initial = 0.5 }\n"
USERS = (
    ("lena", "people", "UL", []),
    ("emil", "people", "U", ["sambaKickoffTime: 1000000000"]),
    ("dora", "people", "UD", []),
    ("dup", "people", "U", []),
    ("dup", "partners", "U", []),
    ("heidi(x)*", "people", "U", []),
    ("jürgen", "people", "U", []),
    ("nina", "people", "U", []),
    ("zoe", "partners", "U", []),
)
PLACES = {user: f"cn=user{number},ou={unit},{BASE}" for number, (user, unit, _, _) in enumerate(USERS, 2)}
# Nina is of the staff by a group within a group.
GROUPS = (("inner", [PLACES["nina"]]), ("company", [f"cn=inner,ou=groups,{BASE}", PLACES["heidi(x)*"], PLACES["jürgen"], *(PLACES[user] for user in ("lena", "emil", "dora", "dup"))]))


def gateway(plugin, west, east, settings=""):
    return directory(east, west, gateway=settings, accounts=(USERS, GROUPS), plugin=plugin)


def written(user):
    """As an identity of any octets, which no pattern is looked for in."""
    return f'"keyid:{user}"'


# Of everybody who is refused, the words of the reason.
REASONS = (
    ("lena", "the account lena is locked: sambaAcctFlags has L"),
    ("emil", "sambaKickoffTime has passed"),
    ("dora", "the account dora is disabled: sambaAcctFlags has D"),
    ("dup", "more than one entry answers to the name dup"),
    ("nobody", "there is no user nobody"),
    ("*", "there is no user *"),
    ("carol)(uid=*", "there is no user carol)(uid=*"),
    ("carol", "is in none of the groups that are taken (company), but in"),
    ("heidi(x)*", None),
    ("jürgen", None),
    ("nina", None),
)
IN_COMPANY = connection("gtc", "gtc", "groups = company") + connection("mschapv2", "mschapv2", "groups = company")


def test_every_account_is_refused_for_its_own_reason():
    """By a password that the directory binds with, and by the hash; the peer hears that it failed and no more."""
    with gateway(lambda slapd: slapd.plugin(), IN_COMPANY, SETTINGS) as (_, a, b, _slapd):
        for user, reason in REASONS:
            for method, password in (("gtc", BIND_PASSWORD), ("mschapv2", HASHED_PASSWORD)):
                a.write(SETTINGS + client(written(user), password, (method,)))
                reload(a)
                before = b.log().count(reason) if reason else 0
                said = a.up(method, check=False)
                text = said.stdout + said.stderr
                if reason is None:
                    expect(said.returncode == 0, lambda: f"{user} by {method}: {text}")
                    wait(lambda: b.children(), f"{user} is in by {method}")
                    shown = b.cli("status").stdout
                    # What has letters beyond ASCII may be shown by its octets.
                    expect(user in shown or not user.isascii() and user.encode().hex() in shown, lambda: shown)
                    a.down(method)
                    wait(lambda: not b.sas(), f"{user} is gone")
                else:
                    expect(said.returncode != 0, lambda: f"{user} came in by {method}")
                    wait(lambda: b.log().count(reason) > before, f"{user} by {method}: {reason}")
                    expect(reason not in text and "company" not in text and "sambaAcctFlags" not in text, lambda: text)
        keeps_secrets(b, secrets=(BIND_PASSWORD, HASH, SERVICE_PASSWORD))


def by_strongswan(method, password):
    """Everybody of REASONS: a connection for each."""
    parts, secrets = [], []
    for number, (user, _) in enumerate(REASONS):
        # A key identity, whose octets need not be text.
        identity = f'"@#{user.encode().hex()}"'
        whole = client(identity, password, (method,))
        begin, end = whole.index("    " + method + " {"), whole.index("\n}\nsecrets")
        parts.append(whole[begin:end].replace(method + " {", f"{method}{number} {{"))
        secrets.append(f'eap-{number} {{ id = {identity}\n secret = "{password}" }}\n')
    return "connections {" + "".join(parts) + "\n}\n" + f'secrets {{ ike-peer {{ secret = "{SECRET}" }}\n ' + "".join(secrets) + "}\n"


def test_every_account_of_a_strongswan_is_refused_for_its_own_reason():
    """The same with a strongSwan, whose log has what was on the wire: for all reasons the same, and no word of any."""
    with directory(by_strongswan("gtc", BIND_PASSWORD), IN_COMPANY, peer=True, accounts=(USERS, GROUPS)) as (lab, a, b, _slapd):
        for method, password in (("gtc", BIND_PASSWORD), ("mschapv2", HASHED_PASSWORD)):
            a.write(by_strongswan(method, password))
            a.load()
            heard = {}
            for number, (user, reason) in enumerate(REASONS):
                name = f"{method}{number}"
                before = b.log().count(reason) if reason else 0
                said = a.up(name, check=False)
                if reason is None:
                    expect(said.returncode == 0, lambda: f"{user} by {method}: {said.stdout}{said.stderr}")
                    wait(lambda: b.children(), f"{user} is in by {method}")
                    a.down(name)
                    wait(lambda: not b.sas(), f"{user} is gone")
                    continue
                expect(said.returncode != 0, lambda: f"{user} came in by {method}")
                wait(lambda: b.log().count(reason) > before, f"{user} by {method}: {reason}")
                wait(lambda: not b.status()["ike_sas"], f"nothing is left of {user}")
                heard[user] = tuple(re.findall(r"parsed (IKE_AUTH response .*)", said.stdout))
            # Carol has given the right words: that she is in no group shows after them alone.
            carol = heard.pop("carol")
            expect(len(set(heard.values())) == 1, lambda: f"a peer can tell who is refused why: {heard}")
            expect(carol[-1] == heard["lena"][-1] if method == "gtc" else carol[: len(heard["lena"])] == heard["lena"], lambda: f"{carol} and {heard['lena']}")
            expect("EAP/FAIL" in carol[-1] and "N(" not in str(carol + heard["lena"]), lambda: f"the end of a refusal is {carol}")
        expect("company" not in a.log() and "sambaAcctFlags" not in a.log(), "the peer has heard a reason")
        keeps_secrets(b, secrets=(BIND_PASSWORD, HASH, SERVICE_PASSWORD))


def several(slapd, more=""):
    return slapd.plugin().replace("plugins { ldap {", f'plugins {{ ldap {{\n directories = corp, partner\n corp {{ user_base = "ou=people,{BASE}" }}\n partner {{ user_base = "ou=partners,{BASE}"\n {more} }}\n')


def test_a_connection_chooses_its_directory():
    """Passwords, hashes and the check of who is connected: each of the directory that the connection names, and of no other."""
    west = connection("gtc", "gtc", "directory = corp") + connection("mschapv2", "mschapv2", "directory = partner")
    with gateway(several, west, client("zoe", BIND_PASSWORD, ("gtc",)), "gateway { directory_check = 1s }\n") as (_, a, b, slapd):
        expect(a.up("gtc", check=False).returncode != 0, "a user of one directory came in as one of another")
        wait(lambda: "there is no user zoe" in b.log(), "the gateway says why")
        a.write(SETTINGS + client("zoe", HASHED_PASSWORD, ("mschapv2",)))
        reload(a)
        a.up("mschapv2")
        wait(lambda: b.children(), "zoe is in")
        # Of the first directory she would be nobody, and lose the tunnel.
        slapd.flags("zoe", "[UD         ]", PLACES["zoe"])
        wait(lambda: not a.sas() and not b.sas(), "the tunnel of a disabled account goes", 60)
        expect("the account zoe is disabled" in b.log(), "the log does not say why")
        # One that is not there is an error, and so is what it could never verify.
        text = b.file.read_text()
        for wrong, words in ((text.replace("directory = partner", "directory = partners"), "there is no directory 'partners'"), (text.replace("schema = samba", "schema = ad"), "the directory 'partner' cannot verify anybody here: eap-mschapv2")):
            b.write(wrong)
            said = b.cli("check", b.file, check=False)
            expect(said.returncode != 0 and words in said.stdout + said.stderr and "did you mean 'partner'" in said.stdout + said.stderr or "eap-mschapv2" in words, lambda: said.stdout + said.stderr)


RESOLVER = """
import socket, sys
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind((sys.argv[1], 53))
print("bound", flush=True)
silent.recv(1000)
print("asked", flush=True)
while True:
    silent.recv(1000)
"""


def side_by_side(*names):
    """A gateway's connections by GTC, each of the directory of its name, and those of a client, carol's."""

    def named(text, name):
        return text.replace("gtc {", f"{name} {{").replace("@gtc.example", f"@{name}.example")

    parts = [named(client("carol", BIND_PASSWORD, ("gtc",)), name).split("\nsecrets {") for name in names]
    return "".join(named(connection("gtc", "gtc", f"directory = {name}"), name) for name in names), "".join(part[0] + "\n" for part in parts) + "secrets {" + parts[0][1]


def test_a_directory_whose_name_is_looked_up_for_ever_delays_nobody():
    """The host's resolver blocks, and no socket of the directory's wakes it."""
    lines = [line.split() for line in open("/etc/resolv.conf")]
    server = next((words[1] for words in lines if words[:1] == ["nameserver"] and "." in words[1]), "127.0.0.1")

    def plugin(slapd):
        return several(slapd).replace("directories = corp, partner", 'directories = corp, unnamed\n unnamed { uri = "ldaps://directory.example"\n connect_timeout = 2s }')

    west, east = side_by_side("corp", "unnamed")
    with gateway(plugin, west, east) as (lab, a, b, _):
        if not server.startswith("127."):
            lab.inside("west", "ip", "address", "add", f"{server}/32", "dev", "lo")
        resolver = lab.start("west", sys.executable, "-c", RESOLVER, server, stdout=subprocess.PIPE)
        expect(resolver.stdout.readline() == b"bound\n", "nobody is where the resolver is to be")
        said = []
        waiting = threading.Thread(target=lambda: said.append(a.up("unnamed", check=False)))
        waiting.start()
        try:
            expect(resolver.stdout.readline() == b"asked\n", "the resolver is not asked")
            a.up("corp")
            wait(lambda: [sa["name"] for sa in b.sas()] == ["corp"], "a user of another directory is in")
            expect("ldaps://directory.example" not in b.log(), "the name was no longer looked for")
        finally:
            waiting.join(90)
        expect(not waiting.is_alive() and said[0].returncode != 0, "a user came in by a directory that is not there")
        wait(lambda: "the directory unnamed did not answer in time: it was connecting to ldaps://directory.example" in b.log(), "the gateway says what it waited for")
        expect(len(b.sas()) == 1, lambda: b.sas())


LISTENER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
held = []
while True:
    client, _ = server.accept()
    held.append(client)
    print("taken", flush=True)
    if sys.argv[2]:
        client.recv(1000)
        client.sendall(sys.argv[2].encode())
"""


def test_a_directory_that_is_slow_or_lies_delays_nobody():
    """Its own users are refused with the true reason; meanwhile others log in, of another directory, at the same gateway."""
    def plugin(slapd):
        return several(slapd).replace("directories = corp, partner", 'directories = corp, slow, lying\n slow { uri = "ldaps://127.0.0.1:3636"\n connect_timeout = 60s\n timeout = 60s }\n lying { uri = "ldap://127.0.0.1:3389"\n start_tls = no }')

    west, east = side_by_side("corp", "slow", "lying")
    with gateway(plugin, west, east) as (lab, a, b, _):
        servers = [lab.start("west", sys.executable, "-c", LISTENER, str(port), text, stdout=subprocess.PIPE) for port, text in ((3636, ""), (3389, "HTTP/1.1 400 Bad Request\r\n\r\n"))]
        wait(lambda: all(lab.inside("west", "ss", "-Hltn", f"sport = :{port}").stdout for port in (3636, 3389)), "both listen")
        said = []
        waiting = threading.Thread(target=lambda: said.append(a.up("slow", check=False)))
        waiting.start()
        try:
            expect(servers[0].stdout.readline() == b"taken\n", "the slow directory is not asked")
            a.up("corp")
            wait(lambda: b.children(), "a user of another directory is in")
            expect(waiting.is_alive(), "the slow directory was no longer waited for")
            expect(a.up("lying", check=False).returncode != 0, "a user came in by a directory that lies")
            wait(lambda: "is refused by the directory: ldap://127.0.0.1:3389" in b.log() or "ldap://127.0.0.1:3389 answers" in b.log(), "the gateway says that it lies")
        finally:
            waiting.join(90)
        expect(not waiting.is_alive() and said[0].returncode != 0, "a user came in by a directory that says nothing")
        wait(lambda: "in the TLS handshake with ldaps://127.0.0.1:3636" in b.log() or "did not finish the TLS handshake in time" in b.log(), "the gateway says that it is slow")
        expect(len(b.sas()) == 1, lambda: b.sas())


def test_a_right_password_from_elsewhere_counts_while_another_address_waits():
    west = connection("gtc", "gtc").replace("local_addrs = 192.0.2.2", "local_addrs = 192.0.2.2, 2001:db8::2\n unique = never")
    text = client("carol", "not the words of carol", ("gtc",))
    with gateway(lambda slapd: slapd.plugin(), west, text) as (_, a, b, _):
        for number in range(5):
            expect(a.up("gtc", check=False).returncode != 0, "a wrong password opens")
            wait(lambda: b.log().count("the directory refuses the password of carol") == number + 1, f"wrong try {number + 1} is looked at")
        right = text.replace("not the words of carol", BIND_PASSWORD)
        a.write(SETTINGS + right)
        reload(a)
        expect(a.up("gtc", check=False).returncode != 0, "a sixth try counted at once")
        wait(lambda: "has guessed wrong too often from 192.0.2.1" in b.log(), "the log says that it was not looked at")
        a.write(SETTINGS + right.replace("192.0.2.1", "2001:db8::1").replace("192.0.2.2", "2001:db8::2"))
        reload(a)
        a.up("gtc")
        wait(lambda: b.children(), "carol is in from elsewhere")
