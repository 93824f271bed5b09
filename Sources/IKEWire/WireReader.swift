// A cursor over received bytes. It cannot outlive them, and it can never step past the end of the part it was given:
// a length field becomes a reader of its own.
// RFC 7296 section 3: all multi-byte fields are in network byte order.

struct WireReader: ~Escapable {
    private let bytes: Span<UInt8>
    private var offset = 0

    @_lifetime(copy bytes)
    init(_ bytes: Span<UInt8>) { self.bytes = bytes }

    var remaining: Int { bytes.count - offset }
    var isAtEnd: Bool { offset == bytes.count }

    @inline(__always) private func need(_ count: Int) throws(WireError) {
        if count < 0 { throw .badLength(count) }
        if count > remaining { throw .truncated(need: count, have: remaining) }
    }

    mutating func u8() throws(WireError) -> UInt8 {
        try need(1)
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func u16() throws(WireError) -> UInt16 {
        try need(2)
        defer { offset += 2 }
        return UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
    }

    mutating func u32() throws(WireError) -> UInt32 {
        try need(4)
        defer { offset += 4 }
        return UInt32(bytes[offset]) << 24 | UInt32(bytes[offset + 1]) << 16 | UInt32(bytes[offset + 2]) << 8 | UInt32(bytes[offset + 3])
    }

    mutating func u64() throws(WireError) -> UInt64 {
        try need(8)
        let high = try u32()
        return UInt64(high) << 32 | UInt64(try u32())
    }

    /// Steps over bytes whose value is of no interest: reserved fields.
    //= RFC 7296 §2.5: reserved fields are ignored on receipt
    mutating func skip(_ count: Int) throws(WireError) {
        try need(count)
        offset += count
    }

    /// The next `count` bytes as a reader of their own.
    @_lifetime(copy self)
    mutating func sub(_ count: Int) throws(WireError) -> WireReader {
        try need(count)
        defer { offset += count }
        return WireReader(bytes.extracting(offset..<(offset + count)))
    }

    /// The next `count` bytes as a copy.
    mutating func copy(_ count: Int) throws(WireError) -> [UInt8] {
        try need(count)
        defer { offset += count }
        // Unsafe only in name: the pointer covers exactly the checked part and does not leave the closure. One memcpy.
        return unsafe bytes.extracting(offset..<(offset + count)).withUnsafeBufferPointer { unsafe Array($0) }
    }

    /// Everything that is left, as a copy.
    mutating func rest() throws(WireError) -> [UInt8] { try copy(remaining) }

    /// Leftover bytes would be bytes that two readers of the message could understand differently.
    func end() throws(WireError) {
        if !isAtEnd { throw .trailing(remaining) }
    }
}
