// What the data path needs to know of an inner packet: addresses, protocol, ports, fragmentation.
// RFC 4301 section 4.4.1.1, RFC 791, RFC 8200 section 4.

/// Why an inner packet is not carried.
package enum InnerPacketError: Error, Hashable, Sendable {
    /// Neither IPv4 nor IPv6, or lengths that cannot be right.
    case malformed
    /// An IPv6 header chain that is longer than this code walks.
    case headerChain
}

/// The fields of one IPv4 or IPv6 packet that policy looks at. A view's values; it does not hold the bytes.
package struct InnerPacket: Hashable, Sendable {
    package let isIPv6: Bool
    /// Source and destination as numbers, an IPv4 address in the low 32 bits.
    package let source: UInt128
    package let destination: UInt128
    /// The upper protocol; nil where it cannot be known (a later fragment behind extension headers).
    package let ipProtocol: UInt8?
    /// Ports, or ICMP type and code as one number in both; nil where the protocol has none or this is not the first fragment.
    package let sourcePort: UInt16?
    package let destinationPort: UInt16?
    /// The packet's length by its own header; bytes after it are traffic flow confidentiality padding. RFC 4303 section 2.7.
    package let length: Int
    /// Where the upper protocol begins.
    package let transportOffset: Int
    /// A fragment other than the first.
    package let isLaterFragment: Bool
    /// Any fragment.
    package let isFragment: Bool
    /// IPv4's Don't Fragment; always true for IPv6.
    package let dontFragment: Bool
    /// TOS or traffic class.
    package let trafficClass: UInt8

    /// IPv6 extension headers walked before giving up.
    static let maximumExtensionHeaders = 8

    /// The same the other way round: what its answer would be to policy.
    package var reversed: InnerPacket { InnerPacket(reversing: self) }

    private init(reversing other: InnerPacket) {
        isIPv6 = other.isIPv6
        (source, destination) = (other.destination, other.source)
        (sourcePort, destinationPort) = (other.destinationPort, other.sourcePort)
        ipProtocol = other.ipProtocol
        length = other.length
        transportOffset = other.transportOffset
        isLaterFragment = other.isLaterFragment
        isFragment = other.isFragment
        dontFragment = other.dontFragment
        trafficClass = other.trafficClass
    }

    /// Reads the headers of the packet at the start of `bytes`.
    package init(_ bytes: Span<UInt8>) throws(InnerPacketError) {
        guard bytes.count >= 20 else { throw .malformed }
        switch bytes[0] &>> 4 {
        case 4: try self.init(ipv4: bytes)
        case 6: try self.init(ipv6: bytes)
        default: throw .malformed
        }
    }

    private init(ipv4 bytes: Span<UInt8>) throws(InnerPacketError) {
        let headerLength = Int(bytes[0] & 15) * 4
        let total = Int(bytes.bigEndian16(at: 2))
        guard headerLength >= 20, total >= headerLength, total <= bytes.count else { throw .malformed }
        let fragment = bytes.bigEndian16(at: 6)
        isIPv6 = false
        source = UInt128(bytes.bigEndian32(at: 12))
        destination = UInt128(bytes.bigEndian32(at: 16))
        length = total
        transportOffset = headerLength
        isLaterFragment = fragment & 0x1fff != 0
        isFragment = fragment & 0x3fff != 0
        dontFragment = fragment & 0x4000 != 0
        trafficClass = bytes[1]
        let upper = bytes[9]
        ipProtocol = upper
        let ports = isLaterFragment ? nil : Self.ports(of: upper, in: bytes, at: headerLength, end: total)
        sourcePort = ports?.source
        destinationPort = ports?.destination
    }

    private init(ipv6 bytes: Span<UInt8>) throws(InnerPacketError) {
        guard bytes.count >= 40 else { throw .malformed }
        let total = 40 + Int(bytes.bigEndian16(at: 4))
        guard total <= bytes.count else { throw .malformed }
        isIPv6 = true
        source = bytes.bigEndian128(at: 8)
        destination = bytes.bigEndian128(at: 24)
        length = total
        dontFragment = true
        trafficClass = bytes[0] &<< 4 | bytes[1] &>> 4

        var upper: UInt8? = bytes[6]
        var offset = 40
        var fragmented = false
        var later = false
        var walked = 0
        // Hop-by-hop 0, routing 43, fragment 44, destination options 60, authentication 51, mobility is an upper protocol.
        walk: while let header = upper {
            switch header {
            case 0, 43, 60:
                guard offset + 8 <= total else { throw .malformed }
                upper = bytes[offset]
                offset += (Int(bytes[offset + 1]) + 1) * 8
            case 51:
                guard offset + 8 <= total else { throw .malformed }
                upper = bytes[offset]
                offset += (Int(bytes[offset + 1]) + 2) * 4
            case 44:
                guard offset + 8 <= total else { throw .malformed }
                let next = bytes[offset]
                fragmented = true
                later = bytes.bigEndian16(at: offset + 2) & 0xfff8 != 0
                offset += 8
                if later {
                    // Whatever header follows is in another packet.
                    upper = Self.isExtension(next) ? nil : next
                    break walk
                }
                upper = next
            default:
                break walk
            }
            guard offset <= total else { throw .malformed }
            walked += 1
            guard walked <= Self.maximumExtensionHeaders else { throw .headerChain }
        }
        transportOffset = offset
        isFragment = fragmented
        isLaterFragment = later
        ipProtocol = upper
        let ports = if let upper, !later { Self.ports(of: upper, in: bytes, at: offset, end: total) } else { Optional<Ports>.none }
        sourcePort = ports?.source
        destinationPort = ports?.destination
    }

    private typealias Ports = (source: UInt16, destination: UInt16)

    private static func isExtension(_ header: UInt8) -> Bool {
        switch header {
        case 0, 43, 44, 51, 60: true
        default: false
        }
    }

    @inline(__always)
    private static func ports(of upper: UInt8, in bytes: Span<UInt8>, at offset: Int, end: Int) -> Ports? {
        switch upper {
        case 6, 17, 33, 132, 136:
            // TCP, UDP, DCCP, SCTP, UDP-Lite begin with both ports.
            guard offset + 4 <= end else { return nil }
            return (bytes.bigEndian16(at: offset), bytes.bigEndian16(at: offset + 2))
        case 1, 58:
            // ICMP type and code. RFC 7296 section 3.13.1.
            guard offset + 2 <= end else { return nil }
            let typeAndCode = bytes.bigEndian16(at: offset)
            return (typeAndCode, typeAndCode)
        case 135:
            // The Mobility Header type is the high byte. RFC 4301 section 4.4.1.1.
            guard offset + 3 <= end else { return nil }
            let type = UInt16(bytes[offset + 2]) &<< 8
            return (type, type)
        default:
            return nil
        }
    }
}
