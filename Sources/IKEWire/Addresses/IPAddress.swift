// Internet addresses and transport endpoints as values. No name look-up, no socket.

/// An IPv4 or IPv6 address.
package struct IPAddress: Hashable, Sendable {
    package enum Family: UInt8, Sendable { case v4 = 4, v6 = 6 }
    /// The number's two halves. A stored `UInt128` would align every structure with an address in it to 16 bytes, which the allocator does
    /// not do for nothing.
    private let high: UInt64
    private let low: UInt64
    package let family: Family
    /// The address as a number, most significant byte first; an IPv4 address fills the low 32 bits.
    package var value: UInt128 { UInt128(high) << 64 | UInt128(low) }

    package init(family: Family, value: UInt128) {
        self.family = family
        high = family == .v4 ? 0 : UInt64(truncatingIfNeeded: value >> 64)
        low = family == .v4 ? UInt64(truncatingIfNeeded: value) & 0xffff_ffff : UInt64(truncatingIfNeeded: value)
    }
    package init(v4 value: UInt32) { self.init(family: .v4, value: UInt128(value)) }

    /// Bits in an address of this family: 32 or 128.
    package var bitCount: Int { family == .v4 ? 32 : 128 }
    package var isUnspecified: Bool { value == 0 }
}

extension IPAddress {
    /// Four or sixteen bytes in network order.
    package var bytes: [UInt8] {
        let count = bitCount / 8
        return (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt128(8 * (count - 1 - $0))) }
    }

    /// Four bytes are an IPv4 address, sixteen an IPv6 address, in network order; any other count is neither.
    package init?(bytes: Span<UInt8>) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        var value: UInt128 = 0
        for index in bytes.indices { value = value << 8 | UInt128(bytes[index]) }
        self.init(family: bytes.count == 4 ? .v4 : .v6, value: value)
    }

    package init?(bytes: [UInt8]) { self.init(bytes: bytes.span) }

    init(_ family: Family, from reader: inout WireReader) throws(WireError) {
        switch family {
        case .v4: self.init(v4: try reader.u32())
        case .v6:
            let high = try reader.u64()
            self.init(family: .v6, value: UInt128(high) << 64 | UInt128(try reader.u64()))
        }
    }

    func write(to writer: inout WireWriter) {
        if family == .v6 {
            writer.u64(UInt64(truncatingIfNeeded: value >> 64))
            writer.u64(UInt64(truncatingIfNeeded: value))
        } else {
            writer.u32(UInt32(truncatingIfNeeded: value))
        }
    }
}
