// What the vici codec takes, and why bytes are not a packet.
// Source of the numbers: strongSwan's src/libcharon/plugins/vici/README.md, "Transport protocol" and "Message format".

/// Caps on what one packet may hold.
package enum ViciLimits {
    /// Bytes of a packet, its type byte included and its length field not: 512 KiB.
    package static let packetBytes = 512 * 1024
    /// Bytes of a name: its length field has eight bits.
    package static let nameBytes = 255
    /// Bytes of a value: its length field has sixteen bits.
    package static let valueBytes = 65_535
    /// Sections within sections. The protocol sets no limit; no message in use comes near this one.
    package static let depth = 32
    /// Sections, values, lists and list items of a message together, so that a packet costs a bounded multiple of its size.
    package static let elements = 65_536
}

/// Why bytes are not a vici packet, or a tree is not a vici message; the evidence is in the case.
package enum ViciError: Error, Hashable, Sendable {
    /// A field needs `need` bytes and `have` are left.
    case truncated(need: Int, have: Int)
    /// Bytes left over after a packet that carries no message.
    case trailing(Int)
    /// A packet of no bytes at all.
    case emptyPacket
    /// A length field above `ViciLimits.packetBytes`.
    case oversizePacket(Int)
    case unknownPacketType(UInt8)
    case unknownElementType(UInt8)
    /// A list item outside a list, anything but an item within one, or a section's end without its start.
    case misplacedElement(ViciElementType)
    /// The message ended within `sections` open sections or an open list.
    case unterminated(sections: Int, inList: Bool)
    case tooDeep
    case tooManyElements
    /// A name that is not UTF-8, at this offset.
    case malformedName(offset: Int)
    /// Encoding alone: a name or value that its length field cannot count.
    case nameTooLong(Int)
    case valueTooLong(Int)
}
