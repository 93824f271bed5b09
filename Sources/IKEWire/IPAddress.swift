// Internet addresses and transport endpoints as values. No name look-up, no socket.

/// An IPv4 or IPv6 address.
package struct IPAddress: Hashable, Sendable {
    package enum Family: UInt8, Sendable { case v4 = 4, v6 = 6 }
    package let family: Family
    /// The address as a number, most significant byte first; an IPv4 address fills the low 32 bits.
    package let value: UInt128

    package init(family: Family, value: UInt128) {
        self.family = family
        self.value = family == .v4 ? value & 0xffff_ffff : value
    }
    package init(v4 value: UInt32) { self.init(family: .v4, value: UInt128(value)) }

    /// Bits in an address of this family: 32 or 128.
    package var bitCount: Int { family == .v4 ? 32 : 128 }
    package var isUnspecified: Bool { value == 0 }
}

/// An address with a UDP port.
package struct SocketAddress: Hashable, Sendable {
    package var address: IPAddress
    package var port: UInt16
    package init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }
}
