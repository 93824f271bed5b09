"""Users of a directory: a real slapd behind the gateway, log-ins by bind and by NT hash, groups that choose the connection, and accounts that lose their tunnel while it is up."""

import base64
import contextlib
import urllib.parse

from lab import SECRET, Lab, expect, print_tails, run, wait
from certificates import place
from pki import Authority
from strongswan import StrongSwan
from test_eap import COMMON, EAP_PLUGINS, GTC_BACKEND, come_and_go, keeps_secrets, martlet, reload

BASE = "dc=example,dc=org"
SERVICE = f"uid=svc,ou=services,{BASE}"
# Carol's NT hash is that of DAVES in test_eap: MSCHAPv2 asks for that password, a bind for this one.
BIND_PASSWORD = "carols other words 72"
HASHED_PASSWORD = "password"
HASH = "8846F7EAEE8FB117AD06BDD830B7586C"
SERVICE_PASSWORD = "the words of the service 73"


def ldif(line):
    """RFC 2849: what is no plain text is written in base64."""
    name, value = line.split(": ", 1)
    return line if value.isascii() else f"{name}:: {base64.b64encode(value.encode()).decode()}"


class Directory:
    """A slapd in a host of a lab, on a socket in the lab's folder."""

    def __init__(self, lab, host, users=(), groups=()):
        """`users` beside carol and dave: (name, unit, flags, more lines); `groups` beside staff and admins: (name, distinguished names)."""
        self.lab, self.host = lab, host
        self.folder = lab.folder / "slapd"
        (self.folder / "db").mkdir(parents=True)
        self.uri = "ldapi://" + urllib.parse.quote(str(self.folder / "socket"), safe="")
        (self.folder / "slapd.conf").write_text(
            f"""include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.7165.2.1.25 NAME 'sambaNTPassword' SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.7165.2.1.26 NAME 'sambaAcctFlags' SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.7165.2.1.20 NAME 'sambaSID' SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.7165.2.1.30 NAME 'sambaKickoffTime' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.7165.2.2.6 NAME 'sambaSamAccount' SUP top AUXILIARY MUST ( uid $ sambaSID ) MAY ( sambaNTPassword $ sambaAcctFlags $ sambaKickoffTime ) )
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "{BASE}"
rootdn "cn=admin,{BASE}"
rootpw admin
directory {self.folder}/db
maxsize 67108864
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{SERVICE}" read by * none
"""
        )
        entries = [(BASE, ["objectClass: dcObject", "objectClass: organization", "o: x", "dc: example"])]
        entries += [(f"ou={unit},{BASE}", ["objectClass: organizationalUnit", f"ou: {unit}"]) for unit in ("people", "partners", "groups", "services")]
        entries.append((SERVICE, ["objectClass: account", "objectClass: simpleSecurityObject", "uid: svc", f"userPassword: {SERVICE_PASSWORD}"]))
        for number, (user, unit, flags, more) in enumerate([("carol", "people", "U", []), ("dave", "people", "U", []), *users]):
            # A name of its own, whatever its user is called.
            rdn = f"uid={user}" if user in ("carol", "dave") else f"cn=user{number}"
            entries.append(
                (
                    f"{rdn},ou={unit},{BASE}",
                    ["objectClass: inetOrgPerson", "objectClass: sambaSamAccount", f"uid: {user}", f"cn: user{number}", "sn: x", f"sambaSID: {number}", f"userPassword: {BIND_PASSWORD}"]
                    + [f"sambaNTPassword: {HASH}", f"sambaAcctFlags: [{flags:<11}]", *more],
                )
            )
        for group, members in (("staff", ("carol", "dave")), ("admins", ("carol",))):
            entries.append((f"cn={group},ou=groups,{BASE}", ["objectClass: groupOfNames", f"cn: {group}"] + [f"member: uid={member},ou=people,{BASE}" for member in members]))
        for group, members in groups:
            entries.append((f"cn={group},ou=groups,{BASE}", ["objectClass: groupOfNames", f"cn: {group}"] + [f"member: {member}" for member in members]))
        (self.folder / "seed.ldif").write_text("".join("\n".join(map(ldif, [f"dn: {dn}", *lines])) + "\n\n" for dn, lines in entries))
        run("/usr/sbin/slapadd", "-f", self.folder / "slapd.conf", "-l", self.folder / "seed.ldif")
        self.process = None
        self.start()

    def start(self):
        output = open(self.folder / "log", "a")
        self.process = self.lab.start(self.host, "/usr/sbin/slapd", "-f", self.folder / "slapd.conf", "-h", self.uri, "-d", "0", stdout=output, stderr=output)
        wait(lambda: run("ldapwhoami", "-x", "-H", self.uri, check=False).returncode == 0, "slapd answers", 30)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)

    def change(self, text):
        run("ldapmodify", "-x", "-H", self.uri, "-D", f"cn=admin,{BASE}", "-w", "admin", input=text)

    def flags(self, user, flags, name=None):
        self.change(f"dn: {name or f'uid={user},ou=people,{BASE}'}\nchangetype: modify\nreplace: sambaAcctFlags\nsambaAcctFlags: {flags}\n")

    def leave(self, group, user):
        self.change(f"dn: cn={group},ou=groups,{BASE}\nchangetype: modify\ndelete: member\nmember: uid={user},ou=people,{BASE}\n")

    def plugin(self):
        return f"""plugins {{ ldap {{
 uri = "{self.uri}"
 base = "{BASE}"
 schema = samba
 bind_dn = "{SERVICE}"
 bind_password = "{SERVICE_PASSWORD}"
 timeout = 20s
 }} }}
"""


