"""Many at once: a hundred connections between two gateways, and three clients that one NAT hides behind one address."""

from lab import Gateway, Lab, configuration, connections, expect, print_tails, run, wait
from strongswan import StrongSwan, facing, required

COUNT = 100
POOL = "pools { rw { addrs = 10.3.0.0/24 } }"
CLIENT = dict(local_ts="dynamic", remote_ts="10.2.0.0/16", connection="vips = 0.0.0.0")
SERVER = dict(local_ts="10.2.0.0/16", remote_ts="dynamic", connection="pools = rw", local="192.0.2.2", remote="%any", remote_id="%any")


# A hundred connections


def branches():
    """A hundred branches that begin, each with an identity and a network of its own."""
    return "\n".join(
        f"""branch{number} {{
            local_addrs = 192.0.2.1
            remote_addrs = 192.0.2.2
            proposals = aes256gcm16-prfsha256-x25519
            local {{ auth = psk
 id = @branch{number}.example }}
            remote {{ auth = psk
 id = @west.example }}
            children {{ net{number} {{ local_ts = 10.1.{number}.0/24
 remote_ts = 10.2.0.0/16
 esp_proposals = aes256gcm16
 start_action = start }} }}
        }}"""
        for number in range(COUNT)
    )


def with_branches(text):
    before, after = text.split("connections {", 1)
    secrets = after[after.index("secrets {"):]
    return f"{before}connections {{\n{branches()}\n}}\n{secrets}"


def hundred(martlet_host):
    central = dict(remote_id="%any", connection="unique = replace")
    first = martlet_host == "east"
    # By itself strongSwan drops what comes from an address with five half-open SAs, and the hundred come up at the pace of retransmissions.
    with facing(martlet_host=martlet_host, martlet={} if first else central, peer=central if first else {}, settings="dos_protection = no", start=False) as (lab, martlet, peer):
        begins, answers = (martlet, peer) if first else (peer, martlet)
        for number in range(COUNT):
            lab.ip("east", "addr", "add", f"10.1.{number}.7/32", "dev", "lo")
        begins.write(with_branches(begins.file.read_text()))
        answers.start()
        begins.start()
        wait(lambda: len(begins.children()) == len(answers.children()) == COUNT, f"{COUNT} connections are up", 120, step=1)
        expect(len(begins.sas()) == len(answers.sas()) == COUNT, lambda: f"there are {len(begins.sas())} and {len(answers.sas())} IKE SAs for {COUNT} connections")
        networks = {selector for child in answers.children() for selector in child["remote_selectors"]}
        expect(networks == {f"10.1.{number}.0/24" for number in range(COUNT)}, lambda: f"the networks are {sorted(networks)}")
        for number in (0, 42, COUNT - 1):
            lab.ping("east", "10.2.0.1", source=f"10.1.{number}.7")
            lab.ping("west", f"10.1.{number}.7", source="10.2.0.1")
        # Each ping went through the child of its own network.
        used = {child["remote_selectors"][0] for child in answers.children() if child["inbound"]["packets"]}
        expect(used == {f"10.1.{number}.0/24" for number in (0, 42, COUNT - 1)}, lambda: f"packets came through {used}")


def test_strongswan_begins_a_hundred():
    hundred("west")


def test_martlet_begins_a_hundred():
    hundred("east")


# Three clients behind one NAT


class SharedNAT(Lab):
    """A lab with two more clients behind the NAT of the first."""

    CLIENTS = ("east", "another", "third")

    def __init__(self):
        super().__init__(nat=True)

    def _build(self):
        super()._build()
        for number, host in enumerate(self.CLIENTS[1:], 1):
            run("ip", "netns", "add", self.name(host))
            self.namespaces.append(self.name(host))
            self.ip(host, "link", "set", "lo", "up")
            self._link(host, "nat")
            self.ip(host, "addr", "add", f"172.16.{number}.1/24", "dev", "to-nat")
            self.ip("nat", "addr", "add", f"172.16.{number}.254/24", "dev", f"to-{host}")
            self.ip(host, "route", "add", "default", "via", f"172.16.{number}.254")

    def address(self, host):
        return f"172.16.{self.CLIENTS.index(host)}.1"


def clients_behind_one_nat(gateway, clients):
    """`gateway` and each of `clients` make a daemon, started, in a lab."""
    required()
    with SharedNAT() as lab:
        daemons = {}
        try:
            server = daemons["west"] = gateway(lab)
            for host, make in zip(lab.CLIENTS, clients):
                daemons[host] = make(lab, host)
            for host in lab.CLIENTS:
                daemons[host].up()
            users = {host: daemons[host].children()[0]["local_selectors"][0].split("/")[0] for host in lab.CLIENTS}
            expect(len(set(users.values())) == 3, lambda: f"the inner addresses are {users}")
            wait(lambda: len(server.children()) == 3, "the gateway has three children")
            before = {child["remote_selectors"][0]: child["inbound"]["packets"] for child in server.children()}
            # By turns: what goes back to one address has to find the port of the right client.
            for _ in range(3):
                for host, address in users.items():
                    lab.ping(host, "10.2.0.1", source=address)
                    lab.ping("west", address, source="10.2.0.1")
            after = {child["remote_selectors"][0]: child["inbound"]["packets"] for child in server.children()}
            expect(all(after[selector] - before[selector] >= 18 for selector in after), lambda: f"the children received {before}, then {after}")
            # One goes; the others stay.
            daemons["another"].down()
            wait(lambda: len(server.children()) == 2, "the gateway has two children")
            for host in ("east", "third"):
                lab.ping(host, "10.2.0.1", source=users[host])
        except BaseException:
            print_tails(*daemons.values())
            raise


def settings(lab, host):
    return dict(CLIENT, local=lab.address(host), remote="192.0.2.2", local_id=f"@{host}.example", remote_id="@west.example")


def martlet_client(lab, host):
    return Gateway(lab, host, configuration("east", **settings(lab, host))).start()


def strongswan_client(lab, host):
    return StrongSwan(lab, host, connections("east", **settings(lab, host))).start()


def martlet_gateway(lab):
    return Gateway(lab, "west", configuration("west", **SERVER) + POOL).start()


def strongswan_gateway(lab):
    return StrongSwan(lab, "west", connections("west", **SERVER) + POOL).start()


def test_martlet_serves_clients_behind_one_nat():
    clients_behind_one_nat(martlet_gateway, (strongswan_client, martlet_client, strongswan_client))


def test_strongswan_serves_clients_behind_one_nat():
    clients_behind_one_nat(strongswan_gateway, (martlet_client, martlet_client, strongswan_client))
