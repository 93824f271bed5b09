// Big-endian fields in a run of bytes. Callers have checked the length: an index past the end traps, as everywhere in Swift.

extension Span<UInt8> {
    @inline(__always)
    func bigEndian16(at offset: Int) -> UInt16 { UInt16(self[offset]) &<< 8 | UInt16(self[offset + 1]) }

    @inline(__always)
    func bigEndian32(at offset: Int) -> UInt32 {
        UInt32(self[offset]) &<< 24 | UInt32(self[offset + 1]) &<< 16 | UInt32(self[offset + 2]) &<< 8 | UInt32(self[offset + 3])
    }

    /// Sixteen bytes as a number.
    @inline(__always)
    func bigEndian128(at offset: Int) -> UInt128 {
        let high = UInt64(bigEndian32(at: offset)) &<< 32 | UInt64(bigEndian32(at: offset + 4))
        let low = UInt64(bigEndian32(at: offset + 8)) &<< 32 | UInt64(bigEndian32(at: offset + 12))
        return UInt128(high) &<< 64 | UInt128(low)
    }
}

extension MutableSpan<UInt8> {
    @inline(__always)
    mutating func store(_ value: UInt16, at offset: Int) {
        self[offset] = UInt8(truncatingIfNeeded: value &>> 8)
        self[offset + 1] = UInt8(truncatingIfNeeded: value)
    }

    @inline(__always)
    mutating func store(_ value: UInt32, at offset: Int) {
        store(UInt16(truncatingIfNeeded: value &>> 16), at: offset)
        store(UInt16(truncatingIfNeeded: value), at: offset + 2)
    }

    @inline(__always)
    mutating func store(_ value: UInt64, at offset: Int) {
        store(UInt32(truncatingIfNeeded: value &>> 32), at: offset)
        store(UInt32(truncatingIfNeeded: value), at: offset + 4)
    }

    @inline(__always)
    mutating func store(_ value: UInt128, at offset: Int) {
        store(UInt64(truncatingIfNeeded: value &>> 64), at: offset)
        store(UInt64(truncatingIfNeeded: value), at: offset + 8)
    }
}
