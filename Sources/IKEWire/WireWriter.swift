// A growing message. Lengths are filled in once what they count has been written.
// RFC 7296 section 3: all multi-byte fields are in network byte order.

struct WireWriter {
    private(set) var bytes: [UInt8] = []

    init(capacity: Int = 512) { bytes.reserveCapacity(capacity) }

    mutating func u8(_ value: UInt8) { bytes.append(value) }

    mutating func u16(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    mutating func u32(_ value: UInt32) {
        u16(UInt16(truncatingIfNeeded: value >> 16))
        u16(UInt16(truncatingIfNeeded: value))
    }

    mutating func u64(_ value: UInt64) {
        u32(UInt32(truncatingIfNeeded: value >> 32))
        u32(UInt32(truncatingIfNeeded: value))
    }

    mutating func copy(_ other: [UInt8]) { bytes.append(contentsOf: other) }

    /// Reserved bytes.
    //= RFC 7296 §2.5: reserved fields are zero on sending
    mutating func zeros(_ count: Int) {
        for _ in 0..<count { bytes.append(0) }
    }

    /// Writes a structure whose 16-bit length lies `lengthOffset` bytes after its start and counts it from its start.
    /// A structure over 65,535 bytes gets 65,535: no reader takes such a message, and no datagram holds it.
    mutating func structure(lengthAt lengthOffset: Int, _ body: (inout WireWriter) -> Void) {
        let start = bytes.count
        body(&self)
        let length = UInt16(clamping: bytes.count - start)
        bytes[start + lengthOffset] = UInt8(truncatingIfNeeded: length >> 8)
        bytes[start + lengthOffset + 1] = UInt8(truncatingIfNeeded: length)
    }

    /// Overwrites four bytes written before.
    mutating func overwrite(at offset: Int, u32 value: UInt32) {
        for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * index)) }
    }
}
