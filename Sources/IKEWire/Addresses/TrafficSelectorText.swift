// Traffic selectors as prefixes and as text.
// RFC 7296 section 3.13.1; RFC 4301 section 4.4.1.1 (OPAQUE, and where ICMP keeps its type and code).

extension TrafficSelector {
    /// The network that `prefix` lies in, host bits cleared, for every protocol and port.
    /// A length outside 0 to the family's bits is taken as the nearest end of that range.
    package init(prefix: IPAddress, length: Int) {
        let hostMask = Self.hostMask(bits: prefix.bitCount - min(max(length, 0), prefix.bitCount))
        self.init(
            start: IPAddress(family: prefix.family, value: prefix.value & ~hostMask),
            end: IPAddress(family: prefix.family, value: prefix.value | hostMask))
    }

    /// The one prefix that is exactly this address range.
    package var asPrefix: (IPAddress, Int)? {
        guard isOrdered else { return nil }
        let difference = start.value ^ end.value
        // A prefix: the ends differ in the low bits alone, all 0 at the start and all 1 at the end.
        guard difference & (difference &+ 1) == 0, start.value & difference == 0 else { return nil }
        return (start, start.bitCount - difference.nonzeroBitCount)
    }

    /// The fewest prefixes that together are exactly this address range, in order; none if its ends are of two
    /// families or the wrong way round. At most 254.
    package func prefixes() -> [(IPAddress, Int)] {
        guard isOrdered else { return [] }
        var prefixes: [(IPAddress, Int)] = []
        var next = start.value
        while true {
            // As many host bits as the alignment of `next` and the end of the range allow.
            var hostBits = min(next.trailingZeroBitCount, start.bitCount)
            while hostBits > 0, next | Self.hostMask(bits: hostBits) > end.value { hostBits -= 1 }
            prefixes.append((IPAddress(family: start.family, value: next), start.bitCount - hostBits))
            let last = next | Self.hostMask(bits: hostBits)
            if last >= end.value { return prefixes }
            next = last + 1
        }
    }

    package var isAnyPort: Bool { startPort == 0 && endPort == 65535 }

    private var isOrdered: Bool { start.family == end.family && start.value <= end.value }

    private static func hostMask(bits: Int) -> UInt128 { bits >= 128 ? .max : (1 << UInt128(bits)) - 1 }
}

extension TrafficSelector: CustomStringConvertible {
    /// As strongSwan writes selectors, with numbers for ports: `10.1.0.0/16`, `10.0.0.1/32[tcp/80]`,
    /// `10.0.0.1..10.0.0.9`, `::/0[ipv6-icmp/128]`, `10.0.0.0/8[0/1024-65535]`, `10.0.0.0/8[tcp/OPAQUE]`.
    package var description: String {
        let addresses = if let (prefix, length) = asPrefix { "\(prefix)/\(length)" } else { "\(start)..\(end)" }
        if ipProtocol == 0 && isAnyPort { return addresses }
        let name = Self.protocolNames[ipProtocol] ?? String(ipProtocol)
        return addresses + "[" + name + (isAnyPort ? "" : "/" + ports) + "]"
    }

    private var ports: String {
        if isOpaque { return "OPAQUE" }
        // Types with all of their codes.
        if hasTypes, startPort & 0xff == 0, endPort & 0xff == 0xff, startPort <= endPort {
            return startPort >> 8 == endPort >> 8 ? String(startPort >> 8) : "\(startPort >> 8)-\(endPort >> 8)"
        }
        return startPort == endPort ? port(startPort) : port(startPort) + "-" + port(endPort)
    }

    private var hasTypes: Bool { ipProtocol == 1 || ipProtocol == 58 }

    /// For ICMP the high byte is the type and the low byte the code.
    private func port(_ value: UInt16) -> String {
        guard hasTypes else { return String(value) }
        return "\(value >> 8)(\(value & 0xff))"
    }

    /// IANA "Assigned Internet Protocol Numbers", in the spelling of /etc/protocols.
    private static let protocolNames: [UInt8: String] = [
        1: "icmp", 2: "igmp", 4: "ipencap", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
        58: "ipv6-icmp", 89: "ospf", 103: "pim", 112: "vrrp", 115: "l2tp", 132: "sctp", 136: "udplite",
    ]
}
