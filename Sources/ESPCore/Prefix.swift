// Address ranges as prefixes, since traffic selectors are the one and routes the other.
// RFC 7296 section 3.13.1.

import IKEWire

/// A network prefix: the first `length` bits of `value`, the others zero.
package struct Prefix: Hashable, Sendable {
    package let family: IPAddress.Family
    package let value: UInt128
    package let length: Int

    package init(family: IPAddress.Family, value: UInt128, length: Int) {
        self.family = family
        self.value = value
        self.length = length
    }

    /// The fewest prefixes that cover exactly the addresses from `start` to `end`, in order. Nil where it takes more than `limit`; none
    /// for a range that is empty or of two families.
    package static func covering(from start: IPAddress, to end: IPAddress, limit: Int) -> [Prefix]? {
        guard start.family == end.family, start.value <= end.value else { return [] }
        let bits = start.bitCount
        var prefixes: [Prefix] = []
        var next = start.value
        while true {
            // The largest block that begins at `next` and does not pass `end`.
            var size = min(next == 0 ? bits : next.trailingZeroBitCount, bits)
            while size > 0 && last(of: next, size) > end.value { size -= 1 }
            guard prefixes.count < limit else { return nil }
            prefixes.append(Prefix(family: start.family, value: next, length: bits - size))
            let reached = last(of: next, size)
            if reached >= end.value { return prefixes }
            next = reached + 1
        }
    }

    /// The last address of a block of 2 to the power of `size`.
    private static func last(of start: UInt128, _ size: Int) -> UInt128 { start | (size >= 128 ? .max : (1 << UInt128(size)) - 1) }
}
