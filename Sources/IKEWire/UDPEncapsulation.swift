// What a datagram on port 4500 carries: IKE behind a marker, ESP, or nothing but the wish to keep a NAT's mapping.
// RFC 3948 section 2; RFC 7296 section 2.23.

package enum UDPEncapsulation {
    /// The non-ESP marker: where an ESP packet has its SPI, four zero bytes. RFC 3948 section 2.2.
    package static let markerByteCount = 4
    /// The one byte of a NAT keepalive. RFC 3948 section 2.3.
    package static let keepalive: [UInt8] = [0xff]

    package enum Datagram: Hashable, Sendable {
        /// An IKE message starts at `offset`.
        case ike(offset: Int)
        case esp(spi: UInt32)
        case keepalive
        /// Too short to be any of them.
        case invalid
    }

    /// SPI and sequence number. RFC 4303 section 2.
    private static let espHeaderByteCount = 8

    /// Never fails: what cannot be told is `.invalid`. The IKE message and the ESP packet are not looked at.
    package static func classify(_ bytes: Span<UInt8>) -> Datagram {
        if bytes.count < markerByteCount {
            //= RFC 3948 §2.3: a keepalive is one octet of 0xFF, and is ignored
            return bytes.count == 1 && bytes[0] == 0xff ? .keepalive : .invalid
        }
        let spi = UInt32(bytes[0]) << 24 | UInt32(bytes[1]) << 16 | UInt32(bytes[2]) << 8 | UInt32(bytes[3])
        if spi == 0 { return bytes.count > markerByteCount ? .ike(offset: markerByteCount) : .invalid }
        return bytes.count >= espHeaderByteCount ? .esp(spi: spi) : .invalid
    }

    /// An IKE message as the payload of a datagram to or from port 4500.
    package static func marked(_ message: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(markerByteCount + message.count)
        for _ in 0..<markerByteCount { bytes.append(0) }
        bytes.append(contentsOf: message)
        return bytes
    }
}
