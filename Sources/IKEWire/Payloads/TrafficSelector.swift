// The Traffic Selector payloads: a count and selectors of address, protocol and port ranges.
// RFC 7296 sections 3.13 and 3.13.1.

/// RFC 7296 section 3.13.1. An address range, a protocol (0 for any) and a port range, all ends included.
/// Ports 65535 to 0 stand for OPAQUE.
package struct TrafficSelector: Hashable, Sendable {
    package var ipProtocol: UInt8
    package var startPort: UInt16
    package var endPort: UInt16
    package var start: IPAddress
    package var end: IPAddress
    package init(ipProtocol: UInt8 = 0, startPort: UInt16 = 0, endPort: UInt16 = 65535, start: IPAddress, end: IPAddress) {
        self.ipProtocol = ipProtocol
        self.startPort = startPort
        self.endPort = endPort
        self.start = start
        self.end = end
    }

    package var isOpaque: Bool { startPort == 65535 && endPort == 0 }

    /// Reads a payload's selectors. Those of a type that is not an address range are left out, which narrows what the
    /// peer offered; a list that is empty for it is unacceptable, not malformed.
    static func readList(_ reader: inout WireReader, in payload: PayloadType) throws(WireError) -> [TrafficSelector] {
        let count = Int(try reader.u8())
        try reader.skip(3)
        var selectors: [TrafficSelector] = []
        selectors.reserveCapacity(min(count, reader.remaining / 16))
        for _ in 0..<count {
            let kind = try reader.u8()
            let ipProtocol = try reader.u8()
            let length = Int(try reader.u16())
            if length < 4 { throw .badLength(length) }
            var body = try reader.sub(length - 4)
            guard let family = Self.family(ofKind: kind) else { continue }
            let startPort = try body.u16()
            let endPort = try body.u16()
            let selector = TrafficSelector(
                ipProtocol: ipProtocol, startPort: startPort, endPort: endPort, start: try IPAddress(family, from: &body),
                end: try IPAddress(family, from: &body))
            try body.end()
            if startPort > endPort && !selector.isOpaque { throw .forbidden(payload) }
            if selector.start.value > selector.end.value { throw .forbidden(payload) }
            selectors.append(selector)
        }
        return selectors
    }

    static func writeList(_ selectors: [TrafficSelector], to writer: inout WireWriter) {
        writer.u8(UInt8(clamping: selectors.count))
        writer.zeros(3)
        for selector in selectors {
            writer.structure(lengthAt: 2) { writer in
                writer.u8(selector.start.family == .v4 ? ipv4Range : ipv6Range)
                writer.u8(selector.ipProtocol)
                writer.u16(0)
                writer.u16(selector.startPort)
                writer.u16(selector.endPort)
                selector.start.write(to: &writer)
                selector.end.write(to: &writer)
            }
        }
    }

    /// TS_IPV4_ADDR_RANGE and TS_IPV6_ADDR_RANGE.
    private static let ipv4Range: UInt8 = 7
    private static let ipv6Range: UInt8 = 8

    private static func family(ofKind kind: UInt8) -> IPAddress.Family? {
        switch kind {
        case ipv4Range: .v4
        case ipv6Range: .v6
        default: nil
        }
    }
}
