// How fast traffic flows: two looks at the counters, and the time between them.

/// What a tunnel keeps over the renewals of its keys.
package struct TunnelKey: Hashable, Sendable {
    var connection: String
    var child: String
    var requestID: String
    var shard: String

    package init(_ sa: IKESA, _ child: ChildSA) {
        connection = sa.name
        self.child = child.name
        requestID = child.body["reqid"] ?? ""
        shard = sa.body["martlet-shard"] ?? ""
    }
}

/// The counters of every pair of ESP SAs at one moment.
package struct TrafficSample {
    /// Seconds on a clock that only goes forward.
    package var time: Double
    var counters: [String: (key: TunnelKey, inbound: UInt64, outbound: UInt64)] = [:]

    package init(_ sas: [IKESA], time: Double) {
        self.time = time
        for sa in sas {
            for child in sa.children {
                guard let id = child.body["uniqueid"] else { continue }
                counters[id] = (TunnelKey(sa, child), child.bytes(.inbound), child.bytes(.outbound))
            }
        }
    }
}

/// Bits per second of each tunnel. A pair that renewed keys brought counts with the pair that it replaces.
package struct TrafficRates {
    package struct Rate: Hashable {
        package var inbound = 0.0
        package var outbound = 0.0
    }
    private var rates: [TunnelKey: Rate] = [:]

    /// Nil where no time has passed.
    package init?(from old: TrafficSample, to new: TrafficSample) {
        let seconds = new.time - old.time
        guard seconds > 0 else { return nil }
        let known = Set(old.counters.values.map(\.key))
        for (id, counters) in new.counters {
            // A tunnel that was not there has nothing to compare with; a new pair of one that was has counted from zero.
            guard let before = old.counters[id] ?? (known.contains(counters.key) ? (counters.key, 0, 0) : nil) else { continue }
            rates[counters.key, default: Rate()].inbound += bits(before.1, counters.inbound) / seconds
            rates[counters.key, default: Rate()].outbound += bits(before.2, counters.outbound) / seconds
        }
    }

    package subscript(_ key: TunnelKey) -> Rate? { rates[key] }
    package var total: Rate { rates.values.reduce(Rate()) { Rate(inbound: $0.inbound + $1.inbound, outbound: $0.outbound + $1.outbound) } }
}

private func bits(_ old: UInt64, _ new: UInt64) -> Double { new > old ? Double(new - old) * 8 : 0 }
