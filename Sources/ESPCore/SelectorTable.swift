// The outbound policy look-up: from an inner packet to the policy that carries it.
// RFC 4301 sections 4.4.1 and 5.1.

import IKEWire

/// An immutable table of policies. The most specific remote selector that takes a packet decides; among equals the later policy,
/// so that the newest of two identical tunnels carries the traffic.
package struct SelectorTable: Sendable {
    /// The result of a look-up: the index of the policy in the array that the table was made from.
    package enum Match: Hashable, Sendable {
        case policy(Int)
        case none
        /// Only policies with ports would take the address, and this fragment shows none.
        case fragment
    }

    private struct Entry: Sendable {
        let remote: SelectorRange
        let policy: Int
    }

    private let policies: [Selectors]
    /// In order of preference.
    private let entries: [Entry]
    private let ipv4: IntervalIndex
    private let ipv6: IntervalIndex

    package init(_ policies: [Selectors]) {
        self.policies = policies
        var entries: [Entry] = []
        for (index, policy) in policies.enumerated() {
            for remote in policy.remote where remote.start <= remote.end { entries.append(Entry(remote: remote, policy: index)) }
        }
        let localWidth = policies.map { policy in policy.local.map(\.width).min() ?? 0 }
        entries.sort { a, b in
            if a.remote.width != b.remote.width { return a.remote.width < b.remote.width }
            let aAny = a.remote.ipProtocol == 0, bAny = b.remote.ipProtocol == 0
            if aAny != bAny { return bAny }
            if a.remote.isAnyPort != b.remote.isAnyPort { return b.remote.isAnyPort }
            if localWidth[a.policy] != localWidth[b.policy] { return localWidth[a.policy] < localWidth[b.policy] }
            return a.policy > b.policy
        }
        self.entries = entries
        ipv4 = IntervalIndex(entries.map(\.remote), isIPv6: false)
        ipv6 = IntervalIndex(entries.map(\.remote), isIPv6: true)
    }

    package var count: Int { policies.count }

    package func match(_ packet: InnerPacket) -> Match {
        let index = packet.isIPv6 ? ipv6 : ipv4
        var fallback = Match.none
        let candidates = index.candidates(packet.destination)
        for position in candidates {
            let entry = entries[Int(index.member(position))]
            let destination = entry.remote.verdict(address: packet.destination, port: packet.destinationPort, of: packet)
            if destination == .outside { continue }
            switch Selectors.both(policies[entry.policy].outboundSource(packet), destination) {
            case .inside: return .policy(entry.policy)
            case .fragment: fallback = .fragment
            case .outside: break
            }
        }
        return fallback
    }
}

/// Address ranges cut into elementary intervals, each with the ranges that cover it in their given order.
struct IntervalIndex: Sendable {
    /// The first address of each interval; the first interval begins at 0.
    private var starts: [UInt128] = [0]
    /// `members[offsets[i]..<offsets[i + 1]]` cover interval i.
    private var offsets: [Int32] = [0, 0]
    private var members: [Int32] = []

    static let maximumMembers = 1 << 20

    init(_ ranges: [SelectorRange], isIPv6: Bool) {
        let mine = ranges.indices.filter { ranges[$0].isIPv6 == isIPv6 }
        guard !mine.isEmpty else { return }
        var cuts: [UInt128] = [0]
        for index in mine {
            cuts.append(ranges[index].start)
            if ranges[index].end < .max { cuts.append(ranges[index].end + 1) }
        }
        cuts.sort()
        var unique: [UInt128] = []
        for cut in cuts where unique.last != cut { unique.append(cut) }
        // Count, then fill: ranges are visited in order, so every interval's members stay in order.
        let spans = mine.map { index -> Range<Int> in
            let first = Self.position(of: ranges[index].start, in: unique)
            return first..<(Self.position(of: ranges[index].end, in: unique) + 1)
        }
        // Ranges nested without end would ask for memory in the square of their number: then one interval holds them all.
        guard spans.reduce(0, { $0 + $1.count }) <= Self.maximumMembers else {
            members = mine.map(Int32.init)
            offsets = [0, Int32(members.count)]
            return
        }
        var counts = Array(repeating: Int32(0), count: unique.count)
        for span in spans { for interval in span { counts[interval] += 1 } }
        offsets = [0]
        offsets.reserveCapacity(unique.count + 1)
        var total: Int32 = 0
        for count in counts {
            total += count
            offsets.append(total)
        }
        members = Array(repeating: 0, count: Int(total))
        var next = offsets
        for (span, index) in zip(spans, mine) {
            for interval in span {
                members[Int(next[interval])] = Int32(index)
                next[interval] += 1
            }
        }
        starts = unique
    }

    /// Positions for `member` of the ranges that cover `address`.
    @inline(__always)
    func candidates(_ address: UInt128) -> Range<Int> {
        let interval = Self.position(of: address, in: starts)
        return Int(offsets[interval])..<Int(offsets[interval + 1])
    }

    @inline(__always)
    func member(_ position: Int) -> Int32 { members[position] }

    /// The last interval that begins at or before `address`.
    @inline(__always)
    private static func position(of address: UInt128, in starts: [UInt128]) -> Int {
        var low = 0
        var high = starts.count
        while high - low > 1 {
            let middle = low + (high - low) / 2
            if starts[middle] <= address { low = middle } else { high = middle }
        }
        return low
    }
}
