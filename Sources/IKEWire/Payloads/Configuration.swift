// The Configuration payload: what a client asks for and is given.
// RFC 7296 section 3.15.

package struct Configuration: Hashable, Sendable {
    /// CFG_REQUEST 1, CFG_REPLY 2, CFG_SET 3, CFG_ACK 4.
    package var kind: UInt8
    package var attributes: [Attribute]
    package struct Attribute: Hashable, Sendable {
        /// 15 bits.
        package var type: UInt16
        package var value: [UInt8]
        package init(type: UInt16, value: [UInt8]) {
            self.type = type
            self.value = value
        }
    }
    package static let request: UInt8 = 1, reply: UInt8 = 2, set: UInt8 = 3, acknowledgement: UInt8 = 4
    /// Attribute types, RFC 7296 section 3.15.1.
    package static let internalIP4Address: UInt16 = 1, internalIP4Netmask: UInt16 = 2, internalIP4DNS: UInt16 = 3, internalIP4NBNS: UInt16 = 4
    package static let internalIP4DHCP: UInt16 = 6, internalIP6Address: UInt16 = 8, internalIP6DNS: UInt16 = 10, internalIP6DHCP: UInt16 = 12
    package static let applicationVersion: UInt16 = 7, internalIP4Subnet: UInt16 = 13, supportedAttributes: UInt16 = 14, internalIP6Subnet: UInt16 = 15
    /// RFC 8598 section 4.
    package static let internalDNSDomain: UInt16 = 25, internalDNSSECTrustAnchor: UInt16 = 26
    /// Of Microsoft, for private use: servers of an intranet.
    package static let internalIP4Server: UInt16 = 23456, internalIP6Server: UInt16 = 23457

    package init(kind: UInt8, attributes: [Attribute]) {
        self.kind = kind
        self.attributes = attributes
    }

    init(from reader: inout WireReader) throws(WireError) {
        kind = try reader.u8()
        try reader.skip(3)
        attributes = []
        while !reader.isAtEnd {
            if attributes.count == WireLimits.configurationAttributes { throw .tooMany(attributes.count + 1) }
            //= RFC 7296 §3.15.1: the reserved bit is ignored on receipt
            let type = try reader.u16() & 0x7fff
            let length = Int(try reader.u16())
            attributes.append(Attribute(type: type, value: try reader.copy(length)))
        }
    }

    func write(to writer: inout WireWriter) {
        writer.u8(kind)
        writer.zeros(3)
        for attribute in attributes {
            writer.u16(attribute.type & 0x7fff)
            writer.u16(UInt16(clamping: attribute.value.count))
            writer.copy(attribute.value)
        }
    }
}
