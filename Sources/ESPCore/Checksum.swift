// The Internet checksum, whole and by difference.
// RFC 1071, RFC 1624.

enum Checksum {
    /// The one's complement sum of `bytes` from `range`, onto `sum`.
    static func add(_ bytes: Span<UInt8>, _ range: Range<Int>, to sum: UInt64 = 0) -> UInt64 {
        var sum = sum
        var offset = range.lowerBound
        while offset + 1 < range.upperBound {
            sum &+= UInt64(bytes.bigEndian16(at: offset))
            offset += 2
        }
        if offset < range.upperBound { sum &+= UInt64(bytes[offset]) &<< 8 }
        return sum
    }

    static func fold(_ sum: UInt64) -> UInt16 {
        var sum = sum
        while sum > 0xffff { sum = (sum & 0xffff) &+ (sum &>> 16) }
        return UInt16(truncatingIfNeeded: sum)
    }

    static func finish(_ sum: UInt64) -> UInt16 { ~fold(sum) }

    /// The checksum after a 16-bit word changed from `old` to `new`: RFC 1624 equation 3.
    static func update(_ checksum: UInt16, from old: UInt16, to new: UInt16) -> UInt16 {
        finish(UInt64(~checksum) + UInt64(~old) + UInt64(new))
    }
}
