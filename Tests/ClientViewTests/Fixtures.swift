// Gateways to show: snapshots as the daemon fills them in, through the messages that it sends.
import ViciWire

@testable import ClientView
@testable import Gateway

enum Sample {
    /// Nothing but certificates that expire.
    static func expiring() -> GatewayStatus {
        func item(_ subject: String, isAuthority: Bool, isExpired: Bool) -> ExpiringSnapshot {
            ExpiringSnapshot(subject: subject, origin: "/etc/martlet/x509/own.pem", isAuthority: isAuthority, notAfter: 1_893_456_000, isExpired: isExpired)
        }
        var stats = StatsSnapshot()
        stats.expiring = [item("CN=gw\u{1b}[31m", isAuthority: false, isExpired: true), item("CN=Root", isAuthority: true, isExpired: false)]
        return GatewayStatus(sas: [], connections: [], stats: ConfigurationMessages.stats(stats))
    }

    /// Those of users whose devices name nothing but addresses: one whom the directory writes otherwise, one who is in none, one by a certificate and a look-up, and no user.
    static func users() -> GatewayStatus {
        let users: [(String?, String?)] = [("CORP\\alice", "alice"), ("bob", nil), (nil, "carol"), (nil, nil)]
        let sas = users.enumerated().map { index, user in
            let id = UInt64(index + 1)
            var sa = Sample.sa("rw", id: id, identity: "192.168.1.7", children: [Sample.child("net", id: id)])
            (sa.remoteEAPID, sa.account) = user
            return sa
        }
        return status(sas, [])
    }

    static func status(_ sas: [IKESASnapshot], _ connections: [ConnectionSnapshot], drops: [(String, UInt64)] = [], uptime: UInt64 = 273_600, rates: Bool = false) -> GatewayStatus {
        var stats = StatsSnapshot()
        stats.uptimeSeconds = uptime
        stats.drops = drops.map { CounterSnapshot(name: $0.0, value: $0.1) }
        func read(_ sas: [IKESASnapshot]) -> [IKESA] { IKESA.read(sas.flatMap { SAMessages.list($0, children: $0.children) }) }
        var status = GatewayStatus(
            sas: read(sas), connections: ConfiguredConnection.read(connections.map(ConfigurationMessages.connection)), stats: ConfigurationMessages.stats(stats))
        if rates {
            var before = sas
            for i in before.indices {
                for k in before[i].children.indices {
                    before[i].children[k].inbound.bytes -= before[i].children[k].inbound.bytes / 100
                    before[i].children[k].outbound.bytes -= before[i].children[k].outbound.bytes / 1_000
                }
            }
            status.rates = TrafficRates(from: TrafficSample(read(before), time: 10), to: TrafficSample(status.sas, time: 10.5))
        }
        return status
    }

    static func child(_ name: String, id: UInt64 = 1, state: ChildSASnapshot.State = .installed, local: [String] = ["10.1.0.0/16"], remote: [String] = ["10.2.0.0/16"]) -> ChildSASnapshot {
        var child = ChildSASnapshot(name: name, uniqueID: id, requestID: id, state: state, inboundSPI: 0xc0ff_ee01, outboundSPI: 0x1d)
        child.suite.encryption = "AES_GCM_16"
        child.suite.encryptionBits = 256
        child.inbound = TrafficSnapshot(bytes: 1_234_567_890, packets: 999_999, idleSeconds: 2)
        child.outbound = TrafficSnapshot(bytes: 99_000_000, packets: 71_000, idleSeconds: 0)
        child.rekeySeconds = 2_500
        child.lifeSeconds = 2_860
        child.installedSeconds = 1_100
        child.localSelectors = local
        child.remoteSelectors = remote
        child.provider = "openssl"
        child.tunnel = TunnelSnapshot(seconds: 11_000, inbound: TrafficSnapshot(bytes: 31_234_567_890, packets: 25_999_999), outbound: TrafficSnapshot(bytes: 2_099_000_000, packets: 1_571_000))
        return child
    }

    static func sa(
        _ name: String, id: UInt64 = 1, state: IKESASnapshot.State = .established, host: String = "198.51.100.7", identity: String = "branch.example.org", children: [ChildSASnapshot] = []
    ) -> IKESASnapshot {
        var sa = IKESASnapshot(
            name: name, uniqueID: id, state: state, local: EndpointSnapshot(host: "192.0.2.1", port: 500, id: "head.example.org"),
            remote: EndpointSnapshot(host: host, port: 500, id: identity), isInitiator: true, initiatorSPI: 0xab54_a98c_eb1f_0ad2, responderSPI: 0x0123_4567_89ab_cdef)
        guard state != .created, state != .connecting else { return sa }
        var suite = SuiteSnapshot()
        suite.encryption = "AES_GCM_16"
        suite.encryptionBits = 256
        suite.prf = "PRF_HMAC_SHA2_384"
        suite.keyExchange = "ECP_384"
        sa.suite = suite
        sa.establishedSeconds = 11_100
        sa.rekeySeconds = 3_300
        sa.lifeSeconds = 4_740
        sa.provider = "openssl"
        sa.shard = 0
        sa.children = children
        return sa
    }

