// The gateway as the commands show it, read from list-sa and list-conn events and from what `stats` answers.
import ViciWire

/// An IKE SA. Several events may carry one SA; their children are put together.
package struct IKESA {
    package var name: String
    package var body: ViciMessage
    package var children: [ChildSA]

    package var uniqueID: String { body["uniqueid"] ?? "" }
    package var state: String { body["state"] ?? "UNKNOWN" }
    package var isUp: Bool { ["ESTABLISHED", "REKEYING"].contains(state) }
    /// Another one has taken its place; it goes within seconds.
    package var isReplaced: Bool { state == "REKEYED" }

    /// The algorithms, in the order of a proposal.
    var suite: String { suiteText(body) }

    /// The SAs of `list-sa` events, in their order.
    package static func read(_ events: [ViciMessage]) -> [IKESA] {
        var all: [IKESA] = []
        var places: [String: Int] = [:]
        for event in events {
            for (name, body) in event.sections {
                let children = body.section("child-sas")?.sections.map { ChildSA(body: $0.body) } ?? []
                let key = name + "\u{0}" + (body["uniqueid"] ?? "")
                if let index = places[key] {
                    all[index].children += children
                } else {
                    places[key] = all.count
                    all.append(IKESA(name: name, body: body, children: children))
                }
            }
        }
        return all
    }
}

package struct ChildSA {
    package var body: ViciMessage
    package var name: String { body["name"] ?? "" }
    package var state: String { body["state"] ?? "UNKNOWN" }
    package var isUp: Bool { ["INSTALLED", "REKEYING"].contains(state) }
    /// Another pair has taken its place, or it was closed: it goes within seconds.
    package var isLeaving: Bool { ["REKEYED", "DELETING", "DELETED"].contains(state) }
    var suite: String { suiteText(body) }
    var localSelectors: [String] { body.list("local-ts") ?? [] }
    var remoteSelectors: [String] { body.list("remote-ts") ?? [] }
    package func bytes(_ direction: Direction) -> UInt64 { body.integer("bytes-\(direction.rawValue)") ?? 0 }
    func packets(_ direction: Direction) -> UInt64 { body.integer("packets-\(direction.rawValue)") ?? 0 }
    /// Over all renewals of the tunnel's keys, where the daemon knows.
    func totalBytes(_ direction: Direction) -> UInt64 { body.integer("martlet-tunnel-bytes-\(direction.rawValue)") ?? bytes(direction) }
    func totalPackets(_ direction: Direction) -> UInt64 { body.integer("martlet-tunnel-packets-\(direction.rawValue)") ?? packets(direction) }
    /// For how many seconds the tunnel has been up.
    var tunnelSeconds: UInt64? { body.integer("martlet-tunnel-time") }
    /// Seconds since the last packet; nil when there was none.
    package func idle(_ direction: Direction) -> UInt64? { body.integer("use-\(direction.rawValue)") }

    /// Inbound packets refused, with the words for why, where there are any.
    var refused: [(reason: String, packets: UInt64)] {
        [
            ("martlet-replayed", "replayed"), ("martlet-failed-integrity", "failed integrity check"),
            ("martlet-outside-selectors", "outside the selectors"), ("martlet-malformed", "malformed"),
        ].compactMap { key, words in
            guard let count: UInt64 = body.integer(key), count > 0 else { return nil }
            return (words, count)
        }
    }
}

package enum Direction: String { case inbound = "in", outbound = "out" }

package struct ConfiguredConnection {
    package var name: String
    package var body: ViciMessage
    package var children: [ConfiguredChild] { body.section("children")?.sections.map { ConfiguredChild(name: $0.name, body: $0.body) } ?? [] }
    var lastFailure: ViciMessage? { body.section("martlet-last-failure") }
    var remoteAddresses: [String] { body.list("remote_addrs") ?? [] }
    /// Whether there is an address to call: `%any`, ranges and networks are for those who call us.
    var canBegin: Bool {
        remoteAddresses.contains { address in
            if address.hasPrefix("%") || address.contains("/") { return false }
            // A host name may have a hyphen; a range of addresses is two of them around one.
            return !address.contains("-") || address.unicodeScalars.contains { ("g"..."z").contains($0) || ("G"..."Z").contains($0) }
        }
    }

    package static func read(_ events: [ViciMessage]) -> [ConfiguredConnection] {
        events.flatMap(\.sections).map { ConfiguredConnection(name: $0.name, body: $0.body) }
    }
}

package struct ConfiguredChild {
    package var name: String
    package var body: ViciMessage
    var lastFailure: ViciMessage? { body.section("martlet-last-failure") }
    /// Whether it is one that comes up: policies that pass or drop packets are none.
    var isTunnel: Bool { !["PASS", "DROP"].contains(body["mode"] ?? "") }
    var startAction: String { body["martlet-start-action"] ?? "none" }
}

/// Everything that `martlet status` shows, at one moment.
package struct GatewayStatus {
    package var sas: [IKESA]
    package var connections: [ConfiguredConnection]
    package var stats: ViciMessage
    /// Nil where nothing was measured.
    package var rates: TrafficRates?

    package init(sas: [IKESA], connections: [ConfiguredConnection], stats: ViciMessage, rates: TrafficRates? = nil) {
        self.sas = sas
        self.connections = connections
        self.stats = stats
        self.rates = rates
    }

    /// Before anything was asked.
    package static var none: GatewayStatus { GatewayStatus(sas: [], connections: [], stats: ViciMessage()) }

    /// Whether a packet went through a tunnel within the last two seconds.
    package var hasTraffic: Bool { sas.flatMap(\.children).contains { ($0.idle(.inbound) ?? .max) <= 2 || ($0.idle(.outbound) ?? .max) <= 2 } }

    /// What concerns one connection, or those with a child of that name; nil where there is none.
    package func about(_ name: String) -> GatewayStatus? {
        func keeping(_ isMeant: (String, [String]) -> Bool) -> GatewayStatus {
            var only = self
            only.sas = sas.filter { isMeant($0.name, $0.children.map(\.name)) }
            only.connections = connections.filter { isMeant($0.name, $0.children.map(\.name)) }
            return only
        }
        return [keeping { connection, _ in connection == name }, keeping { _, children in children.contains(name) }].first { !$0.sas.isEmpty || !$0.connections.isEmpty }
    }

    var uptime: UInt64? { stats.integer("martlet-uptime") }
    /// The last failure of a peer that no connection is configured for.
    var lastRefusal: ViciMessage? { stats.section("martlet-last-refusal") }
    /// Certificates that have expired, or will within 30 days.
    var expiring: [ViciMessage] { stats.section("martlet-expiring")?.sections.map(\.body) ?? [] }
    /// Packets and datagrams that were not carried, by reason, where there are any.
    var drops: [(reason: String, count: UInt64)] {
        guard let section = stats.section("martlet-drops") else { return [] }
        return section.elements.compactMap { element in
            guard let count: UInt64 = section.integer(element.name), count > 0 else { return nil }
            return (element.name, count)
        }
    }
}

private func suiteText(_ body: ViciMessage) -> String {
    var parts: [String] = []
    for (name, size) in [("encr-alg", "encr-keysize"), ("integ-alg", "integ-keysize"), ("prf-alg", nil), ("dh-group", nil)] {
        guard let algorithm = body[name] else { continue }
        parts.append(algorithm + (size.flatMap { body[$0] }.map { "-" + $0 } ?? ""))
    }
    if body["esn"] == "1" { parts.append("ESN") }
    return parts.joined(separator: " / ")
}
