// Extended sequence numbers: 64 bits are counted, 32 are sent.
// RFC 4303 section 2.2.1 and Appendix A2.

package enum ExtendedSequence {
    /// The 64-bit number that a packet with the low half `low` most probably has, for a receiver that has seen up to `highest` and
    /// looks back over `window` packets. Nil where it would lie before the first or after the last.
    @inline(__always)
    package static func reconstruct(low: UInt32, highest: UInt64, window: UInt32) -> UInt64? {
        let highestLow = UInt32(truncatingIfNeeded: highest)
        let highestHigh = UInt32(truncatingIfNeeded: highest &>> 32)
        let back = window == 0 ? 0 : window &- 1
        let bottom = highestLow &- back
        let high: UInt32
        if highestLow >= back {
            // Appendix A2.1, case A: the window lies within one subspace.
            if low >= bottom {
                high = highestHigh
            } else {
                guard highestHigh < .max else { return nil }
                high = highestHigh &+ 1
            }
        } else if low >= bottom {
            // Case B: the window reaches back into the subspace before.
            guard highestHigh > 0 else { return nil }
            high = highestHigh &- 1
        } else {
            high = highestHigh
        }
        return UInt64(high) &<< 32 | UInt64(low)
    }
}