    static func connection(_ name: String, children: [String], remote: [String] = ["198.51.100.7"], identity: String = "branch.example.org") -> ConnectionSnapshot {
        var connection = ConnectionSnapshot(name: name)
        connection.localAddresses = ["192.0.2.1"]
        connection.remoteAddresses = remote
        connection.rekeySeconds = 14_400
        connection.livenessSeconds = 30
        connection.local = [AuthenticationSnapshot(method: "pre-shared key", id: "head.example.org")]
        connection.remote = [AuthenticationSnapshot(method: "pre-shared key", id: identity)]
        connection.origin = "/etc/martlet/martlet.conf:12"
        connection.children = children.map { name in
            var child = ChildConfigurationSnapshot(name: name)
            child.localSelectors = ["10.1.0.0/16"]
            child.remoteSelectors = ["10.2.0.0/16"]
            return child
        }
        return connection
    }

    static let noAnswer = FailureSnapshot(
        code: "no-answer", summary: "203.0.113.9 does not answer on UDP port 500: IKE_SA_INIT was sent 5 times from 192.0.2.1:500",
        evidence: ["between 192.0.2.1:500 (we) and 203.0.113.9:500 (the peer)"],
        advice: ["Is the peer running, and listening on 203.0.113.9:500?", "Does a firewall at either end, or between, let UDP port 500 pass?"], ageSeconds: 42)

    /// A small office's: one up behind NAT, one of whose children is not; one on its way, one down, one that waits.
    static func office(rates: Bool = true) -> GatewayStatus {
        var nat = sa("branch", children: [child("lan"), child("voice", id: 2, local: (0..<6).map { "10.\($0).0.0/16" }, remote: ["2001:db8:1::/48"])])
        nat.isRemoteBehindNAT = true
        nat.local.port = 4500
        nat.remote.port = 4500
        for i in nat.children.indices { nat.children[i].isUDPEncapsulated = true }
        nat.children[1].outbound = TrafficSnapshot()
        nat.children[1].tunnel?.outbound = TrafficSnapshot()
        nat.children[1].replayed = 4
        nat.children[1].failedIntegrity = 1
        var down = connection("datacentre", children: ["lan"], remote: ["203.0.113.9", "203.0.113.10"], identity: "dc.example.org")
        down.lastFailure = noAnswer
        var waiting = connection("roadwarriors", children: ["rw"], remote: ["%any"], identity: "*@example.org")
        waiting.children[0].localSelectors = ["0.0.0.0/0", "::/0"]
        waiting.children[0].remoteSelectors = ["dynamic"]
        var trap = connection("backup", children: ["backup"])
        trap.children[0].startAction = "trap"
        return status(
            [nat, sa("partner", id: 2, state: .connecting, host: "2001:db8::7", identity: "")],
            [connection("branch", children: ["lan", "voice", "guests"]), connection("partner", children: ["partner"], remote: ["2001:db8::7"]), down, waiting, trap],
            drops: [("unknown_spi", 3), ("no_policy", 12)], rates: rates)
    }

    /// A gateway in the seconds after both kinds of keys were renewed.
    static func renewed() -> GatewayStatus {
        var fresh = child("lan", id: 8)
        fresh.requestID = 1
        fresh.inbound = TrafficSnapshot(bytes: 1_000, packets: 9, idleSeconds: 0)
        fresh.installedSeconds = 2
        fresh.tunnel?.inbound.bytes += 1_000
        var old = child("lan", id: 1, state: .rekeyed)
        old.requestID = 1
        return status([sa("branch", id: 1, state: .rekeyed), sa("branch", id: 5, children: [old, fresh])], [connection("branch", children: ["lan"])])
    }

    static func hundred() -> GatewayStatus {
        var sas: [IKESASnapshot] = [], connections: [ConnectionSnapshot] = []
        for n in 1...100 {
            var one = connection("site\(n)", children: ["lan"], remote: ["198.51.100.\(n)"], identity: "site\(n).example.org")
            switch n {
            case 7, 70: one.lastFailure = noAnswer
            case 41..<53: break
            case 33: sas.append(sa("site33", id: 33, state: .connecting, host: "198.51.100.33", identity: ""))
            default:
                var only = child("lan", id: UInt64(n), remote: ["10.\(n).0.0/16"])
                only.inbound.bytes = UInt64(n * n * 7_919)
                only.outbound.bytes = UInt64(n * 104_729)
                only.tunnel = nil
                sas.append(sa("site\(n)", id: UInt64(n), host: "198.51.100.\(n)", identity: "site\(n).example.org", children: [only]))
            }
            connections.append(one)
        }
        return status(sas.reversed(), connections.reversed(), rates: true)
    }

    /// As a hundred, and nothing works.
    static func disaster() -> GatewayStatus {
        status(
            [],
            (1...100).map { n in
                var one = connection("site\(n)", children: ["lan"], remote: ["198.51.100.\(n)"], identity: "site\(n).example.org")
                one.lastFailure = noAnswer
                return one
            })
    }

    /// What a peer may call itself.
    static func hostile() -> GatewayStatus {
        let names = [
            "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nroot# ", "\u{202e}gro.elpmaxe", "北京办事处的安全网关.例え.jp", "e" + String(repeating: "\u{301}", count: 60), "👩‍👩‍👧‍👦☎️\u{feff}",
            String(repeating: "x", count: 300), "tab\there\u{85}\u{9b}31m",
        ]
        return status(
            names.enumerated().map { index, name in
                sa("rw", id: UInt64(index + 1), host: "2001:db8:ffff:ffff:ffff:ffff:ffff:\(index + 1)", identity: name, children: [child("日本支社", id: UInt64(index + 1))])
            }, [connection("rw", children: ["日本支社"], remote: ["%any"], identity: "%any")])
    }
}