def connection(name, method, remote="", pool="rw"):
    return f"""
    {name} {{
        local_addrs = 192.0.2.2
        remote_addrs = %any
        {COMMON}
        pools = {pool}
        local {{ auth = psk
 id = @{method}.example }}
        remote {{ auth = eap-{method}
 id = %any
 eap_id = %any
 {remote} }}
        children {{ {name} {{ local_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}"""


def client(user, password, methods=("gtc", "mschapv2")):
    text = "connections {" + "".join(
        f"""
    {name} {{
        local_addrs = 192.0.2.1
        remote_addrs = 192.0.2.2
        {COMMON}
        vips = 0.0.0.0
        local {{ auth = eap-{name}
 id = @east.example
 eap_id = {user} }}
        remote {{ auth = psk
 id = @{name}.example }}
        children {{ {name} {{ remote_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}"""
        for name in methods
    )
    return text + f'\n}}\nsecrets {{ ike-peer {{ secret = "{SECRET}" }}\n eap-own {{ id = {user}\n secret = "{password}" }} }}\n'


POOLS = "pools { rw { addrs = 10.3.0.0/24 }\n admins { addrs = 10.4.0.0/24 } }\n"
SHARED = f'secrets {{ ike-peer {{ secret = "{SECRET}" }} }}\n'


@contextlib.contextmanager
def directory(east, west, peer=False, gateway="", accounts=(), plugin=Directory.plugin):
    """A gateway in west with a slapd beside it, which has further users and groups as `accounts`, and a client in east, which may be a strongSwan."""
    with Lab() as lab:
        slapd = Directory(lab, "west", *accounts)
        b = martlet(lab, "west", plugin(slapd) + "connections {" + west + "\n}\n" + POOLS + SHARED + gateway)
        a = StrongSwan(lab, "east", east, plugins=GTC_BACKEND, load=EAP_PLUGINS) if peer else martlet(lab, "east", east)
        try:
            b.start()
            a.start()
            yield lab, a, b, slapd
        except BaseException:
            print_tails(a, b)
            raise


def connection_of(gateway):
    """The connection of its one IKE SA, as vici names it."""
    return [name for event in gateway.vici("list-sas", events="list-sa") for name in event][0]


