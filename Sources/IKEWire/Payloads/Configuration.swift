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
