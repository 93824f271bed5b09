// The traffic selectors of one SA, matched against inner packets.
// RFC 4301 sections 4.4.1.1, 5.2 and 7; RFC 7296 section 3.13.1.

import IKEWire

/// What selectors say of a packet.
package enum SelectorVerdict: Hashable, Sendable {
    case inside
    case outside
    /// A later fragment whose ports are unknown, under selectors that ask for ports. RFC 4301 section 7.
    case fragment
}

/// One selector ready for comparison.
struct SelectorRange: Hashable, Sendable {
    let isIPv6: Bool
    let start: UInt128
    let end: UInt128
    /// 0 for any.
    let ipProtocol: UInt8
    let startPort: UInt16
    let endPort: UInt16

    init(_ selector: TrafficSelector) {
        isIPv6 = selector.start.family == .v6
        start = selector.start.value
        end = selector.end.value
        ipProtocol = selector.ipProtocol
        startPort = selector.startPort
        endPort = selector.endPort
    }

    /// Addresses covered, less one.
    var width: UInt128 { end >= start ? end &- start : 0 }
    var isAnyPort: Bool { startPort == 0 && endPort == 65535 }

    @inline(__always)
    func covers(_ address: UInt128, isIPv6 family: Bool) -> Bool { family == isIPv6 && address >= start && address <= end }

    @inline(__always)
    func verdict(address: UInt128, port: UInt16?, of packet: InnerPacket) -> SelectorVerdict {
        guard covers(address, isIPv6: packet.isIPv6) else { return .outside }
        if ipProtocol != 0 {
            guard let upper = packet.ipProtocol else { return packet.isLaterFragment ? .fragment : .outside }
            guard upper == ipProtocol else { return .outside }
        }
        if isAnyPort { return .inside }
        guard let port else {
            // OPAQUE takes exactly what has no port to see; a range of ports does not.
            if startPort > endPort { return .inside }
            return packet.isLaterFragment ? .fragment : .outside
        }
        return startPort <= port && port <= endPort ? .inside : .outside
    }
}

/// Both ends' selectors of a child SA. A packet is inside if some local and some remote selector take it.
package struct Selectors: Hashable, Sendable {
    let local: [SelectorRange]
    let remote: [SelectorRange]

    package init(local: [TrafficSelector], remote: [TrafficSelector]) {
        self.local = local.map(SelectorRange.init)
        self.remote = remote.map(SelectorRange.init)
    }

    /// A packet that came out of the SA: its source is the peer's side.
    //= RFC 4301 §5.2
    package func inbound(_ packet: InnerPacket) -> SelectorVerdict {
        let source = Self.verdict(of: remote, address: packet.source, port: packet.sourcePort, packet)
        guard source != .outside else { return .outside }
        let destination = Self.verdict(of: local, address: packet.destination, port: packet.destinationPort, packet)
        return Self.both(source, destination)
    }

    /// A packet that would go into the SA: its source is our side.
    package func outbound(_ packet: InnerPacket) -> SelectorVerdict {
        let destination = Self.verdict(of: remote, address: packet.destination, port: packet.destinationPort, packet)
        guard destination != .outside else { return .outside }
        return Self.both(outboundSource(packet), destination)
    }

    @inline(__always)
    func outboundSource(_ packet: InnerPacket) -> SelectorVerdict {
        Self.verdict(of: local, address: packet.source, port: packet.sourcePort, packet)
    }

    @inline(__always)
    static func both(_ a: SelectorVerdict, _ b: SelectorVerdict) -> SelectorVerdict {
        switch (a, b) {
        case (.outside, _), (_, .outside): .outside
        case (.inside, .inside): .inside
        default: .fragment
        }
    }

    @inline(__always)
    private static func verdict(of ranges: [SelectorRange], address: UInt128, port: UInt16?, _ packet: InnerPacket) -> SelectorVerdict {
        var best = SelectorVerdict.outside
        for index in ranges.indices {
            switch ranges[index].verdict(address: address, port: port, of: packet) {
            case .inside: return .inside
            case .fragment: best = .fragment
            case .outside: break
            }
        }
        return best
    }
}