BOTH = connection("gtc", "gtc") + connection("mschapv2", "mschapv2")


def test_users_of_a_directory_log_in():
    """GTC by a bind, MSCHAPv2 by the NT hash, which here is of another password."""
    for peer in (False, True):
        for method, password in (("gtc", BIND_PASSWORD), ("mschapv2", HASHED_PASSWORD)):
            with directory(client("carol", password, (method,)), BOTH, peer) as (lab, a, b, _):
                come_and_go(lab, a, b, method)
                keeps_secrets(b, secrets=(BIND_PASSWORD, HASH, SERVICE_PASSWORD))


def test_who_is_not_let_in_and_why():
    with directory(client("carol", "not the words of carol"), BOTH) as (_, a, b, slapd):
        def refused(method, reason):
            before = b.log().count(reason)
            said = a.up(method, check=False)
            expect(said.returncode != 0 and reason not in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
            wait(lambda: b.log().count(reason) > before, f"the gateway says: {reason}")

        refused("gtc", "the directory refuses the password of carol")
        slapd.flags("carol", "[UD         ]")
        refused("gtc", "the account carol is disabled: sambaAcctFlags has D")
        refused("mschapv2", "the account carol is disabled: sambaAcctFlags has D")
        slapd.stop()
        refused("mschapv2", "cannot be reached")
        expect(not b.sas(), "somebody came in")
        keeps_secrets(b, secrets=(BIND_PASSWORD, HASH, SERVICE_PASSWORD, "not the words of carol"))


def test_an_account_that_is_disabled_loses_its_tunnel():
    with directory(client("carol", BIND_PASSWORD, ("gtc",)), connection("gtc", "gtc"), gateway="gateway { directory_check = 1s }\n") as (_, a, b, slapd):
        a.up("gtc")
        wait(lambda: a.children() and b.children(), "the tunnel is up")
        # A directory that is down ends nobody's.
        slapd.stop()
        wait(lambda: "cannot be reached" in b.log(), "the directory is missed", 30)
        expect(b.sas() and a.sas(), "the tunnel went with the directory")
        slapd.start()
        slapd.flags("carol", "[UD         ]")
        # The server is left alone for some seconds after its failure.
        wait(lambda: not a.sas() and not b.sas(), "the tunnel of a disabled account goes", 60)
        expect("the account carol is disabled" in b.log(), "the log does not say why")
        expect("IKE SA closed: the account carol is disabled" in b.log() and "closed by the operator" not in b.log(), "the end has another reason")
        expect(a.up("gtc", check=False).returncode != 0, "a disabled account came in again")


def test_groups_choose_the_connection():
    west = connection("admins", "gtc", "groups = admins, operators", "admins") + connection("staff", "gtc", "groups = staff")
    with directory(client("carol", BIND_PASSWORD, ("gtc",)), west, gateway="gateway { directory_check = 1s }\n") as (lab, a, b, slapd):
        a.up("gtc")
        wait(lambda: b.children(), "carol is in")
        expect(connection_of(b) == "admins" and a.logged("10.4.0.1"), lambda: b.sas())
        # Who leaves the group loses the tunnel, and comes back as what is left.
        slapd.change(f"dn: cn=admins,ou=groups,{BASE}\nchangetype: modify\nreplace: member\nmember: uid=nobody,{BASE}\n")
        wait(lambda: not b.sas() and not a.sas(), "the tunnel goes with the group", 60)
        expect("in none of the groups admins, operators" in b.log(), "the log does not say why")
        a.up("gtc")
        wait(lambda: b.children(), "carol is in again")
        expect(connection_of(b) == "staff", lambda: b.sas())
        a.down("gtc")
        slapd.leave("staff", "carol")
        expect(a.up("gtc", check=False).returncode != 0, "who is in no group came in")
        wait(lambda: "is in none of the groups" in b.log(), "the log says why")
        # One who is in a group of another connection only.
        a.write(a.file.read_text().replace("carol", "dave").replace("daves other words", "carols other words"))
        reload(a)
        a.up("gtc")
        wait(lambda: b.children() and connection_of(b) == "staff", "dave is of the staff")


def test_one_user_has_so_many_sessions_and_no_more():
    """One user from two places, under two spellings: the directory's name counts, over all shards."""
    west = connection("gtc", "gtc").replace("local_addrs = 192.0.2.2", "local_addrs = 192.0.2.2, 2001:db8::2\n unique = never\n sessions_per_user = 1")
    text = client("carol", BIND_PASSWORD, ("gtc",))
    begin, end = text.index("    gtc {"), text.index("\n}\nsecrets")
    six = text[begin:end].replace("gtc {", "six {").replace("192.0.2.1", "2001:db8::1").replace("192.0.2.2", "2001:db8::2").replace("eap_id = carol", "eap_id = CAROL")
    again = text[begin:end].replace("gtc {", "again {")
    text = text[:end] + six + again + text[end:] + f'secrets {{ eap-other {{ id = CAROL\n secret = "{BIND_PASSWORD}" }} }}\n'
    with directory(text, west) as (_, a, b, _):
        a.up("gtc")
        wait(lambda: b.children(), "carol is in")
        said = a.up("six", check=False)
        expect(said.returncode != 0 and "session" not in said.stdout + said.stderr, lambda: said.stdout + said.stderr)
        wait(lambda: "has 1 session already, and no more are allowed" in b.log(), "the log says why")
        shown = b.cli("status").stdout
        expect("has 1 session already" in shown, shown)
        expect(len(b.sas()) == 1, lambda: b.sas())
        # From the same address and port as well: it is another connection, and asks for another address.
        refusals = b.log().count("no more are allowed")
        expect(a.up("again", check=False).returncode != 0, "a second session from the same place came in")
        wait(lambda: b.log().count("no more are allowed") == refusals + 1, "the log says why")
        # New keys take no second session, nor does who authenticates anew from where she is and keeps her address.
        b.rekey("gtc")
        wait(lambda: len(b.sas()) == 1 and b.children(), "she is still in")
        before = b.sas()
        a.vici("rekey", {"ike": "gtc", "reauth": "yes"})
        wait(lambda: len(b.sas()) == 1 and b.children() and b.sas() != before, "she has authenticated anew", 30)
        expect(a.logged("10.3.0.1") and not a.logged("10.3.0.2"), "she has lost her address")
        expect(b.log().count("no more are allowed") == refusals + 1, "she was refused when she authenticated anew")
        # A device that has died and says that it has no session left, from the same place: the one of its earlier life ends.
        a.kill()
        a.start()
        a.up("gtc")
        wait(lambda: "authenticated anew, and sessions_per_user leaves no room for both" in b.log() and len(b.sas()) == 1, "the session of the earlier life ends", 30)
        a.down("gtc")
        wait(lambda: not b.sas(), "carol is gone")
        a.up("six")
        wait(lambda: b.children(), "carol is in from elsewhere")
        users = [sa.get("martlet-user") for event in b.vici("list-sas", events="list-sa") for sa in event.values() if sa["state"] == "ESTABLISHED"]
        expect(users == ["carol"], lambda: users)


def test_certificates_are_looked_up():
    """Who comes with a certificate is asked about: groups choose the connection, and an account that is disabled has no tunnel."""

    def certified(name, groups, pool):
        return f"""
    {name} {{
        local_addrs = 192.0.2.2
        remote_addrs = %any
        {COMMON}
        pools = {pool}
        local {{ auth = pubkey
 certs = own.pem
 id = west.example }}
        remote {{ auth = pubkey
 id = %any
 groups = {groups} }}
        children {{ {name} {{ local_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }}"""

    def visitor(identity):
        return f"""connections {{ cert {{
        local_addrs = 192.0.2.1
        remote_addrs = 192.0.2.2
        {COMMON}
        vips = 0.0.0.0
        local {{ auth = pubkey
 certs = own.pem
 id = "{identity}" }}
        remote {{ auth = pubkey
 id = west.example }}
        children {{ cert {{ remote_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16 }} }}
    }} }}
"""

    with Lab() as lab:
        slapd = Directory(lab, "west")
        root = Authority("Corporate Root")
        b = martlet(
            lab, "west", slapd.plugin() + "connections {" + certified("staff", "staff", "rw") + certified("admins", f"cn=admins,ou=groups,{BASE}; operators", "admins") + "\n}\n" + POOLS + "gateway { directory_check = 1s }\n"
        )
        place(b.folder, root.issue("west.example"), [root])
        a = martlet(lab, "east", visitor("C=CH, O=Martlet Tests, CN=carol"))
        place(a.folder, root.issue("carol"), [root])
        try:
            b.start()
            a.start()
            a.up("cert")
            wait(lambda: b.children(), "carol is in by the name in her certificate")
            expect(connection_of(b) == "staff", lambda: b.sas())
            slapd.flags("carol", "[UD         ]")
            wait(lambda: not a.sas() and not b.sas(), "the tunnel of a disabled account goes", 60)
            expect(a.up("cert", check=False).returncode != 0, "a disabled account came in again")
            wait(lambda: "is refused by the directory: the account carol is disabled" in b.log(), "the log says why")
            slapd.flags("carol", "[U          ]")
            # By another kind of identity, and another group: the first connection takes nobody of hers any more.
            slapd.leave("staff", "carol")
            a.write(a.file.read_text().replace("C=CH, O=Martlet Tests, CN=carol", "carol"))
            reload(a)
            a.up("cert")
            wait(lambda: b.children(), "carol is in again")
            expect(connection_of(b) == "admins" and a.logged("10.4.0.1"), lambda: b.sas())
            # Somebody whom the directory does not know.
            a.down("cert")
            wait(lambda: not b.sas(), "carol is gone")
            place(a.folder, root.issue("mallory"), [root])
            a.write(a.file.read_text().replace('id = "carol"', 'id = "mallory"'))
            reload(a)
            expect(a.up("cert", check=False).returncode != 0, "somebody came in whom the directory does not know")
            wait(lambda: "there is no user mallory" in b.log(), "the log says why")
        except BaseException:
            print_tails(a, b)
            raise


def test_wrong_passwords_count_once_for_all_shards():
    """Five wrong tries, each on a shard by chance and under one of two spellings: the sixth is not looked at, whatever shard it meets."""
    with directory(client("carol", "not the words of carol", ("gtc",)), connection("gtc", "gtc"), gateway="gateway { shards = 4 }\n") as (_, a, b, _):
        wrong, waits = "the directory refuses the password of carol", "has guessed wrong too often from 192.0.2.1"
        for number in range(5):
            spelling = ("CAROL", "carol")[number % 2]
            a.write(client(spelling, "not the words of carol", ("gtc",)).join(("gateway { control = @FOLDER@/vici.sock\n state = @FOLDER@/state\n resolver = no\n log { level = trace }\n retransmit_initial = 0.5 }\n", "")))
            reload(a)
            expect(a.up("gtc", check=False).returncode != 0, "a wrong password opens")
            wait(lambda: b.log().count(wrong) == number + 1, f"wrong try {number + 1} is looked at")
        expect(waits not in b.log(), "a try was put off too early")
        # The right words do not help now.
        a.write(a.file.read_text().replace("not the words of carol", BIND_PASSWORD))
        reload(a)
        expect(a.up("gtc", check=False).returncode != 0, "a sixth try counted at once")
        wait(lambda: waits in b.log(), "the log says that it was not looked at")
        expect(b.log().count(wrong) == 5, "the directory was asked")
