// What a tunnel has carried since it came up: pairs of ESP SAs come and go with their keys, and their counters with them.

import IKECore
import PluginABI

/// Bytes and packets of both directions.
struct TunnelTotals: Hashable, Sendable {
    var since: Instant
    var inboundBytes: UInt64 = 0
    var inboundPackets: UInt64 = 0
    var outboundBytes: UInt64 = 0
    var outboundPackets: UInt64 = 0

    mutating func add(_ counters: martlet_sa_counters?, isInbound: Bool) {
        guard let counters else { return }
        if isInbound {
            inboundBytes &+= counters.bytes
            inboundPackets &+= counters.packets
        } else {
            outboundBytes &+= counters.bytes
            outboundPackets &+= counters.packets
        }
    }
}

/// Tunnels, each from its first pair to the end of its last. The number of the policy instance tells which pairs follow each other.
struct TunnelHistory {
    private struct Tunnel {
        let policy: UInt32
        /// Those that can still send.
        var pairs: UInt32 = 0
        /// Pairs of which some SA is there. There is one, but for the seconds of a rekey.
        var first: ChildSAID
        var others: [ChildSAID] = []
        let since: Instant
    }
    private var tunnels: [UInt64: Tunnel] = [:]
    /// Of the SAs that are gone: most tunnels are young, and have none.
    private var gone: [UInt64: TunnelTotals] = [:]
    private var current: [UInt32: UInt64] = [:]
    private var last: UInt64 = 0

    /// A pair of the policy instance is there: the number of its tunnel, a new one unless another pair is there.
    mutating func added(_ policy: UInt32, _ id: ChildSAID, now: Instant) -> UInt64 {
        let number = current[policy] ?? last + 1
        if current[policy] == nil {
            (last, current[policy]) = (number, number)
            tunnels[number] = Tunnel(policy: policy, first: id, since: now)
        } else {
            tunnels[number]?.others.append(id)
        }
        tunnels[number]?.pairs += 1
        return number
    }

    /// One SA of a pair goes, with what it had counted.
    mutating func removed(_ number: UInt64, _ counters: martlet_sa_counters?, isInbound: Bool) {
        guard var totals = self[number] else { return }
        totals.add(counters, isInbound: isInbound)
        gone[number] = totals
    }

    /// Nothing of a pair is left.
    mutating func forgotten(_ number: UInt64, _ id: ChildSAID) {
        guard let tunnel = tunnels[number] else { return }
        if tunnel.first != id {
            tunnels[number]?.others.removeAll { $0 == id }
        } else if let next = tunnel.others.first {
            tunnels[number]?.first = next
            tunnels[number]?.others.removeFirst()
        }
    }

    /// The pairs that a tunnel has now.
    func pairs(of number: UInt64) -> [ChildSAID] { tunnels[number].map { [$0.first] + $0.others } ?? [] }

    /// A pair sends no more. Nothing is kept of a tunnel without one.
    mutating func ended(_ number: UInt64) {
        guard let tunnel = tunnels[number] else { return }
        tunnels[number]?.pairs -= 1
        guard tunnel.pairs <= 1 else { return }
        (tunnels[number], gone[number], current[tunnel.policy]) = (nil, nil, nil)
    }

    /// Of the SAs that are gone.
    subscript(_ number: UInt64) -> TunnelTotals? { gone[number] ?? tunnels[number].map { TunnelTotals(since: $0.since) } }
}
