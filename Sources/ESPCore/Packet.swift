// The ESP packet: SPI, sequence number, IV, payload, padding, pad length, next header, ICV.
// RFC 4303 section 2.

/// Why a packet was not sealed or opened. Everything but `.sequenceExhausted` and `.failed` is the peer's doing.
package enum ESPError: Error, Hashable, Sendable {
    /// Shorter than the smallest packet of the suite, or not a whole number of blocks.
    case malformed(length: Int)
    /// Seen before, or too old for the window. RFC 4303 section 3.4.3.
    case replayed(sequence: UInt32)
    /// The ICV does not match.
    case rejected
    /// The ICV is right and the padding is not. RFC 4303 section 2.4.
    case padding
    /// A dummy packet, to be dropped in silence. RFC 4303 section 2.6.
    case dummy
    /// The last sequence number of the SA was used. RFC 4303 section 3.3.3.
    case sequenceExhausted
    /// A buffer has no room for headers or trailer: an error of ours.
    case room
    /// The cipher backend failed for a reason of its own.
    case failed
}

/// Protocol numbers that the next header field takes in tunnel mode.
package enum NextHeader {
    package static let ipv4: UInt8 = 4
    package static let ipv6: UInt8 = 41
    /// RFC 4303 section 2.6.
    package static let none: UInt8 = 59
}

/// The sizes that a cipher suite gives to a packet, in bytes.
package struct PacketLayout: Hashable, Sendable {
    /// SPI and sequence number.
    package static let headerLength = 8
    package let ivLength: Int
    package let icvLength: Int
    /// Payload, padding and the two trailer bytes fill a multiple of this: the cipher's block, at least 4. RFC 4303 section 2.4.
    package let alignment: Int

    package init(ivLength: Int, icvLength: Int, blockLength: Int) {
        self.ivLength = ivLength
        self.icvLength = icvLength
        alignment = max(4, blockLength)
    }

    /// Bytes in front of the payload.
    package var headroom: Int { Self.headerLength + ivLength }
    /// The most that follows the payload: padding, pad length, next header, ICV.
    package var maximumTailroom: Int { alignment - 1 + 2 + icvLength }
    /// The smallest packet: an empty payload.
    package var minimumPacket: Int { headroom + alignment + icvLength }

    /// Bytes of padding for a payload.
    @inline(__always)
    func padding(for payload: Int) -> Int {
        let remainder = (payload &+ 2) % alignment
        return remainder == 0 ? 0 : alignment &- remainder
    }

    /// The whole packet around a payload.
    package func packetLength(payload: Int) -> Int { headroom + payload + padding(for: payload) + 2 + icvLength }
}

/// The first fields of a packet, before anything is believed.
package struct PacketHeader: Hashable, Sendable {
    package let spi: UInt32
    package let sequence: UInt32

    /// Nil when there are fewer than eight bytes.
    @inline(__always)
    package init?(_ bytes: Span<UInt8>) {
        guard bytes.count >= PacketLayout.headerLength else { return nil }
        spi = bytes.bigEndian32(at: 0)
        sequence = bytes.bigEndian32(at: 4)
    }
}
